"""The folder that a model server watches: one numbered folder a version, the highest number is served.

A version appears under its number in one rename and is complete by then; what is not complete has a name that begins
with a dot, which model servers pass over. A rollback publishes an earlier version again, as a link under the next
number: nothing is copied, and nothing disappears under a server that is just loading it.

Synopsis:

    version = publish(model, base, keep=5)      # base/1795464417/saved_model.pb
    rollback(base)                              # base/1795464502 -> 1795460011, the version before
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError

_LOCK, _PARTIAL = ".lock", ".partial-"


def versions(base: Path) -> dict[int, int]:
    """Returns the versions that a model server sees, oldest first, each with the one whose files it shows.

    A published version shows its own files, a rollback those of an earlier one.
    """
    if not base.is_dir():
        return {}
    numbers = sorted(int(path.name) for path in base.iterdir() if path.name.isdecimal() and path.is_dir())
    return {number: int((base / str(number)).resolve().name) for number in numbers}


def publish(model: Path, base: Path, *, keep: int) -> int:
    """Copies a model into the folder as its newest version and returns the number.

    Args:
      model: folder of a SavedModel.
      base: what the model server watches; made if need be.
      keep: how many models stay, this one included.
    """
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base):
        version = _next_version(base)
        partial = base / f"{_PARTIAL}{version}"
        shutil.copytree(model, partial)
        for path in (*partial.rglob("*"), partial):
            _flush(path)
        partial.rename(base / str(version))
        _flush(base)
        _prune(base, keep)
    return version


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
    shown = versions(base)
    found = ", ".join(map(str, sorted(set(shown.values())))) or "none"
    if not shown:
        raise InputError(f"{base}: expected served versions, found none. Run the pipeline first.")
    with _locked(base):
        served = list(shown.values())[-1]
        if version is None:
            earlier = [number for number in shown.values() if number < served]
            if not earlier:
                raise InputError(f"{base}: expected a version before {served}, which is served; found {found}.")
            version = max(earlier)
        if version not in shown:
            raise InputError(f"{base}: expected one of the versions {found}; version {version} is not there.")
        number = _next_version(base)
        partial = base / f"{_PARTIAL}{number}"
        partial.symlink_to(str(shown[version]))
        partial.rename(base / str(number))
        _flush(base)
    return served, shown[version], number


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
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flush(path: Path) -> None:
    """Has the disk hold a file or a folder before it is named, so that a power cut leaves no empty files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
