"""`diff`: two runs side by side: settings, data, code, revision, packages, machine, metrics."""

import json

from pipeline.metadata import runs
from pipeline.metadata.store import Run, Store
from pipeline.metadata.text import flatten, shorten, show, table

_ASPECTS = ("settings", "data", "git", "packages", "machine", "command")


def compare(store: Store, first: Run, second: Run, *, everything: bool = False) -> list[dict]:
    """Returns a row for each value that differs: aspect, name, and the value in both runs, None where it has none.

    Args:
      store: the database.
      first, second: the runs.
      everything: also the values that are equal.
    """
    sides = [describe(store, run) for run in (first, second)]
    rows = []
    for aspect in sides[0]:
        for name in sorted(sides[0][aspect].keys() | sides[1][aspect].keys()):
            values = [side[aspect].get(name) for side in sides]
            if everything or values[0] != values[1]:
                rows.append({"aspect": aspect, "name": name, "first": values[0], "second": values[1]})
    return rows


def describe(store: Store, run: Run) -> dict[str, dict[str, object]]:
    """Returns the values of a run by aspect and dotted name."""
    found = {aspect: flatten(run.properties.get(aspect) or {}) for aspect in _ASPECTS}
    found["command"] = {"line": " ".join(run.properties.get("command", []))}
    found["code"] = run.properties.get("code", {}).get("modules", {})
    line = runs.describe(store, run)
    found["result"] = {name: line[name] for name in ("state", "seconds", "blessed", "pushed")}
    found["metrics"] = metrics(store, run) or {"test_accuracy": line["accuracy"]}
    return found


def metrics(store: Store, run: Run) -> dict[str, object]:
    """Returns the Evaluator's metrics of a run, and the Trainer's validation accuracy, by dotted name."""
    found: dict[str, object] = {}
    for execution in store.executions_of(run):
        for _, artifact in store.outputs.get(execution.id, ()):
            kind = store.artifacts[artifact].type
            if kind == "ModelEvaluation":
                measured = json.loads(store.properties("Artifact", artifact).get("metrics", "{}"))
                plain = {name: value for name, value in measured.items() if name not in ("confusion_matrix", "slices")}
                found |= flatten(plain)
            elif kind == "ModelRun":
                training = json.loads(store.properties("Artifact", artifact).get("training", "{}"))
                found |= {f"training.{name}": value for name, value in training.items() if name != "profile"}
    return found


def render(rows: list[dict], first: Run, second: Run) -> str:
    """Returns the table; values of the code are digests, of which the beginning is enough."""
    if not rows:
        return f"{first.id} and {second.id}: no difference"

    def value(row: dict, side: str) -> str:
        return show(row[side])[:12] if row["aspect"] == "code" else shorten(row[side], 60)

    cells = [[row["aspect"], row["name"], value(row, "first"), value(row, "second")] for row in rows]
    return table(["", "", first.id, second.id], cells)
