"""Loss and accuracy of several trunks against Keras's own for each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.objective import TrunkLoss, accuracy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (6, 3, 4)).astype("float32")
LABELS = np.eye(4, dtype="float32")[[0, 1, 2, 3, 0, 1]]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_trunk_has_the_loss_and_the_gradient_that_it_would_have_alone(smoothing):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = TrunkLoss(smoothing)(LABELS, logits)
    gradient = tape.gradient(loss, logits)
    alone = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    total = 0.0
    for trunk in range(3):
        own = tf.constant(LOGITS[:, trunk])
        with tf.GradientTape() as tape:
            tape.watch(own)
            expected = alone(LABELS, own)
        total += float(expected)
        np.testing.assert_allclose(gradient[:, trunk], tape.gradient(expected, own), rtol=1e-5, atol=1e-7)
    assert float(loss) == pytest.approx(total, rel=1e-6)


def test_accuracy_is_that_of_the_mean_of_the_trunks():
    # Trunk by trunk: right and wrong, right and wrong; together class 0 has 3 - 1 and class 1 has 1 + 0.5.
    logits = np.array([[[3.0, 1.0], [-1.0, 0.5]], [[3.0, 1.0], [-3.0, 0.5]]], "float32")
    labels = np.eye(2, dtype="float32")[[0, 0]]
    assert np.asarray(accuracy(labels, logits)).tolist() == [True, False]
