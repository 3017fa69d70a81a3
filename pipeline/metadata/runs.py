"""`runs`: a line for each run, from what it kept of itself."""

from pipeline.metadata.served import Standings
from pipeline.metadata.store import Run, Store
from pipeline.metadata.text import duration, table, when
from pipeline.output_root import OutputRoot


def list_runs(store: Store) -> list[dict]:
    """Returns, for each run and the latest first, what the table shows."""
    found = store.runs()
    standings = Standings(OutputRoot.of_database(store.path)).of(found)
    return [describe(run) | {"standing": standings.get(run.id)} for run in reversed(found)]


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
    }


def render(runs: list[dict]) -> str:
    """Returns the table."""
    if not runs:
        return "no runs yet"
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
    if any(run["trials"] for run in runs):
        header.append("search")
        for row, run in zip(rows, runs, strict=True):
            row.append(run["trials"] and f"best of {run['trials']}: {run['best_trial']:.4f} of val")
    return table(header, rows, right=("seed", "time", "accuracy"))
