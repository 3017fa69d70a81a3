"""Exports runs to MLflow: settings as parameters, figures final and by epoch, tags, the report as an artifact.

MLflow does not install beside TFX (its `packaging` is another), so it has an environment of its own, and this reads
nothing but `summary.json`:

    uv venv --python .venv/bin/python mlflow-env
    uv pip install --python mlflow-env --require-hashes -r deploy/mlflow.lock
    export MLFLOW_TRACKING_URI=http://tracking.example:5000       # or sqlite:////srv/mlflow.db
    local_runner.py --on-end 'mlflow-env/bin/python deploy/mlflow_export.py'
    mlflow-env/bin/python deploy/mlflow_export.py output/runs/*/summary.json

The experiment is MLFLOW_EXPERIMENT_NAME, else the name that the model is published under; a new one keeps its
artifacts below MLFLOW_ARTIFACT_ROOT, else where the store says (without a server `mlruns` in the working folder). A run
that was exported is passed over; one that was exported in part, or has changed since, is exported anew in its place.
"""

import hashlib
import json
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

_RUN_ID, _EXPORTED = "image_pipeline.run_id", "image_pipeline.exported"
# Of MLflow's REST API, in one request.
_METRICS, _PARAMS, _LONGEST_PARAM = 1000, 100, 6000
_STATUS = {"done": "FINISHED", "not blessed": "FINISHED", "interrupted": "KILLED"}


def params_of(run: dict) -> dict[str, str]:
    """Returns every setting by its dotted name."""
    settings = flatten(run["provenance"].get("settings") or {})
    return {name_there(name): str(value)[:_LONGEST_PARAM] for name, value in settings}


def name_there(name: str) -> str:
    """Returns a name as MLflow takes it: the form of a path, of letters, digits and a few signs, "_" for others."""
    return posixpath.normpath(re.sub(r"[^\w/.\- :]", "_", name.replace("@", "/").replace("=", "/")))


def flatten(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields each single value with its dotted name."""
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def metrics_of(run: dict, ended: int) -> list[Metric]:
    """Returns the final figures, and those of each epoch with its number as the step; `ended` in ms since 1970."""
    final = {"wall_seconds": run["wall_seconds"]}
    final |= {name: value for name, value in (run["metrics"] or {}).items() if _is_number(value)}
    final |= {f"seconds/{node['id']}": node["seconds"] for node in run["nodes"]}
    final |= {f"examples/{split}": count for split, count in (run["data"]["splits"] or {}).items()}
    for span, values in ((run["metrics"] or {}).get("slices") or {}).get("span", {}).items():
        final[f"test_accuracy/span {span}"] = values.get("accuracy")
    found = [Metric(name_there(name), value, ended, 0) for name, value in final.items() if _is_number(value)]
    for epoch in (run["training"] or {}).get("history", []):
        found += [
            Metric(name_there(f"epoch/{name}"), value, ended, epoch["epoch"])
            for name, value in epoch.items()
            if name != "epoch" and _is_number(value)
        ]
    return found


def tags_of(run: dict) -> dict[str, str]:
    """Returns what runs are looked for by."""
    git = run["provenance"].get("git") or {}
    tags = {
        _RUN_ID: run["run_id"],
        "mlflow.runName": run["run_id"],
        "mlflow.source.git.commit": git.get("revision"),
        "span": (run.get("span") or {}).get("name"),
        "data": run["data"]["digest"],
        **{name: run.get(name) for name in ("preset", "state", "exit_status", "blessed", "push", "model_digest")},
    }
    return {name: str(value) for name, value in tags.items() if value is not None}


def export(client: MlflowClient, summary: Path) -> str:
    """Exports one run, and returns what became of it: "exported", or "exported before"."""
    content = summary.read_bytes()
    run, digest = json.loads(content), hashlib.sha256(content).hexdigest()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run["published_as"]
    experiment = client.get_experiment_by_name(name)
    place = os.environ.get("MLFLOW_ARTIFACT_ROOT")
    location = f"{place.rstrip('/')}/{name}" if place else None
    number = experiment.experiment_id if experiment else client.create_experiment(name, location)
    for known in client.search_runs([number], f"tags.`{_RUN_ID}` = '{run['run_id']}'"):
        if known.data.tags.get(_EXPORTED) == digest:
            return "exported before"
        client.delete_run(known.info.run_id)
    ended = round(1000 * summary.stat().st_mtime)
    begun = ended - round(1000 * run["wall_seconds"])
    made = client.create_run(number, start_time=begun, tags=tags_of(run), run_name=run["run_id"]).info.run_id
    for part in batched(params_of(run).items(), _PARAMS):
        client.log_batch(made, params=[Param(*pair) for pair in part])
    for part in batched(metrics_of(run, ended), _METRICS):
        client.log_batch(made, metrics=part)
    for path in (summary, summary.with_name("report.html")):
        if path.exists():
            client.log_artifact(made, str(path))
    client.set_terminated(made, _STATUS.get(run["state"], "FAILED"), end_time=ended)
    # Last: without it the run is not whole.
    client.log_batch(made, tags=[RunTag(_EXPORTED, digest)])
    return "exported"


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Yields lists of at most `size` items."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def main(arguments: list[str]) -> int:
    """Exports the summaries named, else those that the pipeline tells of; returns 1 where one of them could not be."""
    summaries = arguments or os.environ.get("PIPELINE_SUMMARIES", "").splitlines()
    client, status = MlflowClient(), 0
    for summary in map(Path, summaries):
        try:
            print(f"{summary.parent.name}: {export(client, summary)}")
        except (MlflowException, OSError, ValueError, KeyError) as error:
            told = str(error).splitlines()[0] if str(error) else ""
            print(f"mlflow_export.py: {summary}: not exported ({type(error).__name__}: {told})", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
