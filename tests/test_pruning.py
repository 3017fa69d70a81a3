"""Pruned training: what is left out, what the rest weighs, and that it can be taken up like any other."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import InputConfig, NetworkConfig, TrainingConfig
from models.features import TRAIN
from models.input_pipeline import Split
from models.objective import SmoothedCrossEntropy, accuracy
from models.progress import Progress
from models.pruning import memory_of, pruned, select
from models.recipe import augmented_batches, compile_model, pace_of
from models.trainer import train_model
from tests.served_models import held_split

# Keras warns that it cannot shuffle a data set, which is shuffled already.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")

CONFIG = TrainingConfig(
    network=NetworkConfig(stem_size=3, widths=(8,), blocks=(0,), pools=(True,)),
    epochs=3,
    min_epoch_steps=1,
    batch_size=20,
    prune=0.5,
    flip=False,
)
MOMENTS = {"mean": np.full((12, 12, 1), 120.0), "variance": np.full((12, 12, 1), 8_100.0)}


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    images = (rng.integers(0, 90, (120, 12, 12, 1)) + 120 * labels[:, None, None, None]).astype(np.uint8)
    return held_split(images, labels, ("dark", "bright"))


def train(split: Split, folder: Path, **changes) -> tuple[list[np.ndarray], dict]:
    paths = {"log_dir": folder, "checkpoint_path": folder / "state.npz"}
    config = dataclasses.replace(CONFIG, **changes)
    trained, report = train_model(config, split, split, **MOMENTS, seed=1, **paths)
    return trained.weights, report


def chosen(known, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed).random(len(known)).astype(np.float32)
    kept, weights = select(tf.constant(known, tf.float32), tf.constant(draw), count)
    return kept.numpy(), weights.numpy()


def test_left_out_are_images_that_cost_less_than_the_average_each_as_likely():
    known = np.array([0.1, 0.2, 0.3, 0.4, 2.0, 3.0, 4.0, 5.0])
    times, others = np.zeros(8), 0
    for seed in range(400):
        kept, weights = chosen(known, 6, seed)
        assert len(set(kept)) == 6 and list(kept) == sorted(kept)
        assert weights.mean() == pytest.approx(1)
        if {4, 5, 6, 7} <= set(kept):
            np.testing.assert_allclose(weights / weights[-1], [2, 2, 1, 1, 1, 1])
        else:
            # More than half of the easy ones drew that they are not the first to go.
            others += 1
        times[kept] += 1
    assert others < 10
    assert times[4:].min() > 390
    assert np.abs(times[:4] / 400 - 0.5).max() < 0.1


def test_weighted_mean_of_those_that_stay_is_the_mean_of_all():
    known = np.concatenate([np.full(60, 0.5), np.full(20, 3.0)])
    values = np.random.default_rng(1).normal(size=80) + (known < 1)
    means = [np.average(values[kept], weights=weights) for kept, weights in (chosen(known, 48, s) for s in range(600))]
    assert np.mean(means) == pytest.approx(values.mean(), abs=4 * np.std(means) / 600**0.5)


def test_few_easy_images_are_not_all_left_out_and_weigh_five_times_as_much_at_most():
    """As in the second pass, where those that were left out in the first are not known yet."""
    known = np.concatenate([np.full(300, 0.5), np.full(100, 3.0), np.full(600, np.inf)])
    kept, weights = chosen(known, 600)
    easy = kept < 300
    assert 15 < easy.sum() < 50
    assert np.ptp(weights[easy]) == np.ptp(weights[~easy]) == 0
    others = 700 / np.count_nonzero(~easy)
    assert weights[easy][0] / weights[~easy][0] == pytest.approx(5 / others, rel=1e-4)


def test_images_that_were_not_seen_yet_count_as_those_that_teach():
    known = np.concatenate([np.full(50, np.inf), np.full(50, 0.1), np.full(5, 5.0)])
    for seed in range(20):
        kept, _ = chosen(known, 75, seed)
        assert set(range(50)) | set(range(100, 105)) <= set(kept)


def test_where_none_was_seen_yet_any_may_go_and_all_weigh_the_same():
    drawn = [chosen(np.full(6, np.inf), 3, seed) for seed in range(40)]
    assert {place for kept, _ in drawn for place in kept} == set(range(6))
    assert all(weights.tolist() == [1, 1, 1] for _, weights in drawn)


def test_pass_offers_each_image_once_and_a_step_is_fitted_to_its_share(split):
    pace = pace_of(CONFIG, split)
    assert (pace.batch_size, pace.offered, pace.steps) == (20, 40, 3)
    shown = [rows.numpy() for _, _, rows in augmented_batches(split, CONFIG, seed=1).take(6)]
    assert sorted(np.concatenate(shown[:3])) == sorted(np.concatenate(shown[3:])) == list(range(120))
    assert shown[0].tolist() != shown[3].tolist()
    for images, labels, rows in augmented_batches(split, CONFIG, seed=1).take(2):
        np.testing.assert_array_equal(images, split.images[rows.numpy()])
        np.testing.assert_array_equal(labels, np.eye(2)[split.labels[rows.numpy()]])


def test_step_remembers_what_the_images_that_it_kept_cost_and_no_other(split):
    model = compile_model(CONFIG, split, **MOMENTS, seed=1)
    (known,) = memory_of(model)
    before = model.get_weights()
    batch = next(iter(augmented_batches(split, CONFIG, seed=1)))
    told = model.train_step(batch)
    seen = np.flatnonzero(np.isfinite(known))
    assert len(seen) == 20 and set(seen) <= set(batch[2].numpy())
    again = compile_model(CONFIG, split, **MOMENTS, seed=1)
    for weight, same in zip(again.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)
    answers = again(split.images[seen], training=True)
    labels = np.eye(2, dtype=np.float32)[split.labels[seen]]
    costs = SmoothedCrossEntropy(CONFIG.label_smoothing).call(labels, answers)
    np.testing.assert_allclose(known.numpy()[seen], costs, rtol=1e-4)
    # None was known: all weigh the same.
    assert float(told["loss"]) == pytest.approx(float(np.mean(costs)), rel=1e-4)
    assert float(told["accuracy"]) == pytest.approx(float(np.mean(accuracy(labels, answers))))
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


def test_step_weighs_the_images_that_it_kept_by_their_classes():
    rng = np.random.default_rng(0)
    labels = (np.arange(120) % 5 == 0).astype(int)
    split = held_split(rng.integers(0, 256, (120, 12, 12, 1)).astype(np.uint8), labels, ("many", "few"))
    config = dataclasses.replace(CONFIG, class_weights="balanced")
    model, again = (compile_model(config, split, **MOMENTS, seed=1) for _ in range(2))
    told = model.train_step(next(iter(augmented_batches(split, config, seed=1))))
    seen = seen_rows(model)
    costs = SmoothedCrossEntropy(config.label_smoothing).call(
        np.eye(2, dtype=np.float32)[labels[seen]], again(split.images[seen], training=True)
    )
    expected = float(np.mean(costs * np.float32([0.625, 2.5])[labels[seen]]))
    assert float(told["loss"]) == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(float(np.mean(costs)), rel=1e-2)


def test_nothing_is_remembered_where_none_is_left_out(split):
    config = dataclasses.replace(CONFIG, prune=0.0)
    model = compile_model(config, split, **MOMENTS, seed=1)
    assert memory_of(model) == [] and pace_of(config, split).offered == 20
    assert len(augmented_batches(split, config, seed=1).element_spec) == 2


def test_images_that_are_streamed_are_all_trained_on(split):
    streamed = dataclasses.replace(split, streamed=True)
    assert pace_of(CONFIG, streamed).offered == 20
    assert memory_of(compile_model(CONFIG, streamed, **MOMENTS, seed=1)) == []


def test_few_images_are_offered_whole(split):
    few = dataclasses.replace(split, examples=dataclasses.replace(split.examples, counts={TRAIN: 5}))
    pace = pace_of(dataclasses.replace(CONFIG, prune=0.9), few)
    assert (pace.batch_size, pace.offered, pace.steps) == (5, 5, 1)


@pytest.mark.parametrize(
    ("count", "batch_size", "offered", "passes", "steps"),
    [
        (50, 16, 27, 30, 30),
        (120, 30, 50, 15, 30),
        (1_000, 250, 417, 15, 30),
        (10_000, 250, 417, 2, 46),
        (55_000, 250, 417, 1, 131),
    ],
)
def test_epoch_of_a_small_split_has_thirty_steps_with_pruning_too(split, count, batch_size, offered, passes, steps):
    config = dataclasses.replace(CONFIG, min_epoch_steps=30, batch_size=250, prune=0.4)
    sized = Split(
        examples=dataclasses.replace(split.examples, counts={TRAIN: count}),
        name=TRAIN,
        labels=np.zeros(count, np.int64),
    )
    pace = pace_of(config, sized)
    assert (pace.batch_size, pace.offered, pace.passes, pace.steps) == (batch_size, offered, passes, steps)


class Custom(keras.Model):
    """A network of a class of its own, with a loss of its own."""

    def __init__(self):
        super().__init__()
        self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(2, kernel_regularizer="l2")

    def call(self, images):
        return self.dense(self.flatten(images))


@pytest.mark.parametrize("kind", ["sequential", "custom"])
def test_network_of_any_kind_can_be_pruned_and_keeps_its_own_losses(split, kind):
    model = Custom()
    if kind == "sequential":
        model = keras.Sequential(
            [keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(2, kernel_regularizer="l2")]
        )
    model(keras.KerasTensor((None, 12, 12, 1)))
    model = pruned(model, (12, 12, 1), size=120, batch_size=20, seed=1)
    model.compile("sgd", SmoothedCrossEntropy(0.0), weighted_metrics=[accuracy])
    images, labels, rows = next(iter(augmented_batches(split, CONFIG, seed=1)))
    extra = float(sum(model.losses))
    told = model.train_step((tf.cast(images, tf.float32) / 255, labels, rows))
    assert extra > 0.01
    assert float(told["loss"]) == pytest.approx(float(np.mean(memory_of(model)[0].numpy()[seen_rows(model)])) + extra)


def seen_rows(model: keras.Model) -> np.ndarray:
    return np.flatnonzero(np.isfinite(memory_of(model)[0].numpy()))


def test_warm_start_leaves_none_out():
    assert CONFIG.warmed.prune == 0


@pytest.mark.slow  # trainings
@pytest.mark.parametrize("changes", [{}, {"class_weights": "balanced"}], ids=["", "class weights"])
def test_pruned_training_separates_bright_from_dark_and_tells_what_others_tell(split, tmp_path, changes):
    _, report = train(split, tmp_path, epochs=8, **changes)
    assert report["val_accuracy"] > 0.9
    names = {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "cpu_seconds", "learning_rate"}
    assert [set(entry) for entry in report["history"]] == [names] * 8
    assert report["history"][-1]["accuracy"] > 0.8


@pytest.mark.slow
def test_pruned_training_of_an_ensemble_that_was_killed_ends_as_the_unbroken_one(split, tmp_path, monkeypatch):
    changes = {"network": dataclasses.replace(CONFIG.network, members=2), "epochs": 4}
    unbroken, report = train(split, tmp_path / "unbroken", **changes)
    begin = Progress.on_epoch_begin

    def kill(self, epoch, logs=None):
        if epoch == 2:
            raise Killed
        begin(self, epoch, logs)

    with monkeypatch.context() as killing:
        killing.setattr(Progress, "on_epoch_begin", kill)
        with pytest.raises(Killed):
            train(split, tmp_path, **changes)
    resumed, resumed_report = train(split, tmp_path, **changes)
    for weight, same in zip(resumed, unbroken, strict=True):
        np.testing.assert_array_equal(weight, same)
    for entry, same in zip(resumed_report["history"], report["history"], strict=True):
        assert {**entry, "seconds": 0, "cpu_seconds": 0} == {**same, "seconds": 0, "cpu_seconds": 0}


def test_input_that_is_not_shuffled_is_remembered_by_its_rows(split):
    config = dataclasses.replace(CONFIG, input=InputConfig(shuffle=False))
    rows = [rows.numpy().tolist() for _, _, rows in augmented_batches(split, config, seed=1).take(2)]
    assert rows == [list(range(40)), list(range(40, 80))]
