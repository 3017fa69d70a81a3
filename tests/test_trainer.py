"""Training as a whole, on a few images; what it is made of has tests of its own."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import NetworkConfig, TrainingConfig
from models.export import export_model
from models.features import FASHION_MNIST_CLASSES
from models.input_pipeline import Split, evaluation_batches
from models.trainer import TrainingDivergedError, augmented_batches, train_model

# Keras warns that it cannot shuffle a data set, which is shuffled already.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")

NETWORK = NetworkConfig(stem_size=3, widths=(8,), blocks=(0,), pools=(True,))
CONFIG = TrainingConfig(network=NETWORK, epochs=2, batch_size=20, flip=False, shift=0, erase=0)


@pytest.fixture(scope="module")
def split() -> Split:
    """Bright and dark images: nothing is easier to learn."""
    labels = np.arange(120) % 2
    noise = np.random.default_rng(0).integers(0, 60, (120, 12, 12, 1))
    images = (noise + 180 * labels[:, None, None, None]).astype(np.uint8)
    return Split(files=(), image_shape=(12, 12), size=120, images=images, labels=labels.astype(np.int64))


def train(split: Split, folder, **changes) -> keras.Model:
    config = dataclasses.replace(CONFIG, **changes)
    mean, variance = np.full((12, 12, 1), 120.0), np.full((12, 12, 1), 8_100.0)
    options = {"mean": mean, "variance": variance, "class_count": 2, "seed": 1, "log_dir": folder}
    model, *_ = train_model(config, split, split, checkpoint_path=folder / "state.npz", **options)
    return model


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_separates_bright_from_dark_and_is_reproducible(split, tmp_path, precision):
    model = train(split, tmp_path / "one", precision=precision)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert np.mean(np.argmax(model(split.images), axis=-1) == split.labels) == 1.0
    again = train(split, tmp_path / "two", precision=precision)
    for weight, same in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    assert list((tmp_path / "one").glob("validation/events*"))
    assert not (tmp_path / "one" / "state.npz").exists()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_history_has_each_epoch_with_what_the_report_draws(split, tmp_path, precision):
    options = {"mean": np.full((12, 12, 1), 120.0), "variance": np.full((12, 12, 1), 8_100.0), "class_count": 2}
    paths = {"log_dir": tmp_path, "checkpoint_path": tmp_path / "state.npz"}
    config = dataclasses.replace(CONFIG, precision=precision)
    model, report = train_model(config, split, split, seed=1, **options, **paths)
    first, last = report["history"]
    names = {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "learning_rate"}
    assert set(first) == set(last) == names
    assert [first["epoch"], last["epoch"]] == [1, 2]
    right = np.argmax(model(split.images), axis=-1) == split.labels
    assert report["val_accuracy"] == pytest.approx(right.mean()), "of the model that is served"
    if precision == "float32":
        assert max(first["val_accuracy"], last["val_accuracy"]) == pytest.approx(report["val_accuracy"], abs=1e-6)
    assert last["learning_rate"] < first["learning_rate"], "the schedule ends low"
    json.dumps(report)


def test_diverged_training_ends_with_the_loss_and_the_epoch(split, tmp_path):
    with pytest.raises(TrainingDivergedError, match=r"loss is (nan|inf) after epoch 1; nothing is exported"):
        train(split, tmp_path, learning_rate=float("inf"))


def test_augmented_batches_are_images_and_one_hot_labels(split):
    for images, labels in augmented_batches(split, CONFIG, class_count=3, seed=1).take(3):
        assert images.dtype == tf.uint8
        assert images.shape == (20, 12, 12, 1)
        bright = images.numpy().mean(axis=(1, 2, 3)) > 120
        np.testing.assert_array_equal(labels, np.eye(3, dtype=np.float32)[bright.astype(int)], strict=True)


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "streamed"])
def test_no_iterator_of_the_training_waits_for_autotuning_when_it_is_closed(split, cached):
    source = split if cached else dataclasses.replace(split, files=("shard",), images=None, labels=None)
    for dataset in (augmented_batches(source, CONFIG, class_count=2, seed=1), evaluation_batches(source, batch_size=9)):
        assert dataset.options().autotune.enabled is False


def test_resumed_training_sees_the_augmented_batches_of_the_unbroken_one(split):
    config = dataclasses.replace(CONFIG, flip=True, shift=2, erase=3)
    unbroken = augmented_batches(split, config, class_count=2, seed=1).skip(6).take(6)
    resumed = augmented_batches(split, config, class_count=2, seed=1, first_epoch=1).take(6)
    for (images, labels), (same, same_labels) in zip(unbroken, resumed, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


def test_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^precision: expected auto, float32 or bfloat16, found half"):
        TrainingConfig(precision="half")


def test_settings_survive_the_way_through_json():
    assert TrainingConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(CONFIG)))) == CONFIG


def test_served_answers_to_real_images_equal_the_trained_model_s(fashion_images, fashion_labels, tmp_path):
    """From the raw bytes of a record, and of a PNG, to probabilities."""
    labels = fashion_labels.astype(np.int64)
    split = Split(
        files=(), image_shape=(28, 28), size=len(labels), images=fashion_images[..., np.newaxis], labels=labels
    )
    pixels = split.images.astype(np.float64)
    statistics = {"mean": pixels.mean(axis=0), "variance": pixels.var(axis=0)}
    config = dataclasses.replace(CONFIG, epochs=1)
    model, _ = train_model(
        config, split, split, class_count=10, seed=1, log_dir=tmp_path, checkpoint_path=tmp_path / "s.npz", **statistics
    )
    records = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
            )
        ).SerializeToString()
        for pixels in fashion_images[:50]
        for image in (tf.io.serialize_tensor(pixels).numpy(), tf.io.encode_png(pixels[..., None]).numpy())
    ]
    export_model(model, str(tmp_path / "served"), (28, 28), FASHION_MNIST_CLASSES, records[:4])
    signatures = tf.saved_model.load(str(tmp_path / "served")).signatures
    expected = tf.nn.softmax(model(split.images[:50])).numpy()
    assert expected.std() > 0.01
    by_example = signatures["serving_default"](examples=tf.constant(records))["probabilities"].numpy()
    np.testing.assert_allclose(by_example[0::2], expected, atol=1e-5)
    np.testing.assert_allclose(by_example[1::2], expected, atol=1e-5)
    by_image = signatures["predict_images"](images=tf.constant(fashion_images[:50]))["probabilities"]
    np.testing.assert_allclose(by_image, expected, atol=1e-5)
