"""A search as a user starts it: killed, taken up, its winner trained; on real images, without the test split."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pipeline.metadata.store import Store
from pipeline.run.code_digest import ROOT
from scripts.screenshots import show_hparams, tensorboard

pytestmark = pytest.mark.slow

PATIENCE = 300


def children_of(parent: int) -> set[int]:
    """Returns the processes that this one has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold anything: state and parent.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(stat.parent.name))
    return found


def still_there(processes: set[int]) -> set[int]:
    """Returns those that have not ended within half a minute."""
    deadline = time.monotonic() + 30
    while (
        left := {number for number in processes if Path(f"/proc/{number}").exists()}
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


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
        return {path: path.stat().st_mtime_ns for path in self.output.glob("trials/*.json")}

    def kill_after_a_trial(self) -> None:
        command = [sys.executable, "local_runner.py", *self.options, *self.tune, "--to", "Tuner"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not self.outcomes() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        self.training = training = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.orphans = still_there(training)


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


def test_trial_that_goes_on_ends_with_the_search_that_was_killed(searched):
    assert searched.training
    assert searched.orphans == set()


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
    shutil.rmtree(searched.output / "trials")
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


def test_hparams_page_shows_the_trials_in_a_browser(searched, chromium):
    with tensorboard(searched.output / "tensorboard") as url:
        page = chromium.new_page()
        show_hparams(page, url)
        for trial in searched.summary["search"]["trials"]:
            # As that page writes a number.
            expect(page.get_by_text(f"{trial['values']['learning_rate']:#.5g}").first).to_be_visible()
        page.close()


def test_tensorboard_finds_the_trials_under_the_run(searched):
    link = searched.output / "tensorboard" / f"{searched.summary['run_id']}.trials"
    assert len(list(link.glob("trial-*/events*"))) == 3


def test_runs_show_and_report_tell_the_trials(searched):
    shown = metadata(searched, "show", searched.summary["run_id"], "--json")
    assert shown["trials"] == searched.summary["search"]["trials"]
    (line,) = [run for run in metadata(searched, "runs", "--json") if run["id"] == searched.summary["run_id"]]
    best = max(trial["val_accuracy"] for trial in searched.summary["search"]["trials"])
    assert (line["trials"], line["best_trial"]) == (3, pytest.approx(best))
    report = (searched.output / "runs" / searched.summary["run_id"] / "report.html").read_text()
    assert 'id="search"' in report
    assert "3 trials on train and validation" in report


def test_part_that_begins_behind_the_search_keeps_its_winner(searched):
    partial = searched.run("--only", "Trainer")
    assert partial["base_run"] is not None
    assert {node["id"]: node["state"] for node in partial["nodes"]}["Tuner"] == "skipped"
    assert partial["training"]["val_accuracy"] == searched.summary["training"]["val_accuracy"]


def metadata(searched, *command: str):
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.metadata", *command, "--output-root", str(searched.output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)
