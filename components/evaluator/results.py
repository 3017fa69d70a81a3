"""Reads what TFMA measured into the plain values that `summary.json` keeps.

Synopsis:

    metrics = read_metrics(evaluation, examples.class_names)        # evaluation: folder of TFMA's results
    metrics["test_accuracy"], metrics["slices"]["class"]["Shirt"]["accuracy"]
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_model_analysis as tfma

from components.errors import PipelineError
from components.evaluator.metrics import ACCURACY, CONFUSION_MATRIX, EXAMPLE_COUNT, METRICS
from components.evaluator.slices import CLASS, SLICINGS, SPAN


def read_metrics(evaluation: Path, class_names: Sequence[str], spans: Sequence[str] = ()) -> dict:
    """Reads the metrics of the candidate.

    Args:
      evaluation: folder of TFMA's results.
      class_names: by label.
      spans: in their order, of data that come in some.

    Returns:
      Each of `METRICS` by its key, None where it is not a number; `examples`, how many; `confusion_matrix` as rows by
      actual class; `per_class_accuracy` by name; `slices`: by slicing and slice, its `examples` and the metrics of
      slices by name. Classes and spans come in their order, other slices in that of their names.

    Raises:
      PipelineError: TFMA lacks a metric or a slicing.
    """
    result = tfma.load_eval_result(str(evaluation))
    overall = result.get_metrics_for_slice(())
    slices: dict[str, dict[str, dict]] = {slicing: {} for slicing in [*SLICINGS, *([SPAN] if spans else [])]}
    for ((slicing, name),) in filter(None, sorted(result.get_slice_names())):
        found = result.get_metrics_for_slice(((slicing, name),))
        metrics = {metric.name: _value(found, metric.name) for metric in METRICS.values() if metric.by_slice}
        slices[slicing][name] = {"examples": int(_value(found, EXAMPLE_COUNT)), **metrics}
    for slicing, parts in slices.items():
        if not parts:
            raise PipelineError(f"slicing {slicing}: expected its slices among TFMA's results, found none.")
    slices[CLASS] = {name: slices[CLASS][name] for name in class_names if name in slices[CLASS]}
    if spans:
        slices[SPAN] = {name: slices[SPAN][name] for name in spans if name in slices[SPAN]}
    return {
        **{metric.key: _value(overall, metric.name) for metric in METRICS.values()},
        "examples": int(_value(overall, EXAMPLE_COUNT)),
        "confusion_matrix": _confusion_matrix(overall, len(class_names)),
        "per_class_accuracy": {name: part[ACCURACY.name] for name, part in slices[CLASS].items()},
        "slices": slices,
    }


def _value(metrics: dict, name: str) -> float | None:
    try:
        value = metrics[name]["doubleValue"]
    except KeyError as error:
        raise PipelineError(
            f"metric {name}: expected a number of this name among TFMA's results, found {', '.join(sorted(metrics))}. "
            "Mend its entry in components/evaluator/metrics.py."
        ) from error
    # TFMA has a number that is none as text.
    return float(value) if math.isfinite(float(value)) else None


def _confusion_matrix(metrics: dict, classes: int) -> list[list[int]]:
    matrix = np.zeros((classes, classes), int)
    for entry in metrics[CONFUSION_MATRIX]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]:
        # A field of value 0 is left out.
        matrix[entry.get("actualClassId", 0), entry.get("predictedClassId", 0)] = entry["numWeightedExamples"]
    return matrix.tolist()
