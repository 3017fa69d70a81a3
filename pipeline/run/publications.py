"""Keeps in ML Metadata what was served without a run that says so: rollbacks, and what `pipeline.publish` published.

A rollback is an execution of `Rollback`, from one pushed model to the next; a push that ML Metadata does not know is
one of `Publish`: a person's, or that of a run which was killed behind it. The baseline of the next candidate, `lineage`
and the report know then what is served. A rollback itself takes milliseconds and waits for nothing; whatever could not
be recorded at once, the next run records.
"""

from pathlib import Path

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import InputError, first_line
from components.pusher.history import Act, acts
from pipeline.metadata.library import connection_to
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot

ROLLBACK, PUBLISH = "Rollback", "Publish"
_PUSHED, _PLACE, _DIGEST = "PushedModel", "pushed_destination", "digest"


def record_publications(store: metadata_store.MetadataStore, root: OutputRoot) -> list[Path]:
    """Records what the serving folders show and ML Metadata does not know yet, and returns those versions.

    A model that this database never exported stays unknown to it.
    """
    # By name and number alone: an output root may have been moved.
    own = Store(root.metadata)
    known = _by_property(store, own, _PUSHED, _PLACE)
    pushed = {Path(place).parts[-2:]: artifact for place, artifact in known.items()}
    models = _by_property(store, own, "Model", _DIGEST)
    recorded = []
    for folder in root.serving_folders():
        base = folder.resolve()
        for act in acts(base):
            place = base / str(act.number)
            source = pushed.get((base.name, str(act.files))) or models.get(act.content)
            if source is not None and place.parts[-2:] not in pushed:
                pushed[place.parts[-2:]] = _record(store, source, place, act)
                recorded.append(place)
    return recorded


def record_in(root: OutputRoot) -> str:
    """Does the same for the database of an output root, and returns why it could not, "" if it could.

    The caller holds the lock of the output root: ML Metadata has one writer.
    """
    try:
        record_publications(metadata_store.MetadataStore(connection_to(root, make=False)), root)
    except InputError as error:
        return str(error).rstrip(".")
    except (errors.StatusError, RuntimeError) as error:
        return first_line(error).rstrip(".")
    return ""


def _by_property(store: metadata_store.MetadataStore, own: Store, kind: str, name: str) -> dict[str, mlmd.Artifact]:
    """Returns the artifacts of a type by a property of text, the latest of those that share it."""
    numbers = [artifact.id for artifact in own.artifacts.values() if artifact.type == kind]
    found = sorted(store.get_artifacts_by_id(numbers), key=lambda artifact: artifact.id) if numbers else ()
    return {artifact.custom_properties[name].string_value: artifact for artifact in found}


def _record(store: metadata_store.MetadataStore, source: mlmd.Artifact, place: Path, act: Act) -> mlmd.Artifact:
    """Records one execution from what was published, a pushed model or one that never was, to a version."""
    # Known unless nothing was ever pushed.
    pushed_type = store.put_artifact_type(mlmd.ArtifactType(name=_PUSHED))
    shown = mlmd.Artifact(type_id=pushed_type, uri=str(place), state=mlmd.Artifact.LIVE)
    from_pushed = source.type_id == pushed_type
    if from_pushed:
        for name, value in source.custom_properties.items():
            shown.custom_properties[name].CopyFrom(value)
    else:
        shown.custom_properties["model_id"].int_value = source.id
        shown.custom_properties["content_digest"].string_value = act.content
        shown.custom_properties["serving_folder"].string_value = str(place.parent)
        shown.custom_properties["outcome"].string_value = "pushed"
    shown.custom_properties["pushed"].int_value = 1
    shown.custom_properties[_PLACE].string_value = str(place)
    shown.custom_properties["pushed_version"].string_value = place.name
    node = ROLLBACK if act.is_rollback else PUBLISH
    kind = store.put_execution_type(mlmd.ExecutionType(name=f"pipeline.{node.lower()}.{node}"))
    execution = mlmd.Execution(type_id=kind, last_known_state=mlmd.Execution.COMPLETE)
    types = {kind.id: kind.name for kind in store.get_context_types()}
    contexts = [c for c in store.get_contexts_by_artifact(source.id) if types[c.type_id] == "pipeline"]
    node_type = next(number for number, name in types.items() if name == "node")
    nodes = []
    for pipeline in contexts:
        name = f"{pipeline.name}.{node}"
        known = store.get_context_by_type_and_name("node", name)
        nodes.append(known or mlmd.Context(type_id=node_type, name=name))
    read = _event(mlmd.Event.INPUT, "pushed_model" if from_pushed else "model")
    pairs = [(source, read), (shown, _event(mlmd.Event.OUTPUT, "pushed_model"))]
    _, (_, shown.id), _ = store.put_execution(execution, pairs, [*contexts, *nodes])
    return shown


def _event(kind: int, key: str) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add().key = key
    event.path.steps.add().index = 0
    return event
