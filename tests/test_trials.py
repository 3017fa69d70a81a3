"""Trials: when one is given up, what is remembered, and that neither a kill nor company changes a result."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

import models.trials
from models.checkpoint import kept_history
from models.config import NetworkConfig, TrainingConfig
from models.errors import TrainingDivergedError
from models.examples import Examples
from models.trials import Outcome, Trial, Trials, hopeless

RECIPE = TrainingConfig(
    network=NetworkConfig(widths=(4,), blocks=(0,), pools=(True,)),
    epochs=2,
    min_epoch_steps=4,
    batch_size=32,
    flip=False,
)


@pytest.mark.parametrize(
    ("curve", "others", "verdict"),
    [
        # Fewer than three curves, or a single epoch, say nothing.
        ((0.1, 0.1), [(0.9, 0.9), (0.9, 0.9)], False),
        ((0.1,), [(0.9,), (0.9,), (0.9,)], False),
        # The median of the best by epoch 2 is 0.8.
        ((0.1, 0.79), [(0.7, 0.7), (0.8, 0.6), (0.1, 0.9)], True),
        ((0.1, 0.796), [(0.7, 0.7), (0.8, 0.6), (0.1, 0.9)], False),
        # What came later than epoch 2 does not count, and a shorter curve is none.
        ((0.1, 0.5), [(0.5, 0.5, 0.9), (0.5, 0.5, 0.9), (0.5, 0.5, 0.9)], False),
        ((0.1, 0.1), [(0.9, 0.9), (0.9, 0.9), (0.9,)], False),
        # Its best counts, not its last.
        ((0.9, 0.1), [(0.9, 0.9), (0.9, 0.9), (0.9, 0.9)], False),
    ],
)
def test_curve_is_hopeless_below_the_median_of_the_others(curve, others, verdict):
    assert hopeless(curve, others) is verdict


@pytest.fixture
def examples(tmp_path) -> Examples:
    return Examples(
        folder=tmp_path,
        encoding="tensor",
        compression="",
        image_shape=(8, 8),
        class_names=("a", "b"),
        counts={"train": 4, "val": 2, "test": 2},
        digest="d",
    )


def trials_in(folder, examples, *, mean=0.0, code="1", **options) -> Trials:
    shape = np.full((8, 8, 1), 1.0)
    return Trials(examples, mean=mean * shape, variance=shape, folder=folder, code=code, memory=2**28, **options)


def test_remembered_outcome_is_told_without_training(tmp_path, examples):
    known = Outcome(
        val_accuracy=0.5,
        curve=(0.4, 0.5),
        stopped=False,
        seconds=1.0,
        cpu_seconds=1.0,
        parameters=3,
        multiply_adds=4,
        examples_per_second=5.0,
    )
    with trials_in(tmp_path / "trials", examples) as trials:
        key = trials.key(Trial(RECIPE, 1), None)
        (tmp_path / "trials" / f"{key}.json").write_text(json.dumps(dataclasses.asdict(known)))
        assert list(trials.run([Trial(RECIPE, 1)])) == [known]


def _killed_for_wide(recipe, seed, key, others, measured):
    """Stands for `_train` in its process: recipes of 13 epochs take too much memory."""
    if recipe.epochs == 13:
        os._exit(137)
    return Outcome(val_accuracy=0.5, curve=(0.5,), seconds=1.0, cpu_seconds=1.0)


@pytest.mark.slow
def test_trial_whose_process_is_killed_has_failed_and_the_others_go_on(tmp_path, examples, monkeypatch):
    monkeypatch.setattr(models.trials, "_train", _killed_for_wide)
    asked = [Trial(dataclasses.replace(RECIPE, epochs=epochs), 1) for epochs in (2, 13, 3, 13, 4)]
    with trials_in(tmp_path / "trials", examples, processes=2) as trials:
        found = list(trials.run(asked))
        again = list(trials.run(asked[:1]))
    assert [outcome.val_accuracy for outcome in [*found, *again]] == [0.5, 0.0, 0.5, 0.0, 0.5, 0.5]
    assert found[1].failed == "its process was killed, as the system does where memory runs out"
    assert not list((tmp_path / "trials").glob("*.json"))


@pytest.mark.parametrize(
    ("error", "told", "remembered"),
    [
        (TrainingDivergedError("the training loss is nan after epoch 1; nothing"), "loss is nan after epoch 1", True),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), "the memory did not suffice", False),
        (MemoryError(), "the memory did not suffice", False),
    ],
)
def test_trial_that_fails_counts_as_nothing_right(tmp_path, monkeypatch, error, told, remembered):
    def fails(*_):
        raise error

    monkeypatch.setattr(models.trials, "_fit", fails)
    monkeypatch.setitem(models.trials._given, "folder", tmp_path)
    outcome = models.trials._train(dataclasses.asdict(RECIPE), 1, "key", None, False)
    assert (outcome.val_accuracy, outcome.curve) == (0.0, ())
    assert outcome.failed.endswith(told)
    # Memory may be more another time; a recipe that diverges does so again.
    assert (tmp_path / "key.json").exists() is remembered


@pytest.mark.parametrize("fails", [False, True])
def test_trial_that_is_taken_up_has_the_time_of_the_epochs_before(tmp_path, monkeypatch, fails):
    epochs = [{"seconds": 100.0, "cpu_seconds": 150.0}, {"seconds": 20.0, "cpu_seconds": 30.0}]
    np.savez(tmp_path / "key.npz", history=json.dumps(epochs))

    def fit(*_):
        if fails:
            raise TrainingDivergedError("the training loss is nan after epoch 3; nothing")
        return {"val_accuracy": 0.5, "curve": (0.4, 0.5, 0.5)}

    monkeypatch.setattr(models.trials, "_fit", fit)
    monkeypatch.setitem(models.trials._given, "folder", tmp_path)
    outcome = models.trials._train(RECIPE, 1, "key", None, False)
    assert outcome.seconds == pytest.approx(120, abs=10)
    assert outcome.cpu_seconds == pytest.approx(180, abs=10)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04" + bytes(100)], ids=["none", "empty", "cut"])
def test_trial_whose_state_cannot_be_read_has_its_own_time_alone(tmp_path, content):
    if content is not None:
        (tmp_path / "key.npz").write_bytes(content)
    assert kept_history(tmp_path / "key.npz") == []


def test_key_covers_recipe_seed_curves_data_statistics_and_code_and_no_path(tmp_path, examples):
    trial = Trial(RECIPE, 1)
    base = trials_in(tmp_path, examples)
    same = trials_in(tmp_path / "elsewhere", dataclasses.replace(examples, folder=tmp_path / "moved"), processes=2)
    assert same.key(trial, None) == base.key(trial, None)
    others = [
        base.key(Trial(dataclasses.replace(RECIPE, shift=1), 1), None),
        base.key(Trial(RECIPE, 2), None),
        base.key(trial, [[0.5]]),
        trials_in(tmp_path, dataclasses.replace(examples, digest="e")).key(trial, None),
        trials_in(tmp_path, examples, mean=2.0).key(trial, None),
        trials_in(tmp_path, examples, code="2").key(trial, None),
    ]
    assert len({base.key(trial, None), *others}) == 7
