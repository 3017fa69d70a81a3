"""How far a model's confidence is from its accuracy, in ten bins of confidence: for the Evaluator and for the report.

Source: the expected calibration error of Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599,
equation 3.

Synopsis:

    calibration_error(np.array([0.9, 0.6]), np.array([True, False]))                     # 0.35
    sums = calibration_sums(confidence, right)           # float32 [n], bool [n] to float64 [3, BINS]
    error_of_sums(sums + calibration_sums(more_confidence, more_right))     # sums of parts can be added
"""

import numpy as np

BINS = 10


def bin_numbers(confidence: np.ndarray | float) -> np.ndarray:
    """Returns the bin of each confidence, 0 to `BINS` - 1: bins are equally wide, and 1.0 is in the last."""
    return np.minimum((np.asarray(confidence, np.float64) * BINS).astype(int), BINS - 1)


def calibration_sums(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns of each bin the sum of confidence, the number of right predictions and of examples: float64 [3, BINS].

    Args:
      confidence: probability of the predicted class, [n].
      right: whether it is the label, bool [n].
    """
    numbers = bin_numbers(confidence)
    rows = (confidence, right, np.ones(len(numbers)))
    return np.stack([np.bincount(numbers, np.asarray(row, np.float64), minlength=BINS) for row in rows])


def calibration_rows(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns of each example what `calibration_sums` adds up: float64 [n, 3, BINS].

    Args:
      probabilities: of the classes, [n, classes]; the most probable is predicted.
      labels: int64 [n].
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    values = np.stack([confidence, right, np.ones(len(labels))], axis=1)
    return values[:, :, None] * np.eye(BINS)[bin_numbers(confidence)][:, None]


def error_of_sums(sums: np.ndarray) -> float:
    """Returns the mean distance between confidence and accuracy over the bins, weighted by their examples.

    Args:
      sums: as `calibration_sums` gives them. Without any example there is no error: not a number.
    """
    confidence, right, count = sums
    return float(np.abs(confidence - right).sum() / count.sum()) if count.sum() else float("nan")


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error of predictions; the arguments are those of `calibration_sums`."""
    return error_of_sums(calibration_sums(confidence, right))
