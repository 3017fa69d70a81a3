"""Keeps in ML Metadata what a rollback published: an execution of `Rollback`, from one pushed model to the next.

The baseline of the next candidate, `lineage` and the report know then what is served. A rollback itself takes
milliseconds and waits for nothing; whatever of it could not be recorded at once, the next run records.
"""

from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.pusher.serving_folder import rollbacks
from pipeline.output_root import OutputRoot

NODE = "Rollback"
_PUSHED, _PLACE = "PushedModel", "pushed_destination"


def record_rollbacks(store: metadata_store.MetadataStore, root: OutputRoot) -> list[Path]:
    """Records the rollbacks in the serving folders that ML Metadata does not know yet, and returns their versions.

    One to a version that this database never pushed stays unknown to it.
    """
    if not any(kind.name == _PUSHED for kind in store.get_artifact_types()):
        return []
    pushed = {
        artifact.custom_properties[_PLACE].string_value: artifact for artifact in store.get_artifacts_by_type(_PUSHED)
    }
    recorded = []
    for base in root.serving_folders():
        for number, files in rollbacks(base.resolve()).items():
            place, source = base.resolve() / str(number), pushed.get(str(base.resolve() / str(files)))
            if source is not None and str(place) not in pushed:
                _record(store, source, place)
                recorded.append(place)
    return recorded


def _record(store: metadata_store.MetadataStore, source: mlmd.Artifact, place: Path) -> None:
    shown = mlmd.Artifact(type_id=source.type_id, uri=str(place), state=mlmd.Artifact.LIVE)
    for name, value in source.custom_properties.items():
        shown.custom_properties[name].CopyFrom(value)
    shown.custom_properties[_PLACE].string_value = str(place)
    shown.custom_properties["pushed_version"].string_value = place.name
    kind = store.put_execution_type(mlmd.ExecutionType(name=f"pipeline.rollback.{NODE}"))
    execution = mlmd.Execution(type_id=kind, last_known_state=mlmd.Execution.COMPLETE)
    types = {kind.id: kind.name for kind in store.get_context_types()}
    contexts = [c for c in store.get_contexts_by_artifact(source.id) if types[c.type_id] == "pipeline"]
    node_type = next(number for number, name in types.items() if name == "node")
    nodes = []
    for pipeline in contexts:
        name = f"{pipeline.name}.{NODE}"
        known = store.get_context_by_type_and_name("node", name)
        nodes.append(known or mlmd.Context(type_id=node_type, name=name))
    pairs = [(source, _event(mlmd.Event.INPUT)), (shown, _event(mlmd.Event.OUTPUT))]
    store.put_execution(execution, pairs, [*contexts, *nodes])


def _event(kind: int) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add().key = "pushed_model"
    event.path.steps.add().index = 0
    return event
