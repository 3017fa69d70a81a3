"""Makes a trained model as sure as it is right.

A network trained with label smoothing is too modest: right in 93 of 100 cases, it says 84 %. Dividing the logits by one
number, chosen on the validation split, mends that and changes no answer.

Few images tell little: where all of eight are right, the labels alone would have the model be sure of everything. So
each label counts as right in n + 1 of n + 2 cases, as far as n images can tell.

Source: temperature scaling, Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599; targets as
in Platt 1999, "Probabilistic Outputs for Support Vector Machines".

Synopsis:

    temperature = fit_temperature(logits, labels)              # float32 [n, classes], int64 [n]
    model = calibrated(model, temperature, (28, 28, 1))        # answers the logits divided by it
"""

import keras
import numpy as np
from scipy.optimize import minimize_scalar

_RANGE = (0.05, 20.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature that makes the labels most probable, as far as so many can tell.

    Args:
      logits: [n, classes], two classes or more.
      labels: integer [n].
    """
    logits = logits.astype(np.float64)
    others = 1 / (len(labels) + 2) / (logits.shape[1] - 1)
    targets = np.full(logits.shape, others)
    targets[np.arange(len(labels)), labels] = 1 - others * (logits.shape[1] - 1)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - (targets * scaled).sum(axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded").x))


def calibrated(model: keras.Model, temperature: float, input_shape: tuple[int, int, int]) -> keras.Model:
    """Returns a model of the logits of `model`, whatever that is made of, divided by a temperature.

    Args:
      model: from images [batch, *input_shape] to logits [batch, classes].
      temperature: above 0.
      input_shape: (height, width, channels).
    """
    scale = keras.layers.Rescaling(1 / temperature, name="calibrated_logits")
    return keras.Sequential([keras.Input(input_shape, name="image"), model, scale])
