"""Training as a whole, on a few images; what it is made of has tests of its own."""

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow.python.autograph.impl import api as autograph
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import encode_split_names

from components import places
from components.artifacts import describe_examples
from components.trainer.component import ReportingTrainer
from models import preprocessing, trainer
from models.augment import AUGMENTATIONS
from models.config import NetworkConfig, TrainingConfig
from models.errors import TrainingDivergedError
from models.examples import Examples
from models.export import export_model
from models.features import FASHION_MNIST_CLASSES, TRAIN, VAL
from models.images import with_channels
from models.input_pipeline import Split, evaluation_batches, first_records, open_split
from models.networks.layers import FusedNorm
from models.objective import SmoothedCrossEntropy
from models.portable import LITERT_FILE
from models.progress import Progress
from models.recipe import Pace, augmented_batches, compile_model, decide_flip, pace_of
from models.trained import Trained, load_trained, save_trained
from models.trainer import train_model
from pipeline.presets import preset
from tests.served_models import write_examples

# Keras warns that it cannot shuffle a data set, which is shuffled already.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")

NETWORK = NetworkConfig(stem_size=3, widths=(8,), blocks=(0,), pools=(True,))
CONFIG = TrainingConfig(network=NETWORK, epochs=2, min_epoch_steps=1, batch_size=20, flip=False, shift=0, erase=0)
MOMENTS = {"mean": np.full((12, 12, 1), 120.0), "variance": np.full((12, 12, 1), 8_100.0)}


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    """Bright and dark images: nothing is easier to learn."""
    labels = np.arange(120) % 2
    noise = np.random.default_rng(0).integers(0, 60, (120, 12, 12))
    images = (noise + 180 * labels[:, None, None]).astype(np.uint8)
    splits = dict.fromkeys((TRAIN, VAL), (images, labels))
    return write_examples(tmp_path_factory.mktemp("examples"), splits, ("dark", "bright"))


@pytest.fixture(scope="module")
def split(examples) -> Split:
    return open_split(examples, TRAIN, memory=2**20, scratch=examples.folder)


def train(split: Split, folder, start: Trained | None = None, **changes) -> tuple[Trained, dict]:
    config = dataclasses.replace(CONFIG, **changes)
    paths = {"log_dir": folder, "checkpoint_path": folder / "state.npz"}
    return train_model(config, split, split, **MOMENTS, seed=1, start=start, **paths)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_training_separates_bright_from_dark_and_is_reproducible(split, tmp_path, precision):
    trained, _ = train(split, tmp_path / "one", precision=precision)
    model = trained.model()
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    assert np.mean(np.argmax(model(split.images), axis=-1) == split.labels) == 1.0
    again, _ = train(split, tmp_path / "two", precision=precision)
    for weight, same in zip(trained.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert trained.temperature == again.temperature
    assert list((tmp_path / "one").glob("validation/events*"))


@pytest.mark.slow
@pytest.mark.parametrize("prune", [0.0, 0.5])
def test_no_function_of_ours_waits_for_autograph(split, examples, tmp_path, monkeypatch, prune):
    rewritten, convert = [], autograph._convert_actual

    def listen(entity, context):
        rewritten.append(entity.__module__)
        return convert(entity, context)

    monkeypatch.setattr(autograph, "_convert_actual", listen)
    tf.function(lambda: tf.constant(0))()
    assert rewritten == [__name__], "what is heard"
    config = {"shift": 1, "erase": 3, "flip": True, "class_weights": "balanced", "prune": prune}
    trained, _ = train(split, tmp_path / "logs", **config)
    for streamed in (False, True):
        with open_split(examples, VAL, memory=0, scratch=tmp_path, streamed=streamed) as val:
            list(evaluation_batches(val, batch_size=50))
            augmented_batches(val, dataclasses.replace(CONFIG, **config | {"prune": 0.0}), seed=1).take(1)
    export_model(trained.model(), tmp_path / "served", (12, 12), ("dark", "bright"), first_records(examples, VAL, 1))
    assert {name for name in rewritten[1:] if not name.startswith(("tensorflow.", "keras."))} == set()


@pytest.mark.slow
@pytest.mark.parametrize("prune", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", ["muon", "adam", "sgd"])
def test_step_is_traced_once(split, tmp_path, monkeypatch, prune, optimizer):
    traced, call = [], SmoothedCrossEntropy.call

    def count(self, *given):
        traced.append(len(given))
        return call(self, *given)

    monkeypatch.setattr(SmoothedCrossEntropy, "call", count)
    train(split, tmp_path, prune=prune, optimizer=optimizer)
    assert len(traced) == 2, "the step of the training, and that of the validation"


def test_no_batch_goes_through_the_network_layer_by_layer(split, tmp_path, monkeypatch):
    eager, call = [], FusedNorm.call

    def told(self, inputs, training=False):
        eager.append(tf.executing_eagerly())
        return call(self, inputs, training)

    monkeypatch.setattr(FusedNorm, "call", told)
    train(split, tmp_path)
    assert eager
    assert not any(eager)


def test_augmentation_of_a_person_may_be_python_that_autograph_rewrites(split, monkeypatch):
    def dim(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        if tf.size(images) == 0:  # of a tensor
            return images
        return images // 2

    monkeypatch.setitem(AUGMENTATIONS, "dim", dim)
    config = dataclasses.replace(CONFIG, augmentations=("dim",))
    (images, *_) = next(iter(augmented_batches(split, config, seed=1)))
    assert images.numpy().max() <= 127


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_history_has_each_epoch_with_what_the_report_draws(split, tmp_path, precision):
    trained, report = train(split, tmp_path, precision=precision)
    first, last = report["history"]
    names = {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "cpu_seconds", "learning_rate"}
    assert set(first) == set(last) == names
    assert [first["epoch"], last["epoch"]] == [1, 2]
    right = np.argmax(trained.model()(split.images), axis=-1) == split.labels
    assert report["val_accuracy"] == pytest.approx(right.mean()), "of the model that is served"
    if precision == "float32":
        assert max(first["val_accuracy"], last["val_accuracy"]) == pytest.approx(report["val_accuracy"], abs=1e-6)
    assert last["learning_rate"] < first["learning_rate"], "the schedule ends low"
    json.dumps(report)


@pytest.mark.slow  # trainings
def test_warm_start_begins_where_the_served_model_ended_with_its_own_schedule(split, tmp_path):
    trained, cold = train(split, tmp_path / "cold", epochs=3)
    config = {"epochs": 3, "warm_epochs": 1, "warm_rate": 0.5}
    again, warm = train(split, tmp_path / "warm", start=trained, **config)
    assert (cold["warm_start"], cold["epochs"]) == (False, 3)
    assert (warm["warm_start"], warm["epochs"]) == (True, 1)
    assert warm["history"][0]["loss"] < cold["history"][0]["loss"]
    # Nothing learned: the kernels are those that it began with; a norm's averages move all the same.
    still, _ = train(split, tmp_path / "still", start=trained, **config | {"warm_rate": 1e-12})
    for weight, same in zip(still.weights, trained.weights, strict=True):
        if weight.ndim > 1:
            np.testing.assert_allclose(weight, same, atol=1e-3)
    assert again.digest() != trained.digest()


@pytest.mark.slow  # trainings
def test_warm_start_gives_a_new_class_a_place_and_keeps_the_others(split, tmp_path):
    trained, _ = train(split, tmp_path / "two")
    grown = dataclasses.replace(split.examples, class_names=("dark", "bright", "grey"))
    three = dataclasses.replace(split, examples=grown)
    config = {"warm_epochs": 1, "warm_rate": 1e-12}
    warm, report = train(three, tmp_path / "three", start=trained, **config)
    assert report["warm_start"] is True
    assert warm.class_names == ("dark", "bright", "grey")
    logits = warm.model()(split.images).numpy() * warm.temperature
    before = trained.model()(split.images).numpy() * trained.temperature
    np.testing.assert_allclose(logits[:, :2], before, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": NetworkConfig(stem_size=3, widths=(4,), blocks=(0,), pools=(True,))}, "another network"),
        ({"class_names": ("bright", "dark")}, "other classes"),
        ({"image_shape": (28, 28)}, "images of another shape"),
    ],
)
def test_what_a_training_cannot_begin_with_is_told_and_it_begins_anew(split, tmp_path, caplog, change, told):
    trained, _ = train(split, tmp_path / "one", epochs=1)
    caplog.set_level("INFO", "progress")
    _, report = train(split, tmp_path / "two", epochs=1, start=dataclasses.replace(trained, **change))
    assert report["warm_start"] is False
    assert re.search(f"begun anew: the served model .*{told}", caplog.text)


@pytest.mark.slow
def test_diverged_training_ends_with_the_loss_or_a_weight_and_the_epoch(split, tmp_path):
    # Which of them depends on the processor.
    told = (
        r"the training (loss is (nan|inf)|has a weight that is no finite number) after epoch 1; nothing is exported\. "
    )
    for rate in (1e20, 1e38):
        way_out = re.escape(f"Give a rate below {rate:g}: --set training.learning_rate=RATE.") + "$"
        with pytest.raises(TrainingDivergedError, match=told + way_out):
            train(split, tmp_path / str(rate), learning_rate=rate)


@pytest.mark.parametrize(
    ("loss", "weight", "told"),
    [
        (0.7, math.inf, "the training has a weight that is no finite number after epoch 2"),
        (0.7, math.nan, "the training has a weight that is no finite number after epoch 2"),
        (math.nan, 1.0, "the training loss is nan after epoch 2"),
    ],
)
def test_weight_that_is_no_finite_number_is_found_where_the_loss_is_one(loss, weight, told):
    model, progress = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]), Progress(3, 10, [], 0.1)
    model.set_weights([np.full((2, 3), weight), np.zeros(3)])
    progress.set_model(model)
    progress.on_epoch_begin(1)
    with pytest.raises(TrainingDivergedError, match=told):
        progress.on_epoch_end(1, {"loss": loss, "val_accuracy": 0.5})


def test_augmented_batches_are_images_and_one_hot_labels(split):
    three = dataclasses.replace(split.examples, class_names=("dark", "bright", "none"))
    for images, labels in augmented_batches(dataclasses.replace(split, examples=three), CONFIG, seed=1).take(3):
        assert images.dtype == tf.uint8
        assert images.shape == (20, 12, 12, 1)
        bright = images.numpy().mean(axis=(1, 2, 3)) > 120
        np.testing.assert_array_equal(labels, np.eye(3, dtype=np.float32)[bright.astype(int)], strict=True)


def test_no_iterator_of_the_training_waits_for_autotuning_when_it_is_closed(split):
    for dataset in (augmented_batches(split, CONFIG, seed=1), evaluation_batches(split, batch_size=9)):
        assert dataset.options().autotune.enabled is False


def test_resumed_training_sees_the_augmented_batches_of_the_unbroken_one(split):
    config = dataclasses.replace(CONFIG, flip=True, shift=2, erase=3)
    unbroken = augmented_batches(split, config, seed=1).skip(6).take(6)
    resumed = augmented_batches(split, config, seed=1, first_epoch=1).take(6)
    for (images, labels), (same, same_labels) in zip(unbroken, resumed, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


@pytest.mark.parametrize("memory", [math.inf, 0], ids=["memory", "scratch file"])
def test_epoch_of_a_small_set_is_several_passes_each_in_an_order_and_from_a_side_of_its_own(examples, tmp_path, memory):
    split = open_split(examples, TRAIN, memory=memory, scratch=tmp_path)
    config = dataclasses.replace(CONFIG, batch_size=25, min_epoch_steps=9, flip=True)
    # Four batches a pass, of 120 images.
    assert pace_of(config, split) == Pace(batch_size=25, offered=25, passes=3, steps=12)
    shown = [images.numpy() for images, _ in augmented_batches(split, config, seed=1).take(24)]
    passes = [np.concatenate(shown[start : start + 4]) for start in range(0, 24, 4)]
    for number, images in enumerate(passes):
        assert len(np.unique(images, axis=0)) == 100
        # An image is mirrored in every other pass, and its noise is like no other's.
        later = {image.tobytes() for image in passes[(number + 1) % 6]}
        assert not later & {image.tobytes() for image in images}
        assert later & {image[:, ::-1].tobytes() for image in images}
    resumed = [images.numpy() for images, _ in augmented_batches(split, config, seed=1, first_epoch=1).take(12)]
    np.testing.assert_array_equal(resumed, shown[12:])


@pytest.mark.parametrize(
    ("shape", "count", "batch_size", "expected"),
    [
        ((28, 28), 4_000, 100, Pace(batch_size=100, offered=100, passes=1, steps=40)),
        ((28, 28), 55_000, 250, Pace(batch_size=250, offered=250, passes=1, steps=220)),
        ((8, 8), 100, 75, Pace(batch_size=25, offered=25, passes=8, steps=32)),
        ((8, 8), 60, 250, Pace(batch_size=16, offered=16, passes=10, steps=30)),
        ((8, 8), 10, 250, Pace(batch_size=10, offered=10, passes=30, steps=30)),
        ((8, 8), 1, 250, Pace(batch_size=1, offered=1, passes=30, steps=30)),
        ((224, 224, 3), 60_000, 250, Pace(batch_size=111, offered=111, passes=1, steps=540)),  # 150,528 bytes an image
        ((2_048, 2_048, 3), 100, 250, Pace(batch_size=16, offered=16, passes=5, steps=30)),
    ],
    ids=str,
)
def test_batches_fit_into_split_and_memory_and_an_epoch_has_thirty_steps(examples, shape, count, batch_size, expected):
    described = dataclasses.replace(examples, image_shape=shape, counts={TRAIN: count})
    split = Split(examples=described, name=TRAIN, labels=np.zeros(count, np.int64))
    assert pace_of(TrainingConfig(batch_size=batch_size), split) == expected


@pytest.mark.slow
def test_resumed_training_of_sixty_images_ends_as_the_unbroken_one(examples, tmp_path, monkeypatch):
    whole = open_split(examples, TRAIN, memory=math.inf, scratch=tmp_path)
    counts = {TRAIN: 60}
    sixty = Split(
        examples=dataclasses.replace(examples, counts=counts),
        name=TRAIN,
        images=whole.images[:60],
        labels=whole.labels[:60],
    )
    changes = {"epochs": 3, "min_epoch_steps": 7, "batch_size": 25, "flip": None, "shift": 1}
    unbroken, report = train(sixty, tmp_path / "unbroken", **changes)
    begin = Progress.on_epoch_begin

    def kill(self, epoch, logs=None):
        if epoch == 1:
            raise Killed
        begin(self, epoch, logs)

    with monkeypatch.context() as killing:
        killing.setattr(Progress, "on_epoch_begin", kill)
        with pytest.raises(Killed):
            train(sixty, tmp_path / "resumed", **changes)
    resumed, resumed_report = train(sixty, tmp_path / "resumed", **changes)
    for weight, same in zip(unbroken.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    for name in ("flip", "flip_reason", "best_epoch", "val_accuracy"):
        assert resumed_report[name] == report[name]
    assert report["history"][-1]["learning_rate"] < 0.01, "the schedule ends with the last of 27 steps"


@pytest.mark.slow  # five trainings
@pytest.mark.parametrize(
    ("shape", "classes", "precision"),
    [
        ((8, 8), 2, "bfloat16"),
        ((1, 30), 2, "float32"),
        ((1, 1), 2, "bfloat16"),
        ((4, 4, 2), 300, "float32"),
        ((226, 224, 3), 2, "bfloat16"),
    ],
    ids=str,
)
def test_images_of_any_size_and_any_number_of_classes_are_learned_and_served(tmp_path, shape, classes, precision):
    """Each class a pattern of its own; 300 classes are more than a byte names."""
    rng = np.random.default_rng(0)
    labels = np.arange(max(60, classes)) % classes
    patterns = (
        rng.integers(0, 256, (classes, *shape)) if classes > 2 else np.stack([np.zeros(shape), np.full(shape, 192)])
    )
    # Of nothing but two images the norms have no variance, and make much of what is rounding: LiteRT's is another.
    noise = rng.integers(0, 64, (len(labels), *shape)) if classes == 2 else 0
    images = (patterns[labels] + noise).astype(np.uint8)
    names = tuple(f"class {number}" for number in range(classes))
    examples = write_examples(tmp_path / "examples", dict.fromkeys((TRAIN, VAL), (images, labels)), names)
    opened, val = (open_split(examples, name, memory=2**20, scratch=tmp_path) for name in (TRAIN, VAL))
    config = TrainingConfig(epochs=4 if classes > 2 else 1, min_epoch_steps=20, batch_size=30, precision=precision)
    pixels = images.reshape(len(images), *with_channels(shape)).astype(np.float64)
    moments = {"mean": pixels.mean(axis=0), "variance": pixels.var(axis=0)}
    paths = {"log_dir": tmp_path / "logs", "checkpoint_path": tmp_path / "state.npz"}
    trained, report = train_model(config, opened, val, seed=1, **moments, **paths)
    assert report["val_accuracy"] > 0.95
    save_trained(tmp_path / "trained", trained)
    export_model(load_trained(tmp_path / "trained"), tmp_path / "served", shape, names, first_records(examples, VAL, 4))
    answers = tf.saved_model.load(str(tmp_path / "served")).signatures["predict_images"](images=tf.constant(images))
    assert answers["probabilities"].shape == (len(images), classes)
    right = answers["class_id"].numpy() == labels
    assert right.mean() == pytest.approx(report["val_accuracy"])
    assert [name.decode() for name in answers["class_name"].numpy()[right]] == [names[label] for label in labels[right]]
    runner = Interpreter(str(tmp_path / "served" / LITERT_FILE)).get_signature_runner()
    np.testing.assert_allclose(runner(images=images)["probabilities"], answers["probabilities"], atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param(True, "as asked", marks=pytest.mark.slow),
        pytest.param(False, "as asked", marks=pytest.mark.slow),
        (None, "mirror images bring "),
    ],
)
def test_report_and_progress_tell_whether_images_were_mirrored_and_why(split, tmp_path, caplog, asked, told):
    caplog.set_level("INFO", logger="progress")
    _, report = train(split, tmp_path, flip=asked, epochs=1)
    assert report["flip"] is (asked is not False), "bright noise is as bright from the other side"
    assert report["flip_reason"].startswith(told)
    assert f"mirrored: {'yes' if report['flip'] else 'no'}; {report['flip_reason']}" in caplog.messages


@pytest.mark.parametrize("looked_at", [4_000, 50], ids=["all", "some"])
def test_mirroring_is_decided_alike_from_memory_from_a_scratch_file_and_streamed(
    examples, tmp_path, monkeypatch, looked_at
):
    monkeypatch.setattr("models.recipe.LOOKED_AT", looked_at)
    monkeypatch.setattr("models.memory._MOST_ROWS", 30)  # rows of a block
    asked = dataclasses.replace(CONFIG, flip=None)
    held, written = (open_split(examples, TRAIN, memory=memory, scratch=tmp_path) for memory in (math.inf, 0))
    streamed = open_split(examples, TRAIN, memory=0, scratch=tmp_path, streamed=True)
    assert decide_flip(asked, held) == decide_flip(asked, written) == decide_flip(asked, streamed)


@pytest.mark.slow
@pytest.mark.parametrize(("validated", "kept", "trained"), [(499, 4, 4), (500, 1, 3)])
def test_plateau_ends_the_training_early_but_for_ties_where_validation_is_small(
    split, tmp_path, validated, kept, trained
):
    """All epochs are equally good: nothing is learned at a rate of nearly 0. Half of the four are waited for."""
    rows = np.arange(validated) % split.size
    val = Split(
        examples=dataclasses.replace(split.examples, counts={VAL: validated}),
        name=VAL,
        images=split.images[rows],
        labels=split.labels[rows],
    )
    config = dataclasses.replace(CONFIG, epochs=4, learning_rate=1e-12)
    paths = {"log_dir": tmp_path, "checkpoint_path": tmp_path / "state.npz"}
    _, report = train_model(config, split, val, **MOMENTS, seed=1, **paths)
    assert len({entry["val_accuracy"] for entry in report["history"]}) == 1
    assert report["best_epoch"] == kept
    assert (report["epochs"], report["stopped_early"]) == (trained, trained < 4)


@pytest.mark.parametrize("name", ["smoke", "fast", "best"])
def test_patience_can_act_in_every_preset(name):
    """With as many epochs as there are at most it never could."""
    training = preset(name).training
    assert 2 <= training.epochs_of_patience < training.epochs - 1
    assert dataclasses.replace(training, patience=3).epochs_of_patience == 3


def test_class_weights_are_those_of_the_examples_and_without_them_there_are_none(examples, tmp_path):
    uneven = open_split(examples, TRAIN, memory=math.inf, scratch=tmp_path)
    rows = np.r_[np.flatnonzero(uneven.labels == 0), np.flatnonzero(uneven.labels == 1)[:20]]  # 60 dark, 20 bright
    uneven = dataclasses.replace(
        uneven,
        examples=dataclasses.replace(uneven.examples, counts={TRAIN: 80}),
        images=uneven.images[rows],
        labels=uneven.labels[rows],
    )
    weighted = dataclasses.replace(CONFIG, class_weights="balanced")
    for _, labels, weights in augmented_batches(uneven, weighted, seed=1).take(4):
        # 80 / (2 x 60) and 80 / (2 x 20), whose mean over 60 and 20 examples is 1.
        np.testing.assert_allclose(weights, np.where(labels[:, 1] == 1, 2.0, 2 / 3), rtol=1e-6)
    assert len(augmented_batches(uneven, CONFIG, seed=1).element_spec) == 2


@pytest.mark.slow
def test_loss_with_class_weights_is_the_weighted_mean_and_validation_is_not_weighted(split, tmp_path):
    """At a rate of nearly 0 the loss of an epoch is that of the first weights; labels are smoothed by 0.2."""
    rows = np.r_[np.flatnonzero(split.labels == 0)[:45], np.flatnonzero(split.labels == 1)[:15]]
    uneven = dataclasses.replace(
        split,
        examples=dataclasses.replace(split.examples, counts={TRAIN: 60}),
        images=split.images[rows],
        labels=split.labels[rows],
    )
    changes = {"learning_rate": 1e-12, "epochs": 1, "batch_size": 15, "precision": "float32"}
    losses = {}
    for kind in ("none", "balanced"):
        _, report = train(uneven, tmp_path / kind, class_weights=kind, **changes)
        losses[kind] = report["history"][0]
    config = dataclasses.replace(CONFIG, **changes)
    model = compile_model(config, uneven, **MOMENTS, seed=1)
    each, found = [], []
    for images, labels in augmented_batches(uneven, config, seed=1).take(4):  # each image once
        logits = model(images, training=True).numpy().astype(np.float64)
        log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        each.append(-((0.8 * labels.numpy() + 0.1) * log_shares).sum(axis=1))
        found.append(labels.numpy()[:, 1])
    each, bright = np.concatenate(each), np.concatenate(found) == 1
    assert losses["none"]["loss"] == pytest.approx(each.mean(), rel=1e-4)
    expected = (each[~bright].mean() + each[bright].mean()) / 2
    assert losses["balanced"]["loss"] == pytest.approx(expected, rel=1e-4)
    assert losses["balanced"]["val_loss"] == pytest.approx(losses["none"]["val_loss"], rel=1e-6)


@pytest.mark.slow
def test_balanced_weights_find_the_rare_class(tmp_path):
    """One image in twenty is of the second class, and most of those look like the first."""
    rng = np.random.default_rng(0)

    def draw(count: int, rare: int) -> tuple[np.ndarray, np.ndarray]:
        labels = (np.arange(count) < rare).astype(np.uint8)
        grey = rng.normal(110 + 25 * labels, 20)[:, None, None]
        return np.clip(grey + rng.normal(0, 20, (count, 12, 12)), 0, 255).astype(np.uint8), labels

    examples = write_examples(tmp_path / "examples", {TRAIN: draw(400, 20), VAL: draw(400, 200)}, ("many", "few"))
    few, val = (open_split(examples, name, memory=math.inf, scratch=tmp_path) for name in (TRAIN, VAL))
    recall = {}
    for kind in ("none", "balanced"):
        config = dataclasses.replace(CONFIG, epochs=3, class_weights=kind)
        paths = {"log_dir": tmp_path / kind, "checkpoint_path": tmp_path / f"{kind}.npz"}
        trained, _ = train_model(config, few, val, **MOMENTS, seed=1, **paths)
        recall[kind] = np.mean(np.argmax(trained.model()(val.images[:200]), axis=-1) == 1)
    assert recall["balanced"] > recall["none"] + 0.2


def test_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^precision: expected auto\b.*\bfloat32\b.*\bbfloat16, found 'half'"):
        TrainingConfig(precision="half")


def test_settings_survive_the_way_through_json():
    assert TrainingConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(CONFIG)))) == CONFIG


@pytest.mark.slow
def test_served_answers_to_real_images_equal_the_trained_model_s(fashion_images, fashion_labels, tmp_path):
    """From the raw bytes of a record, and of a PNG, to probabilities."""
    splits = {TRAIN: (fashion_images, fashion_labels)}
    examples = write_examples(tmp_path / "examples", splits, FASHION_MNIST_CLASSES)
    split = open_split(examples, TRAIN, memory=2**30, scratch=tmp_path)
    pixels = split.images.astype(np.float64)
    statistics = {"mean": pixels.mean(axis=0), "variance": pixels.var(axis=0)}
    config = dataclasses.replace(CONFIG, epochs=1)
    paths = {"log_dir": tmp_path, "checkpoint_path": tmp_path / "s.npz"}
    trained, _ = train_model(config, split, split, seed=1, **statistics, **paths)
    model = trained.model()
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


@pytest.fixture
def fn_args(examples, tmp_path, monkeypatch) -> Callable[..., SimpleNamespace]:
    """Makes what TFX and the executor hand to `run_fn`; Transform's graph is replaced by the moments above."""
    monkeypatch.setattr(trainer, "read_statistics", lambda *_: tuple(MOMENTS.values()))

    def make(name: str = "run", *, data: Examples = examples, **settings) -> SimpleNamespace:
        config = {"seed": 1, "training": dataclasses.asdict(CONFIG), "code_digest": "aa", **settings}
        where = {"folder": str(data.folder), "properties": data.properties()}
        config.setdefault("memory", 0)
        return SimpleNamespace(
            custom_config=config | {"examples": where, "checkpoint_dir": str(tmp_path / "checkpoints")},
            transform_output="",
            hyperparameters=None,
            base_model=None,
            model_run_dir=str(tmp_path / name / "model_run"),
            serving_model_dir=str(tmp_path / name / "model" / "Format-Serving"),
        )

    return make


@pytest.mark.slow
def test_hyperparameters_of_a_search_take_the_place_of_the_recipe_s(fn_args):
    wider = fn_args("wider")
    wider.hyperparameters = {"values": {"network.widths": ",".join(str(2 * n) for n in CONFIG.network.widths)}}
    assert run(wider)[1]["parameters"] > run(fn_args())[1]["parameters"]


def run(fn_args: SimpleNamespace) -> tuple[keras.Model, dict]:
    """Runs `run_fn` as TFX does and returns the model that it left and its report."""
    Path(fn_args.model_run_dir).mkdir(parents=True, exist_ok=True)
    trainer.run_fn(fn_args)
    report = json.loads(Path(fn_args.model_run_dir, trainer.REPORT_FILE).read_text())
    return load_trained(Path(fn_args.serving_model_dir)), report


def curves_of(folder: Path) -> dict[str, tuple[tuple[int, ...], list[float]]]:
    """Returns TensorBoard's curves by epoch: by name the epochs and the values, to four digits."""
    events = EventAccumulator(str(folder), {"tensors": 0}).Reload()
    names = [name for name in events.Tags()["tensors"] if name.startswith("epoch_")]
    found = {name: events.Tensors(name) for name in names}
    return {
        name: (
            tuple(event.step for event in told),
            [round(float(tf.make_ndarray(event.tensor_proto)), 4) for event in told],
        )
        for name, told in found.items()
    }


def run_and_kill(fn_args: SimpleNamespace, monkeypatch) -> None:
    """Runs `run_fn` up to where it would save what was learned."""

    def kill(folder, trained):
        raise Killed

    with monkeypatch.context() as killing:
        killing.setattr(trainer, "save_trained", kill)
        with pytest.raises(Killed):
            run(fn_args)


def run_and_count(fn_args: SimpleNamespace, monkeypatch) -> tuple[list[int], keras.Model, dict]:
    """Runs `run_fn` and returns the numbers of the epochs that it trained, the model and the report."""
    begun, begin = [], Progress.on_epoch_begin

    def record(self, epoch, logs=None):
        begun.append(epoch)
        begin(self, epoch, logs)

    with monkeypatch.context() as watching:
        watching.setattr(Progress, "on_epoch_begin", record)
        return begun, *run(fn_args)


def test_run_fn_leaves_what_was_learned_its_report_and_the_checkpoint(fn_args, split, tmp_path):
    model, report = run(fn_args())
    assert np.mean(np.argmax(model(split.images), axis=-1) == split.labels) == report["val_accuracy"] == 1.0
    assert len(report["history"]) == report["epochs"] == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [report["checkpoint"]]
    assert not list(Path(fn_args().serving_model_dir).glob("*.pb")), "nothing that could be taken for a SavedModel"


@pytest.mark.slow
def test_memory_changes_no_bit_of_what_is_learned(fn_args):
    learned, reports = zip(*(run(fn_args(str(memory), memory=memory)) for memory in (0, 2**30)), strict=True)
    for on_disk, cached in zip(*(model.get_weights() for model in learned), strict=True):
        np.testing.assert_array_equal(on_disk, cached)
    for on_disk, cached in zip(*(report["history"] for report in reports), strict=True):
        assert {**on_disk, "seconds": 0, "cpu_seconds": 0} == {**cached, "seconds": 0, "cpu_seconds": 0}
    assert reports[0]["temperature"] == reports[1]["temperature"]


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 2**30], ids=["on_disk", "cached"])
def test_training_killed_with_another_budget_is_taken_up(fn_args, monkeypatch, memory):
    run_and_kill(fn_args("killed", memory=2**30 - memory), monkeypatch)
    assert run_and_count(fn_args("resumed", memory=memory), monkeypatch)[0] == []


@pytest.mark.slow
def test_kill_after_the_last_epoch_costs_no_training(fn_args, split, monkeypatch, tmp_path):
    unbroken, report = run(fn_args("unbroken"))
    run_and_kill(fn_args("killed"), monkeypatch)
    epochs, resumed, resumed_report = run_and_count(fn_args("resumed"), monkeypatch)
    assert epochs == []
    for folder in ("train", "validation"):
        curves, whole = (curves_of(tmp_path / name / "model_run" / folder) for name in ("resumed", "unbroken"))
        assert curves == whole
        assert {steps for steps, _ in curves.values()} == {(0, 1)}
    np.testing.assert_array_equal(resumed(split.images), unbroken(split.images))
    assert [entry["epoch"] for entry in resumed_report["history"]] == [1, 2]
    for found, expected in zip(resumed_report["history"], report["history"], strict=True):
        assert {**found, "seconds": 0, "cpu_seconds": 0} == {**expected, "seconds": 0, "cpu_seconds": 0}
    for name in ("epochs", "best_epoch", "val_accuracy", "temperature", "parameters", "multiply_adds"):
        assert resumed_report[name] == report[name]
    assert resumed_report["examples_per_second"] > 0


@pytest.mark.slow
def test_kill_behind_the_trainer_s_last_line_costs_no_training(fn_args, split, monkeypatch):
    """What it learned is saved, and ML Metadata does not know it yet: the next run throws that away."""
    unbroken, report = run(fn_args("killed"))
    epochs, resumed, resumed_report = run_and_count(fn_args("resumed"), monkeypatch)
    assert epochs == []
    np.testing.assert_array_equal(resumed(split.images), unbroken(split.images))
    assert resumed_report["history"] == report["history"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({}, []),
        ({"seed": 2}, [0, 1]),
        ({"code_digest": "bb"}, [0, 1]),
        ({"training": dataclasses.asdict(dataclasses.replace(CONFIG, learning_rate=0.2))}, [0, 1]),
    ],
    ids=["nothing", "seed", "code", "settings"],
)
def test_only_a_training_of_the_same_settings_and_code_is_taken_up(fn_args, monkeypatch, changes, trained):
    run_and_kill(fn_args("killed"), monkeypatch)
    assert run_and_count(fn_args("resumed", **changes), monkeypatch)[0] == trained


@pytest.mark.slow
@pytest.mark.parametrize(("digest", "trained"), [("0" * 64, []), ("1" * 64, [0, 1])], ids=["same", "other"])
def test_training_is_taken_up_on_the_same_data_in_another_folder(
    fn_args, examples, monkeypatch, tmp_path, digest, trained
):
    folder = shutil.copytree(examples.folder, tmp_path / "elsewhere")
    elsewhere = dataclasses.replace(examples, folder=folder, digest=digest)
    run_and_kill(fn_args("killed"), monkeypatch)
    assert run_and_count(fn_args("resumed", data=elsewhere), monkeypatch)[0] == trained


@pytest.mark.slow
def test_training_on_other_statistics_is_another_one(fn_args, monkeypatch):
    run_and_kill(fn_args("killed"), monkeypatch)
    monkeypatch.setattr(trainer, "read_statistics", lambda *_: (MOMENTS["mean"], MOMENTS["variance"] + 1))
    assert run_and_count(fn_args("resumed"), monkeypatch)[0] == [0, 1]


@pytest.mark.parametrize(("seed", "expected"), [(None, 1), (5, 5), (0, 0)])
def test_training_has_the_pipeline_s_seed_unless_it_has_its_own(fn_args, monkeypatch, seed, expected):
    seeds = []

    def record(config, train, val, *, seed, **_):
        seeds.append(seed)
        raise Killed

    monkeypatch.setattr(trainer, "train_model", record)
    with pytest.raises(Killed):
        run(fn_args(training=dataclasses.asdict(dataclasses.replace(CONFIG, seed=seed))))
    assert seeds == [expected]


def test_executor_tells_run_fn_where_things_lie_without_a_word_in_the_cache_key(
    fn_args, examples, monkeypatch, tmp_path
):
    # TFX loads the module of `run_fn` anew.
    monkeypatch.setattr(preprocessing, "read_statistics", trainer.read_statistics)
    monkeypatch.setattr(places, "folder", {"checkpoints": tmp_path / "checkpoints"}.__getitem__)
    monkeypatch.setattr(places, "memory", lambda: 2**20)
    artifacts = {"examples": standard_artifacts.Examples(), "transform_graph": standard_artifacts.TransformGraph()}
    outputs = {"model": standard_artifacts.Model(), "model_run": standard_artifacts.ModelRun()}
    for name, artifact in (artifacts | outputs).items():
        artifact.uri = str(tmp_path / name)
    artifacts["examples"].uri, artifacts["examples"].split_names = (
        str(examples.folder),
        encode_split_names([TRAIN, VAL]),
    )
    describe_examples(artifacts["examples"], examples)
    config = json.dumps({"seed": 1, "training": dataclasses.asdict(CONFIG), "code_digest": "aa"})
    properties = {
        "run_fn": "models.trainer.run_fn",
        "train_args": json.dumps({"splits": [TRAIN]}),
        "eval_args": json.dumps({"splits": [VAL]}),
        "custom_config": config,
    }
    Path(outputs["model_run"].uri).mkdir()
    as_lists = [{name: [artifact] for name, artifact in part.items()} for part in (artifacts, outputs)]
    ReportingTrainer.EXECUTOR_SPEC.executor_class().Do(*as_lists, properties)
    assert properties["custom_config"] == config
    assert outputs["model_run"].get_float_custom_property("val_accuracy") == 1.0
    training = json.loads(outputs["model_run"].get_string_custom_property("training"))
    assert training["epochs"] == 2
    assert "checkpoint" not in training
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert outputs["model"].get_string_custom_property("checkpoint") == checkpoint.name
    assert load_trained(Path(outputs["model"].uri, "Format-Serving")).output_shape == (None, 2)
