"""`gc`: what could go from the disk: orphans, outputs of failures, and what is superseded.

Each run clears it behind itself, within its lock (`clear`).
What must stay is said in one place, retention.py. Deleted artifacts are marked DELETED in ML Metadata, and the cache
passes over them. Of an old run goes its folder: log, report and summary.json. All that ML Metadata has of it stays, and
that is all that summary.json says.

Synopsis:

    store = Store(Path("output/metadata.db"))
    plan = find(store, OutputRoot("output"), keep=1)         # nothing is deleted by this
    plan["items"], plan["bytes"]
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError
from pipeline.metadata.retention import Stays, kept_runs, what_stays
from pipeline.metadata.show import folder_size
from pipeline.metadata.store import Store
from pipeline.metadata.text import size, table
from pipeline.output_root import OutputRoot
from pipeline.run.listed import LISTED

_SUPERSEDED, _FAILED, _ORPHAN = "superseded", "failed", "orphan"


def find(store: Store, output_root: OutputRoot, *, keep: int | None = None, unknown: bool = True) -> dict:
    """Returns what could go: for each folder or file its reason, node, artifact and bytes; and the sum of the bytes.

    Args:
      store: the database.
      output_root: of it.
      keep: how many of the latest runs of each name stay; None: as their settings say.
      unknown: whether folders go that ML Metadata has never heard of. Who restores an older database needs them.
    """
    stays = what_stays(store, output_root, keep)
    items = [*_artifacts(store, output_root, stays, unknown), *_run_files(store, output_root, stays)]
    items += _left_by_trainings(output_root, stays)
    counts = kept_runs(store.runs()) if keep is None else {}
    named = {name or "": count for name, count in counts.items()}
    return {"keep": keep, "kept_runs": named, "items": items, "bytes": sum(item["bytes"] for item in items)}


def _artifacts(store: Store, output_root: OutputRoot, stays: Stays, unknown: bool) -> Iterator[dict]:
    root = output_root.artifacts.resolve()
    known = set()
    for artifact in store.artifacts.values():
        folder = Path(artifact.uri)
        # By its end alone: under another name of the output root, nothing may look like an orphan.
        known.add(tuple(folder.parts[-3:]))
        # A pushed model is a link, and its version may be gone.
        is_there = folder.exists() or folder.is_symlink()
        if not is_there or not folder.is_relative_to(root) or ".." in folder.parts:
            continue
        deleted = artifact.state == "deleted"
        if artifact.id in stays.artifacts and not deleted:
            continue
        maker = store.executions.get(store.producers.get(artifact.id, 0))
        failed = artifact.state != "live" or maker is None or maker.state != "ran"
        reason = _ORPHAN if deleted else _FAILED if failed else _SUPERSEDED
        yield _item(reason, folder, artifact=artifact.id, node=folder.relative_to(root).parts[0])
    for folder in output_root.output_folders():
        execution = store.executions.get(int(folder.name)) if folder.name.isdecimal() else None
        # What a run is writing now is known only when its node ends.
        if folder.parts[-3:] in known or (execution and execution.is_open):
            continue
        failed = execution and execution.node == folder.parts[-3] and execution.state in (_FAILED, "interrupted")
        if unknown or failed:
            yield _item(_ORPHAN, folder, node=folder.parts[-3])


def _run_files(store: Store, output_root: OutputRoot, stays: Stays) -> Iterator[dict]:
    for run in store.runs():
        folder = output_root.run(run.id)
        if run.id in stays.runs or not folder.folder.is_dir():
            continue
        if LISTED in run.properties:
            yield _item(_SUPERSEDED, folder.folder)
        else:
            # An older version of this project kept in ML Metadata less than its summary says.
            yield from (_item(_SUPERSEDED, path) for path in (folder.log, folder.report) if path.is_file())


def _left_by_trainings(output_root: OutputRoot, stays: Stays) -> Iterator[dict]:
    for path in output_root.training_states():
        # A training that ends takes its state away, also while this looks.
        with contextlib.suppress(FileNotFoundError):
            if stays.since is not None and 1000 * path.stat().st_mtime < stays.since:
                yield _item(_ORPHAN, path)


def _item(reason: str, path: Path, *, artifact: int | None = None, node: str | None = None) -> dict:
    return {
        "reason": reason,
        "node": node,
        "artifact": f"a{artifact}" if artifact else None,
        "path": str(path),
        "kind": "file" if path.is_file() else "folder",
        "bytes": folder_size(path) or 0 if path.exists() else 0,
    }


def delete(output_root: OutputRoot, *, keep: int | None = None) -> dict:
    """Deletes what could go and returns it. Holds the lock of the output root meanwhile.

    Raises:
      InputError: a run goes on, or something cannot be deleted; the rest is.
    """
    with output_root.lock("Nothing was deleted; wait for its end."):
        return clear(output_root, keep=keep)


def clear(output_root: OutputRoot, *, keep: int | None = None, unknown: bool = True) -> dict:
    """As `delete`, for a caller that holds the lock; arguments as those of `find`."""
    store = Store(output_root.metadata)
    plan = find(store, output_root, keep=keep, unknown=unknown)
    # Marked first: after a kill in between, the cache takes nothing that is half deleted, and the rest goes next time.
    _mark_deleted(output_root, [int(item["artifact"][1:]) for item in plan["items"] if item["artifact"]])
    problems = []
    for item in plan["items"]:
        path = Path(item["path"])
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            problems.append(f"{path}: cannot be deleted ({error.strerror})")
    output_root.remove_dead_links()
    if problems:
        more = f", nor can {len(problems) - 1} more" if problems[1:] else ""
        raise InputError(f"{problems[0]}{more}. Mend the permissions and repeat.")
    return plan


def _mark_deleted(output_root: OutputRoot, numbers: list[int]) -> None:
    if not numbers:
        return
    # A third of a second, for the one command that writes this way.
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.metadata.library import connection_to

    writable = metadata_store.MetadataStore(connection_to(output_root, make=False))
    artifacts = writable.get_artifacts_by_id(numbers)
    for artifact in artifacts:
        artifact.state = metadata_store_pb2.Artifact.DELETED
    writable.put_artifacts(artifacts)


def summed(plan: dict) -> str:
    """Returns how many folders and files a plan names, and how many bytes: "12 folders and 1 file, 3.5 MiB"."""
    files = sum(item["kind"] == "file" for item in plan["items"])
    counts = [(len(plan["items"]) - files, "folder"), (files, "file")]
    told = " and ".join(f"{count} {noun}{'s' * (count > 1)}" for count, noun in counts if count)
    return f"{told}, {size(plan['bytes'])}"


def render(plan: dict, *, deleted: bool) -> str:
    """Returns the table, the largest first, and the sum."""
    items = sorted(plan["items"], key=lambda item: -item["bytes"])
    if not items:
        return "nothing could go"
    rows = [[item["reason"], item["node"], item["artifact"], size(item["bytes"]), item["path"]] for item in items]
    told = "deleted" if deleted else "could go; --delete deletes it"
    return table(["reason", "node", "artifact", "size", "path"], rows, right=("size",)) + f"\n{summed(plan)} {told}"
