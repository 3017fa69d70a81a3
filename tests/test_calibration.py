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


@pytest.mark.parametrize("count", [1, 8, 50, 1_000])
def test_a_model_that_is_right_about_few_images_is_no_surer_than_these_can_tell(count):
    labels = np.arange(count) % 10
    # As label smoothing leaves them.
    logits = (3.7 * np.eye(10)[labels]).astype(np.float32)
    powers = np.exp(logits / fit_temperature(logits, labels))
    sure = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
    np.testing.assert_allclose(sure, (count + 1) / (count + 2), rtol=1e-3)


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
