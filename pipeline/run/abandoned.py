"""Settles what a killed run left open: executions that are RUNNING for ever, half outputs, a record without an end."""

import shutil

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.run.publications import record_publications
from pipeline.run.record import close_abandoned

_Execution = metadata_store_pb2.Execution


def settle(connection: metadata_store_pb2.ConnectionConfig, root: OutputRoot) -> None:
    """Marks abandoned executions as canceled, completes the records of their runs, and records what was published.

    The caller holds the lock of the output root, so no other run can own these.
    """
    with metadata.Metadata(connection) as handle:
        _cancel_abandoned_executions(handle, root)
        _delete_half_written(root)
        close_abandoned(handle, root)
        record_publications(handle.store, root)


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
