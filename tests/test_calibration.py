"""Temperature scaling, on logits whose right temperature is known."""

import keras
import numpy as np
import pytest

from models.calibration import fit_temperature, scale_logits


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


def test_scaled_head_answers_the_logits_divided_by_the_temperature():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    inputs = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    before = model(inputs).numpy()
    scale_logits(model, 2.0)
    np.testing.assert_allclose(model(inputs), before / 2, rtol=1e-6)
