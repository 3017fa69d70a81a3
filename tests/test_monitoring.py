"""What Prometheus reads of an output root, read with its own parser."""

import contextlib
import datetime
import json
import os
import re
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.recorded_runs import RecordedRuns
from pipeline.output_root import OutputRoot
from pipeline.run import monitoring
from pipeline.run.monitoring import write_metrics
from tests.conftest import ROOT
from tests.ended_runs import refusal, serve, write_run

NOW = 1_795_894_488.5
SMOKE = "letters.smoke"


@pytest.fixture
def root(tmp_path: Path) -> OutputRoot:
    return OutputRoot(tmp_path / "output")


def read(path: Path) -> dict[tuple, float]:
    """Returns each sample's value by the name, without the prefix, and its labels."""
    families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    assert all(family.documentation and family.type in ("gauge", "counter") for family in families)
    samples = [sample for family in families for sample in family.samples]
    assert all(sample.timestamp is None for sample in samples), "node_exporter refuses timestamps"
    found = {(s.name.removeprefix("image_pipeline_"), *sorted(s.labels.items())): s.value for s in samples}
    assert len(found) == len(samples), "each series once"
    return found


def written(root: OutputRoot, exit_status: int | None = 0, now: float = NOW) -> dict[tuple, float]:
    return read(write_metrics(root, exit_status=exit_status, now=now))


def test_metrics_of_a_run_are_those_of_its_summary(root):
    write_run(root, "20261122-020000-000")
    serve(root, 1_795_464_417)
    found = written(root)
    model = ("model", SMOKE)
    begun = datetime.datetime(2026, 11, 22, 2).timestamp()
    for key, value in {
        ("last_exit_status",): 0,
        ("last_end_timestamp_seconds",): NOW,
        ("last_success_timestamp_seconds",): NOW,
        ("ends_total", ("exit_status", "0")): 1,
        ("run_start_timestamp_seconds", model): begun,
        ("run_duration_seconds", model): 61.5,
        ("run_peak_memory_bytes", model): 1000 * 2**20,
        ("run_state", model, ("state", "done")): 1,
        ("run_state", model, ("state", "data refused")): 0,
        ("run_refused", model): 0,
        ("node_duration_seconds", model, ("node", "Trainer")): 2.5,
        ("gate_passed", ("gate", "DataGate"), model): 1,
        ("anomalies", model, ("severity", "error")): 0,
        ("anomalies", model, ("severity", "warning")): 1,
        ("examples", model, ("split", "val")): 500,
        ("test_accuracy_ratio", model): 0.885,
        ("test_loss", model): 0.36,
        ("macro_f1", model): 0.88,
        ("served_since_timestamp_seconds", model): 1_795_464_417,
        ("served_model_timestamp_seconds", model): 1_795_464_417,
        ("served_accuracy_ratio", model): 0.885,
    }.items():
        assert found[key] == value, key


def test_refused_night_takes_no_accuracy_away_and_tells_its_anomalies(root):
    write_run(root, "20261122-020000-000")
    refusal(root, "20261123-020000-000")
    found = written(root, 3)
    model = ("model", SMOKE)
    assert found["run_refused", model] == found["run_state", model, ("state", "data refused")] == 1
    assert found["gate_passed", ("gate", "DataGate"), model] == 0
    assert found["anomalies", model, ("severity", "error")] == found["anomalies", model, ("severity", "warning")] == 1
    assert found["test_accuracy_ratio", model] == 0.885


def test_latest_run_is_the_one_that_ml_metadata_heard_of_last_whatever_the_clock_said(root):
    """As after a clock was set back, and in the hour that summer time ends with."""
    recorded = RecordedRuns(root.path)
    for run_id in ("20261122-025900-000", "20261122-020500-000"):
        recorded.add(run_id, failed="ExampleGen")
    # Of before this database.
    write_run(root, "20261123-020000-000", metrics={"test_accuracy": 0.8})
    write_run(root, "20261122-025900-000", metrics={"test_accuracy": 0.9})
    refusal(root, "20261122-020500-000")
    found = written(root, 3)
    model = ("model", SMOKE)
    assert found["run_refused", model] == 1
    assert found["run_start_timestamp_seconds", model] == datetime.datetime(2026, 11, 22, 2, 5).timestamp()
    assert found["test_accuracy_ratio", model] == 0.9


def test_metrics_are_written_in_the_order_of_the_ids_where_the_database_cannot_be_read(root):
    write_run(root, "20261122-020000-000")
    refusal(root, "20261123-020000-000")
    root.metadata.write_bytes(b"no database")
    assert written(root, 3)["run_refused", ("model", SMOKE)] == 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["sqlite", "shared"])
def test_database_that_may_not_be_read_takes_no_metric_away(root, monkeypatch, elsewhere):
    """Patched, because root may read everything."""
    write_run(root, "20261122-020000-000")
    (root.metadata_elsewhere if elsewhere else root.metadata).touch()
    read_text, connect = Path.read_text, sqlite3.connect

    def refuse(path: Path, *arguments, **options) -> str:
        if path == root.metadata_elsewhere and elsewhere:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: connect("file:/nowhere/m.db?mode=ro", **options))
    assert written(root)["run_refused", ("model", SMOKE)] == 0


def test_start_of_a_run_in_a_shared_database_is_told(root):
    write_run(root, "20261122-020000-360-1a2b3c4d")
    begun = datetime.datetime(2026, 11, 22, 2, 0, 0, 360_000).timestamp()
    assert written(root)["run_start_timestamp_seconds", ("model", SMOKE)] == begun


def test_run_of_another_process_goes_on_as_long_as_that_has_the_output_root(root):
    write_run(root, "20261122-020000-000", state="running", exit_status=None)
    for goes_on in (True, False):
        with root.lock("") if goes_on else contextlib.nullcontext():
            found = written(root, 75)
        states = {state: found["run_state", ("model", SMOKE), ("state", state)] for state in ("running", "interrupted")}
        assert states == {"running": goes_on, "interrupted": not goes_on}


def test_success_and_counts_outlast_what_goes_wrong_and_are_read_from_the_file(root):
    write_run(root, "20261122-020000-000")
    written(root)
    written(root, 75, NOW + 1)
    found = written(root, 75, NOW + 2)
    assert found["last_success_timestamp_seconds",] == NOW
    assert (found["last_end_timestamp_seconds",], found["last_exit_status",]) == (NOW + 2, 75)
    assert (found["ends_total", ("exit_status", "0")], found["ends_total", ("exit_status", "75")]) == (1, 2)


def test_two_processes_that_end_at_once_are_both_counted(root, monkeypatch):
    write_run(root, "20261122-020000-000")
    read_before, others = monitoring._remembered, []

    def and_meanwhile_another(path: Path) -> dict:
        found = read_before(path)
        if not others:
            others.append(threading.Thread(target=write_metrics, args=(root,), kwargs={"exit_status": 0, "now": NOW}))
            others[0].start()
            others[0].join(0.2)
        return found

    monkeypatch.setattr(monitoring, "_remembered", and_meanwhile_another)
    write_metrics(root, exit_status=75, now=NOW)
    others[0].join()
    found = read(root.metrics)
    assert [found["ends_total", ("exit_status", status)] for status in ("0", "75")] == [1, 1]
    assert found["last_success_timestamp_seconds",] == NOW


def test_what_ends_no_process_counts_as_none(root):
    write_run(root, "20261122-020000-000")
    before = written(root, 4)
    assert written(root, None, NOW + 9) == before


def test_models_of_one_output_root_stand_side_by_side(root):
    write_run(root, "20261122-020000-000", published_as="letters", metrics={"test_accuracy": 0.93})
    write_run(root, "20261123-020000-000")
    found = written(root)
    assert found["test_accuracy_ratio", ("model", "letters")] == 0.93
    assert found["test_accuracy_ratio", ("model", SMOKE)] == 0.885


def test_after_a_rollback_the_served_model_is_told_with_its_own_age_and_accuracy(root):
    write_run(root, "20261122-020000-000", metrics={"test_accuracy": 0.91}, model_digest="e" * 64)
    write_run(root, "20261123-020000-000")
    serve(root, 1_795_000_000, "e" * 64)
    serve(root, 1_795_100_000)
    (root.serving(SMOKE) / "1795200000").symlink_to("1795000000")
    found = written(root)
    assert found["served_since_timestamp_seconds", ("model", SMOKE)] == 1_795_200_000
    assert found["served_model_timestamp_seconds", ("model", SMOKE)] == 1_795_000_000
    assert found["served_accuracy_ratio", ("model", SMOKE)] == 0.91
    assert found["test_accuracy_ratio", ("model", SMOKE)] == 0.885


def test_spans_and_window_are_told_where_there_are_any(root):
    window = [{"name": name, "number": int(name), "version": 0, "examples": 200} for name in ("11", "12")]
    write_run(
        root,
        "20261122-020000-000",
        span={"name": "12", "number": 12, "version": 0, "pattern": "in/span-{SPAN}", "admitted": False},
        window=window,
        metrics={"test_accuracy": 0.9, "slices": {"span": {"11": {"examples": 20, "accuracy": 0.95}}}},
    )
    found = written(root)
    model = ("model", SMOKE)
    assert (found["span_number", model], found["window_spans", model], found["window_examples", model]) == (12, 2, 400)
    assert found["span_accuracy_ratio", model, ("span", "11")] == 0.95


def test_names_that_need_escapes_are_read_as_they_were(root):
    strange = 'a "b"\\c\nd'
    write_run(root, "20261122-020000-000", published_as=strange)
    assert written(root)["run_refused", ("model", strange)] == 0


def test_summary_of_an_older_version_tells_what_it_has(root):
    """Neither it nor what it lacks takes the metrics of the others away."""
    write_run(root, "20261122-020000-000")
    old = {"run_id": "20261121-020000-000", "published_as": "old", "state": "done", "wall_seconds": 9.0}
    root.make_run(old["run_id"]).summary.write_text(json.dumps(old))
    serve(root, 1_795_464_417, "another")
    found = written(root)
    assert found["run_duration_seconds", ("model", "old")] == 9
    assert found["test_accuracy_ratio", ("model", SMOKE)] == 0.885


@pytest.mark.parametrize("content", [b"not metrics {", b"\xff\xfe", b""], ids=["no metrics", "no text", "empty"])
def test_file_that_is_none_is_written_anew(root, content):
    write_run(root, "20261122-020000-000")
    root.metrics.write_bytes(content)
    assert written(root)["ends_total", ("exit_status", "0")] == 1


@pytest.mark.parametrize("content", ["", "[]", '{"run_id": "1"}', "{"])
def test_summary_that_is_none_is_passed_over(root, content):
    root.make_run("20261123-020000-000").summary.write_text(content)
    write_run(root, "20261122-020000-000")
    assert written(root)["test_accuracy_ratio", ("model", SMOKE)] == 0.885


def test_reader_never_finds_a_part_of_the_file(root, monkeypatch):
    write_run(root, "20261122-020000-000")
    before = written(root)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        write_metrics(root, exit_status=4, now=NOW)
    assert read(root.metrics) == before
    assert [path.name for path in root.path.glob(".metrics*")] == []


def test_five_hundred_runs_take_no_more_than_a_moment(root):
    for number in range(500):
        write_run(root, f"2026{number // 100 + 1:02}01-0000{number % 60:02}-{number:03}")
    serve(root, 1_795_464_417, "of no run")
    begun = os.times().user
    written(root)
    assert os.times().user - begun < 2


def test_alerts_of_the_document_ask_for_what_is_written_and_for_a_success_that_never_was(root):
    text = (ROOT / "docs" / "unattended.md").read_text(encoding="utf-8")
    (rules,) = re.findall(r"```yaml\n(groups:\n.*?)```", text, re.DOTALL)
    asked = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]}
    refusal(root, "20261123-020000-000")
    serve(root, 1_795_464_417)
    never, once = ({f"image_pipeline_{name}" for name, *_ in written(root, status)} for status in (3, 0))
    names = {name: set(re.findall(r"image_pipeline_\w+", expression)) for name, expression in asked.items()}
    assert set.union(*names.values()) <= once
    # A comparison with a series that there is none of is no alert.
    for missing in set.union(*names.values()) - never:
        assert asked["NoNightWentWell"].endswith(f" or absent({missing})")


@pytest.mark.slow
def test_real_run_leaves_its_metrics(smoke_output):
    found = read(OutputRoot(smoke_output).metrics)
    model = ("model", "fashion_mnist.smoke")
    assert found["last_exit_status",] == 0
    assert found["test_accuracy_ratio", model] == found["served_accuracy_ratio", model] > 0.8
    assert found["examples", model, ("split", "train")] == 4000
    assert found["node_duration_seconds", model, ("node", "Trainer")] > 0
    assert 0 <= found["last_end_timestamp_seconds",] - found["served_since_timestamp_seconds", model] < 600
    assert subprocess.run(["find", smoke_output, "-name", "*.partial"], capture_output=True).stdout == b""
