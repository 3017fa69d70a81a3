"""What luck can reach and what few images say, against scipy's exact distributions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.evaluator.chance import difference_by_chance, floor_over_chance, interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3; the last two by the limits of the formula.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (0, 0, 0.0, 1.0)],
)
def test_interval_of_a_share_as_published(right, count, low, high):
    assert interval(right, count) == pytest.approx((low, high), abs=5e-5)


@given(total=st.integers(1, 100_000), data=st.data())
def test_interval_is_wilsons_at_95_percent(total, data):
    right = data.draw(st.integers(0, total))
    wanted = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert interval(right, total) == pytest.approx((wanted.low, wanted.high), abs=1e-4)


@pytest.mark.parametrize(("right", "total", "wanted"), [(45, 50, (0.786, 0.957)), (0, 10, (0.0, 0.278)), (3, 3, None)])
def test_interval_of_all_or_none_stays_within_0_and_1(right, total, wanted):
    low, high = interval(right, total)
    assert 0 <= low < high <= 1
    assert wanted is None or (round(low, 3), round(high, 3)) == wanted


def test_interval_holds_the_share_itself():
    """A reliability diagram with a bar of less than nothing is none: the whole report was missing."""
    for total in range(1, 300):
        assert interval(total, total)[1] == 1
        assert interval(0, total)[0] == 0


@given(share=st.floats(0.1, 0.9), total=st.integers(5, 20_000), others=st.integers(1, 9))
def test_naming_the_largest_class_reaches_its_floor_by_luck_at_most_once_in_twenty(share, total, others):
    largest = min(total, max(round(share * total), -(-total // (others + 1))))
    rest = total - largest
    counts = [largest, *[rest // others + (number < rest % others) for number in range(others)]]
    right, share = round(floor_over_chance(counts) * total), max(counts) / total
    # Of as many new images: so many right ones or more; and one fewer would be reached more often, unless it is all.
    assert right == total or stats.binom.sf(right - 1, total, share) <= 0.05
    assert stats.binom.sf(right - 2, total, share) > 0.05


def test_floor_is_the_least_share_that_luck_seldom_reaches():
    # Of 10 answers by the toss of a coin 8 or more are right in 56 of 1024 cases, 9 or more in 11.
    assert floor_over_chance([5, 5]) == 0.9
    assert floor_over_chance([100] * 10) == 0.117


@pytest.mark.parametrize("counts", [[3, 0], [1], [9, 1], [1, 1]], ids=str)
def test_floor_can_always_be_reached(counts):
    assert max(counts) / sum(counts) <= floor_over_chance(counts) <= 1


@pytest.mark.parametrize(("disagreement", "total"), [(0.06, 10_000), (0.12, 1_000), (0.3, 100)])
def test_of_equally_good_models_one_in_forty_is_worse_by_more_than_chance_makes_them(disagreement, total):
    random = np.random.default_rng(0)
    # What only the one, only the other, and both or neither are right about.
    draws = random.multinomial(total, [disagreement / 2, disagreement / 2, 1 - disagreement], 20_000)
    refused = [(other - one) / total > difference_by_chance(one, other, total) for one, other, _ in draws.tolist()]
    assert 0.01 < np.mean(refused) < 0.04


def test_models_that_agree_do_not_differ_by_chance():
    assert difference_by_chance(0, 0, 17) == 0
    # One image of 17 is no difference, all of them are.
    assert 1 / 17 < difference_by_chance(0, 1, 17) < 2 / 17
    assert difference_by_chance(0, 17, 17) == 0
