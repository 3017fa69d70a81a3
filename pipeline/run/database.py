"""Whether the database of ML Metadata of an output root is one, and what is told of it when it fails.

ML Metadata on sqlite has one writer; the lock of the output root sees to that, as far as this project goes. Other
programs may lock the file itself: for them a run waits some seconds at its start. A shared database has writers as many
as it has output roots.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from components.errors import BusyError, InputError, first_line
from pipeline.metadata.connection import is_locked, is_shut, locked, shut
from pipeline.metadata.shared import SCHEMA_VERSION, SharedDatabase

_PATIENCE_SECONDS = 10.0
_AT_A_TIME_SECONDS = 1.0


def check_database(
    connection: metadata_store_pb2.ConnectionConfig,
    tell: Callable[[str], None] = lambda line: None,
    patience: float = _PATIENCE_SECONDS,
) -> None:
    """Opens the database once; it is made where there is none, and what a kill left half written is taken back.

    Args:
      connection: how it is reached.
      tell: is told once when it has to be waited for.
      patience: how long, in seconds.

    Raises:
      BusyError: another program has it locked for longer than that, or it cannot be reached.
      InputError: it is no database of ML Metadata, or of another version of it, or may not be read.
    """
    if connection.HasField("mysql"):
        _shared(connection).check()
        return
    path = Path(connection.sqlite.filename_uri)
    if path.exists():
        _check_file(path, tell, patience)
    try:
        with metadata.Metadata(connection):
            pass
    except RuntimeError as error:
        raise _no_database(path, first_line(error)) from error


@contextlib.contextmanager
def told_in_a_line(connection: metadata_store_pb2.ConnectionConfig) -> Iterator[None]:
    """Has what ML Metadata fails with within the block told as what it is to a user.

    Raises:
      BusyError: another program had the database locked, or it is gone.
      InputError: it cannot be written.
    """
    try:
        yield
    except (errors.StatusError, RuntimeError) as error:
        # TFX tells a connection that it could not open by its text alone.
        if not isinstance(error, errors.StatusError) and "connection to Metadata storage" not in str(error):
            raise
        # In the run's log, in case it is none of these.
        logging.exception("ML Metadata failed")
        reason = first_line(error)
        if connection.HasField("mysql"):
            raise BusyError(
                f"{_shared(connection)}: the run could not be recorded ({reason}). See that the server runs, and try "
                "again: what was finished comes from the cache."
            ) from error
        path = connection.sqlite.filename_uri
        if "locked" in str(error) or isinstance(error, errors.AbortedError):
            raise locked(Path(path)) from error
        raise InputError(
            f"{path}: the run could not be recorded ({reason}). Free some space or mend its permissions, and run again."
        ) from error


def _shared(connection: metadata_store_pb2.ConnectionConfig) -> SharedDatabase:
    found = connection.mysql
    return SharedDatabase(user=found.user, host=found.host, port=found.port, name=found.database)


def _check_file(path: Path, tell: Callable[[str], None], patience: float) -> None:
    deadline, waited = time.monotonic() + patience, False
    while True:
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=min(patience, _AT_A_TIME_SECONDS))) as database:
                database.execute("BEGIN IMMEDIATE").connection.rollback()
                found = database.execute("SELECT schema_version FROM MLMDEnv").fetchall()
            break
        except sqlite3.Error as error:
            if is_shut(error):
                raise shut(path, error) from None
            if not is_locked(error):
                # A new file, or one of the very first versions, which ML Metadata knows how to take.
                if "no such table" in str(error) and not _tables(path):
                    return
                raise _no_database(path, str(error)) from None
        if time.monotonic() > deadline:
            raise locked(path)
        if not waited:
            tell(f"{path}: another program has it locked; waiting up to {patience:.0f} s")
            waited = True
    if found and found[0][0] != SCHEMA_VERSION:
        older = "an older" if found[0][0] < SCHEMA_VERSION else "a newer"
        raise InputError(
            f"{path}: expected version {SCHEMA_VERSION} of the schema of ML Metadata, found {older} one, "
            f"{found[0][0]}. Use the version of this project that wrote it, or choose another --output-root."
        )


def _tables(path: Path) -> list:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT name FROM sqlite_master").fetchall()


def _no_database(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: expected a database of ML Metadata, found something else ({found}). Move it away, or choose another "
        "--output-root."
    )
