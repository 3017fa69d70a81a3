"""`runs`: a line for each run."""

from pipeline.metadata.store import Run, Store, is_resolver
from pipeline.metadata.text import duration, table, when

_PROPERTIES = {"ModelEvaluation": ("test_accuracy",), "ModelBlessing": ("blessed",), "PushedModel": ("pushed_version",)}


def list_runs(store: Store) -> list[dict]:
    """Returns, for each run and the latest first, what the table shows."""
    return [describe(store, run) for run in reversed(store.runs())]


def describe(store: Store, run: Run) -> dict:
    """Returns a run's id, start, preset, seed, state, seconds, accuracy, blessed and pushed version."""
    kept = run.properties
    found = {} if "state" in kept else _from_executions(store, run)
    blessed = kept.get("blessed", found.get("blessed"))
    pushed = kept.get("pushed_model", "").rsplit("/", 1)[-1] or found.get("pushed_version")
    return {
        "id": run.id,
        "started": when(run.started),
        "preset": kept.get("preset"),
        "seed": kept.get("seed"),
        "state": kept.get("state", found.get("state")),
        "seconds": kept.get("wall_seconds", found.get("seconds")),
        "accuracy": kept.get("test_accuracy", found.get("test_accuracy")),
        "blessed": None if blessed is None else bool(blessed),
        "pushed": pushed or None,
    }


def _from_executions(store: Store, run: Run) -> dict:
    """Tells of a run that kept no record of itself, as those did that this project ran first."""
    executions = store.executions_of(run)
    if not executions:
        return {"state": "empty"}
    states = {execution.state for execution in executions}
    found: dict = {
        "state": "failed" if "failed" in states else "running" if states & {"new", "running"} else "done",
        "seconds": (max(e.ended for e in executions) - min(e.started for e in executions)) / 1000,
    }
    for execution in executions:
        for _, artifact in [] if is_resolver(execution) else store.outputs.get(execution.id, ()):
            for name in _PROPERTIES.get(store.artifacts[artifact].type, ()):
                found[name] = store.properties("Artifact", artifact).get(name)
    return found


def render(runs: list[dict]) -> str:
    """Returns the table."""
    if not runs:
        return "no runs yet"
    rows = [
        [
            *(run[name] for name in ("id", "started", "preset", "seed", "state")),
            duration(run["seconds"]),
            None if run["accuracy"] is None else f"{run['accuracy']:.4f}",
            run["blessed"],
            run["pushed"],
        ]
        for run in runs
    ]
    header = ["run", "started", "preset", "seed", "state", "time", "accuracy", "blessed", "pushed"]
    return table(header, rows, right=("seed", "time", "accuracy"))
