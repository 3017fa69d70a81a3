"""A network with a mirrored view: what it answers, what it learns, what it costs and how it is served."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from models.config import NetworkConfig, TrainingConfig
from models.export import export_model
from models.features import TRAIN, VAL
from models.graph_summary import multiply_adds
from models.input_pipeline import first_records, open_split
from models.networks import NetworkInputs, build_network
from models.portable import LITERT_FILE
from models.recipe import decide_flip
from models.trained import load_trained, save_trained
from models.trainer import train_model
from tests.letters import draw_letters
from tests.served_models import NAMES, SHAPE, banded_images, held_split, write_examples

ONE_SIDE = NetworkConfig(widths=(4, 6), blocks=(1, 0), pools=(True, False), members=2)
BOTH_SIDES = dataclasses.replace(ONE_SIDE, mirrored_view=True)
LABELS = np.arange(90) % 3
IMAGES = banded_images(LABELS)
MOMENTS = {"mean": np.full((9, 7, 1), 90.0), "variance": np.full((9, 7, 1), 8_100.0)}


def network(config: NetworkConfig, shape: tuple[int, int, int] = (9, 7, 1), policy: str = "float32") -> keras.Model:
    moments = {"mean": np.full(shape, 90.0), "variance": np.full(shape, 8_100.0)}
    sample = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    return build_network(
        config, NetworkInputs(input_shape=shape, classes=3, sample=sample, **moments), seed=1, policy=policy
    )


@pytest.mark.parametrize(
    ("policy", "shape"),
    [("float32", (9, 7, 1)), ("mixed_bfloat16", (9, 7, 1)), ("float32", (9, 7, 3)), ("float32", (226, 60, 3))],
    ids=str,
)
def test_answer_is_the_mean_of_both_sides_and_in_training_the_logits_of_one(policy, shape):
    one, both = (network(config, shape, policy) for config in (ONE_SIDE, BOTH_SIDES))
    for weight, same in zip(one.get_weights(), both.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    batch = np.random.default_rng(1).integers(0, 256, (5, *shape), np.uint8)
    logits, mirrored = one(batch).numpy(), one(batch[:, :, ::-1]).numpy()
    assert np.abs(logits - mirrored).max() > 1e-3, "the sides differ"
    np.testing.assert_allclose(both(batch), (logits + mirrored) / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(both(batch), both(batch[:, :, ::-1]), rtol=1e-4, atol=1e-4)
    in_training = both(batch, training=True)
    assert in_training.shape == (5, 2, 3)
    np.testing.assert_allclose(in_training, one(batch, training=True), rtol=1e-4, atol=1e-4)


def test_view_is_counted_among_the_multiply_adds():
    one, both = (multiply_adds(network(config), (9, 7, 1)) for config in (ONE_SIDE, BOTH_SIDES))
    assert both == 2 * one > 0


def test_view_is_for_networks_whose_training_mirrors():
    split = held_split(IMAGES[..., None], LABELS, NAMES)
    for flip in (True, False):
        decided, _ = decide_flip(TrainingConfig(network=BOTH_SIDES, flip=flip), split)
        assert (decided.flip, decided.network.mirrored_view) == (flip, flip)
        decided, _ = decide_flip(TrainingConfig(network=ONE_SIDE, flip=flip), split)
        assert (decided.flip, decided.network.mirrored_view) == (flip, False)
    for letters, flip in (("bd", False), ("vo", True)):
        images, labels = draw_letters(letters, 60, seed=0)
        decided, _ = decide_flip(
            TrainingConfig(network=BOTH_SIDES), held_split(images[..., None], labels, tuple(letters))
        )
        assert (decided.flip, decided.network.mirrored_view) == (flip, flip)


@pytest.mark.slow
@pytest.mark.parametrize(("prune", "flip"), [(0.0, True), (0.4, True), (0.0, False)])
def test_what_is_validated_is_what_is_served(tmp_path, caplog, prune, flip):
    caplog.set_level("INFO", logger="progress")
    data = IMAGES, LABELS
    examples = write_examples(tmp_path / "examples", {TRAIN: data, VAL: data})
    train, val = (open_split(examples, split, memory=2**20, scratch=tmp_path) for split in (TRAIN, VAL))
    paths = {"log_dir": tmp_path / "logs", "checkpoint_path": tmp_path / "state.npz"}
    config = TrainingConfig(network=BOTH_SIDES, flip=flip, epochs=2, batch_size=10, prune=prune, precision="float32")
    trained, report = train_model(config, train, val, seed=1, **MOMENTS, **paths)
    assert "seen at 8x6 positions" in caplog.text
    assert report["mirrored_view"] is flip
    assert ("no mirrored view (training.network.mirrored_view)" in caplog.text) is not flip

    save_trained(tmp_path / "trained", trained)
    model = load_trained(tmp_path / "trained")
    export_model(model, tmp_path / "served", SHAPE, NAMES, first_records(examples, VAL, 4))
    answer = tf.saved_model.load(str(tmp_path / "served")).signatures["predict_images"](images=tf.constant(IMAGES))
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(model(IMAGES[..., None])), atol=1e-5)
    assert (answer["class_id"].numpy() == LABELS).mean() == pytest.approx(report["val_accuracy"])
    runner = Interpreter(str(tmp_path / "served" / LITERT_FILE)).get_signature_runner()
    for count in (1, 7, 90):
        portable = runner(images=IMAGES[:count])
        np.testing.assert_allclose(portable["probabilities"], answer["probabilities"][:count], atol=1e-4)


@pytest.mark.slow
def test_training_may_begin_with_what_was_learned_for_one_side(tmp_path):
    data = IMAGES, LABELS
    examples = write_examples(tmp_path / "examples", {TRAIN: data, VAL: data})
    train, val = (open_split(examples, split, memory=2**20, scratch=tmp_path) for split in (TRAIN, VAL))
    paths = {"log_dir": tmp_path / "logs", "checkpoint_path": tmp_path / "state.npz"}
    config = TrainingConfig(network=ONE_SIDE, epochs=1, batch_size=10, flip=True, precision="float32")
    trained, report = train_model(config, train, val, seed=1, **MOMENTS, **paths)
    assert not report["mirrored_view"]
    # Nothing is learned at this rate: the kernels are those that it begins with.
    still = dataclasses.replace(config, network=BOTH_SIDES, warm_epochs=1, warm_rate=1e-12)
    (tmp_path / "state.npz").unlink()
    again, report = train_model(still, train, val, seed=2, start=trained, **MOMENTS, **paths)
    assert report["warm_start"] and report["mirrored_view"]
    for weight, same in zip(again.weights, trained.weights, strict=True):
        if weight.ndim > 1:
            np.testing.assert_allclose(weight, same, atol=1e-3)
    wider = dataclasses.replace(BOTH_SIDES, widths=(6, 6))
    assert trained.obstacle(wider, examples) == "the served model is another network"


def test_saved_network_gives_the_same_logits(tmp_path):
    model = network(BOTH_SIDES)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(IMAGES[:5, ..., None]), model(IMAGES[:5, ..., None]), rtol=1e-5)
