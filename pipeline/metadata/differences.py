"""`diff`: two runs side by side: settings, data, code, revision, packages, machine, metrics."""

from pipeline.metadata import runs
from pipeline.metadata.store import Run
from pipeline.metadata.text import flatten, shorten, show, table

_ASPECTS = ("settings", "data", "git", "packages", "machine", "variables", "command")


def compare(first: Run, second: Run, *, everything: bool = False) -> list[dict]:
    """Returns a row for each value that differs: aspect, name, and the value in both runs, None where it has none.

    Args:
      first, second: the runs, with all of their properties.
      everything: also the values that are equal.
    """
    sides = [describe(run) for run in (first, second)]
    rows = []
    for aspect in sides[0]:
        for name in sorted(sides[0][aspect].keys() | sides[1][aspect].keys()):
            values = [side[aspect].get(name) for side in sides]
            if everything or values[0] != values[1]:
                rows.append({"aspect": aspect, "name": name, "first": values[0], "second": values[1]})
    return rows


def describe(run: Run) -> dict[str, dict[str, object]]:
    """Returns the values of a run by aspect and dotted name."""
    found = {aspect: flatten(run.properties.get(aspect) or {}) for aspect in _ASPECTS}
    found["command"] = {"line": " ".join(run.properties.get("command", []))}
    found["code"] = run.properties.get("code", {}).get("modules", {})
    line = runs.describe(run)
    found["result"] = {name: line[name] for name in ("state", "seconds", "blessed", "pushed")}
    found["metrics"] = metrics(run)
    return found


def metrics(run: Run) -> dict[str, object]:
    """Returns the metrics of a run and how its training went, by dotted name; those of its slices are left out."""
    measured, training = run.record.get("metrics") or {}, run.record.get("training") or {}
    plain = {name: value for name, value in measured.items() if name not in ("confusion_matrix", "slices")}
    trained = {f"training.{name}": value for name, value in training.items() if name != "history"}
    return flatten(plain) | trained


def render(rows: list[dict], first: Run, second: Run) -> str:
    """Returns the table; values of the code are digests, of which the beginning is enough."""
    if not rows:
        return f"{first.id} and {second.id}: no difference"

    def value(row: dict, side: str) -> str:
        return show(row[side])[:12] if row["aspect"] == "code" else shorten(row[side], 60)

    cells = [[row["aspect"], row["name"], value(row, "first"), value(row, "second")] for row in rows]
    return table(["", "", first.id, second.id], cells)
