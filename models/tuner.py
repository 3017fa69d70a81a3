"""Searches for better hyperparameters: TFX's hook `tuner_fn`, on KerasTuner's oracles.

The first trial is the recipe as it stands, so that a search can tell whether it found anything. Trials go in rounds of
a fixed number, however many run at once: what an oracle proposes, and which learning curves a trial is compared with,
depends on the rounds before alone, and the same search gives the same trials, on one kind of machine with as many
cores: another number gives other last digits, and with them other accuracies. Only train and val are ever opened. A
killed search begins again from its first trial, each of which is remembered (`models/trials.py`).

Synopsis:

    oracle = new_oracle("bayesian", 20, hyperparameters(config), seed=42)
    tuner = RoundTuner(oracle, config, seed=42, directory=folder)
    tuner.search                                # of Trials; then get_best_hyperparameters()[0].values
"""

import contextlib
import heapq
import logging
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning
from tfx.components.tuner.component import TunerFnResult

from models.config import TrainingConfig
from models.examples import Examples
from models.features import TRAIN
from models.host import cores
from models.preprocessing import read_statistics
from models.recipe import largest_batch
from models.search_space import hyperparameters, with_values
from models.trials import Outcome, Trial, Trials

OBJECTIVE = "val_accuracy"
# Of the trials, drawn at random before the Gaussian process has something to go by.
_RANDOM_SHARE = 1 / 3

progress = logging.getLogger("progress")


class _CommittedFirst:
    """Has an oracle propose the defaults first."""

    def populate_space(self, trial_id: str) -> dict:
        if not self.trials:
            return {"status": TrialStatus.RUNNING, "values": {hp.name: hp.default for hp in self.hyperparameters.space}}
        return super().populate_space(trial_id)


class _Bayesian(_CommittedFirst, BayesianOptimizationOracle):
    pass


class _Random(_CommittedFirst, RandomSearchOracle):
    pass


class RoundTuner(base_tuner.BaseTuner):
    """Runs the trials of an oracle in rounds.

    Attributes:
      outcomes: of the trials by now, by their id.
    """

    def __init__(self, oracle: keras_tuner.Oracle, recipe: TrainingConfig, *, seed: int, directory: Path) -> None:
        super().__init__(oracle, directory=str(directory), project_name="search")
        self._recipe, self._seed = recipe, seed
        self.outcomes: dict[str, Outcome] = {}
        oracle.verbose = 0

    def search(self, trials: Trials, *, side_by_side: int, minutes: float | None) -> None:
        """Runs rounds until the oracle has no more trials, or the time is up; the round that has begun is ended."""
        spent = 0.0
        with trials:
            while minutes is None or spent < 60 * minutes:
                proposed = [trial for trial in self._propose(side_by_side) if trial.status == TrialStatus.RUNNING]
                if not proposed:
                    return
                curves = [list(outcome.curve) for outcome in self.outcomes.values()]
                asked = [with_values(self._recipe, trial.hyperparameters.values) for trial in proposed]
                outcomes, started = [], time.monotonic()
                for trial, outcome in zip(
                    proposed, trials.run([Trial(config, self._seed) for config in asked], others=curves), strict=True
                ):
                    outcomes.append(outcome)
                    self._note(trial, outcome)
                # What they took when they were trained, in a search that is taken up as well; and what such a figure
                # leaves out: the start of a process, a trial that was lost.
                taken = _taken([outcome.seconds for outcome in outcomes], trials.processes)
                spent += max(taken, time.monotonic() - started)

    def _propose(self, count: int) -> Iterator[Any]:
        for worker in range(min(count, max(1, self.oracle.remaining_trials()))):
            with warnings.catch_warnings():
                # Of few trials a Gaussian process knows little, and says so each time.
                warnings.simplefilter("ignore", ConvergenceWarning)
                trial = self.oracle.create_trial(f"worker{worker}")
            yield trial

    def _note(self, trial: Any, outcome: Outcome) -> None:
        self.outcomes[trial.trial_id] = outcome
        self.oracle.update_trial(trial.trial_id, {OBJECTIVE: outcome.val_accuracy}, step=len(outcome.curve))
        trial.status = TrialStatus.COMPLETED
        self.oracle.end_trial(trial)
        best = max(found.val_accuracy for found in self.outcomes.values())
        progress.info(
            "trial %d of %d: %.2f %%%s, best %.2f %%",
            len(self.outcomes),
            self.oracle.max_trials,
            100 * outcome.val_accuracy,
            f" ({_remark(outcome)})" if outcome.stopped or outcome.failed else "",
            100 * best,
        )

    def table(self) -> list[dict]:
        """Returns the trials in their order, a dict each: `trial`, `values`, and what came of it."""
        return [
            {
                "trial": trial_id,
                "values": self.oracle.trials[trial_id].hyperparameters.values,
                "val_accuracy": outcome.val_accuracy,
                "curve": list(outcome.curve),
                "stopped": outcome.stopped,
                "failed": outcome.failed,
                "seconds": outcome.seconds,
            }
            for trial_id, outcome in self.outcomes.items()
        ]


def _taken(seconds: Iterable[float], processes: int) -> float:
    """Returns how long trials of so many seconds take in this order, each in the process that is free first."""
    busy = [0.0] * processes
    for each in seconds:
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)


def _remark(outcome: Outcome) -> str:
    return f"failed: {outcome.failed}" if outcome.failed else f"given up after epoch {len(outcome.curve)}"


def new_oracle(algorithm: str, trials: int, space: keras_tuner.HyperParameters, seed: int) -> keras_tuner.Oracle:
    """Returns the oracle of a search that has not begun: "bayesian" or "random", of at most so many trials."""
    options = {
        "objective": keras_tuner.Objective(OBJECTIVE, "max"),
        "max_trials": trials,
        "hyperparameters": space,
        "allow_new_entries": False,
        "tune_new_entries": False,
        # KerasTuner takes 0 for none.
        "seed": seed + 1,
    }
    if algorithm == "bayesian":
        return _Bayesian(num_initial_points=max(2, round(_RANDOM_SHARE * trials)), **options)
    return _Random(**options)


def tuner_fn(fn_args) -> TunerFnResult:
    """TFX's hook for Tuner.

    Args:
      fn_args: `tfx.components.FnArgs`; its `custom_config` holds `seed`, `training`, `tune` (a `TuneConfig`) and
        `code_digest`, and, from the executor, `examples`, `checkpoint_dir` and `memory`, as for the Trainer.
    """
    settings = dict(fn_args.custom_config)
    artifact, folder, memory = (settings.pop(name) for name in ("examples", "checkpoint_dir", "memory"))
    examples = Examples.open(artifact["folder"], artifact["properties"])
    recipe, tune = TrainingConfig.from_dict(settings["training"]), settings["tune"]
    seed = settings["seed"] if recipe.seed is None else recipe.seed
    mean, variance = read_statistics(fn_args.transform_graph_path, examples.image_shape)
    # Above it each batch size is the same training.
    largest = largest_batch(examples.counts[TRAIN], examples.image_shape)
    oracle = new_oracle(tune["algorithm"], tune["trials"], hyperparameters(recipe, tune["fixed"], largest), seed)
    # KerasTuner's own files say nothing that the outcomes do not.
    tuner = RoundTuner(oracle, recipe, seed=seed, directory=Path(tempfile.mkdtemp(dir=fn_args.working_dir)))
    trials = Trials(
        examples,
        mean=mean,
        variance=variance,
        folder=Path(folder),
        code=settings["code_digest"],
        memory=memory,
        processes=min(tune["side_by_side"], cores()),
    )
    return TunerFnResult(tuner, {"trials": trials, "side_by_side": tune["side_by_side"], "minutes": tune["minutes"]})


def write_hparams(folder: Path, table: list[dict]) -> None:
    """Writes each trial as TensorBoard's HParams page reads it: its values, its curve and its result.

    Args:
      folder: of the logs; each trial has a folder in it.
      table: as `RoundTuner.table` gives it.
    """
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    for trial in table:
        writer = tf.summary.create_file_writer(str(folder / f"trial-{trial['trial']}"))
        with contextlib.closing(writer), writer.as_default():
            api.hparams(trial["values"], trial_id=trial["trial"])
            for epoch, accuracy in enumerate(trial["curve"]):
                tf.summary.scalar("epoch_val_accuracy", accuracy, step=epoch)
            tf.summary.scalar(OBJECTIVE, trial["val_accuracy"], step=0)
