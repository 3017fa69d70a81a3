"""The metrics of a model: what they are called, how TFMA computes them, and how people read them.

An entry here is all that a metric needs. It is then measured overall and by slice, can have a floor, and stands in
`summary.json`, in the report and on the console. A metric registered in a module of its own has to be imported at the
end of this one: the cache keys of the nodes count what is imported. Nothing here imports TensorFlow, so that the
console and the report read labels at once.

Synopsis:

    def balanced_accuracy(counts):                          # float64 [actual, predicted]
        occurring = counts.sum(axis=1) > 0
        return np.mean(np.diag(counts)[occurring] / counts.sum(axis=1)[occurring])

    register(Metric(name="balanced_accuracy", label="balanced accuracy", from_confusion=balanced_accuracy))
    balanced_accuracy(np.array([[8.0, 2.0], [0.0, 4.0]]))   # 0.9
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from components.evaluator.calibration import calibration_rows, error_of_sums

# What is measured beside the metrics, by its name for TFMA.
CONFUSION_MATRIX, EXAMPLE_COUNT = "multi_class_confusion_matrix_at_thresholds", "example_count"
# And what `metrics` in summary.json, and each slice in it, holds beside them.
RESERVED = ("examples", "confusion_matrix", "per_class_accuracy", "slices", CONFUSION_MATRIX, EXAMPLE_COUNT)
FORMATS = ("percent", "number")
# Keras's bound of probabilities.
_LEAST = 1e-7


def mean(sums: np.ndarray, examples: int) -> float:
    """Returns the mean of what was added up."""
    return float(sums / examples)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure that says how good a model is: `from_confusion`, `of_examples` or `class_name` says how it is computed.

    Attributes:
      name: an identifier, as in floors and in the slices of `summary.json`.
      label: its name for people.
      key: its name in `metrics` of `summary.json`; `name` if left empty.
      format: how people read it, a share as "percent" or any "number".
      higher_is_better: if not, its floor is an upper bound.
      by_slice: whether it tells anything about a part of the examples.
      headline: whether the console and the report's first lines show it.
      least_classes: of a model of fewer it is the same whatever the model does, and is not shown.
      from_confusion: gives the value from the number of examples by label and prediction, float64 [actual, predicted].
        The matrix ends with the last class that occurs; a row or a column may be empty.
      of_examples: gives for each example what is added up, float64 [n, ...], from the probabilities of the classes,
        float32 [n, classes], and the labels, int64 [n].
      from_sums: gives the value from these sums, float64 [...], and the number of examples; by default their mean.
      class_name, module, config: a metric of TFMA or, without a module, of Keras, with its arguments but for the name.
        With one of these TFMA is given each example for itself, a millisecond each, and not what is added up.

    Raises:
      ValueError: the entry contradicts itself.
    """

    name: str
    label: str
    key: str = ""
    format: str = "percent"
    higher_is_better: bool = True
    by_slice: bool = True
    headline: bool = True
    least_classes: int = 2
    from_confusion: Callable[[np.ndarray], float] | None = None
    of_examples: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    from_sums: Callable[[np.ndarray, int], float] = mean
    class_name: str = ""
    module: str = ""
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.name)
        # TFMA keeps to itself what begins with an underscore.
        if not self.name.isidentifier() or self.name.startswith("_"):
            raise ValueError(f"metric {self.name!r}: expected a Python identifier without a leading underscore.")
        if self.format not in FORMATS:
            raise ValueError(f"metric {self.name}: expected format {' or '.join(FORMATS)}, found {self.format!r}.")
        if [bool(way) for way in (self.from_confusion, self.of_examples, self.class_name)].count(True) != 1:
            raise ValueError(
                f"metric {self.name}: expected one of from_confusion, of_examples and class_name, found none or more."
            )
        if self.from_sums is not mean and not self.of_examples:
            raise ValueError(f"metric {self.name}: expected of_examples beside from_sums, found none.")

    def shown(self, metrics: Mapping) -> float | None:
        """Returns its value in `metrics` of a `summary.json`; None where it has none, or tells nothing."""
        is_idle = 0 < len(metrics.get("confusion_matrix") or ()) < self.least_classes
        return None if is_idle else metrics.get(self.key)


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Adds a metric to `METRICS` and returns it.

    Raises:
      ValueError: its name or its key is taken.
    """
    names, keys = {*METRICS, *RESERVED}, {*(other.key for other in METRICS.values()), *RESERVED}
    if metric.name in names or metric.key in keys:
        raise ValueError(f"metric {metric.name} (key {metric.key}): expected a name and a key that are not taken yet.")
    METRICS[metric.name] = metric
    return metric


def accuracy(counts: np.ndarray) -> float:
    """Returns the share of right predictions, a ratio of counts in float64."""
    return float(np.trace(counts) / counts.sum())


def macro_f1(counts: np.ndarray) -> float:
    """Returns the mean over the classes of F1, the harmonic mean of precision and recall.

    TFMA's own F1 looks at one class and a threshold on its probability; people act on the most probable class.

    Args:
      counts: confusion matrix, [actual, predicted]. A class that neither occurs nor is predicted is left out.
    """
    occurring = counts.sum(axis=0) + counts.sum(axis=1)
    present = occurring > 0
    return float(np.mean(2 * np.diag(counts)[present] / occurring[present])) if present.any() else float("nan")


def loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the cross-entropy of each example, float64 [n], as Keras has it: of bounded probabilities of sum 1."""
    bounded = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.log(bounded.sum(axis=1)) - np.log(bounded[np.arange(len(labels)), labels])


def among_first_two(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns for each example whether fewer than two classes are more probable than the right one, bool [n]."""
    return (probabilities > probabilities[np.arange(len(labels)), labels][:, None]).sum(axis=1) < 2


# Not Keras's, which is rounded to float32: a share that equals its floor has to pass.
ACCURACY = register(Metric(name="accuracy", key="test_accuracy", label="test accuracy", from_confusion=accuracy))
register(
    Metric(name="loss", key="test_loss", label="test loss", format="number", higher_is_better=False, of_examples=loss)
)
# In a slice of one class, all others are at 0 or left out.
register(Metric(name="macro_f1", label="macro F1", format="number", by_slice=False, from_confusion=macro_f1))
register(
    Metric(
        name="top_2_accuracy",
        label="right class among the first two",
        least_classes=3,
        of_examples=among_first_two,
    )
)
register(
    Metric(
        name="expected_calibration_error",
        label="calibration error",
        higher_is_better=False,
        of_examples=calibration_rows,
        from_sums=lambda sums, examples: error_of_sums(sums),
    )
)
