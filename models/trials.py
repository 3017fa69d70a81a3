"""Trains one network after another, or two side by side, on the same opened splits, and remembers what came of each.

What a trial gave is kept in a file named by everything that decides it (recipe, seed, code, data), so that a search or
a sweep that was killed goes on where it was, and another one that asks the same is answered at once. A trial that is
killed is taken up from its last epoch. Each process decodes the splits once, for all its trials; the results do not
depend on how many processes there are, since each trial is fitted by itself and rules see only what was there before.
A trial that diverges, or for which the memory does not suffice, has failed: it counts as nothing right, and the others
go on.

Synopsis:

    with Trials(examples, mean=mean, variance=variance, folder=folder, code="", memory=2**30) as trials:
        for outcome in trials.run([Trial(config, seed=42), Trial(config, seed=43)]):     # in their order
            print(outcome.val_accuracy, outcome.curve, outcome.seconds)
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.checkpoint import kept_history
from models.config import TrainingConfig
from models.errors import TrainingDivergedError
from models.examples import Examples
from models.features import TRAIN, VAL
from models.files import write_text
from models.host import peak_memory_bytes
from models.input_pipeline import Split, open_split
from models.memory import MIB
from models.profile_report import read_profile
from models.trainer import TRAIN_SHARE, VAL_SHARE, statistics_digest, train_model

# Of the epochs before a curve is judged, and of the curves that it takes to judge one.
_FEWEST_EPOCHS, _FEWEST_CURVES = 2, 3
# Points of accuracy below the median that a curve may lie: two seeds differ by as much.
_MARGIN = 0.005
# Why a trial failed, besides having diverged.
_KILLED, _NO_MEMORY = "its process was killed, as the system does where memory runs out", "the memory did not suffice"


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is to be trained.

    Attributes:
      config: network and recipe.
      seed: of weights, order and augmentation.
    """

    config: TrainingConfig
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a trial.

    Attributes:
      val_accuracy: of the best epoch, on val.
      curve: validation accuracy by epoch; shorter than the recipe's epochs where it was hopeless or stopped early.
      stopped: whether it was given up as hopeless.
      seconds: it took; of one that was killed and taken up, the epochs before count with what they took then.
      cpu_seconds: of the processor likewise, all cores together; what else the machine does changes these little.
      parameters, multiply_adds: of the network.
      examples_per_second: of the last epoch, validation included.
      input_share: part of a step spent waiting for input, if it was measured.
      peak_mib: most memory that its process held, if it was measured.
      failed: why it came to nothing, in a line; "" for a trial that did not. Its accuracy and figures are 0.
    """

    val_accuracy: float
    curve: tuple[float, ...]
    stopped: bool = False
    seconds: float
    cpu_seconds: float
    parameters: int = 0
    multiply_adds: int = 0
    examples_per_second: float = 0.0
    input_share: float | None = None
    peak_mib: float | None = None
    failed: str = ""


def hopeless(curve: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether a learning curve lies below the median of what the others had reached by then.

    Source: the median stopping rule of Vizier (Golovin et al. 2017), on the best value so far.
    """
    count = len(curve)
    at_the_time = [max(other[:count]) for other in others if len(other) >= count]
    if count < _FEWEST_EPOCHS or len(at_the_time) < _FEWEST_CURVES:
        return False
    return max(curve) < statistics.median(at_the_time) - _MARGIN


class Trials:
    """Runs trials on the splits train and val of some examples, which are opened where they are needed first.

    Attributes:
      processes: that train side by side; 1 once one of them was lost.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        mean: np.ndarray,
        variance: np.ndarray,
        folder: Path,
        code: str,
        memory: float,
        processes: int = 1,
        measured: bool = False,
    ) -> None:
        """Takes the data.

        Args:
          examples: the artifact.
          mean, variance: of each pixel over the training split, [height, width, channels].
          folder: of what is remembered: outcomes, states of unfinished trials, scratch.
          code: a digest of the code that trains.
          memory: the budget in bytes, for all processes together.
          processes: that train side by side.
          measured: whether each trial is to have a process of its own, and some of its steps are profiled.
        """
        self._data = [examples.digest, statistics_digest(mean, variance), code]
        if measured:
            # Where the images lie, and in which form, changes no result but these.
            self._data += [memory, examples.encoding, examples.compression, len(examples.shards(TRAIN))]
        self._measured = measured
        self._folder, self.processes = folder, processes
        self._arguments = (examples, mean, variance, folder, memory / processes)
        self._stack = contextlib.ExitStack()
        self._pool: concurrent.futures.Executor | None = None

    def __enter__(self) -> "Trials":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._pool is not None:
            # Who stops a search does not wait for trials that are taken up again.
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
        self._stack.close()

    def run(self, trials: Sequence[Trial], *, others: Sequence[Sequence[float]] | None = None) -> Iterator[Outcome]:
        """Yields the outcome of each trial, in their order, as soon as it is there.

        Args:
          trials: what to train.
          others: learning curves that a trial is given up for lying below (`hopeless`); None: none is given up.
        """
        pending = []
        for trial in trials:
            key = self.key(trial, others)
            if (known := self._recall(key)) is not None:
                pending.append((known, None, ()))
            else:
                arguments = trial.config, trial.seed, key, others, self._measured
                pending.append((_submitted(pool := self._executor(), arguments), pool, arguments))
        for found, pool, arguments in pending:
            yield found if isinstance(found, Outcome) else self._ended(found, pool, arguments)

    def _ended(self, future: concurrent.futures.Future, pool: concurrent.futures.Executor, arguments: tuple) -> Outcome:
        """Returns the outcome of a trial; one that lost its process is tried once more, with none beside it."""
        for again in (True, False):
            try:
                return future.result()
            except BrokenProcessPool:
                if pool is self._pool:
                    self._pool, self.processes = None, 1
            if again:
                future = _submitted(pool := self._executor(), arguments)
        # Not remembered: elsewhere, or later, there may be more memory.
        return Outcome(val_accuracy=0.0, curve=(), seconds=0.0, cpu_seconds=0.0, failed=_KILLED)

    def key(self, trial: Trial, others: Sequence[Sequence[float]] | None) -> str:
        """Names what a trial gives by what decides it."""
        decides = [dataclasses.asdict(trial.config), trial.seed, self._data, others]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def _recall(self, key: str) -> Outcome | None:
        try:
            return _outcome(json.loads((self._folder / f"{key}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _executor(self) -> concurrent.futures.Executor:
        if self._pool is None:
            # A process of its own even for one: what a network leaves behind in TensorFlow is gone with it.
            context = multiprocessing.get_context("spawn")
            self._pool = self._stack.enter_context(
                concurrent.futures.ProcessPoolExecutor(
                    self.processes,
                    mp_context=context,
                    initializer=_begin,
                    initargs=self._arguments,
                    max_tasks_per_child=1 if self._measured else None,
                )
            )
        return self._pool


def _outcome(values: dict) -> Outcome:
    return Outcome(**{**values, "curve": tuple(values["curve"])})


def _submitted(pool: concurrent.futures.Executor, arguments: tuple) -> concurrent.futures.Future:
    """Has a process of a pool train; a pool that has lost one answers later, as it does for what it had begun."""
    try:
        return pool.submit(_train, *arguments)
    except BrokenProcessPool as error:
        (future := concurrent.futures.Future()).set_exception(error)
        return future


# Of a process that trains: what it was given, and by now opened splits.
_given: dict[str, Any] = {}


def _begin(examples: Examples, mean: np.ndarray, variance: np.ndarray, folder: Path, memory: float) -> None:
    """Tells a process that trains what on."""
    _given.update(examples=examples, mean=mean, variance=variance, folder=folder, memory=memory)
    # Killed, the process that asks takes none of these with it.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@functools.cache
def _opened(split: str, streamed: bool) -> Split:
    share = TRAIN_SHARE if split == TRAIN else VAL_SHARE
    return open_split(
        _given["examples"], split, memory=share * _given["memory"], scratch=_given["folder"], streamed=streamed
    )


def _train(recipe: TrainingConfig, seed: int, key: str, others: Sequence | None, measured: bool) -> Outcome:
    """Trains in such a process; what came of it is written before it is told."""
    keras.backend.clear_session()
    started, cpu_before = time.monotonic(), time.process_time()
    # Of a trial that was killed, what the epochs took that it is taken up behind.
    before = kept_history(_given["folder"] / f"{key}.npz")
    try:
        values, failed = _fit(recipe, seed, key, others, measured), ""
    except TrainingDivergedError as error:
        values, failed = {}, str(error).partition(";")[0]
    except (MemoryError, tf.errors.ResourceExhaustedError):
        values, failed = {}, _NO_MEMORY
    if failed:
        values = {"val_accuracy": 0.0, "curve": (), "failed": failed}
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_before
    seconds += sum(epoch["seconds"] for epoch in before)
    cpu_seconds += sum(epoch["cpu_seconds"] for epoch in before)
    outcome = Outcome(**values, seconds=round(seconds, 2), cpu_seconds=round(cpu_seconds, 2))
    # Elsewhere, or later, there may be more memory.
    if failed != _NO_MEMORY:
        write_text(_given["folder"] / f"{key}.json", json.dumps(dataclasses.asdict(outcome)) + "\n")
        (_given["folder"] / f"{key}.npz").unlink(missing_ok=True)
    return outcome


def _fit(recipe: TrainingConfig, seed: int, key: str, others: Sequence | None, measured: bool) -> dict:
    """Returns what came of a training by the names of `Outcome`, without the time."""
    state = _given["folder"] / f"{key}.npz"
    with tempfile.TemporaryDirectory(dir=_given["folder"]) as scratch:
        _, report = train_model(
            recipe,
            _opened(TRAIN, not recipe.input.cached),
            _opened(VAL, False),
            mean=_given["mean"],
            variance=_given["variance"],
            seed=seed,
            log_dir=Path(scratch),
            checkpoint_path=state,
            hopeless=None if others is None else lambda curve: hopeless(curve, others),
            profiled=measured,
        )
        profile = read_profile(Path(scratch)) if measured else None
    curve = tuple(epoch["val_accuracy"] for epoch in report["history"])
    return {
        "val_accuracy": report["val_accuracy"],
        "curve": curve,
        "stopped": others is not None and len(curve) < recipe.epochs and hopeless(curve, others),
        **{name: report[name] for name in ("parameters", "multiply_adds", "examples_per_second")},
        "input_share": profile and profile["input_share"],
        "peak_mib": round(peak_memory_bytes() / MIB, 1) if measured else None,
    }
