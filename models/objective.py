"""What a network is fitted to and measured by, one or an ensemble in training.

Each member of an ensemble has a loss of its own, so that it learns what it would learn alone; see
`models/networks/ensemble.py`. In training the loss is the sum of theirs. In validation an ensemble gives one answer,
the mean of its members' logits, so that `val_loss` is the loss of that mean and no sum.

Synopsis:

    model.compile(optimizer, SmoothedCrossEntropy(0.2), metrics=[accuracy])
"""

import keras
import numpy as np
from keras import ops


class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with smoothed labels, summed over the members where there are several.

    `y_true`: one-hot labels [batch, classes]; `y_pred`: logits [batch, classes] or [batch, members, classes].
    """

    def __init__(self, label_smoothing: float, name: str = "smoothed_cross_entropy", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        logits = _by_member(y_pred)
        labels = ops.repeat(y_true[:, None], logits.shape[1], axis=1)
        losses = keras.losses.categorical_crossentropy(
            labels, logits, from_logits=True, label_smoothing=self.label_smoothing
        )
        return ops.sum(losses, axis=-1)


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Returns by class the weight of an example in the loss; each class weighs the same, an example 1 on average.

    Args:
      counts: examples of each class, integer [classes]; a class without any has weight 0.

    Returns:
      float32 [classes].
    """
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0)
    return weights.astype(np.float32)


def accuracy(y_true, y_pred):
    """Returns for each example whether the answer is right, that of the members' mean; shapes as in the loss."""
    return ops.equal(ops.argmax(y_true, axis=-1), ops.argmax(ops.mean(_by_member(y_pred), axis=1), axis=-1))


def _by_member(logits):
    """Returns logits as [batch, members, classes]."""
    return logits[:, None] if len(logits.shape) == 2 else logits
