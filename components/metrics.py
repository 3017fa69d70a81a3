"""Two metrics that TFMA lacks: macro F1 of the most probable class, and the expected calibration error.

TFMA's own F1 looks at one class and a threshold on its probability. What a person acts on is the most probable class,
so macro F1 is derived here from TFMA's multi-class confusion matrix.
"""

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import multi_class_confusion_matrices

MACRO_F1, CALIBRATION_ERROR = "macro_f1", "expected_calibration_error"
# As in the report's reliability diagram.
_BINS = 10


def macro_f1(counts: np.ndarray) -> float:
    """Returns the mean over the classes of F1, the harmonic mean of precision and recall.

    Args:
      counts: confusion matrix, [actual, predicted]. A class that neither occurs nor is predicted is left out.
    """
    occurring = counts.sum(axis=0) + counts.sum(axis=1)
    present = occurring > 0
    return float(np.mean(2 * np.diag(counts)[present] / occurring[present])) if present.any() else float("nan")


def calibration_error(confidence_sum: np.ndarray, correct: np.ndarray, count: np.ndarray) -> float:
    """Returns the mean distance between confidence and accuracy over bins of confidence, weighted by their counts.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, equation 3.

    Args:
      confidence_sum, correct, count: of each bin, the sum of the highest probabilities, the number of right answers
        and the number of examples.
    """
    return float(np.abs(confidence_sum - correct).sum() / count.sum()) if count.sum() else float("nan")


class MacroF1(metric_types.Metric):
    """`macro_f1` of the most probable class, for TFMA's `MetricConfig`."""

    def __init__(self, name: str = MACRO_F1) -> None:
        super().__init__(metric_util.merge_per_key_computations(_macro_f1), name=name)


class ExpectedCalibrationError(metric_types.Metric):
    """`calibration_error` in ten bins, for TFMA's `MetricConfig`."""

    def __init__(self, name: str = CALIBRATION_ERROR) -> None:
        super().__init__(metric_util.merge_per_key_computations(_calibration), name=name)


metric_types.register_metric(MacroF1)
metric_types.register_metric(ExpectedCalibrationError)


def _macro_f1(name: str, eval_config=None, model_name: str = "", output_name: str = "", example_weighted: bool = False):
    matrices = multi_class_confusion_matrices(
        thresholds=[0.0],
        eval_config=eval_config,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    key = metric_types.MetricKey(
        name=name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )

    def result(metrics: dict) -> dict:
        entries = metrics[matrices[-1].keys[-1]].get(0.0, {})
        size = 1 + max((max(entry) for entry in entries), default=0)
        counts = np.zeros((size, size))
        for (actual, predicted), number in entries.items():
            counts[actual, predicted] = number
        return {key: macro_f1(counts)}

    return [*matrices, metric_types.DerivedMetricComputation(keys=[key], result=result)]


def _calibration(
    name: str, eval_config=None, model_name: str = "", output_name: str = "", example_weighted: bool = False
):
    key = metric_types.MetricKey(
        name=name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=_Calibration(key, eval_config))]


class _Calibration(beam.CombineFn):
    """Sums up confidence, right answers and examples of each bin: [3, bins]."""

    def __init__(self, key: metric_types.MetricKey, eval_config) -> None:
        self._key, self._eval_config = key, eval_config

    def create_accumulator(self) -> np.ndarray:
        return np.zeros((3, _BINS))

    def add_input(self, accumulator: np.ndarray, element) -> np.ndarray:
        label, probabilities, weight = next(
            metric_util.to_label_prediction_example_weight(
                element, eval_config=self._eval_config, model_name=self._key.model_name, flatten=False
            )
        )
        confidence = float(probabilities.max())
        number = min(int(confidence * _BINS), _BINS - 1)
        correct = float(probabilities.argmax() == np.asarray(label).item())
        accumulator[:, number] += np.asarray(weight).item() * np.array([confidence, correct, 1.0])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> dict:
        return {self._key: calibration_error(*accumulator)}
