"""What the model predicted for the test split, and what can be measured from it.

Synopsis:

    predictions = read_predictions(folder / "predictions.parquet", class_names)
    most_confident_errors(predictions, 24)       # indices of rows
"""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.evaluator.calibration import BINS, calibration_error, calibration_sums
from components.evaluator.chance import interval
from components.evaluator.slices import CLASS
from components.prediction_columns import COLUMNS

# Of more the confusion matrix is wider than the page and takes megabytes.
MATRIX_CLASSES = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """A row for each example of the test split.

    Attributes:
      example: its position in the split, int64 [n].
      label, prediction: classes, int64 [n].
      confidence: probability of the predicted class, float32 [n].
      probabilities: of each class, float32 [n, classes]; None where nobody kept them.
      slices: name of a slicing to the slice of each example, string [n]; the class is not among them.
      class_names: by class.
    """

    example: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    slices: dict[str, np.ndarray]
    class_names: list[str]
    probabilities: np.ndarray | None = None

    @property
    def right(self) -> np.ndarray:
        """Which predictions are right, bool [n]."""
        return self.label == self.prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceQuality:
    """Accuracy of a part of the examples with its 95 % interval, and how well its confidence agrees with it.

    Of a class the accuracy is its recall; `precision` is the share of right ones among the answers that name it, and
    `f1` the harmonic mean of both.
    """

    slicing: str
    value: str
    examples: int
    accuracy: float
    low: float
    high: float
    confidence: float
    calibration_error: float
    precision: float | None = None
    f1: float | None = None


class Bin(NamedTuple):
    """Examples of like confidence, from `low` to `high`; `accuracy_low` and `accuracy_high` are its 95 % interval."""

    low: float
    high: float
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    examples: int


def read_predictions(path: Path, class_names: list[str]) -> Predictions:
    """Reads the BulkInferrer's file; examples without a label are left out.

    Args:
      path: a file with `COLUMNS`. Every other column is a slicing.
      class_names: by class; if empty, those that the file holds, or the numbers.
    """
    table = pq.read_table(path)
    table = table.filter(table.column("label").is_valid())
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in ("example", "label", "prediction")}
    if "probability" in table.column_names:
        confidence = table.column("probability").to_numpy(zero_copy_only=False)
    else:
        confidence = np.array([max(row) for row in table.column("probabilities").to_pylist()], np.float32)
    slicings = [name for name in table.column_names if name not in COLUMNS.names]
    slices = {name: np.array(table.column(name).to_pylist(), object) for name in slicings}
    stored = (table.schema.metadata or {}).get(b"class_names")
    names = class_names or (json.loads(stored) if stored else [])
    classes = 1 + int(max(columns["label"].max(initial=-1), columns["prediction"].max(initial=-1)))
    names = names or [str(number) for number in range(classes)]
    probabilities = None
    if "probabilities" in table.column_names and table.num_rows:
        values = pc.list_flatten(table.column("probabilities")).to_numpy()
        probabilities = values.reshape(table.num_rows, -1)
    return Predictions(**columns, confidence=confidence, slices=slices, class_names=names, probabilities=probabilities)


def _as_told(value: object) -> tuple:
    """The numbers of spans as numbers, other names by their letters."""
    text = str(value)
    return (0, int(text), text) if text.isdecimal() else (1, 0, text)


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Returns the number of examples by label (row) and prediction (column), int64 [classes, classes]."""
    classes = len(predictions.class_names)
    flat = np.bincount(predictions.label * classes + predictions.prediction, minlength=classes * classes)
    return flat.reshape(classes, classes)


def shown_classes(predictions: Predictions) -> list[int]:
    """Returns the classes that the confusion matrix shows, in their order.

    Of more than MATRIX_CLASSES those that are mistaken most often, for others or others for them.
    """
    counts = confusion_matrix(predictions)
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return sorted(np.argsort(-errors, kind="stable")[:MATRIX_CLASSES].tolist())


def most_confident_errors(predictions: Predictions, count: int) -> np.ndarray:
    """Returns the indices of the wrong predictions that the model was surest of, the surest first."""
    wrong = np.flatnonzero(~predictions.right)
    return wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:count]


def cell_examples(predictions: Predictions, count: int) -> dict[tuple[int, int], np.ndarray]:
    """Returns up to `count` indices for each cell of the confusion matrix that is shown and has any.

    Errors come with the surest first; right predictions with the least sure first, which tell more.
    """
    found = {}
    labels, predicted, shown = predictions.label, predictions.prediction, set(shown_classes(predictions))
    for label, prediction in sorted(set(zip(labels.tolist(), predicted.tolist(), strict=True))):
        if not {label, prediction} <= shown:
            continue
        inside = np.flatnonzero((labels == label) & (predicted == prediction))
        sign = 1 if label == prediction else -1
        found[label, prediction] = inside[np.argsort(sign * predictions.confidence[inside], kind="stable")][:count]
    return found


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Returns mean confidence and accuracy for each bin of confidence that has any examples.

    Args:
      confidence: [n].
      right: bool [n].
    """
    return [
        Bin(
            number / BINS,
            (number + 1) / BINS,
            float(sure / count),
            float(correct / count),
            *interval(correct, count),
            int(count),
        )
        for number, (sure, correct, count) in enumerate(calibration_sums(confidence, right).T)
        if count
    ]


def smoothed_loss(predictions: Predictions, temperature: float, smoothing: float) -> float | None:
    """Returns the loss of training (`models.objective`) on the test split: what the curves show, before calibration.

    Args:
      predictions: with probabilities, of logits that were divided by `temperature`.
      temperature: of the calibration.
      smoothing: of the labels, the share that all classes have in common.
    """
    if predictions.probabilities is None:
        return None
    logits = temperature * np.log(np.maximum(predictions.probabilities, np.finfo(np.float32).tiny).astype(np.float64))
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    right = logs[np.arange(len(logs)), predictions.label]
    return float(-((1 - smoothing) * right + smoothing * logs.mean(axis=1)).mean())


def quality_by_slice(predictions: Predictions) -> list[SliceQuality]:
    """Returns the quality overall, by class and by the slices of each slicing."""
    parts = [("overall", "all", np.ones(len(predictions.label), bool))]
    parts += [(CLASS, name, predictions.label == number) for number, name in enumerate(predictions.class_names)]
    for slicing, values in predictions.slices.items():
        parts += [(slicing, str(value), values == value) for value in sorted(set(values.tolist()), key=_as_told)]
    found = []
    counts = confusion_matrix(predictions)
    for slicing, value, inside in parts:
        right, confidence = predictions.right[inside], predictions.confidence[inside]
        if not len(right):
            continue
        low, high = interval(right.sum(), len(right))
        precision = f1 = None
        if slicing == CLASS:
            number = predictions.class_names.index(value)
            answers = counts[:, number].sum()
            precision = float(right.sum() / answers) if answers else None
            f1 = float(2 * right.sum() / (answers + len(right)))
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
                precision=precision,
                f1=f1,
            )
        )
    return found
