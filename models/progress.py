"""Tells how a training goes, an epoch a line, and keeps it for the report.

Synopsis:

    history, data = [], {"validation_data": batches, "validation_steps": 1}
    model.fit(batches, steps_per_epoch=3, epochs=2, callbacks=[Progress(2, 750, history, 0.1)], shuffle=False, **data)
    history[-1]["val_accuracy"]
"""

import logging
import time

import keras
import numpy as np

from models.errors import TrainingDivergedError

_TELL_SECONDS = 1.0

progress = logging.getLogger("progress")


class Progress(keras.callbacks.Callback):
    """Tells each epoch in a line, keeps what it measured, and stops a training that diverged.

    Args:
      epochs: how many there will be at most.
      examples: in each.
      history: appended to after each epoch: `epoch`, from 1, `loss`, `accuracy`, `val_loss`, `val_accuracy`, `seconds`
        and `cpu_seconds` (of the process, all cores together), validation included, and the `learning_rate` that it
        ended with.
      peak_rate: the highest learning rate of the schedule.
    """

    def __init__(self, epochs: int, examples: int, history: list[dict[str, float]], peak_rate: float) -> None:
        super().__init__()
        self._epochs, self._examples, self._history, self._peak_rate = epochs, examples, history, peak_rate

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch
        self._started = self._told = time.monotonic()
        self._cpu_before = time.process_time()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        if now - self._told > _TELL_SECONDS:
            self._told = now
            steps = self.params["steps"]
            rate = (batch + 1) / steps * self._examples / (now - self._started)
            progress.debug(
                "epoch %d/%d: step %d/%d, %s images/s", self._epoch + 1, self._epochs, batch, steps, f"{rate:,.0f}"
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if diverged := self._diverged(logs["loss"]):
            raise TrainingDivergedError(
                f"the training {diverged} after epoch {epoch + 1}; nothing is exported. "
                f"Give a rate below {self._peak_rate:g}: --set training.learning_rate=RATE."
            )
        seconds, cpu_seconds = time.monotonic() - self._started, time.process_time() - self._cpu_before
        measured = {name: round(float(value), 6) for name, value in logs.items()}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        times = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
        self._history.append({"epoch": epoch + 1, **measured, **times, "learning_rate": rate})
        progress.info(
            "epoch %d/%d: loss %.4f, validation accuracy %.4f, %s images/s, %.0f s left",
            epoch + 1,
            self._epochs,
            logs["loss"],
            logs["val_accuracy"],
            f"{self._examples / seconds:,.0f}",
            (self._epochs - epoch - 1) * seconds,
        )

    def _diverged(self, loss: float) -> str:
        """Returns what is no finite number, "" if nothing is."""
        if not np.isfinite(loss):
            return f"loss is {loss}"
        # What is no number may go no further than the next layer: oneDNN's maximum of it and 0 is 0.
        if all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in self.model.weights):
            return ""
        return "has a weight that is no finite number"
