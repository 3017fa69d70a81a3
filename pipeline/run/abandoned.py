"""Settles what a killed run left open: executions that are RUNNING for ever, half outputs, a record without an end."""

import json
import shutil

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.metadata.shared import note_place
from pipeline.metadata.store import PROVENANCE, Store
from pipeline.output_root import OutputRoot
from pipeline.run.outcome import NODE_CACHED, NODE_RAN, RUNNING, WAITING
from pipeline.run.publications import record_publications
from pipeline.run.record import RunRecord, outputs_of

_Execution = metadata_store_pb2.Execution


def settle(connection: metadata_store_pb2.ConnectionConfig, root: OutputRoot, run_id: str = "") -> None:
    """Marks abandoned executions as canceled, completes the records of their runs, and records what was published.

    Of an output root that was moved, ML Metadata is told where its outputs are by now. The caller holds the lock of the
    output root, so no other run can own these; `run_id` is its own, which may have recorded nothing yet.
    """
    with metadata.Metadata(connection) as handle:
        note_place(root)
        note_moved(handle, Store(root.metadata).moved)
        _cancel_abandoned_executions(handle, root)
        _delete_half_written(root)
        _delete_unrecorded(root, run_id)
        close_abandoned(handle, root)
        record_publications(handle.store, root)


def note_moved(handle: metadata.Metadata, places: dict[int, str]) -> None:
    """Tells ML Metadata where artifacts are by now, by id: resolvers and the cache of TFX's go by their paths."""
    artifacts = handle.store.get_artifacts_by_id(list(places)) if places else []
    for artifact in artifacts:
        artifact.uri = places[artifact.id]
    if artifacts:
        handle.store.put_artifacts(artifacts)


def _cancel_abandoned_executions(handle: metadata.Metadata, root: OutputRoot) -> None:
    """Marks what a killed run left RUNNING as canceled, for nothing failed, and removes its half-written outputs."""
    # Of this output root: those of another one in the same database may go on.
    left = [number for number, execution in Store(root.metadata).executions.items() if execution.is_open]
    if not left:
        return
    abandoned = handle.store.get_executions_by_id(left)
    for execution in abandoned:
        execution.last_known_state = _Execution.CANCELED
    handle.store.put_executions(abandoned)
    published = {
        event.execution_id
        for event in handle.store.get_events_by_execution_ids([e.id for e in abandoned])
        if event.type == metadata_store_pb2.Event.OUTPUT
    }
    for execution in abandoned:
        if execution.id not in published:
            for folder in root.output_folders_of(execution.id):
                shutil.rmtree(folder, ignore_errors=True)


def _delete_half_written(root: OutputRoot) -> None:
    for path in root.half_written():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _delete_unrecorded(root: OutputRoot, run_id: str) -> None:
    """Removes what is left of runs that were killed before they were recorded: while they imported, for one."""
    known = {run_id, *Store(root.metadata).numbers()}
    for run in root.unrecorded_runs():
        if run.folder.name not in known:
            shutil.rmtree(run.folder, ignore_errors=True)


def close_abandoned(handle: metadata.Metadata, root: OutputRoot) -> None:
    """Completes the record of what a killed run left open, from its executions. The caller holds the lock."""
    store = Store(root.metadata)
    own = {run.number: run for run in store.runs()}
    for run in handle.store.get_contexts_by_id(list(own)) if own else ():
        kept = run.custom_properties
        if kept["state"].string_value != RUNNING or "summary" not in kept:
            continue
        content = json.loads(kept["summary"].string_value)
        made_of = store.whole(own[run.id]).properties
        provenance = {name: made_of[name] for name in PROVENANCE if name in made_of}
        folder = root.run(run.name)
        folder.folder.mkdir(parents=True, exist_ok=True)
        record = RunRecord(folder, None, {}, keepers=store.keepers_of(run.id))
        record.content = {**content, "provenance": provenance}
        executions = handle.store.get_executions_by_context(run.id)
        for execution in executions:
            _complete(record, handle, execution)
        begun = (run.create_time_since_epoch or 0) / 1000
        # A canceled one was updated just now, however long ago the run was killed.
        times = [
            e.create_time_since_epoch if e.last_known_state == _Execution.CANCELED else e.last_update_time_since_epoch
            for e in executions
        ]
        ended = max(times, default=0) / 1000 or begun
        record.close_with(handle, None, seconds=max(content["wall_seconds"], ended - begun))


def _complete(record: RunRecord, handle: metadata.Metadata, execution) -> None:
    """Notes what an execution did that ended after the record was written for the last time."""
    node_id = _node_of(handle, execution)
    states = {
        _Execution.COMPLETE: NODE_RAN,
        _Execution.CACHED: NODE_CACHED,
    }
    entry = next((entry for entry in record.content["nodes"] if entry["id"] == node_id), None)
    if entry is None or entry["state"] not in (RUNNING, WAITING) or execution.last_known_state not in states:
        return
    seconds = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
    outputs = outputs_of(handle, execution.id)
    record.end(node_id, state=states[execution.last_known_state], seconds=seconds, outputs=outputs)


def _node_of(handle: metadata.Metadata, execution) -> str:
    """Returns the id of the node that an execution is of."""
    for context in handle.store.get_contexts_by_execution(execution.id):
        (kind,) = handle.store.get_context_types_by_id([context.type_id])
        if kind.name == "node":
            return context.name.rsplit(".", 1)[-1]
    return "?"
