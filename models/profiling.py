"""Records a few training steps so that TensorBoard's profile page finds them.

Keras's own callback opens a step marker without `_r=1` and the step number that the page looks for.

Synopsis:

    profiler = StepProfiler(str(log_dir / "train"), first_step=5, steps=10)
    model.fit(batches, steps_per_epoch=20, callbacks=[profiler], shuffle=False)      # then models.profile_report
"""

import contextlib

import keras
import tensorflow as tf


class StepProfiler(keras.callbacks.Callback):
    """Profiles `steps` training steps, beginning with number `first_step` of the first epoch.

    The first steps are left out because they trace and warm up; a long trace would be cut by the profiler.
    """

    def __init__(self, log_dir: str, first_step: int, steps: int) -> None:
        super().__init__()
        self._log_dir, self._first, self._last = log_dir, first_step, first_step + steps - 1
        self._seen = 0
        self._marker = None
        self._recording = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        # A training that failed while recording leaves the profiler on, and there is only one in a process.
        with contextlib.suppress(tf.errors.UnavailableError):
            tf.profiler.experimental.stop(save=False)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self._seen == self._first:
            tf.profiler.experimental.start(self._log_dir)
            self._recording = True
        if self._recording:
            self._marker = tf.profiler.experimental.Trace("train", step_num=self._seen, _r=1)
            self._marker.__enter__()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._recording:
            self._marker.__exit__(None, None, None)
            if self._seen == self._last:
                self._stop()
        self._seen += 1

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._recording:
            self._stop()

    def _stop(self) -> None:
        tf.profiler.experimental.stop()
        self._recording = False
