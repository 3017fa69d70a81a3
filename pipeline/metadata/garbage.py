"""`gc`: what could go from the disk: orphans, outputs of failures, and what is superseded.

Kept is what any of these was made of: the latest runs and those that go on, every blessed or served model, and the
statistics that the gate may compare with. What an execution put out stays or goes together: TFX's cache needs it all.
Deleted artifacts are marked DELETED in ML Metadata, and the cache passes over them.
"""

import shutil
from pathlib import Path

from components.errors import InputError
from pipeline.metadata.show import folder_size
from pipeline.metadata.store import Store
from pipeline.metadata.text import size, table
from pipeline.output_root import OutputRoot

# The gate compares with the latest other statistics, so a run on each of two data sets needs both.
_STATISTICS_KEPT = 2


def find(store: Store, output_root: OutputRoot, *, keep: int) -> dict:
    """Returns what could go: for each folder its reason, node, artifact and bytes; and the sum of the bytes."""
    root = output_root.artifacts.resolve()
    kept = kept_artifacts(store, keep)
    items, known = [], set()
    for artifact in store.artifacts.values():
        folder = Path(artifact.uri)
        # By its end alone: under another name of the output root, nothing may look like an orphan.
        known.add(tuple(folder.parts[-3:]))
        if artifact.id in kept or not folder.is_relative_to(root) or ".." in folder.parts or not folder.exists():
            continue
        maker = store.executions.get(store.producers.get(artifact.id, 0))
        failed = artifact.state != "live" or maker is None or maker.state != "ran"
        items.append(_item("failed" if failed else "superseded", folder, root, artifact.id))
    # What a run is writing now is known only when its node ends.
    open_now = {str(number) for number, execution in store.executions.items() if execution.is_open}
    for folder in output_root.output_folders():
        if folder.parts[-3:] not in known and folder.name not in open_now:
            items.append(_item("orphan", folder, root, None))
    return {"keep": keep, "items": items, "bytes": sum(item["bytes"] for item in items)}


def kept_artifacts(store: Store, keep: int) -> set[int]:
    """Returns the artifacts that must stay."""
    runs = store.runs()
    ids = {run.id for run in runs[max(0, len(runs) - keep) :]}
    ids |= {run.id for run in runs if run.properties.get("state") == "running"}
    ids |= {execution.run for execution in store.executions.values() if execution.is_open}
    waiting = [
        artifact
        for execution in store.executions.values()
        if execution.run in ids
        for _, artifact in [*store.outputs.get(execution.id, ()), *store.inputs.get(execution.id, ())]
    ]
    blessed = {number for number, value in store.property_of_all("Artifact", "blessed").items() if value == 1}
    pushed = store.property_of_all("Artifact", "pushed_destination")
    waiting += [number for number in blessed if store.artifacts[number].type == "ModelBlessing"]
    waiting += [number for number, place in pushed.items() if place and Path(place).exists()]
    statistics: dict[str, list[int]] = {}
    subjects = store.property_of_all("Artifact", "current_statistics_id")
    for number in sorted(blessed & subjects.keys(), reverse=True):
        maker = store.executions.get(store.producers.get(number, 0))
        latest = statistics.setdefault(maker.pipeline if maker else "", [])
        if subjects[number] not in latest and len(latest) < _STATISTICS_KEPT:
            latest.append(subjects[number])
            waiting += [number, subjects[number]]
    kept: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number in kept:
            continue
        kept.add(number)
        maker = store.producers.get(number)
        if maker is not None:
            waiting += [artifact for _, artifact in [*store.inputs.get(maker, ()), *store.outputs.get(maker, ())]]
    return kept


def delete(output_root: OutputRoot, *, keep: int) -> dict:
    """Deletes what could go and returns it. Holds the lock of the output root meanwhile.

    Raises:
      InputError: a run goes on, or a folder cannot be deleted.
    """
    with output_root.lock("Nothing was deleted; wait for its end."):
        store = Store(output_root.metadata)
        plan = find(store, output_root, keep=keep)
        # Marked first: an interruption then leaves an orphan for the next time, not an artifact without its files.
        _mark_deleted(store.path, [int(item["artifact"][1:]) for item in plan["items"] if item["artifact"]])
        for item in plan["items"]:
            folder = Path(item["path"])
            try:
                shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
            except OSError as error:
                raise InputError(
                    f"{folder}: cannot be deleted ({error.strerror}). Mend its permissions and repeat."
                ) from None
        output_root.remove_dead_links()
    return plan


def _mark_deleted(path: Path, numbers: list[int]) -> None:
    if not numbers:
        return
    # A third of a second, for the one command that writes.
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(path.resolve())
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE
    writable = metadata_store.MetadataStore(connection)
    artifacts = writable.get_artifacts_by_id(numbers)
    for artifact in artifacts:
        artifact.state = metadata_store_pb2.Artifact.DELETED
    writable.put_artifacts(artifacts)


def _item(reason: str, folder: Path, root: Path, artifact: int | None) -> dict:
    return {
        "reason": reason,
        "node": folder.relative_to(root).parts[0],
        "artifact": f"a{artifact}" if artifact else None,
        "path": str(folder),
        "bytes": folder_size(folder) or 0,
    }


def render(plan: dict, *, deleted: bool) -> str:
    """Returns the table, the largest first, and the sum."""
    items = sorted(plan["items"], key=lambda item: -item["bytes"])
    if not items:
        return "nothing could go"
    rows = [[item["reason"], item["node"], item["artifact"], size(item["bytes"]), item["path"]] for item in items]
    told = "deleted" if deleted else "could go; --delete deletes it"
    count = f"{len(items)} folder{'s' * (len(items) > 1)}"
    return table(["reason", "node", "artifact", "size", "path"], rows, right=("size",)) + (
        f"\n{count}, {size(plan['bytes'])} {told}"
    )
