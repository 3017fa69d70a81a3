"""The learning rate, worked out by hand."""

import keras
import numpy as np
import pytest

from models.schedule import Triangle


def rates(schedule: Triangle, steps) -> np.ndarray:
    return np.array([float(schedule(step)) for step in steps])


def test_rate_rises_to_the_peak_and_falls_to_zero_by_hand():
    # 10 steps, a fifth of them warm-up; a step counts at its middle: 0.05, 0.15, ... of the whole.
    expected = 2.0 * np.array([0.25, 0.75, *(np.arange(7.5, 0, -1) / 8)])
    np.testing.assert_allclose(rates(Triangle(2.0, 10, warmup=0.2), range(10)), expected, rtol=1e-6)


def test_rate_falls_to_the_final_share_of_the_peak_by_hand():
    # From the peak 1 at half time to 0.2 at the end: 0.8 over 10 steps, 0.08 a step, half a step on either side.
    found = rates(Triangle(1.0, 20, warmup=0.5, final=0.2), range(20))
    np.testing.assert_allclose(found[:10], np.arange(0.05, 1, 0.1), rtol=1e-6)
    np.testing.assert_allclose(found[10:], 0.96 - 0.08 * np.arange(10), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 1_000])
def test_rate_is_never_zero_in_training_nor_above_the_peak(steps):
    found = rates(Triangle(0.3, steps, 0.1), range(0, steps, max(1, steps // 50)))
    assert (found > 0).all()
    assert (found <= 0.3 + 1e-7).all()


def test_rate_after_the_last_step_is_not_negative():
    assert float(Triangle(0.3, 100, 0.1)(150)) == 0.0


def test_no_warmup_starts_next_to_the_peak():
    assert float(Triangle(0.3, 100, 0.0)(0)) == pytest.approx(0.3 * 0.995)


def test_step_may_be_a_tensor():
    step = keras.ops.convert_to_tensor(3, "int64")
    assert float(Triangle(0.3, 100, 0.1)(step)) == pytest.approx(0.3 * 0.35)


def test_schedule_survives_saving():
    before = Triangle(0.3, 77, 0.2, 0.05)
    after = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(before))
    np.testing.assert_allclose(rates(after, range(0, 77, 5)), rates(before, range(0, 77, 5)))
