"""Saves a training after each epoch and takes it up again: a kill costs one epoch at most.

Everything that the next epoch depends on is kept in one file, written under a temporary name and renamed: all variables
of the model (with the states of its random generators), all of the optimizer, what a pruned training remembers of its
images, what early stopping remembers, and the history of the epochs. The order of the images and their augmentation
follow from the seed and the step alone. After the last epoch the file stays, until what was learned is saved: a kill in
between costs none.

Synopsis:

    history = []                                               # a dict for each epoch, appended to by another callback
    checkpoint = Checkpoint(folder / "state.npz", early_stopping, history)
    first_epoch, epochs = checkpoint.restore(model, epochs=5)
    callbacks = [early_stopping, checkpoint]                   # in this order
    model.fit(batches, steps_per_epoch=4, initial_epoch=first_epoch, epochs=epochs, callbacks=callbacks)
"""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from models.files import replacing
from models.pruning import memory_of


class Checkpoint(keras.callbacks.Callback):
    """Keeps the state of a training in a file; see the module's docstring.

    Args:
      path: of the file.
      early_stopping: whose memory is kept too.
      history: of the epochs, which JSON can hold; restored in place.
    """

    def __init__(self, path: Path, early_stopping: keras.callbacks.EarlyStopping, history: list[dict]) -> None:
        super().__init__()
        self._path = path
        self._early_stopping = early_stopping
        self._history = history
        self._restored: dict[str, np.ndarray] = {}

    def restore(self, model: keras.Model, epochs: int) -> tuple[int, int]:
        """Loads the state, if there is one, into a compiled model and its optimizer, which is built.

        A file that cannot be read or does not fit is as good as none: the training begins anew.

        Returns:
          The next epoch, from 0, and the number of epochs to reach: `epochs`, or fewer if early stopping had ended the
          training. Where the two are equal, nothing is left to train.
        """
        if not self._path.exists():
            return 0, epochs
        variables = _variables(model)
        try:
            with np.load(self._path) as file:
                state = {name: file[name] for name in file.files}
            fits = all(state[f"variable_{i}"].shape == tuple(v.shape) for i, v in enumerate(variables))
            next_epoch, stopped = int(state["next_epoch"]), bool(state["stopped"])
            history = json.loads(str(state["history"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            fits = False
        if not fits:
            return 0, epochs
        for number, variable in enumerate(variables):
            variable.assign(state[f"variable_{number}"])
        self._restored = state
        self._history[:] = history
        return next_epoch, next_epoch if stopped else epochs

    def on_train_begin(self, logs: dict | None = None) -> None:
        # After EarlyStopping's own, which forgets everything.
        if not self._restored:
            return
        stopping, state = self._early_stopping, self._restored
        stopping.best, stopping.wait = float(state["best"]), int(state["wait"])
        stopping.best_epoch = int(state["best_epoch"])
        stopping.best_weights = [state[f"best_{i}"] for i in range(len(self.model.get_weights()))]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        stopping = self._early_stopping
        arrays = {f"variable_{i}": variable.numpy() for i, variable in enumerate(_variables(self.model))}
        arrays |= {f"best_{i}": weights for i, weights in enumerate(stopping.best_weights or [])}
        arrays |= {
            "next_epoch": epoch + 1,
            "stopped": self.model.stop_training,
            "best": stopping.best,
            "wait": stopping.wait,
            "best_epoch": stopping.best_epoch,
            "history": json.dumps(self._history),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)


def kept_history(path: Path) -> list[dict]:
    """Returns the history of the epochs that a file keeps the state after; empty if there is none that can be read."""
    try:
        with np.load(path) as file:
            return json.loads(str(file["history"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables, *memory_of(model)]
