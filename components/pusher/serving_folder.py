"""The folder that a model server watches: one numbered folder a version, the highest number is served.

A version appears under its number in one rename and is complete by then; what is not complete has a name that begins
with a dot, which model servers pass over. A rollback publishes an earlier version again, as a link under the next
number: nothing is copied, and nothing disappears under a server that is just loading it. The link `served` leads to the
version with the highest number, for those who want a path that stays.

Synopsis:

    version = publish(saved_model, base, keep=5)      # base/1795464417/saved_model.pb
    rollback(base)                                    # base/1795464502 -> 1795460011, the version before
    versions(base)                                    # {..., 1795464417: 1795464417, 1795464502: 1795460011}
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError
from models.card import read_card
from models.host import flush, take_lock

SERVED = "served"
_LOCK, _PARTIAL = ".lock", ".partial-"
# A push that brings an earlier version back makes a link as a rollback does; it is told from one by how it is written.
_PUSHED_AGAIN = "./"


def versions(base: Path) -> dict[int, int]:
    """Returns the versions that a model server sees, oldest first, each with the one whose files it shows.

    A published version shows its own files, a rollback those of an earlier one.
    """
    if not base.is_dir():
        return {}
    numbers = sorted(int(path.name) for path in base.iterdir() if path.name.isdecimal() and path.is_dir())
    return {number: int((base / str(number)).resolve().name) for number in numbers}


def served_version(base: Path) -> int | None:
    """Returns the version that a model server serves, None where there is none."""
    return max(versions(base), default=None)


def rollbacks(base: Path) -> dict[int, int]:
    """Returns the versions that a rollback published, each with the one whose files it shows."""
    return {number: files for number, files in versions(base).items() if _is_rollback(base / str(number))}


def superseded(model: Path, base: Path) -> int | None:
    """Returns the version that was pushed after the files of `model`; None if they were the last, or never pushed.

    A rollback does not count: what a person took back is not to come again by itself.
    """
    shown = versions(base)
    pushed = [number for number in shown if not _is_rollback(base / str(number))]
    if not pushed:
        return None
    same = _versions_with(model, base)
    return pushed[-1] if same and shown[pushed[-1]] not in same else None


def publish(model: Path, base: Path, *, keep: int) -> int:
    """Has a model served and returns its version.

    It is copied into the folder as the newest version; if its very files are there, that version is served again.

    Args:
      model: folder of a SavedModel.
      base: what the model server watches; made if need be.
      keep: how many models stay, this one included.

    Raises:
      InputError: the folder cannot be written to or the disk is full; what is served is as it was.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        with _locked(base):
            shown = versions(base)
            same = _versions_with(model, base)
            if same and shown[max(shown)] in same:
                # A kill between the two leaves the link behind.
                _show_served(base)
                return max(shown)
            version = _next_version(base)
            if same:
                _link(base, version, f"{_PUSHED_AGAIN}{max(same)}")
            else:
                _copy(model, base, version)
            try:
                _show_served(base)
                _prune(base, keep)
            except OSError as error:
                # The model is served by now; what could not be done is done the next time.
                logging.getLogger("progress").warning("%s: old versions stay (%s)", base, error.strerror)
        return version
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{base}: the model cannot be published there ({reason}). Free some space or mend its permissions, and run "
            "again; what is served is as it was."
        ) from error


def check_replaces(card: dict, base: Path) -> None:
    """Refuses to publish a model over one that answers about other classes or images of another shape.

    Args:
      card: what the model says of itself, as `models.card.read_card` gives it.
      base: what the model server watches.

    Raises:
      InputError: that is so; nothing was published.
    """
    served = served_version(base)
    theirs = None if served is None else read_card(base / str(served))
    for name, told in (("image_shape", "images of shape"), ("class_names", "the classes")):
        if theirs and list(card[name]) != theirs[name]:
            raise InputError(
                f"{base}: version {served}, which is served there, answers about {told} "
                f"{', '.join(map(str, theirs[name]))}; this model about {', '.join(map(str, card[name]))}. Give the "
                "data set a name of its own with --name, or publish over it with --set replace_other_classes=true."
            )


def nothing_served(base: Path) -> InputError:
    """Returns what to say where no version is; a smoke run, for one, publishes beside it."""
    others = sorted(folder.name for folder in base.parent.glob("*") if folder.is_dir() and versions(folder))
    told = f"; there are {', '.join(others)}. Name one with --model." if others else ". Run the pipeline first."
    return InputError(f"{base}: expected served versions, found none{told}")


def rollback(base: Path, version: int | None = None) -> tuple[int, int, int]:
    """Serves an earlier version again.

    Args:
      base: what the model server watches.
      version: the one to serve; None for the one before what is served now.

    Returns:
      The version that was served, the one that is served now, and the number under which it is.

    Raises:
      InputError: there is no such version; nothing changed.
    """
    if not versions(base):
        raise nothing_served(base)
    try:
        with _locked(base):
            shown = versions(base)
            found = ", ".join(map(str, sorted(set(shown.values()))))
            served = list(shown.values())[-1]
            if version is None:
                pushed = _in_order_of_pushes(base)
                if pushed[0] == served:
                    raise InputError(f"{base}: expected a version before {served}, which is served; found {found}.")
                version = pushed[pushed.index(served) - 1]
            if version not in shown:
                raise InputError(f"{base}: expected one of the versions {found}; version {version} is not there.")
            number = _next_version(base)
            _link(base, number, str(shown[version]))
            _show_served(base)
    except OSError as error:
        raise InputError(
            f"{base}: cannot be written ({error.strerror}). Free some space or mend its permissions, and repeat."
        ) from error
    return served, shown[version], number


def _in_order_of_pushes(base: Path) -> list[int]:
    """Returns the versions with files of their own, what was pushed last at the end; a rollback changes no order."""
    order: list[int] = []
    for number, files in versions(base).items():
        if files not in order or not _is_rollback(base / str(number)):
            order = [*(other for other in order if other != files), files]
    return order


def _is_rollback(path: Path) -> bool:
    # Path.readlink would leave the mark out.
    return path.is_symlink() and not os.readlink(path).startswith(_PUSHED_AGAIN)  # noqa: PTH115


def _copy(model: Path, base: Path, version: int) -> None:
    partial = base / f"{_PARTIAL}{version}"
    try:
        shutil.copytree(model, partial)
        for path in (*partial.rglob("*"), partial):
            flush(path)
        partial.rename(base / str(version))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    flush(base)


def _link(base: Path, version: int | str, target: str) -> None:
    """Makes a link of that name in one step, in the place of one that is there."""
    partial = base / f"{_PARTIAL}{version}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(base / str(version))
    flush(base)


def _show_served(base: Path) -> None:
    _link(base, SERVED, str(served_version(base)))


def _versions_with(model: Path, base: Path) -> set[int]:
    """Returns the versions whose own files are those of `model`."""
    own, wanted = set(versions(base).values()), content_digest(model)
    return {number for number in own if content_digest(base / str(number)) == wanted}


def content_digest(folder: Path) -> str:
    """Returns the SHA-256 (hexadecimal) over names and contents of the files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _next_version(base: Path) -> int:
    """Returns a number above all others, and removes what an interrupted publication left; needs the lock."""
    for leftover in base.glob(f"{_PARTIAL}*"):
        _remove(leftover)
    # Two within a second still get two numbers.
    return max([int(time.time()), *(number + 1 for number in versions(base))])


def _prune(base: Path, keep: int) -> None:
    """Removes the models that were not served for longest, and the links to them, so that `keep` stay."""
    shown = versions(base)
    kept = list(dict.fromkeys(reversed(shown.values())))[:keep]
    for number, files in shown.items():
        if files not in kept:
            gone = base / f"{_PARTIAL}{number}"
            (base / str(number)).rename(gone)
            _remove(gone)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    """Keeps other writers out; readers need no lock."""
    with (base / _LOCK).open("w") as lock:
        take_lock(lock.fileno(), wait=True)
        yield
