"""Computes in TFMA what it lacks: any function of the confusion matrix, and the expected calibration error.

The classes are named by `components.evaluator.eval_config`; TFMA looks them up and calls them for each slice. Both keep
sums only, so memory does not grow with the examples.
"""

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import multi_class_confusion_matrices
from tensorflow_model_analysis.proto import config_pb2

from components.errors import PipelineError
from components.evaluator.calibration import BINS, bin_numbers, error_of_sums
from components.evaluator.metrics import METRICS, Metric


class FromConfusion(metric_types.Metric):
    """The metric of this name in `METRICS`, which has a `from_confusion`."""

    def __init__(self, name: str) -> None:
        super().__init__(metric_util.merge_per_key_computations(_from_confusion), name=name)


class ExpectedCalibrationError(metric_types.Metric):
    """`calibration.calibration_error` of the most probable class."""

    def __init__(self, name: str) -> None:
        super().__init__(metric_util.merge_per_key_computations(_calibration), name=name)


metric_types.register_metric(FromConfusion)
metric_types.register_metric(ExpectedCalibrationError)


def value_from_confusion(metric: Metric, entries: dict[tuple[int, int], float]) -> float:
    """Returns a metric's value for the numbers of examples by (actual, predicted) class.

    Raises:
      PipelineError: the metric's function fails or gives no number.
    """
    size = 1 + max((max(entry) for entry in entries), default=-1)
    counts = np.zeros((size, size))
    for (actual, predicted), number in entries.items():
        counts[actual, predicted] = number
    try:
        return float(metric.from_confusion(counts))
    except Exception as error:  # whatever the function fails with, its name has to be told
        raise PipelineError(
            f"metric {metric.name}: expected a number from its from_confusion for a matrix of {size}x{size}, found "
            f"{type(error).__name__}: {error}. Mend the function."
        ) from error


def _key(name: str, model_name: str, output_name: str, example_weighted: bool) -> metric_types.MetricKey:
    return metric_types.MetricKey(
        name=name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )


# TFMA looks at the names of the arguments to see what it has to pass.
def _from_confusion(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    # TFMA computes this matrix once, however many metrics are derived from it.
    matrices = multi_class_confusion_matrices(
        thresholds=[0.0],
        eval_config=eval_config,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    key, metric = _key(name, model_name, output_name, example_weighted), METRICS[name]

    def result(found: dict) -> dict:
        return {key: value_from_confusion(metric, found[matrices[-1].keys[-1]].get(0.0, {}))}

    return [*matrices, metric_types.DerivedMetricComputation(keys=[key], result=result)]


def _calibration(
    name: str, model_name: str = "", output_name: str = "", example_weighted: bool = False
) -> metric_types.MetricComputations:
    key = _key(name, model_name, output_name, example_weighted)
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=_Calibration(key))]


class _Calibration(beam.CombineFn):
    """Adds up what `calibration_sums` gives, an example at a time: float64 [3, BINS]."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> np.ndarray:
        return np.zeros((3, BINS))

    def add_input(self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs) -> np.ndarray:
        # As they are: TFMA's helper looks for weights, vocabularies and classes of each example, and there are none.
        probabilities = np.ravel(element.get_predictions(self._key.model_name))
        label = np.ravel(element.get_labels(self._key.model_name))
        chosen = probabilities.argmax()
        confidence = float(probabilities[chosen])
        accumulator[:, bin_numbers(confidence)] += confidence, chosen == label[0], 1.0
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> dict:
        return {self._key: error_of_sums(accumulator)}
