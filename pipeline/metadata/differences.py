"""`diff`: two runs side by side: settings, data, code, revision, packages, machine, metrics."""

from pipeline.metadata import runs
from pipeline.metadata.changes import changes
from pipeline.metadata.store import Run
from pipeline.metadata.text import brief, flatten, shorten, show, table

_WIDTH = 60
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
        found = {name: (old, new) for name, old, new in changes(*(_by_lines(side[aspect]) for side in sides))}
        if everything:
            before, after = (flatten(side[aspect]) for side in sides)
            found |= {name: (value, value) for name, value in before.items() if after.get(name) == value != {}}
        for name, (old, new) in sorted(found.items()):
            rows.append({"aspect": aspect, "name": name, "first": old, "second": new})
    return rows


def describe(run: Run) -> dict[str, dict[str, object]]:
    """Returns the values of a run by aspect and name."""
    found = {aspect: run.properties.get(aspect) or {} for aspect in _ASPECTS}
    found["command"] = {"line": " ".join(run.properties.get("command", []))}
    found["code"] = run.properties.get("code", {}).get("modules", {})
    line = runs.describe(run)
    found["said"] = {name: line[name] or None for name in ("note", "tags")}
    found["result"] = {name: line[name] for name in ("state", "seconds", "blessed", "pushed")}
    found["metrics"] = metrics(run)
    return found


def _by_lines(value: object) -> object:
    """Takes texts of several lines apart, so that the lines that differ are told."""
    if isinstance(value, dict):
        return {name: _by_lines(item) for name, item in value.items()}
    return value.splitlines() if isinstance(value, str) and "\n" in value else value


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

    def values(row: dict) -> list[str]:
        sides = [row["first"], row["second"]]
        if row["aspect"] == "code":
            return [show(side)[:12] for side in sides]
        return _around_difference(*(brief(side) if isinstance(side, dict | list) else show(side) for side in sides))

    cells = [[row["aspect"], row["name"], *values(row)] for row in rows]
    return table(["", "", first.id, second.id], cells)


def _around_difference(first: str, second: str) -> list[str]:
    """Returns two texts, of long ones that part in which they begin to differ."""
    if min(len(first), len(second)) <= _WIDTH:
        return [first, second]
    pairs = enumerate(zip(first, second, strict=False))
    same = next((position for position, (one, other) in pairs if one != other), min(len(first), len(second)))
    start = max(0, same - _WIDTH // 4)
    return [("..." if start else "") + shorten(text[start:], _WIDTH) for text in (first, second)]
