"""The record of a run, on a real database of ML Metadata: what it says at each moment, and after a kill."""

import copy
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.orchestration.portable.mlmd import context_lib

from components.errors import DataRefused, InputError, ModelRefused
from components.example_gen.dataset import inspect_dataset
from components.logged import LOGGED
from pipeline.metadata import runs
from pipeline.metadata.labels import label
from pipeline.metadata.library import connection_to
from pipeline.metadata.store import Store
from pipeline.nodes import NODES
from pipeline.output_root import OutputRoot
from pipeline.pipeline import create_pipeline
from pipeline.presets import preset
from pipeline.run.abandoned import close_abandoned
from pipeline.run.database import check_database
from pipeline.run.outcome import describe_failure, exit_status_of, state_of
from pipeline.run.record import RunRecord

METRICS = {"test_accuracy": 0.93, "test_loss": 0.2}
EVALUATED = {
    "evaluation": {"id": 5, "uri": "e", "test_accuracy": 0.93, "metrics": json.dumps(METRICS)},
    "blessing": {"id": 6, "uri": "b", "blessed": 1, "reasons": "[]", "verdict": "blessed: good"},
}


@pytest.fixture
def root(tmp_path) -> OutputRoot:
    return OutputRoot(tmp_path / "output")


@pytest.fixture
def record(root, idx_folder):
    """An opened record of a run named "now"."""
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    dataset = inspect_dataset(idx_folder(images, labels, images, labels))
    compiled = compiler.Compiler().compile(create_pipeline(preset("smoke", output_root=root.path), dataset))
    runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: "now"})
    folder, connection = root.make_run("now"), connection_to(root)
    check_database(connection)
    opening = {"run_id": "now", "preset": "smoke", "seed": 7, "name": "data", "environment": {}}
    opening["provenance"] = {"settings": {"seed": 7}, "git": None, "command": ["x", "--seed", "7"]}
    made = RunRecord(folder, connection, opening)
    with metadata.Metadata(connection) as handle:
        made.open(handle, compiled, None)
    made.compiled = compiled
    return made


def kept(root: OutputRoot) -> dict:
    """What ML Metadata has while the run is under way, which must be what summary.json has."""
    with root.lock("Wait."):
        found = Store(root.metadata).find_run("now").record
    written = json.loads(root.run("now").summary.read_text())
    provenance = written.pop("provenance")
    assert {name: value for name, value in found.pop("provenance").items() if value is not None} == {
        name: value for name, value in provenance.items() if value is not None
    }
    assert found == written
    return found


def test_record_lists_every_node_before_the_first_has_run(record, root):
    found = kept(root)
    assert {node["id"]: node["state"] for node in found["nodes"]} == dict.fromkeys(
        [node.id for node in NODES.values() if not node.flag], "waiting"
    )
    assert (found["state"], found["exit_status"]) == ("running", None)
    assert next(node for node in found["nodes"] if node["id"] == "Transform")["after"] == ["DataGate", "ExampleGen"]


def test_what_a_node_made_is_kept_as_soon_as_the_next_one_starts(record, root):
    record.start("Evaluator")
    record.end("Evaluator", state="ran", seconds=2.0, outputs=EVALUATED)
    record.start("Pusher")
    found = kept(root)
    assert found["metrics"] == METRICS
    assert found["blessed"] is True
    assert found["gates"]["Evaluator"] == {"result": "passed", "reasons": ["good"]}
    states = {node["id"]: node["state"] for node in found["nodes"]}
    assert (states["Evaluator"], states["Pusher"]) == ("ran", "running")
    assert runs.list_runs(Store(root.metadata))[0]["accuracy"] == 0.93


@pytest.mark.parametrize(
    ("node", "error", "status", "state"),
    [
        ("ExampleGen", InputError("no space"), 2, "failed"),
        ("DataGate", DataRefused("the gate refuses:\nerror: x"), 3, "data refused"),
        ("InfraValidator", ModelRefused("it cannot be served"), 4, "not blessed"),
        ("Trainer", ValueError("a bug"), 1, "failed"),
    ],
)
def test_state_and_exit_status_follow_from_the_failure_alone(record, root, node, error, status, state):
    record.start(node)
    record.end(node, state="failed", seconds=1.0, error=error)
    record.close(exit_status_of(record.content))
    found = kept(root)
    assert (found["exit_status"], found["state"]) == (status, state)
    assert found["failure"]["node"] == node
    assert str(error).splitlines()[0] in found["failure"]["message"]


def test_pusher_that_failed_after_a_blessing_is_a_failed_run_with_its_reason(record, root):
    record.end("Evaluator", state="ran", seconds=2.0, outputs=EVALUATED)
    record.start("Pusher")
    record.end("Pusher", state="failed", seconds=1.0, error=InputError("serving: no space left"))
    record.close(exit_status_of(record.content))
    found = kept(root)
    assert (found["state"], found["blessed"], found["exit_status"]) == ("failed", True, 2)
    assert found["gates"]["Pusher"] == {"result": "failed", "reasons": ["serving: no space left"]}


def test_run_killed_behind_an_execution_is_told_with_what_that_one_made(record, root):
    """The kill comes after TFX has published the Evaluator and before the record says so."""
    record.start("Evaluator")
    with metadata.Metadata(record.connection) as handle:
        publish(handle, record.compiled, "Evaluator", EVALUATED)
        close_abandoned(handle, root)
    found = kept(root)
    assert found["state"] == "interrupted"
    assert found["metrics"] == METRICS
    states = {node["id"]: node["state"] for node in found["nodes"]}
    assert (states["Evaluator"], states["Pusher"]) == ("ran", "skipped")
    with metadata.Metadata(record.connection) as handle:
        close_abandoned(handle, root)
    assert kept(root) == found


def publish(handle, compiled, node_id: str, outputs: dict) -> None:
    """Puts a complete execution of a node with its outputs into the run's contexts, as TFX's launcher does."""
    (node,) = [n.pipeline_node for n in compiled.nodes if n.pipeline_node.node_info.id == node_id]
    contexts = context_lib.prepare_contexts(handle, node.contexts)
    store, kinds = handle.store, metadata_store_pb2
    kind = store.put_execution_type(kinds.ExecutionType(name=node_id))
    execution = kinds.Execution(type_id=kind, last_known_state=kinds.Execution.COMPLETE)
    pairs = []
    for key, properties in outputs.items():
        artifact = kinds.Artifact(type_id=store.put_artifact_type(kinds.ArtifactType(name=f"{node_id}-{key}")))
        for name, value in properties.items():
            if name in ("id", "uri"):
                continue
            field = artifact.custom_properties[name]
            if isinstance(value, int):
                field.int_value = value
            elif isinstance(value, float):
                field.double_value = value
            else:
                field.string_value = value
        event = kinds.Event(type=kinds.Event.OUTPUT)
        event.path.steps.add().key = key
        pairs.append((artifact, event))
    store.put_execution(execution, pairs, contexts)


def test_what_a_node_logs_of_its_own_is_kept_without_anybody_knowing_it(record, root):
    logged = {"figures": {"sharpness": 0.5}, "tables": {"t": {"columns": ["a"], "rows": [[1]]}}, "plots": {}}
    record.end(
        "SchemaGen", state="ran", seconds=0.0, outputs={"schema": {"id": 1, "uri": "", LOGGED: json.dumps(logged)}}
    )
    record.close(0)
    assert kept(root)["logged"] == {"SchemaGen": {"schema": logged}}


def test_artifact_that_is_older_than_what_is_asked_of_it_fails_nothing(record):
    entry = record.end("Evaluator", state="cached", seconds=0.0, outputs={"evaluation": {"id": 1, "uri": ""}})
    assert (entry["state"], entry["detail"]) == ("cached", "")


def test_record_survives_what_tfx_does_with_the_context(record, root):
    with metadata.Metadata(record.connection) as handle:
        context_lib.prepare_contexts(handle, record.compiled.nodes[1].pipeline_node.contexts)
    assert Store(root.metadata).find_run("now").properties["seed"] == 7


def test_summary_that_cannot_be_written_stays_whole_and_does_not_stop_the_run(record, root, monkeypatch, caplog):
    before = root.run("now").summary.read_text()

    def power_cut(self: Path, content: bytes) -> None:
        with self.open("wb") as stream:
            stream.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", power_cut)
    record.start("ExampleGen")
    assert "cannot be written (No space left on device)" in caplog.text
    assert root.run("now").summary.read_text() == before
    assert [path.name for path in root.run("now").folder.iterdir()] == ["summary.json"]


@pytest.mark.parametrize(
    ("blessed", "pusher", "pushed", "status"),
    [
        (True, "ran", "serving/1", 0),
        (False, "ran", None, 4),
        (False, "skipped", None, 4),
        (None, "skipped", None, 0),
        (None, "ran", "serving/1", 0),
        (None, "ran", None, 4),
        (None, "cached", None, 4),
        (True, "ran", "held back", 0),
        (None, "cached", "held back", 0),
        (False, "ran", "held back", 4),
    ],
)
def test_exit_status_of_part_of_the_pipeline(blessed, pusher, pushed, status):
    nodes = [{"id": "Trainer", "state": "ran"}, {"id": "Pusher", "state": pusher}]
    held = pushed == "held back"
    pushes = {"push": pushed, "pushed_model": None} if held else {"push": None, "pushed_model": pushed}
    content = {"blessed": blessed, **pushes, "nodes": nodes, "failure": None}
    assert exit_status_of(content) == status


@pytest.mark.parametrize(
    ("status", "state"), [(0, "done"), (1, "failed"), (2, "failed"), (3, "data refused"), (None, "interrupted")]
)
def test_state_of_an_ended_run_follows_from_its_exit_status(status, state):
    assert state_of({"exit_status": status}) == state


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("no space [while running 'WriteShard']"), ("no space", 2)),
        (
            DataRefused("the gate refuses:\nerror: train: label: gone"),
            ("the gate refuses:\nerror: train: label: gone", 3),
        ),
        (
            ValueError("in user code:\n\n    File x\n\n    ValueError: shapes differ\n"),
            ("ValueError: ValueError: shapes differ", 1),
        ),
        (RuntimeError("first\nsecond"), ("RuntimeError: first", 1)),
        (
            OSError(errno.ENOSPC, "No space left on device", "/disk/file"),
            ("/disk/file: cannot be written (No space left on device). Free some space, and run again.", 2),
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/serving/.lock"),
            ("/serving/.lock: cannot be read or written (Permission denied). Mend its permissions, and run again.", 2),
        ),
        (
            RuntimeError("UNKNOWN: writing: No space left on device\nat node"),
            ("something could not be written (No space left on device). Free some space, and run again.", 2),
        ),
        (RuntimeError(), ("RuntimeError: ", 1)),
    ],
)
def test_failure_is_told_in_the_words_that_help_with_its_exit_status(error, told):
    assert describe_failure(error) == told


def test_size_of_the_output_root_is_noted_behind_the_end_and_the_time_stays(record, root):
    record.close(0)
    before = kept(root)
    record.content["wall_seconds"] = 12.5
    record.note_disk(5_000)
    found = kept(root)
    assert (before["disk_bytes"], found["disk_bytes"], found["wall_seconds"]) == (None, 5_000, 12.5)
    (run,) = Store(root.metadata).runs()
    assert run.properties["listed"]["disk_bytes"] == 5_000


def test_what_runs_share_is_kept_by_the_first_that_has_it_also_of_a_killed_run(record, root):
    shared = {"code": {"digest": "c", "modules": {"a": "1"}}, "packages": {"tfx": "1.21.0"}}
    record.content["provenance"] |= shared
    record.start("ExampleGen")
    newer = {**shared, "packages": {"tfx": "1.22.0"}}
    assert Store(root.metadata).keepers(newer) == {"code": "now"}
    opening = {"run_id": "next", "provenance": {"settings": {"seed": 8}, **newer}}
    later = RunRecord(root.make_run("next"), record.connection, opening, keepers={"code": "now"})
    compiled = copy.deepcopy(record.compiled)
    for context in compiled.nodes[0].pipeline_node.contexts.contexts:
        if context.type.name == "pipeline_run":
            context.name.field_value.string_value = "next"
    with metadata.Metadata(record.connection) as handle:
        later.open(handle, compiled, None)
        close_abandoned(handle, root)
    store = Store(root.metadata)
    number = store.find_run("next").number
    assert store.properties("Context", number)["code"] == {"kept by": "now"}
    assert store.keepers(newer) == {"code": "now", "packages": "next"}
    assert store.keepers(shared) == {"code": "now"}
    written = json.loads(root.run("next").summary.read_text())
    for found in (store.find_run("next").record, written):
        assert found["state"] == "interrupted"
        assert found["provenance"]["code"] == shared["code"]
        assert found["provenance"]["packages"] == {"tfx": "1.22.0"}


def test_what_lists_show_is_no_part_of_the_provenance_of_a_killed_run(record, root):
    record.start("ExampleGen")
    with metadata.Metadata(connection_to(root)) as handle:
        close_abandoned(handle, root)
    assert "listed" not in Store(root.metadata).find_run("now").record["provenance"]
    assert "listed" not in json.loads(root.run("now").summary.read_text())["provenance"]


def test_what_is_said_of_a_run_while_it_goes_on_is_lost_by_neither_side(record, root):
    record.start("ExampleGen")
    with root.lock("Wait."):
        store = Store(root.metadata)
        label(store, store.find_run("now"), root, note="slow disk", add=["july"])
    record.end("ExampleGen", state="ran", seconds=1.0, outputs={})
    found = kept(root)
    assert (found["note"], found["tags"]) == ("slow disk", ["july"])
    assert {node["id"]: node["state"] for node in found["nodes"]}["ExampleGen"] == "ran"
    record.close(0)
    assert (kept(root)["note"], kept(root)["tags"], kept(root)["state"]) == ("slow disk", ["july"], "done")


def test_tag_written_between_the_run_s_reading_and_its_writing_stays(record, root, monkeypatch):
    real, store = metadata_store.MetadataStore.put_contexts, Store(root.metadata)

    def put_late(self, contexts, *arguments, **options):
        label(store, store.find_run("now"), root, add=["between"])
        return real(self, contexts, *arguments, **options)

    monkeypatch.setattr(metadata_store.MetadataStore, "put_contexts", put_late)
    record.start("ExampleGen")
    monkeypatch.undo()
    record.close(0)
    assert kept(root)["tags"] == ["between"]


def test_note_and_tags_of_a_run_that_was_killed_stay(record, root):
    record.start("ExampleGen")
    store = Store(root.metadata)
    label(store, store.find_run("now"), root, note="killed it", add=["july"])
    with metadata.Metadata(connection_to(root)) as handle:
        close_abandoned(handle, root)
    found = kept(root)
    assert (found["state"], found["note"], found["tags"]) == ("interrupted", "killed it", ["july"])
    assert set(json.loads(root.run("now").summary.read_text())["provenance"]) == {"settings", "git", "command"}
