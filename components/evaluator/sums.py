"""What the metrics are made of, added up over examples by NumPy: sums of parts are those of the whole when added.

Synopsis:

    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], np.float32)
    from components.evaluator.metrics import METRICS

    metrics = list(METRICS.values())
    one, other = sums_of(probabilities, np.array([0, 1, 1]), np.array([0, 0, 1]), metrics)      # of the groups 0 and 1
    value_of(METRICS["accuracy"], one)                                                  # 1.0
    one += other
    round(value_of(METRICS["accuracy"], one), 4)                                        # 0.6667
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np

from components.errors import PipelineError
from components.evaluator.metrics import Metric


@dataclasses.dataclass(frozen=True)
class Sums:
    """Of some examples.

    Attributes:
      counts: number of examples by (actual, predicted) class.
      values: by metric, what its `of_examples` gives, added up, float64.
    """

    counts: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __iadd__(self, other: "Sums") -> "Sums":
        """Adds others to these: of many classes there are many counts, which are not copied each time."""
        self.counts.update(other.counts)
        for name, value in other.values.items():
            self.values[name] = self.values.get(name, 0) + value
        return self

    @property
    def examples(self) -> int:
        """How many there are."""
        return self.counts.total()


def sums_of(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, metrics: Iterable[Metric]) -> list[Sums]:
    """Returns the sums of each group of examples.

    Args:
      probabilities: of the classes, float32 [n, classes].
      labels: int64 [n].
      groups: of each example, 0 and up without a gap, int [n].
      metrics: those that are to be computed from the sums.

    Raises:
      PipelineError: the function of a metric fails or gives no number.
    """
    # A function that sorts in place, say, would change what the others see.
    probabilities, labels = _read_only(probabilities), _read_only(labels)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max(initial=-1) + 1))
    values = {
        metric.name: np.add.reduceat(_values(metric, probabilities, labels)[order], starts)
        for metric in metrics
        if metric.of_examples
    }
    found = [Sums(values={name: added[group] for name, added in values.items()}) for group in range(len(starts))]
    cells, numbers = np.unique(np.stack([groups, labels, probabilities.argmax(axis=1)]), axis=1, return_counts=True)
    for group, actual, predicted, number in zip(*cells.tolist(), numbers.tolist(), strict=True):
        found[group].counts[actual, predicted] = number
    return found


def value_of(metric: Metric, sums: Sums) -> float:
    """Returns a metric's value.

    Raises:
      PipelineError: the metric's function fails or gives no number.
    """
    if metric.of_examples:
        function, given = metric.from_sums, (sums.values[metric.name], sums.examples)
        what = f"from_sums for {sums.examples} examples"
    else:
        size = 1 + max(map(max, sums.counts), default=-1)
        counts = np.zeros((size, size))
        for cell, number in sums.counts.items():
            counts[cell] = number
        function, given, what = metric.from_confusion, (counts,), f"from_confusion for a matrix of {size}x{size}"
    try:
        return float(function(*given))
    except Exception as error:  # whatever the function fails with, its name has to be told
        raise _failed(metric, f"a number from its {what}", f"{type(error).__name__}: {error}") from error


def groups_of(columns: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns which examples are of a kind, and the first of each kind.

    Args:
      columns: what they are told apart by, each [n].

    Returns:
      The group of each example, 0 and up, int64 [n], and the place of the first of each group.
    """
    codes = np.stack([np.unique(column, return_inverse=True)[1] for column in columns])
    _, first, groups = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    return groups.ravel(), first


def _values(metric: Metric, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    expected = f"numbers from its of_examples, a row for each of {len(labels)} examples"
    try:
        found = np.asarray(metric.of_examples(probabilities, labels), np.float64)
    except Exception as error:  # whatever the function fails with, its name has to be told
        raise _failed(metric, expected, f"{type(error).__name__}: {error}") from error
    if found.shape[:1] != labels.shape:
        raise _failed(metric, expected, f"an array {list(found.shape)}")
    return found


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _failed(metric: Metric, expected: str, found: str) -> PipelineError:
    return PipelineError(f"metric {metric.name}: expected {expected}, found {found}. Mend the function.")
