"""A training that was killed goes on where it stood, and ends as if nothing had happened."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from models import progress, trainer
from models.checkpoint import Checkpoint
from models.config import NetworkConfig, TrainingConfig
from models.input_pipeline import Split
from models.recipe import compile_model
from models.trained import Trained
from models.trainer import train_model
from tests.served_models import held_split

CONFIG = TrainingConfig(
    network=NetworkConfig(stem_size=3, widths=(8,), blocks=(0,), pools=(True,)),
    epochs=3,
    min_epoch_steps=1,
    batch_size=20,
    erase=3,
)
MOMENTS = {"mean": np.full((12, 12, 1), 120.0), "variance": np.full((12, 12, 1), 8_100.0)}


class Killed(Exception):
    """Stands for a kill between two epochs."""


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 12, 12, 1)).astype(np.uint8)
    return held_split(images, rng.integers(0, 2, 100), ("one", "other"))


def train(split: Split, folder: Path, config: TrainingConfig = CONFIG) -> tuple[Trained, dict]:
    paths = {"log_dir": folder / "logs", "checkpoint_path": folder / "state.npz"}
    return train_model(config, split, split, **MOMENTS, seed=1, **paths)


@pytest.fixture
def epochs(monkeypatch) -> list[int]:
    """The epochs that begin from now on."""
    begun, begin = [], progress.Progress.on_epoch_begin

    def record(self, epoch, logs=None):
        begun.append(epoch)
        begin(self, epoch, logs)

    monkeypatch.setattr(progress.Progress, "on_epoch_begin", record)
    return begun


def without_times(history: list[dict]) -> list[dict]:
    return [{**entry, "seconds": 0, "cpu_seconds": 0} for entry in history]


@pytest.mark.slow
def test_killed_training_resumes_and_ends_as_the_unbroken_one(split, tmp_path, monkeypatch):
    unbroken, report = train(split, tmp_path / "unbroken")
    begin = progress.Progress.on_epoch_begin
    epochs = []

    def kill_before_the_last(self, epoch, logs=None):
        epochs.append(epoch)
        if epoch == 2 and epochs.count(2) == 1:
            raise Killed
        begin(self, epoch, logs)

    monkeypatch.setattr(progress.Progress, "on_epoch_begin", kill_before_the_last)
    with pytest.raises(Killed):
        train(split, tmp_path)
    assert (tmp_path / "state.npz").exists()
    resumed, resumed_report = train(split, tmp_path)
    assert epochs == [0, 1, 2, 2]
    assert (tmp_path / "state.npz").exists(), "until what was learned is saved, which is the caller's"
    for weight, same in zip(resumed.weights, unbroken.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert resumed.temperature == unbroken.temperature
    for name in ("epochs", "best_epoch", "val_accuracy"):
        assert resumed_report[name] == report[name]
    assert without_times(resumed_report["history"]) == without_times(report["history"]), "of both processes"


@pytest.mark.slow  # trainings
def test_complete_training_is_not_trained_on(split, tmp_path, epochs):
    unbroken, report = train(split, tmp_path)
    again, same_report = train(split, tmp_path)
    assert epochs == [0, 1, 2]
    for weight, same in zip(again.weights, unbroken.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert same_report == report


@pytest.mark.slow  # trainings
def test_training_that_early_stopping_ended_is_not_trained_on(split, tmp_path, epochs, monkeypatch):
    monkeypatch.setattr(trainer, "_TELLING", 100)
    # So small a rate changes no answer: no epoch is better than the first, and two more are waited for.
    config = dataclasses.replace(CONFIG, epochs=6, patience=2, learning_rate=1e-9)
    unbroken, report = train(split, tmp_path, config)
    assert epochs == [0, 1, 2]
    assert (report["epochs"], report["best_epoch"], report["stopped_early"]) == (3, 1, True)
    again, same_report = train(split, tmp_path, config)
    assert epochs == [0, 1, 2]
    for weight, same in zip(again.weights, unbroken.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert same_report == report


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"PK\x03\x04" + bytes(100)], ids=["empty", "text", "cut"])
def test_state_that_cannot_be_read_is_as_good_as_none(split, tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    model = compile_model(CONFIG, split, **MOMENTS, seed=1)
    before, history = model.get_weights(), []
    assert Checkpoint(path, keras.callbacks.EarlyStopping(), history).restore(model, 5) == (0, 5)
    assert history == []
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_state_of_another_network_is_as_good_as_none(split, tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="max", restore_best_weights=True)
    checkpoint = Checkpoint(tmp_path / "state.npz", stopping, [{"epoch": 1}])
    small = compile_model(CONFIG, split, **MOMENTS, seed=1)
    small.optimizer.build(small.trainable_variables)
    checkpoint.set_model(small)
    stopping.set_model(small)
    stopping.on_train_begin()
    stopping.on_epoch_end(0, {"val_accuracy": 0.5})
    checkpoint.on_epoch_end(0)
    history = []
    assert Checkpoint(tmp_path / "state.npz", stopping, history).restore(small, 5) == (1, 5)
    assert history == [{"epoch": 1}]
    wider = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, widths=(16,)))
    history = []
    other = compile_model(wider, split, **MOMENTS, seed=1)
    assert Checkpoint(tmp_path / "state.npz", stopping, history).restore(other, 5) == (0, 5)
    assert history == []
