"""What a network of several trunks is fitted to and measured by.

Each trunk has a loss of its own, so that it learns what it would learn alone: an ensemble errs less the more its
members differ, and a loss of their mean would make them alike. Source: deep ensembles, Lakshminarayanan et al. 2017,
arXiv:1612.01474.
"""

import keras
from keras import ops


class TrunkLoss(keras.losses.Loss):
    """Sum over the trunks of the cross-entropy with smoothed labels.

    `y_true`: one-hot labels [batch, classes]; `y_pred`: logits [batch, trunks, classes].
    """

    def __init__(self, label_smoothing: float, name: str = "trunk_loss", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        labels = ops.repeat(y_true[:, None], y_pred.shape[1], axis=1)
        return ops.sum(
            keras.losses.categorical_crossentropy(
                labels, y_pred, from_logits=True, label_smoothing=self.label_smoothing
            ),
            axis=-1,
        )


def accuracy(y_true, y_pred):
    """Returns for each example whether the mean of the trunks is right; shapes as in `TrunkLoss`."""
    return ops.equal(ops.argmax(y_true, axis=-1), ops.argmax(ops.mean(y_pred, axis=1), axis=-1))
