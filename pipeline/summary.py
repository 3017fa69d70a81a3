"""Gathers what a run did, from ML Metadata and the artifacts, into `summary.json`.

The file is an interface that scripts rely on; docs/summary.md describes its keys.
"""

import json
import os
import platform
import resource
from pathlib import Path

import tensorflow_model_analysis as tfma
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from models.features import LABEL
from pipeline.code_digest import library_versions
from pipeline.config import PipelineConfig
from pipeline.evaluation import ACCURACY, LOSS
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
) -> dict:
    """Returns the content of `summary.json`; what a failed run did not reach is None."""
    examples = outputs.get("ExampleGen", "examples")
    evaluation = outputs.get("Evaluator", "evaluation")
    blessing = outputs.get("Evaluator", "blessing")
    model_run = outputs.get("Trainer", "model_run")
    training = json.loads(_text(model_run, "training")) if model_run else {}
    class_names = json.loads(_text(examples, "class_names")) if examples else []
    return {
        "run_id": run_id,
        "preset": config.preset,
        "seed": config.seed,
        "wall_seconds": round(wall_seconds, 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "nodes": [{"id": result.id, "state": result.state, "seconds": round(result.seconds, 2)} for result in results],
        "metrics": read_metrics(Path(evaluation.uri), class_names) if evaluation else None,
        "blessed": bool(blessing.custom_properties["blessed"].int_value) if blessing else None,
        "blessing_reasons": refusal_reasons(Path(evaluation.uri), class_names) if evaluation else [],
        "pushed_model": _pushed_model(outputs.get("Pusher", "pushed_model")),
        "training": {name: value for name, value in training.items() if name != "profile"} or None,
        "profile": training.get("profile"),
        "tensorboard": model_run.uri if model_run else None,
        "data": {
            "digest": _text(examples, "digest") if examples else None,
            "splits": json.loads(_text(examples, "counts")) if examples else None,
        },
        "environment": environment(),
    }


def read_metrics(evaluation: Path, class_names: list[str]) -> dict:
    """Reads TFMA's metrics on the test split: accuracy and loss, and the accuracy of each class by name."""
    result = tfma.load_eval_result(str(evaluation))
    overall = result.get_metrics_for_slice(())
    per_class = {name: result.get_metrics_for_slice(((LABEL, label),)) for label, name in enumerate(class_names)}
    return {
        "test_accuracy": overall[ACCURACY]["doubleValue"],
        "test_loss": overall[LOSS]["doubleValue"],
        "per_class_accuracy": {
            name: metrics[ACCURACY]["doubleValue"] for name, metrics in per_class.items() if metrics
        },
    }


def refusal_reasons(evaluation: Path, class_names: list[str]) -> list[str]:
    """Returns a line for each threshold that the model failed: metric, slice, bound and value."""
    validation = tfma.load_validation_result(str(evaluation))
    reasons = []
    for slice_result in validation.metric_validations_per_slice:
        keys = slice_result.slice_key.single_slice_keys
        where = "overall" if not keys else f"class {class_names[keys[0].int64_value]}"
        for failure in slice_result.failures:
            threshold = failure.metric_threshold
            if failure.metric_key.is_diff:
                wanted = f"at most {-threshold.change_threshold.absolute.value:g} below the latest other blessed model"
            else:
                wanted = f"at least {threshold.value_threshold.lower_bound.value:g}"
            found = failure.metric_value.double_value.value
            reasons.append(f"{failure.metric_key.name} ({where}): expected {wanted}, found {found:.4f}")
    if not validation.validation_ok and not reasons:
        reasons.append("the thresholds could not be checked, see the log")
    return reasons


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
