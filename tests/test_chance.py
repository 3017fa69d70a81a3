"""What luck reaches, and what an accuracy on few images is worth, against published figures."""

import pytest
from scipy.stats import binom

from components.evaluator.chance import floor_over_chance, interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3; the last two by the limits of the formula.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (0, 0, 0.0, 1.0)],
)
def test_interval_of_a_share_as_published(right, count, low, high):
    assert interval(right, count) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("counts", [[100] * 10, [900, 100], [5, 4, 3], [60, 40]])
def test_naming_the_largest_class_reaches_the_floor_by_luck_in_about_one_of_twenty_cases(counts):
    total, share = sum(counts), max(counts) / sum(counts)
    needed = floor_over_chance(counts) * total
    # The exact distribution; its steps are coarse for a dozen images.
    assert binom.sf(needed - 1e-9, total, share) < 0.08


def test_floor_over_chance_is_no_more_than_everything():
    assert floor_over_chance([3, 1]) == 1.0
