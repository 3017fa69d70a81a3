"""What the model answered to the test split, and what can be measured from it.

Synopsis:

    answers = read_answers(folder / "predictions.parquet")
    most_confident_errors(answers, 24)       # positions in the test split
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

BINS = 10
_Z = 1.959964  # of the normal distribution, for 95 %


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """A row for each example of the test split.

    Attributes:
      example: its position in the split, int64 [n].
      label, prediction: classes, int64 [n].
      confidence: probability of the predicted class, float32 [n].
      slices: name of a slicing to the value of each example, string [n].
      class_names: by class.
    """

    example: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    slices: dict[str, np.ndarray]
    class_names: list[str]

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, bool [n]."""
        return self.label == self.prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceQuality:
    """Accuracy of a part of the examples with its 95 % interval, and how well its confidence agrees with it."""

    slicing: str
    value: str
    examples: int
    accuracy: float
    low: float
    high: float
    confidence: float
    calibration_error: float


def read_answers(path: Path, class_names: list[str]) -> Answers:
    """Reads the Predictor's file; examples without a label are left out."""
    table = pq.read_table(path)
    known = ("source", "example", "label", "prediction", "class_name", "probability", "probabilities")
    table = table.filter(table.column("label").is_valid())
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in ("example", "label", "prediction")}
    if "probability" in table.column_names:
        confidence = table.column("probability").to_numpy(zero_copy_only=False)
    else:
        confidence = np.array([max(row) for row in table.column("probabilities").to_pylist()], np.float32)
    slices = {
        name: np.array(table.column(name).to_pylist(), object) for name in table.column_names if name not in known
    }
    stored = (table.schema.metadata or {}).get(b"class_names")
    names = class_names or (json.loads(stored) if stored else [])
    classes = 1 + int(max(columns["label"].max(initial=-1), columns["prediction"].max(initial=-1)))
    names = names or [str(number) for number in range(classes)]
    return Answers(**columns, confidence=confidence, slices=slices, class_names=names)


def confusion_matrix(answers: Answers) -> np.ndarray:
    """Returns the number of examples by label (row) and prediction (column), int64 [classes, classes]."""
    classes = len(answers.class_names)
    flat = np.bincount(answers.label * classes + answers.prediction, minlength=classes * classes)
    return flat.reshape(classes, classes)


def most_confident_errors(answers: Answers, count: int) -> np.ndarray:
    """Returns the indices of the wrong answers that the model was surest of, the surest first."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:count]


def cell_examples(answers: Answers, count: int) -> dict[tuple[int, int], np.ndarray]:
    """Returns up to `count` indices for each cell of the confusion matrix that has any.

    Errors come with the surest first; right answers with the least sure first, which tell more.
    """
    found = {}
    for label, prediction in sorted(set(zip(answers.label.tolist(), answers.prediction.tolist(), strict=True))):
        inside = np.flatnonzero((answers.label == label) & (answers.prediction == prediction))
        sign = 1 if label == prediction else -1
        found[label, prediction] = inside[np.argsort(sign * answers.confidence[inside], kind="stable")][:count]
    return found


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[tuple[float, float, int]]:
    """Returns mean confidence, accuracy and number of examples for each bin of equal width that has any."""
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    inside = [which == number for number in range(bins)]
    return [(float(confidence[i].mean()), float(right[i].mean()), int(i.sum())) for i in inside if i.any()]


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Returns the expected calibration error (Guo et al. 2017): |confidence - accuracy| over bins, by examples."""
    rows = reliability(confidence, right, bins)
    return sum(abs(sure - accuracy) * count for sure, accuracy, count in rows) / max(1, len(right))


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share (Wilson 1927), 0 to 1 where there is nothing."""
    if not count:
        return 0.0, 1.0
    share, z2 = right / count, _Z * _Z
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def quality_by_slice(answers: Answers) -> list[SliceQuality]:
    """Returns the quality overall, by class and by the value of each slicing."""
    parts = [("overall", "all", np.ones(len(answers.label), bool))]
    parts += [("class", name, answers.label == number) for number, name in enumerate(answers.class_names)]
    for slicing, values in answers.slices.items():
        parts += [(slicing, str(value), values == value) for value in sorted(set(values.tolist()), key=str)]
    found = []
    for slicing, value, inside in parts:
        right, confidence = answers.right[inside], answers.confidence[inside]
        if not len(right):
            continue
        low, high = wilson_interval(int(right.sum()), len(right))
        found.append(
            SliceQuality(
                slicing=slicing,
                value=value,
                examples=len(right),
                accuracy=float(right.mean()),
                low=low,
                high=high,
                confidence=float(confidence.mean()),
                calibration_error=calibration_error(confidence, right),
            )
        )
    return found
