"""A search as a user starts it: killed, taken up, its winner trained; on real images, without the test split."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.metadata.store import Store
from pipeline.run.code_digest import ROOT

pytestmark = pytest.mark.slow

PATIENCE = 300


class Searched:
    """What the runs left behind."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.options = ["--preset", "smoke", "--output-root", str(output), "--set", "training.epochs=1"]
        self.tune = ["--tune", "--tune-trials", "3", "--set", "tune.side_by_side=1", "--set", "tune.algorithm=random"]

    def run(self, *flags: str) -> dict:
        command = [sys.executable, "local_runner.py", *self.options, *flags]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert process.returncode == 0, process.stdout + process.stderr
        return json.loads(sorted(self.output.glob("runs/*/summary.json"))[-1].read_text())

    def outcomes(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.output.glob("checkpoints/trials/*.json")}

    def kill_after_a_trial(self) -> None:
        command = [sys.executable, "local_runner.py", *self.options, *self.tune, "--to", "Tuner"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not self.outcomes() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Searched:
    """A search that was killed after its first trial, and taken up; the test split was gone by then."""
    found = Searched(tmp_path_factory.mktemp("search") / "output")
    found.run("--to", "Transform")
    for folder in found.output.glob("artifacts/ExampleGen/examples/*/Split-test"):
        shutil.rmtree(folder)
    found.kill_after_a_trial()
    found.before = found.outcomes()
    found.summary = found.run(*found.tune, "--to", "Trainer")
    return found


def test_killed_search_goes_on_where_it_was(searched):
    assert len(searched.before) in (1, 2)
    after = searched.outcomes()
    assert len(after) == 3
    assert {path: after[path] for path in searched.before} == searched.before


def test_search_never_opens_the_test_split(searched):
    assert not list(searched.output.glob("artifacts/ExampleGen/examples/*/Split-test"))
    assert [node["state"] for node in searched.summary["nodes"] if node["id"] == "Tuner"] == ["ran"]


def test_winner_reaches_the_trainer_and_is_in_its_lineage(searched):
    search, store = searched.summary["search"], Store(searched.output / "metadata.db")
    winner = max(search["trials"], key=lambda trial: trial["val_accuracy"])
    assert search["best"] == winner["values"]
    made = {node["id"]: node["made"] for node in searched.summary["nodes"]}
    (trainer,) = (e for e in store.executions_of(store.runs()[-1]) if e.node == "Trainer")
    assert ("hyperparameters", made["Tuner"]["best_hyperparameters"]) in store.inputs[trainer.id]
    # The same recipe and seed, trained again by the Trainer, is what the trial was.
    assert searched.summary["training"]["history"][-1]["val_accuracy"] == pytest.approx(winner["curve"][-1], abs=1e-6)


def test_trials_are_in_ml_metadata_with_values_curves_and_results(searched):
    store = Store(searched.output / "metadata.db")
    made = {node["id"]: node["made"] for node in searched.summary["nodes"]}
    trials = json.loads(store.properties("Artifact", made["Tuner"]["tuner_results"])["trials"])
    assert trials == searched.summary["search"]["trials"]
    assert [len(trial["curve"]) for trial in trials] == [1, 1, 1]
    assert all({"learning_rate", "network.widths"} <= trial["values"].keys() for trial in trials)


def test_same_search_gives_the_same_trials(searched):
    shutil.rmtree(searched.output / "checkpoints" / "trials")
    again = searched.run(*searched.tune, "--only", "Tuner", "--no-cache")["search"]["trials"]
    told = ("trial", "values", "curve", "val_accuracy")
    first = searched.summary["search"]["trials"]
    assert [[trial[name] for name in told] for trial in again] == [[trial[name] for name in told] for trial in first]


def test_hparams_of_each_trial_are_among_tensorboards_logs(searched):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted(searched.output.glob("artifacts/Tuner/tuner_results/*/tensorboard/trial-*"))
    assert len(folders) >= 3
    events = EventAccumulator(str(folders[0])).Reload()
    assert events.Tags()["tensors"] == ["_hparams_/session_start_info", "epoch_val_accuracy", "val_accuracy"]
