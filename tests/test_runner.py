"""What a killed run leaves in ML Metadata and on the disk, on a real sqlite database."""

import contextlib
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.proto.orchestration import pipeline_pb2

from pipeline.output_root import OutputRoot
from pipeline.run import runner
from pipeline.run.abandoned import settle
from pipeline.stopping import Terminated, stoppable

Execution = metadata_store_pb2.Execution
STATES = {
    "NEW": Execution.NEW,
    "RUNNING": Execution.RUNNING,
    "COMPLETE": Execution.COMPLETE,
    "CACHED": Execution.CACHED,
}


@pytest.fixture
def connection(tmp_path: Path) -> metadata_store_pb2.ConnectionConfig:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(tmp_path / "metadata.db")
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return connection


@pytest.fixture
def store(connection) -> metadata_store.MetadataStore:
    return metadata_store.MetadataStore(connection)


@pytest.fixture
def execution(store, tmp_path):
    """Puts an execution into the store, with its folders as TFX names them; returns its id."""

    def put(state: str) -> int:
        kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
        (number,) = store.put_executions([Execution(type_id=kind, last_known_state=STATES[state])])
        for folder in folders(tmp_path, number):
            folder.mkdir(parents=True)
            (folder / "weights").write_text("content")
        return number

    return put


def folders(root: Path, number: int) -> tuple[Path, Path]:
    trainer = root / "artifacts" / "Trainer"
    return trainer / "model" / str(number), trainer / ".system" / "executor_execution" / str(number)


def state(store, number: int) -> int:
    return store.get_executions_by_id([number])[0].last_known_state


@pytest.mark.parametrize("left", ["NEW", "RUNNING"])
def test_execution_left_open_is_marked_canceled_and_its_outputs_are_removed(
    connection, store, execution, tmp_path, left
):
    number = execution(left)
    settle(connection, OutputRoot(tmp_path))
    assert state(store, number) == Execution.CANCELED
    assert not any(folder.exists() for folder in folders(tmp_path, number))


@pytest.mark.parametrize("ended", ["COMPLETE", "CACHED"])
def test_execution_that_ended_keeps_its_state_and_outputs(connection, store, execution, tmp_path, ended):
    number, abandoned = execution(ended), execution("RUNNING")
    settle(connection, OutputRoot(tmp_path))
    assert state(store, number) == STATES[ended]
    assert state(store, abandoned) == Execution.CANCELED
    assert (folders(tmp_path, number)[0] / "weights").exists()


def test_output_that_was_published_is_kept(connection, store, execution, tmp_path):
    number = execution("RUNNING")
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    (artifact,) = store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind)])
    output = metadata_store_pb2.Event.OUTPUT
    store.put_events([metadata_store_pb2.Event(artifact_id=artifact, execution_id=number, type=output)])
    settle(connection, OutputRoot(tmp_path))
    assert (folders(tmp_path, number)[0] / "weights").exists()


def test_ml_metadata_is_told_where_the_outputs_of_a_moved_output_root_are(connection, store, execution, tmp_path):
    """TFX's resolvers pass over a model whose path leads nowhere, and a worse one would be compared with nothing."""
    here = folders(tmp_path, execution("COMPLETE"))[0]
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    before = Path("/before").joinpath(*here.relative_to(tmp_path).parts)
    places = [str(before), str(before.with_name("77")), str(here)]
    store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind, uri=place) for place in places])
    settle(connection, OutputRoot(tmp_path))
    assert [artifact.uri for artifact in store.get_artifacts()] == [str(here), places[1], str(here)]


def test_new_output_root_is_no_error(connection, store, tmp_path):
    settle(connection, OutputRoot(tmp_path))
    assert store.get_executions() == []
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.db"]


def test_what_a_writer_was_killed_over_is_deleted_and_checkpoints_stay(connection, store, tmp_path):
    left = [
        tmp_path / "checkpoints" / "tmp1a2b3c",
        tmp_path / "checkpoints" / ".ab12.npz.77-00ff00ff.partial",
        tmp_path / "runs" / "20261123-200513-360" / ".summary.json.77-00ff00ff.partial",
        tmp_path / "artifacts" / "Trainer" / ".system" / "stateful_working_dir" / "0-1-2" / "file",
    ]
    kept = [tmp_path / "checkpoints" / "ab12.npz", tmp_path / "runs" / "20261123-200513-360" / "summary.json"]
    for path in left + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    settle(connection, OutputRoot(tmp_path))
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)
    assert not left[-1].parent.exists()


def test_run_that_was_killed_before_it_was_recorded_leaves_no_folder(connection, store, tmp_path):
    """While it imported: neither ML Metadata nor a summary tells of it, and nothing else would take it away."""
    root = OutputRoot(tmp_path)
    killed, own, waiting, known, told = (root.make_run(f"20261123-20051{n}-360") for n in range(5))
    for run in (killed, own, known, told):
        run.log.write_text("imports")
    # Of a database that is gone, for one.
    told.summary.write_text("{}")
    kind = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
    store.put_contexts([metadata_store_pb2.Context(type_id=kind, name=known.folder.name)])
    settle(connection, root, own.folder.name)
    # What waits for the lock has said nothing yet.
    assert sorted((tmp_path / "runs").iterdir()) == [run.folder for run in (own, waiting, known, told)]


@pytest.mark.parametrize("taken", ["for an error", "by nobody"])
def test_signal_that_a_node_takes_otherwise_ends_the_run_and_fails_no_node(monkeypatch, heard, taken):
    """Beam raises it as a RuntimeError; in a finalizer it is printed and passed over."""

    def launch() -> SimpleNamespace:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            if taken == "for an error":
                raise RuntimeError("Terminated: 15 [while running 'Tables']") from error
        return SimpleNamespace(execution_id=1)

    monkeypatch.setattr(runner, "launcher_of", lambda *_: SimpleNamespace(launch=launch))
    monkeypatch.setattr(runner.metadata, "Metadata", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(runner, "node_state", lambda *_: ("ran", None))
    monkeypatch.setattr(runner, "outputs_of", lambda *_: {})
    # A record without `end`: the node has not ended.
    running = runner.ReportingRunner(SimpleNamespace(), print, print)
    node = pipeline_pb2.PipelineNode(node_info={"id": "StatisticsGen"})
    with stoppable(), pytest.raises(Terminated):
        running._launch(pipeline_pb2.Pipeline(), node, None, None)
