"""Gathers what a run did, from ML Metadata and the artifacts, into `summary.json`.

The file is an interface that scripts rely on; docs/summary.md describes its keys.
"""

import json
import os
import platform
import resource
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.errors import ModelRefused
from pipeline.code_digest import library_versions
from pipeline.config import PipelineConfig
from pipeline.runner import NodeResult

_RENAMED = {"beam": "apache-beam"}


class Outputs:
    """Reads the output artifacts of a run's executions."""

    def __init__(self, metadata_path: Path, results: list[NodeResult]) -> None:
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(metadata_path)
        connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        self._store = metadata_store.MetadataStore(connection)
        self._executions = {result.id: result.execution_id for result in results if result.state in ("ran", "cached")}

    def get(self, node: str, key: str) -> metadata_store_pb2.Artifact | None:
        """Returns the artifact that `node` put out under `key`, None where there is none."""
        execution = self._executions.get(node)
        if execution is None:
            return None
        for event in self._store.get_events_by_execution_ids([execution]):
            if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key:
                return self._store.get_artifacts_by_id([event.artifact_id])[0]
        return None


def summarize(
    config: PipelineConfig,
    run_id: str,
    wall_seconds: float,
    results: list[NodeResult],
    outputs: Outputs,
    provenance: dict,
) -> dict:
    """Returns the content of `summary.json`; what a failed run did not reach is None."""
    examples = outputs.get("ExampleGen", "examples")
    evaluation = outputs.get("Evaluator", "evaluation")
    blessing = outputs.get("Evaluator", "blessing")
    servable = outputs.get("Canary", "blessing")
    refusals = [str(result.error) for result in results if isinstance(result.error, ModelRefused)]
    model_run = outputs.get("Trainer", "model_run")
    training = json.loads(_text(model_run, "training")) if model_run else {}
    return {
        "run_id": run_id,
        "preset": config.preset,
        "seed": config.seed,
        "wall_seconds": round(wall_seconds, 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "nodes": [{"id": result.id, "state": result.state, "seconds": round(result.seconds, 2)} for result in results],
        "metrics": json.loads(_text(evaluation, "metrics")) if evaluation else None,
        "blessed": bool(blessing.custom_properties["blessed"].int_value) if blessing else False if refusals else None,
        "blessing_reasons": json.loads(_text(blessing, "reasons")) if blessing else refusals,
        "verdict": _text(blessing, "verdict") if blessing else None,
        "served": json.loads(_text(servable, "measured")) if servable else None,
        "pushed_model": _pushed_model(outputs.get("Pusher", "pushed_model")),
        "training": {name: value for name, value in training.items() if name != "profile"} or None,
        "profile": training.get("profile"),
        "tensorboard": model_run.uri if model_run else None,
        "data": {
            "digest": _text(examples, "digest") if examples else None,
            "splits": json.loads(_text(examples, "counts")) if examples else None,
        },
        "environment": environment(),
        "provenance": provenance,
    }


def environment() -> dict[str, str]:
    """Returns the versions that the result depends on."""
    versions = library_versions()
    names = {name: versions[_RENAMED.get(name, name)] for name in ("tensorflow", "tfx", "beam")}
    return {
        "python": platform.python_version(),
        **names,
        "glibc": os.confstr("CS_GNU_LIBC_VERSION").split()[-1],
    }


def write_summary(path: Path, summary: dict) -> None:
    """Writes the summary under a temporary name, then renames it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(summary, indent=2) + "\n")
    partial.replace(path)


def _pushed_model(pushed: metadata_store_pb2.Artifact | None) -> str | None:
    if pushed is None or not pushed.custom_properties["pushed"].int_value:
        return None
    return _text(pushed, "pushed_destination")


def _text(artifact: metadata_store_pb2.Artifact, name: str) -> str:
    return artifact.custom_properties[name].string_value
