"""Reads the database of ML Metadata of an output root, also while a run writes to it.

Whatever it is asked, it knows the runs of that output root alone, also where several share a database.

Plain SQL in sqlite's read-only mode, or on an excerpt of a shared database: neither TensorFlow nor the library of ML
Metadata is needed, one query answers what the library needs a call an execution for, and nothing can be changed by
mistake (docs/LOG.md has the figures). Each query takes its rows at once, so that a running pipeline never waits for a
reader.

Synopsis:

    store = Store(Path("output/metadata.db"))
    store.find_run("latest").properties["test_accuracy"]
"""

import base64
import contextlib
import dataclasses
import functools
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from components.errors import InputError
from pipeline.metadata.connection import connect, is_locked, is_shut, locked, shut
from pipeline.metadata.shared import SCHEMA_VERSION
from pipeline.output_root import OutputRoot

# Of metadata_store.proto: states of executions and artifacts, types of events.
EXECUTION_STATES = {1: "new", 2: "running", 3: "ran", 4: "failed", 5: "cached", 6: "interrupted"}
ARTIFACT_STATES = {1: "pending", 2: "live", 3: "marked for deletion", 4: "deleted", 5: "abandoned"}
_STRUCT = "mlmd-struct::"
T = TypeVar("T")
_INPUTS, _OUTPUTS = (2, 3, 5), (1, 4, 6)
PROVENANCE = ("settings", "origins", "data", "floors", "code", "git", "packages", "machine", "variables", "command")
_JSON_PROPERTIES = (*PROVENANCE, "failure", "span", "window", "listed", "summary", "tags")
_RUNS = (
    "SELECT c.id, c.name, c.create_time_since_epoch FROM Context c JOIN Type t ON t.id = c.type_id "
    "WHERE t.name = 'pipeline_run'"
)
# Long, and of no use for a list of runs.
_BULKY = ("code", "packages", "origins", "summary")
# The same from run to run, and most of what a run keeps: a run that has what the one before it has says which run
# keeps it, {KEPT_BY: its id}.
SHARED = ("code", "packages")
KEPT_BY = "kept by"
# As components/latest_blessed.py names it, which imports TFX.
CANDIDATE = "candidate"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run.

    Attributes:
      number: of its context.
      id: its id.
      started: when it began, in milliseconds since 1970.
      properties: what was kept of it; {} for one that another runner of TFX's made.
    """

    number: int
    id: str
    started: int
    properties: dict

    @property
    def record(self) -> dict:
        """What the run told of itself, as summary.json has it; of a run that `Store.whole` or `find_run` returned."""
        kept = self.properties
        if "summary" not in kept:
            return {}
        # What a person said afterwards is in the properties alone.
        said = {"note": kept.get("note") or None, "tags": kept.get("tags") or []}
        return {**kept["summary"], **said, "provenance": {name: kept.get(name) for name in PROVENANCE}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution of a node; times are milliseconds since 1970, `run` is a run's id.

    `is_open` says that it goes on, or was killed and no run has settled it since.
    """

    id: int
    type: str
    state: str
    node: str
    pipeline: str
    run: str
    started: int
    ended: int
    is_open: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """One artifact."""

    id: int
    type: str
    uri: str
    state: str
    created: int


class Store:
    """A database of ML Metadata.

    Raises:
      InputError: there is none, it may not be read, it is damaged, or a newer version wrote it.
    """

    def __init__(self, path: Path, *, everybody: bool = False) -> None:
        """Opens the database of an output root.

        Args:
          path: `OutputRoot.metadata`.
          everybody: whether to read the runs of all output roots in a shared one.
        """
        self.path, self.everybody = path, everybody
        if not path.is_file():
            raise InputError(
                f"{path}: expected a database of ML Metadata, found none. Run the pipeline first, or name the folder "
                "of its output with --output-root."
            )
        # An excerpt is what there was before any later look at the lock; of others' nobody here can see it.
        root = OutputRoot.of_database(path)
        self._was_in_use = everybody or (path == root.metadata_elsewhere and root.is_in_use())
        self._connection = connect(path, everybody=everybody)
        found = self.rows("SELECT schema_version FROM MLMDEnv")
        if not found or found[0][0] > SCHEMA_VERSION:
            version = found[0][0] if found else "none"
            raise InputError(
                f"{path}: expected version {SCHEMA_VERSION} of the schema of ML Metadata or an older one, found "
                f"{version}. Use the version of this project that wrote it."
            )

    def rows(self, query: str, parameters: tuple = ()) -> list[tuple]:
        """Returns all rows of a query."""
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            if is_locked(error):
                raise locked(self.path) from None
            if is_shut(error):
                raise shut(self.path, error) from None
            raise InputError(
                f"{self.path}: expected a database of ML Metadata, found something else ({error}). Restore it from a "
                "copy, or name another folder with --output-root."
            ) from None

    def runs(self) -> list[Run]:
        """Returns all runs, the oldest first, without the most of their properties: what `_BULKY` names."""
        properties, in_use = self._while_looking(lambda: self._properties("Context", "pipeline_run", _BULKY))
        return [
            Run(number=number, id=name, started=created, properties=_settled(properties.get(number, {}), in_use))
            for number, name, created in self.rows(f"{_RUNS} ORDER BY c.id")
        ]

    def numbers(self) -> dict[str, int]:
        """Returns the number of each run by its id: they ascend, where a clock may be set back."""
        return {name: number for number, name, _ in self.rows(_RUNS)}

    def whole(self, run: Run) -> Run:
        """Returns a run with all of its properties; a run of before this record was kept has its summary.json."""
        root = OutputRoot.of_database(self.path)
        kept = _settled(*self._while_looking(lambda: self._properties_of_run(run.number)))
        if kept and "summary" not in kept:
            with contextlib.suppress(OSError, ValueError):
                kept["summary"] = json.loads(root.run(run.id).summary.read_text(encoding="utf-8"))
        return dataclasses.replace(run, properties=kept)

    def keepers(self, provenance: dict) -> dict[str, str]:
        """Returns, for what is `SHARED` of a provenance, the id of the run that keeps it, if the latest run has it."""
        latest = self.rows(f"{_RUNS} ORDER BY c.id DESC LIMIT 1")
        if not latest:
            return {}
        number, name, _ = latest[0]
        kept, keepers = self._properties_of_run(number), self.keepers_of(number)
        return {key: keepers.get(key, name) for key in SHARED if key in kept and kept[key] == provenance.get(key)}

    def keepers_of(self, number: int) -> dict[str, str]:
        """Returns, for what is `SHARED` of the provenance of a run's context, the id of the other run that keeps it."""
        return _keepers(self.properties("Context", number))

    def _properties_of_run(self, number: int) -> dict:
        found = self.properties("Context", number)
        for key, keeper in _keepers(found).items():
            ((keeping, _, _),) = self.rows(f"{_RUNS} AND c.name = ?", (keeper,))
            found[key] = self.properties("Context", keeping)[key]
        return found

    def _while_looking(self, read: Callable[[], T]) -> tuple[T, bool]:
        """Returns what was read, and whether a run went on before or behind it.

        One that begins or ends in between must not be told as killed.
        """
        root = OutputRoot.of_database(self.path)
        before = self._was_in_use or root.is_in_use()
        found = read()
        return found, before or root.is_in_use()

    def find_run(self, text: str) -> Run:
        """Returns the run that "latest", an id, the beginning of one or a tag names, with all of its properties.

        Raises:
          InputError: there is none, or more than one.
        """
        runs = self.runs()
        if not runs:
            raise InputError(f"{self.path}: expected runs, found none. Run the pipeline first.")
        if text == "latest":
            return self.whole(runs[-1])
        found = [run for run in runs if run.id == text] or [run for run in runs if run.id.startswith(text)]
        tagged = [run for run in runs if text in run.properties.get("tags", ())] if not found else []
        if len(found or tagged) == 1:
            return self.whole((found or tagged)[0])
        if tagged:
            raise InputError(
                f"tag {text}: expected one run that has it, found {len(tagged)} ({tagged[0].id} to {tagged[-1].id}). "
                f"Name one by its id; 'runs --tag {text}' lists them."
            )
        if found:
            raise InputError(
                f"run {text}: expected the beginning of one run's id, found {len(found)} ({found[0].id} to "
                f"{found[-1].id}). Give more of it."
            )
        raise InputError(f"run {text}: expected a run of {self.path}, found none. 'runs' lists them.")

    def properties(self, table: str, number: int) -> dict:
        """Returns the properties of one row of "Artifact", "Execution" or "Context"."""
        rows = self.rows(f"{_select_values(table)} WHERE {table.lower()}_id = ?", (number,))
        return {name: _value(name, values) for _, name, *values in rows}

    def property_of_all(self, table: str, name: str) -> dict[int, object]:
        """Returns one property of all rows that have it, by their id."""
        rows = self.rows(f"{_select_values(table)} WHERE name = ?", (name,))
        return {number: _value(name, values) for number, _, *values in rows}

    def _properties(self, table: str, kind: str, left_out: tuple[str, ...]) -> dict[int, dict]:
        marks = ", ".join("?" * len(left_out))
        found: dict[int, dict] = defaultdict(dict)
        for number, name, *values in self.rows(
            f"{_select_values(table)} WHERE {table.lower()}_id IN (SELECT r.id FROM {table} r JOIN Type t "
            f"ON t.id = r.type_id WHERE t.name = ?) AND name NOT IN ({marks})",
            (kind, *left_out),
        ):
            found[number][name] = _value(name, values)
        return found

    @functools.cached_property
    def artifacts(self) -> dict[int, Artifact]:
        """All artifacts by id, each where it lies by now."""
        return {
            number: Artifact(
                id=number,
                type=kind,
                uri=self.moved.get(number, uri or ""),
                state=ARTIFACT_STATES.get(state, "unknown"),
                created=created,
            )
            for number, kind, uri, state, created in self.rows(
                "SELECT a.id, t.name, a.uri, a.state, a.create_time_since_epoch FROM Artifact a "
                "JOIN Type t ON t.id = a.type_id ORDER BY a.id"
            )
        }

    @functools.cached_property
    def moved(self) -> dict[int, str]:
        """Where the artifacts lie by now that lay elsewhere when they were made, by id; see `OutputRoot.moved`."""
        return OutputRoot.of_database(self.path).moved(self.rows("SELECT id, uri FROM Artifact WHERE uri IS NOT NULL"))

    @functools.cached_property
    def executions(self) -> dict[int, Execution]:
        """All executions by id; what a killed run left open is "interrupted"."""
        rows, in_use = self._while_looking(
            lambda: self.rows(
                "SELECT e.id, t.name, e.last_known_state, e.create_time_since_epoch, e.last_update_time_since_epoch "
                "FROM Execution e JOIN Type t ON t.id = e.type_id ORDER BY e.id"
            )
        )
        states = EXECUTION_STATES if in_use else {**EXECUTION_STATES, 1: "interrupted", 2: "interrupted"}
        contexts: dict[int, dict[str, str]] = defaultdict(dict)
        for execution, kind, name in self.rows(
            "SELECT s.execution_id, t.name, c.name FROM Association s JOIN Context c ON c.id = s.context_id "
            "JOIN Type t ON t.id = c.type_id WHERE t.name IN ('node', 'pipeline_run')"
        ):
            contexts[execution][kind] = name
        return {
            number: Execution(
                id=number,
                type=kind,
                state=states.get(state, "unknown"),
                node=contexts[number].get("node", "?").rsplit(".", 1)[-1],
                pipeline=contexts[number].get("node", "?").rsplit(".", 1)[0],
                run=contexts[number].get("pipeline_run", "?"),
                started=created,
                ended=updated,
                is_open=state in (1, 2),
            )
            for number, kind, state, created, updated in rows
        }

    @functools.cached_property
    def _events(self) -> tuple[dict[int, list], dict[int, list]]:
        inputs: dict[int, list] = defaultdict(list)
        outputs: dict[int, list] = defaultdict(list)
        for execution, artifact, kind, key in self.rows(
            "SELECT e.execution_id, e.artifact_id, e.type, p.step_key FROM Event e "
            "LEFT JOIN EventPath p ON p.event_id = e.id AND p.is_index_step = 0 ORDER BY e.id"
        ):
            if kind in _INPUTS:
                inputs[execution].append((key or "", artifact))
            elif kind in _OUTPUTS:
                outputs[execution].append((key or "", artifact))
        return inputs, outputs

    @property
    def inputs(self) -> dict[int, list[tuple[str, int]]]:
        """(key, artifact) of the inputs of each execution."""
        return self._events[0]

    @property
    def outputs(self) -> dict[int, list[tuple[str, int]]]:
        """(key, artifact) of what each execution made, took from the cache, or, for a resolver, chose."""
        return self._events[1]

    def chosen(self, execution: int) -> list[tuple[str, int]]:
        """Returns (key, artifact) of what a resolver chose; what it chose for it hands on as well."""
        return [(key, number) for key, number in self.outputs.get(execution, ()) if key != CANDIDATE]

    @functools.cached_property
    def producers(self) -> dict[int, int]:
        """The execution that made each artifact."""
        found: dict[int, int] = {}
        for number, execution in self.executions.items():
            if execution.state != "cached" and not is_resolver(execution):
                for _, artifact in self.outputs.get(number, ()):
                    found.setdefault(artifact, number)
        return found

    @functools.cached_property
    def consumers(self) -> dict[int, list[int]]:
        """The executions that read each artifact; what came from the cache read nothing."""
        found: dict[int, list[int]] = defaultdict(list)
        for execution, inputs in self.inputs.items():
            if self.executions[execution].state != "cached":
                for _, artifact in inputs:
                    found[artifact].append(execution)
        return found

    def executions_of(self, run: Run) -> list[Execution]:
        """Returns the executions of a run, in the order in which they began."""
        return [execution for execution in self.executions.values() if execution.run == run.id]


def _keepers(properties: dict) -> dict[str, str]:
    return {key: properties[key][KEPT_BY] for key in SHARED if KEPT_BY in properties.get(key, {})}


def _settled(properties: dict, in_use: bool) -> dict:
    """Tells a run that is not over as interrupted where nobody has the lock: it was killed."""
    if properties.get("state") != "running" or in_use:
        return properties
    summary = {"summary": {**properties["summary"], "state": "interrupted"}} if "summary" in properties else {}
    return {**properties, "state": "interrupted", **summary}


def state_told(execution: Execution, run: Run) -> str:
    """Returns the state of an execution as its run told it: what was left out is "skipped", though TFX calls it cached.

    Args:
      execution: of a node.
      run: with all of its properties.
    """
    told = {node["id"]: node["state"] for node in run.record.get("nodes", ())}.get(execution.node)
    return told if execution.state in ("ran", "cached") and told in ("ran", "cached", "skipped") else execution.state


def is_resolver(execution: Execution) -> bool:
    """Whether an execution chose among artifacts and made none."""
    return execution.type.rsplit(".", 1)[-1] == "Resolver"


def _select_values(table: str) -> str:
    return (
        f"SELECT {table.lower()}_id, name, int_value, double_value, string_value, bool_value, proto_value "
        f"FROM {table}Property"
    )


def _value(name: str, values: list) -> object:
    value = next((value for value in values if value is not None), None)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and value.startswith(_STRUCT):
        # How TFX keeps a property that is a structure; few answers meet one.
        from google.protobuf import json_format, struct_pb2

        return json_format.MessageToDict(struct_pb2.Struct.FromString(base64.b64decode(value[len(_STRUCT) :] + "==")))
    if name in _JSON_PROPERTIES and isinstance(value, str):
        return json.loads(value)
    return value
