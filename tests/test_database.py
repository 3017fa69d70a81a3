"""The database of ML Metadata before a run: held by others, of another version, or none at all."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from ml_metadata import errors

from components.errors import BusyError, InputError
from pipeline.metadata.library import connection_to
from pipeline.output_root import OutputRoot
from pipeline.run.database import check_database, told_in_a_line


@pytest.fixture
def connection(tmp_path):
    """To a database that ML Metadata has just made."""
    connection = connection_to(OutputRoot(tmp_path))
    check_database(connection)
    return connection


def hold(connection) -> sqlite3.Connection:
    other = sqlite3.connect(connection.sqlite.filename_uri, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    return other


def test_database_that_another_program_has_locked_is_waited_for(connection):
    told, other = [], hold(connection)
    timer = threading.Timer(0.3, other.rollback)
    timer.start()
    check_database(connection, told.append, patience=20)
    timer.join()
    other.close()
    # Where the machine is fast, it was not even told.
    assert len(told) <= 1


def test_one_that_stays_locked_is_told_as_that_and_not_as_something_to_move_away(connection):
    told = []
    with contextlib.closing(hold(connection)), pytest.raises(BusyError) as raised:
        check_database(connection, told.append, patience=0.1)
    path = connection.sqlite.filename_uri
    assert str(raised.value) == (
        f"{path}: another program has it locked. Close what has it open, such as a database browser or a backup, and "
        "try again."
    )
    assert raised.value.exit_status == 75


def test_waiting_is_said_once(connection, monkeypatch):
    monkeypatch.setattr("pipeline.run.database._AT_A_TIME_SECONDS", 0.05)
    told = []
    with contextlib.closing(hold(connection)), pytest.raises(BusyError):
        check_database(connection, told.append, patience=0.6)
    assert told == [f"{connection.sqlite.filename_uri}: another program has it locked; waiting up to 1 s"]


@pytest.mark.parametrize(("version", "told"), [(9, "an older one, 9"), (11, "a newer one, 11")])
def test_database_of_another_version_is_told_as_that(connection, version, told):
    path = connection.sqlite.filename_uri
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE MLMDEnv SET schema_version = ?", (version,))
        database.commit()
    with pytest.raises(InputError) as raised:
        check_database(connection)
    assert str(raised.value) == (
        f"{path}: expected version 10 of the schema of ML Metadata, found {told}. Use the version of this project that "
        "wrote it, or choose another --output-root."
    )


@pytest.mark.parametrize("content", [b"precious" * 1000, b"SQLite format 3\0" + b"x" * 5000])
def test_file_that_is_no_database_is_told_and_left(tmp_path, content):
    connection = connection_to(OutputRoot(tmp_path))
    Path(connection.sqlite.filename_uri).write_bytes(content)
    with pytest.raises(InputError, match="expected a database of ML Metadata, found something else"):
        check_database(connection)
    assert Path(connection.sqlite.filename_uri).read_bytes() == content


def test_database_that_may_not_be_read_is_told_as_that_and_not_as_something_to_move_away(connection, monkeypatch):
    """Patched, because root may read everything."""
    path, connect = connection.sqlite.filename_uri, sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: connect("/nowhere/metadata.db", **options))
    with pytest.raises(InputError) as raised:
        check_database(connection)
    told = f"{path}: cannot be read (unable to open database file). Mend its permissions, and run again."
    assert str(raised.value) == told


def test_empty_file_becomes_a_database(tmp_path):
    connection = connection_to(OutputRoot(tmp_path))
    Path(connection.sqlite.filename_uri).touch()
    check_database(connection)
    assert Path(connection.sqlite.filename_uri).stat().st_size > 0


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (errors.AbortedError("database is locked"), BusyError, "another program has it locked"),
        (errors.InternalError("disk I/O error"), InputError, "the run could not be recorded (disk I/O error)"),
    ],
)
def test_failure_within_a_run_is_a_line(tmp_path, error, kind, told):
    with pytest.raises(kind) as raised, told_in_a_line(connection_to(OutputRoot(tmp_path))):
        raise error
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
