"""Temperature scaling, on logits whose right temperature is known."""

import keras
import numpy as np
import pytest

from models.calibration import calibrated, fit_temperature


def sampled(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that the logits have at a temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (count, 3))
    powers = np.exp(logits / temperature)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    labels = (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_that_the_labels_were_drawn_at_is_found(temperature):
    assert fit_temperature(*sampled(temperature)) == pytest.approx(temperature, rel=0.05)


def test_labels_that_are_always_right_give_a_bounded_temperature():
    found = fit_temperature(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([0, 1]))
    assert 0 < found < 1


class Subclassed(keras.Model):
    """A model of no graph of layers, which remembers nothing of its input's shape."""

    def __init__(self) -> None:
        super().__init__()
        self.head = keras.layers.Dense(3)

    def call(self, images):
        return self.head(keras.ops.reshape(images, (-1, 20))) ** 3


def functional() -> keras.Model:
    """A model whose logits come from two layers with biases."""
    images = keras.Input((4, 5, 1))
    flat = keras.layers.Flatten()(images)
    return keras.Model(images, keras.layers.Dense(3)(flat) + keras.layers.Dense(3, bias_initializer="ones")(flat))


@pytest.mark.parametrize("make", [functional, Subclassed], ids=["functional", "subclassed"])
def test_calibrated_model_answers_the_logits_of_any_model_divided_by_the_temperature(make):
    model = make()
    images = np.random.default_rng(1).normal(size=(5, 4, 5, 1)).astype(np.float32)
    before = model(images).numpy()
    np.testing.assert_allclose(calibrated(model, 2.5, (4, 5, 1))(images), before / 2.5, rtol=1e-6)
    np.testing.assert_array_equal(model(images), before)
