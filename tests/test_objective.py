"""Loss and accuracy of one network and of several members against Keras's own for each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.objective import SmoothedCrossEntropy, accuracy, balanced_weights

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (6, 3, 4)).astype("float32")
LABELS = np.eye(4, dtype="float32")[[0, 1, 2, 3, 0, 1]]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_member_has_the_loss_and_the_gradient_that_it_would_have_alone(smoothing):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = SmoothedCrossEntropy(smoothing)(LABELS, logits)
    gradient = tape.gradient(loss, logits)
    alone = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    total = 0.0
    for member in range(3):
        own = tf.constant(LOGITS[:, member])
        with tf.GradientTape() as tape:
            tape.watch(own)
            expected = alone(LABELS, own)
        total += float(expected)
        np.testing.assert_allclose(gradient[:, member], tape.gradient(expected, own), rtol=1e-5, atol=1e-7)
    assert float(loss) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_of_one_network_is_keras_s_and_that_of_a_single_member(smoothing):
    logits = LOGITS[:, 0]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)(LABELS, logits)
    assert float(SmoothedCrossEntropy(smoothing)(LABELS, logits)) == pytest.approx(float(expected), rel=1e-6)
    assert float(SmoothedCrossEntropy(smoothing)(LABELS, logits[:, None])) == pytest.approx(float(expected), rel=1e-6)


def test_accuracy_of_one_network_is_whether_its_largest_logit_is_the_label_s():
    logits = np.array([[3.0, 1.0], [-1.0, 0.5]], "float32")
    assert np.asarray(accuracy(np.eye(2, dtype="float32")[[0, 0]], logits)).tolist() == [True, False]


def test_accuracy_is_that_of_the_mean_of_the_members():
    # Member by member: right and wrong, right and wrong; together class 0 has 3 - 1 and class 1 has 1 + 0.5.
    logits = np.array([[[3.0, 1.0], [-1.0, 0.5]], [[3.0, 1.0], [-3.0, 0.5]]], "float32")
    labels = np.eye(2, dtype="float32")[[0, 0]]
    assert np.asarray(accuracy(labels, logits)).tolist() == [True, False]


def test_balanced_weights_are_inverse_frequencies_with_a_mean_of_one():
    counts = np.array([60, 20, 0, 20])
    weights = balanced_weights(counts)
    np.testing.assert_allclose(weights, [100 / 180, 100 / 60, 0, 100 / 60], rtol=1e-6)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
