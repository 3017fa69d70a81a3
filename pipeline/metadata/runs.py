"""`runs`: a line for each run, from what it kept of itself; those that one asks for, sorted, also as CSV.

Synopsis:

    store = Store(Path("output/metadata.db"))
    found = list_runs(store, since=moment("7d"))
    best = select(found, states=["done"], sort="accuracy", limit=3)
    render(best)
"""

import csv
import datetime
import io
import re
from collections.abc import Sequence
from pathlib import Path

from components.errors import InputError
from models.files import write_text
from pipeline.metadata.served import Standings
from pipeline.metadata.store import Run, Store
from pipeline.metadata.text import duration, shorten, table, when
from pipeline.output_root import OutputRoot, writing

# What a run can be sorted by, of what the table shows; of these the largest or latest comes first, of the others A.
_DOWN = ("started", "accuracy", "seconds", "blessed", "trials", "best_trial", "id")
KEYS = (*_DOWN, "seed", "name", "preset", "state", "pushed", "standing", "note")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NOTE_WIDTH = 40


def list_runs(store: Store, since: datetime.datetime | None = None) -> list[dict]:
    """Returns, for each run, or each that began since, and the latest first, what the table shows."""
    found = store.runs()
    first = 0.0 if since is None else 1000 * since.timestamp()
    asked = [run for run in reversed(found) if run.started >= first]
    if store.everybody:
        # Where models of others stand, their serving folders say, which may be on another machine.
        return [describe(run) | {"standing": None, "root": _root(run)} for run in asked]
    standings = Standings(OutputRoot.of_database(store.path)).of(found)
    return [describe(run) | {"standing": standings.get(run.id)} for run in asked]


def _root(run: Run) -> str | None:
    return (run.properties.get("settings") or {}).get("output_root")


def moment(text: str, now: datetime.datetime | None = None) -> datetime.datetime:
    """Returns the time that a day or a time (2026-11-20, 2026-11-20T14:00), or how long ago it was (7d), names.

    Raises:
      InputError: it names none.
    """
    ago = re.fullmatch(r"(\d+)([mhdw])", text, re.ASCII)
    try:
        if ago is None:
            named = datetime.datetime.fromisoformat(text)
            # Of a day that the clock of this machine knows.
            named.timestamp()
            return named
        return (now or datetime.datetime.now()) - datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    except (ValueError, OverflowError):
        raise InputError(
            f"--since {text}: expected a day or a time (2026-11-20, 2026-11-20T14:00), or how long ago (30m, 12h, 7d, "
            "2w)."
        ) from None


def select(
    found: list[dict],
    *,
    states: Sequence[str] | None = None,
    tags: Sequence[str] = (),
    data: str | None = None,
    sort: str = "started",
    limit: int | None = None,
) -> list[dict]:
    """Returns those of the runs that `list_runs` gave which have one of the states, all of the tags and the data set.

    They are sorted by one of `KEYS`; those that have no such value come last. By `started` they are as they were given,
    the latest first: what a clock said may have been set back since.

    Raises:
      InputError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit: expected 1 or more runs, found {limit}.")
    chosen = [
        run
        for run in found
        if (not states or run["state"] in states)
        and set(tags) <= {*run["tags"]}
        and (data is None or run["name"] == data)
    ]
    known = [run for run in chosen if run[sort] is not None]
    if sort != "started":
        known.sort(key=lambda run: run[sort], reverse=sort in _DOWN)
    return [*known, *(run for run in chosen if run[sort] is None)][:limit]


def describe(run: Run) -> dict:
    """Returns what the table has a column for; of a search the number of trials and the best one's accuracy on val."""
    kept = run.properties
    blessed = kept.get("blessed")
    return {
        "id": run.id,
        "started": when(run.started),
        "name": kept.get("name"),
        "preset": kept.get("preset"),
        "seed": kept.get("seed"),
        "state": kept.get("state"),
        "seconds": kept.get("wall_seconds"),
        "accuracy": kept.get("test_accuracy"),
        "blessed": None if blessed is None else bool(blessed),
        "pushed": kept.get("pushed_model", "").rsplit("/", 1)[-1] or None,
        "trials": kept.get("trials"),
        "best_trial": kept.get("best_trial"),
        "note": kept.get("note") or None,
        "tags": kept.get("tags") or [],
    }


def write_csv(runs: list[dict], place: str) -> str:
    """Writes a line for each run, and returns what to print: how many, or, where the place is "-", all of it.

    Raises:
      InputError: the file cannot be written.
    """
    stream = io.StringIO()
    columns = [*(runs[0] if runs else describe(Run(number=0, id="", started=0, properties={}))), "standing"]
    writer = csv.DictWriter(stream, dict.fromkeys(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in run.items()} for run in runs)
    if place == "-":
        return stream.getvalue().rstrip("\n")
    path = Path(place)
    with writing(f"--csv {place}", "Name another file."):
        # A pipe, a device or what a link leads to is written to, not replaced by a file.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(stream.getvalue(), encoding="utf-8")
        else:
            write_text(path, stream.getvalue())
    return f"{len(runs)} run{'s' * (len(runs) != 1)} in {place}"


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(value) if isinstance(value, list) else value


def render(runs: list[dict], *, asked: bool = False) -> str:
    """Returns the table; `asked` says that some runs may have been left out."""
    if not runs:
        return "no such run; 'runs' alone lists all" if asked else "no runs yet"
    rows = [
        [
            *(run[name] for name in ("id", "started", "name", "preset", "seed", "state")),
            duration(run["seconds"]),
            None if run["accuracy"] is None else f"{run['accuracy']:.4f}",
            run["blessed"],
            run["pushed"],
            run["standing"],
        ]
        for run in runs
    ]
    header = ["run", "started", "data", "preset", "seed", "state", "time", "accuracy", "blessed", "pushed", "standing"]
    columns = {
        "root": lambda run: run.get("root"),
        "search": lambda run: run["trials"] and f"best of {run['trials']}: {run['best_trial']:.4f} of val",
        "tags": lambda run: " ".join(run["tags"]) or None,
        "note": lambda run: run["note"] and shorten(run["note"], _NOTE_WIDTH),
    }
    # Where nobody searched or said anything there is no such column.
    for name, cell in columns.items():
        cells = [cell(run) for run in runs]
        if any(cells):
            header.append(name)
            for row, value in zip(rows, cells, strict=True):
                row.append(value)
    return table(header, rows, right=("seed", "time", "accuracy"))
