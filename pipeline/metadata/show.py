"""`show`: everything that is known of one run, artifact or execution."""

import json
from pathlib import Path

from pipeline.metadata import runs
from pipeline.metadata.served import Standings
from pipeline.metadata.store import Artifact, Execution, Run, Store, state_told
from pipeline.metadata.text import duration, flatten, shorten, size, table, when
from pipeline.output_root import OutputRoot

_SHOWN_APART = ("code", "packages", "summary", "note", "tags")


def show(store: Store, found: Run | Artifact | Execution) -> dict:
    """Returns what is known, as values for JSON."""
    if isinstance(found, Run):
        return show_run(store, found)
    return show_artifact(store, found) if isinstance(found, Artifact) else show_execution(store, found)


def show_run(store: Store, run: Run) -> dict:
    """Returns a run's line of the table, what it was made of, and its executions with what they put out."""
    standings = Standings(OutputRoot.of_database(store.path))
    # Not as they were recorded: what a part of the pipeline takes over is recorded in any order.
    order = {node["id"]: position for position, node in enumerate(run.record.get("nodes", ()))}
    kept = {name: value for name, value in run.properties.items() if name not in _SHOWN_APART}
    return {
        "run": runs.describe(run) | {"standing": standings.of(store.runs()).get(run.id)},
        "properties": kept,
        "code": run.properties.get("code", {}).get("digest"),
        "packages": run.properties.get("packages", {}),
        "folder": str(OutputRoot.of_database(store.path).run(run.id).folder),
        "gates": run.record.get("gates", {}),
        "logged": run.record.get("logged", {}),
        "trials": (run.record.get("search") or {}).get("trials", []),
        "executions": sorted(
            [
                {
                    "id": f"e{execution.id}",
                    "node": execution.node,
                    "state": state_told(execution, run),
                    "seconds": _seconds(execution),
                    "outputs": _events(store, store.outputs.get(execution.id, ())),
                }
                for execution in store.executions_of(run)
            ]
            + _without_execution(store, run),
            key=lambda shown: order.get(shown["node"], len(order)),
        ),
    }


def _without_execution(store: Store, run: Run) -> list[dict]:
    """Returns what the run tells of nodes that left nothing in ML Metadata: not reached, or left out."""
    executed = {execution.node for execution in store.executions_of(run)}
    return [
        {"id": None, "node": node["id"], "state": node["state"], "seconds": None, "outputs": []}
        for node in run.record.get("nodes", ())
        if node["id"] not in executed
    ]


def show_execution(store: Store, execution: Execution) -> dict:
    """Returns an execution's node, state, run, times, inputs, outputs and properties."""
    return {
        "execution": f"e{execution.id}",
        "node": execution.node,
        "type": execution.type,
        "state": state_told(execution, store.find_run(execution.run)) if execution.run != "?" else execution.state,
        "run": execution.run,
        "started": when(execution.started),
        "seconds": _seconds(execution),
        "inputs": _events(store, store.inputs.get(execution.id, ())),
        "outputs": _events(store, store.outputs.get(execution.id, ())),
        "properties": store.properties("Execution", execution.id),
    }


def show_artifact(store: Store, artifact: Artifact) -> dict:
    """Returns an artifact's place, size, state, properties, the execution that made it and those that read it."""
    producer = store.executions.get(store.producers.get(artifact.id, 0))
    return {
        "artifact": f"a{artifact.id}",
        "type": artifact.type,
        "state": artifact.state,
        "uri": artifact.uri,
        "bytes": folder_size(Path(artifact.uri)),
        "created": when(artifact.created),
        "producer": name_execution(producer) if producer else None,
        "run": producer.run if producer else None,
        "consumers": [name_execution(store.executions[number]) for number in store.consumers.get(artifact.id, ())],
        "properties": store.properties("Artifact", artifact.id),
    }


def name_execution(execution: Execution) -> str:
    """Returns an execution as it is named in a line: its number and node."""
    return f"e{execution.id} {execution.node}"


def folder_size(path: Path) -> int | None:
    """Returns the bytes of a file or of all files below a folder, None where there is nothing."""
    if path.is_file():
        return path.stat().st_size
    if not path.is_dir():
        return None
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() or file.is_symlink())


def _events(store: Store, events: list[tuple[str, int]]) -> list[dict]:
    found = []
    for key, number in events:
        artifact = store.artifacts[number]
        found.append({"key": key, "artifact": f"a{number}", "type": artifact.type, "uri": artifact.uri})
        found[-1]["bytes"] = folder_size(Path(artifact.uri))
    return found


def _seconds(execution: Execution) -> float | None:
    """Returns how long it took; of what was killed nobody knows when that was."""
    return None if execution.state == "interrupted" else (execution.ended - execution.started) / 1000


def render(shown: dict) -> str:
    """Returns a description as lines: plain values first, then a block for each structure."""
    lines, blocks = [], []
    for name, value in shown.items():
        if name == "executions":
            blocks.append(_executions(value))
        elif name == "trials":
            blocks += [_trials(value)] if value else []
        elif name in ("inputs", "outputs") and value:
            rows = [
                [event["key"], event["artifact"], event["type"], size(event["bytes"]), event["uri"]] for event in value
            ]
            blocks.append(table([name, "artifact", "type", "size", "path"], rows, right=("size",)))
        elif name == "packages":
            lines.append(f"{name:<11}{len(value)}, all of them with --json")
        elif isinstance(value, dict):
            rows = [[key, shorten(leaf)] for key, leaf in sorted(flatten(value).items())]
            blocks.append(table([name, "value"], rows) if rows else f"{name}: none")
        elif name == "bytes":
            lines.append(f"{'size':<11}{size(value)}")
        elif name == "seconds":
            lines.append(f"{'time':<11}{duration(value)}")
        else:
            text = ", ".join(value) if isinstance(value, list) else shorten(value)
            lines.append(f"{name:<11}{text or '-'}")
    return "\n\n".join(["\n".join(lines)] * bool(lines) + blocks)


def _executions(executions: list[dict]) -> str:
    rows = [
        [
            execution["id"],
            execution["node"],
            execution["state"],
            duration(execution["seconds"]),
            size(sum(event["bytes"] or 0 for event in execution["outputs"])),
            " ".join(f"{event['key']}={event['artifact']}" for event in execution["outputs"]),
        ]
        for execution in executions
    ]
    return table(["id", "node", "state", "time", "size", "outputs"], rows, right=("time", "size"))


def _trials(trials: list[dict]) -> str:
    """Returns the trials of a search, the best first, with the values in which they differ."""
    names = varied(trials)
    rows = [
        [
            trial["trial"],
            *(trial["values"].get(name) for name in names),
            f"{trial['val_accuracy']:.4f}",
            len(trial["curve"]),
            "failed" if trial.get("failed") else "given up" if trial["stopped"] else None,
            duration(trial["seconds"]),
        ]
        for trial in sorted(trials, key=lambda trial: -trial["val_accuracy"])
    ]
    header = ["trial", *names, "val. accuracy", "epochs", "ended", "time"]
    return table(header, rows, right=("val. accuracy", "epochs", "time"))


def varied(trials: list[dict]) -> list[str]:
    """Returns the settings that not all trials of a search had the same value of."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["values"]))
    return [name for name in names if len({json.dumps(trial["values"].get(name)) for trial in trials}) > 1]
