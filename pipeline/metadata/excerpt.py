"""What a shared database of ML Metadata holds of one output root, as a database of sqlite: with it all questions go on.

A run of another output root is in none of its tables, whoever asks what. All of it is one moment's, and numbers of
artifacts and executions are those of the shared database.

Synopsis:

    copy_own(own, target)      # own: membership(OutputRoot("output")); target: sqlite3.connect(":memory:")
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator

from pipeline.metadata.shared import Membership

# Also of those that go on; what belongs to no pipeline (keys of the cache) comes with its executions.
_OWN = (
    "SELECT c.id FROM Context c JOIN Type t ON t.id = c.type_id "
    "WHERE (t.name = 'pipeline' AND c.name LIKE %s) OR (t.name = 'pipeline_run' AND c.name LIKE %s)"
)
_AT_ONCE = 5_000
_BYTES = ("byte_value", "proto_value")


def copy_own(own: Membership, target: sqlite3.Connection, *, everybody: bool = False) -> None:
    """Fills a database of sqlite, an empty one or one that ML Metadata has just made.

    Args:
      own: the output root.
      target: the database.
      everybody: whether to copy what all output roots have.

    Raises:
      BusyError: the shared database cannot be reached now.
      InputError: it refuses that, or is none of ML Metadata.
    """
    import pymysql

    with contextlib.closing(own.database.connect()) as source:
        try:
            with source.cursor() as cursor:
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                _copy(_Source(cursor), own, target, everybody)
        except pymysql.Error as error:
            raise own.database.refusal(error) from None
    target.commit()


class _Source:
    """The shared database, within one transaction."""

    def __init__(self, cursor) -> None:
        self._cursor = cursor

    def numbers(self, query: str, numbers: Iterable[int] | None = None, *parameters: str) -> set[int]:
        """Returns the numbers that a query gives; where there are numbers, for all of them."""
        return {row[0] for rows in self._asked(query, numbers, parameters) for row in rows}

    def table(self, name: str, target: sqlite3.Connection, column: str = "", numbers: Iterable[int] | None = None):
        """Copies a table, or those of its rows whose column has one of some numbers."""
        condition = f" WHERE {column} IN (%s)" if numbers is not None else ""
        target.execute(f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(self._columns(name))})")
        target.execute(f"DELETE FROM {name}")
        for rows in self._asked(f"SELECT * FROM {name}{condition}", numbers, ()):
            names = [column[0] for column in self._cursor.description]
            marks = ", ".join("?" * len(names))
            as_bytes = [column in _BYTES for column in names]
            target.executemany(
                f"INSERT INTO {name} ({', '.join(names)}) VALUES ({marks})",
                ([_text(value, kept) for value, kept in zip(row, as_bytes, strict=True)] for row in rows),
            )

    def _columns(self, name: str) -> list[str]:
        self._cursor.execute(f"SELECT * FROM {name} LIMIT 0")
        # sqlite orders by the rows' own number where a column is called so, and joins by it without an index.
        names = [column[0] for column in self._cursor.description]
        return [f"{name} INTEGER PRIMARY KEY" if name == "id" else name for name in names]

    def _asked(self, query: str, numbers: Iterable[int] | None, parameters: tuple) -> Iterator[list[tuple]]:
        if numbers is None:
            self._cursor.execute(query, parameters)
            yield self._cursor.fetchall()
            return
        for some in _batched(numbers):
            self._cursor.execute(query % ", ".join(map(str, some)))
            yield self._cursor.fetchall()


def _copy(source: _Source, own: Membership, target: sqlite3.Connection, everybody: bool) -> None:
    ends = ("%", "%") if everybody else (f"%@{own.root}", f"%-{own.root}")
    contexts = source.numbers(_OWN, None, *ends)
    executions = source.numbers("SELECT execution_id FROM Association WHERE context_id IN (%s)", contexts)
    contexts |= source.numbers("SELECT context_id FROM Association WHERE execution_id IN (%s)", executions)
    events = source.numbers("SELECT id FROM Event WHERE execution_id IN (%s)", executions)
    artifacts = source.numbers("SELECT artifact_id FROM Event WHERE id IN (%s)", events)
    for name in ("MLMDEnv", "Type", "TypeProperty", "ParentType"):
        source.table(name, target)
    for name, column, numbers in (
        ("Context", "id", contexts),
        ("ContextProperty", "context_id", contexts),
        ("ParentContext", "context_id", contexts),
        ("Association", "execution_id", executions),
        ("Execution", "id", executions),
        ("ExecutionProperty", "execution_id", executions),
        ("Event", "id", events),
        ("EventPath", "event_id", events),
        ("Artifact", "id", artifacts),
        ("ArtifactProperty", "artifact_id", artifacts),
        ("Attribution", "artifact_id", artifacts),
    ):
        source.table(name, target, column, numbers)


def _batched(numbers: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(numbers)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _text(value: object, is_bytes: bool) -> object:
    return value.decode() if isinstance(value, bytes) and not is_bytes else value
