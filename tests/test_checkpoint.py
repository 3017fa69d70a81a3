"""A training that was killed goes on where it stood, and ends as if nothing had happened."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from models import trainer
from models.checkpoint import Checkpoint
from models.config import NetworkConfig, TrainingConfig
from models.input_pipeline import Split

CONFIG = TrainingConfig(
    network=NetworkConfig(stem_size=3, widths=(8,), blocks=(0,), pools=(True,)),
    epochs=3,
    batch_size=20,
    erase=3,
)


class Killed(Exception):
    """Stands for a kill between two epochs."""


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 12, 12, 1)).astype(np.uint8)
    return Split(files=(), image_shape=(12, 12), size=100, images=images, labels=rng.integers(0, 2, 100))


def train(split: Split, folder: Path) -> tuple[keras.Model, dict]:
    return trainer.train_model(
        CONFIG,
        split,
        split,
        mean=np.full((12, 12, 1), 120.0),
        variance=np.full((12, 12, 1), 8_100.0),
        class_count=2,
        seed=1,
        log_dir=folder / "logs",
        checkpoint_path=folder / "state.npz",
    )


def test_killed_training_resumes_and_ends_as_the_unbroken_one(split, tmp_path, monkeypatch):
    unbroken, report = train(split, tmp_path / "unbroken")
    begin = trainer.Progress.on_epoch_begin
    epochs = []

    def kill_before_the_last(self, epoch, logs=None):
        epochs.append(epoch)
        if epoch == 2 and epochs.count(2) == 1:
            raise Killed
        begin(self, epoch, logs)

    monkeypatch.setattr(trainer.Progress, "on_epoch_begin", kill_before_the_last)
    with pytest.raises(Killed):
        train(split, tmp_path)
    assert (tmp_path / "state.npz").exists()
    resumed, resumed_report = train(split, tmp_path)
    assert epochs == [0, 1, 2, 2]
    assert not (tmp_path / "state.npz").exists()
    for weight, same in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    for name in ("epochs", "best_epoch", "val_accuracy"):
        assert resumed_report[name] == report[name]


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"PK\x03\x04" + bytes(100)], ids=["empty", "text", "cut"])
def test_state_that_cannot_be_read_is_as_good_as_none(split, tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    model = trainer.compile_model(
        CONFIG, split, mean=np.zeros((12, 12, 1)), variance=np.ones((12, 12, 1)), class_count=2, seed=1
    )
    before = model.get_weights()
    assert Checkpoint(path, keras.callbacks.EarlyStopping()).restore(model) == 0
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_state_of_another_network_is_as_good_as_none(split, tmp_path):
    moments = {"mean": np.zeros((12, 12, 1)), "variance": np.ones((12, 12, 1)), "class_count": 2, "seed": 1}
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="max", restore_best_weights=True)
    checkpoint = Checkpoint(tmp_path / "state.npz", stopping)
    small = trainer.compile_model(CONFIG, split, **moments)
    small.optimizer.build(small.trainable_variables)
    checkpoint.set_model(small)
    stopping.set_model(small)
    stopping.on_train_begin()
    stopping.on_epoch_end(0, {"val_accuracy": 0.5})
    checkpoint.on_epoch_end(0)
    assert Checkpoint(tmp_path / "state.npz", stopping).restore(small) == 1
    wider = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, widths=(16,)))
    assert Checkpoint(tmp_path / "state.npz", stopping).restore(trainer.compile_model(wider, split, **moments)) == 0
