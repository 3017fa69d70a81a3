"""Keeps in ML Metadata, as custom properties of a run's context, what the run was made of and how it ended.

`python -m pipeline.metadata` answers from these alone. Dictionaries and lists are kept as JSON.
"""

import json

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import pipeline_pb2

RUNNING, INTERRUPTED = "running", "interrupted"
_ENDED = {0: "done", 3: "data refused", 4: "not blessed"}
_RUN = "pipeline_run"


def open_record(handle: metadata.Metadata, pipeline: pipeline_pb2.Pipeline, properties: dict) -> None:
    """Makes the context of the run, as TFX would at its first node, and puts `properties` on it."""
    contexts = context_lib.prepare_contexts(handle, pipeline.nodes[0].pipeline_node.contexts)
    kind = handle.store.get_context_type(_RUN).id
    (run,) = [context for context in contexts if context.type_id == kind]
    _put(handle, run, {**properties, "state": RUNNING})


def close_record(handle: metadata.Metadata, run_id: str, exit_status: int | None, properties: dict) -> None:
    """Puts how a run ended on its context; an interrupted one has no exit status. There may be no such run."""
    run = handle.store.get_context_by_type_and_name(_RUN, run_id)
    if run is None:
        return
    state = INTERRUPTED if exit_status is None else _ENDED.get(exit_status, "failed")
    known = {name: value for name, value in properties.items() if value is not None}
    _put(handle, run, {**known, "state": state, **({} if exit_status is None else {"exit_status": exit_status})})


def close_abandoned_records(handle: metadata.Metadata) -> None:
    """Marks as interrupted what a killed run left as running. The caller holds the lock of the output root."""
    for run in handle.store.get_contexts_by_type(_RUN):
        if run.custom_properties["state"].string_value == RUNNING:
            _put(handle, run, {"state": INTERRUPTED})


def _put(handle: metadata.Metadata, run: metadata_store_pb2.Context, properties: dict) -> None:
    for name, value in properties.items():
        _set(run.custom_properties[name], value)
    handle.store.put_contexts([run])


def _set(field: metadata_store_pb2.Value, value: object) -> None:
    if isinstance(value, bool | int):
        field.int_value = int(value)
    elif isinstance(value, float):
        field.double_value = value
    else:
        field.string_value = value if isinstance(value, str) else json.dumps(value)
