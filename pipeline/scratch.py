"""The temporary folder of a process: everything that it, its libraries and its children leave there goes with it.

TensorFlow's AutoGraph, Beam and the LiteRT converter write into the temporary folder and delete it only where all ends
well. Within the block that folder is one of this process's own. What a killed process left is deleted by the next that
looks for a place there: a folder whose lock is free belongs to nobody.

Synopsis:

    with scratch(Path("output")) as folder:       # output/.image-pipeline-<random>
        tempfile.gettempdir() == str(folder)      # True
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError
from models.host import take_lock
from models.plain_paths import MAGIC, is_plain

_PREFIX = ".image-pipeline-"


@contextlib.contextmanager
def scratch(*parents: Path) -> Iterator[Path]:
    """Gives an empty folder, the temporary one of this process and its children while the block lasts.

    Args:
      parents: existing folders to make it in; the first that can be written and is no pattern (`models.plain_paths`) is
        taken, behind them the system's temporary folder.

    Raises:
      InputError: none of them can be used.
    """
    folder, lock = _make(parents)
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make(parents: tuple[Path, ...]) -> tuple[Path, int]:
    """Makes the folder, and returns it with the descriptor that holds its lock."""
    reasons = []
    for parent in _places(parents):
        if not is_plain(parent):
            reasons.append(f"{parent}: has one of {MAGIC} in its name")
            continue
        _sweep(parent)
        try:
            while True:
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent.absolute()))
                lock = os.open(folder, os.O_RDONLY)
                # Without locks on the file system nobody takes it for abandoned.
                with contextlib.suppress(OSError):
                    take_lock(lock, wait=True)
                if folder.is_dir():
                    return folder, lock
                # Another process swept it before it was locked.
                os.close(lock)
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
    raise InputError(
        f"temporary files: expected a folder to write them to, found none ({'; '.join(dict.fromkeys(reasons))}). Name "
        "one with TMPDIR."
    )


def _places(parents: tuple[Path, ...]) -> Iterator[Path]:
    yield from parents
    # Python looks for one in which it can write a file.
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())
    yield Path("/tmp")


def _sweep(parent: Path) -> None:
    """Deletes what processes that are no more left in a folder."""
    with contextlib.suppress(OSError):
        for folder in [path for path in parent.iterdir() if path.name.startswith(_PREFIX)]:
            _delete_if_abandoned(folder)


def _delete_if_abandoned(folder: Path) -> None:
    # One that is another user's, or in use, or gone this moment, is not ours to delete.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        try:
            if take_lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
