"""How the database of ML Metadata is opened to be read, also while others write to it or were killed over it.

That is sqlite's; of a shared one (shared.py) it is what it held of the output root when it was opened.

Synopsis:

    connection = connect(Path("output/metadata.db"))
    connection.execute("SELECT schema_version FROM MLMDEnv").fetchall()      # [(10,)]
"""

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

from components.errors import BusyError, InputError
from pipeline.metadata.excerpt import copy_own
from pipeline.metadata.shared import membership
from pipeline.output_root import OutputRoot

_PATIENCE_SECONDS = 10.0


def connect(path: Path, *, everybody: bool = False) -> sqlite3.Connection:
    """Opens the database, in which nothing can be changed by this.

    Args:
      path: `OutputRoot.metadata`.
      everybody: whether to show what all output roots have in a shared one.

    Raises:
      InputError: a shared database cannot be used; as a BusyError, not now.
    """
    root = OutputRoot.of_database(path)
    own = membership(root) if path == root.metadata_elsewhere else None
    if own is None:
        return _connect_to_file(path)
    excerpt = sqlite3.connect(":memory:")
    copy_own(own, excerpt, everybody=everybody)
    return excerpt


def _connect_to_file(path: Path) -> sqlite3.Connection:
    """Opens a database of sqlite.

    What a killed writer left half written has to be taken back first, which sqlite does not in a database that may only
    be read: that happens in a copy, in memory, and the next run does it for good.

    Raises:
      InputError: the file may not be read.
    """
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_SECONDS)
    except sqlite3.OperationalError as error:
        raise shut(path, error) from None
    journal = path.with_name(f"{path.name}-journal")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY and journal.exists():
            connection.close()
            return _mended_copy(path, journal)
    except sqlite3.Error:
        # Whoever asks for rows is told.
        pass
    return connection


def _mended_copy(path: Path, journal: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    with tempfile.TemporaryDirectory() as folder:
        for source in (path, journal):
            shutil.copyfile(source, Path(folder, source.name))
        with contextlib.closing(sqlite3.connect(Path(folder, path.name))) as mended:
            mended.backup(connection)
    return connection


def is_locked(error: sqlite3.Error) -> bool:
    """Says whether another program has the database locked; the lowest byte of an extended result code tells."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_shut(error: sqlite3.Error) -> bool:
    """Says whether the file could not be opened; it may be a whole database all the same."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN


def shut(path: Path, error: sqlite3.Error) -> InputError:
    """Returns what to say then."""
    return InputError(f"{path}: cannot be read ({error}). Mend its permissions, and run again.")


def locked(path: Path) -> BusyError:
    """Returns what to say then."""
    return BusyError(
        f"{path}: another program has it locked. Close what has it open, such as a database browser or a backup, and "
        "try again."
    )
