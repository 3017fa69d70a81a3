"""What luck can reach and what few images say, against scipy's exact distributions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.evaluator.chance import floor_over_chance, interval


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


@given(share=st.floats(0.1, 0.9), total=st.integers(200, 20_000), others=st.integers(1, 9))
def test_naming_the_largest_class_passes_its_floor_by_luck_once_in_twenty(share, total, others):
    largest = max(round(share * total), -(-total // (others + 1)))
    rest = total - largest
    counts = [largest, *[rest // others + (number < rest % others) for number in range(others)]]
    floor = floor_over_chance(counts)
    share = max(counts) / total
    # Of as many new images: right answers are whole, so that the exact chance lies about one answer's around 1/20.
    one = stats.binom.pmf(round(floor * total), total, share)
    assert stats.binom.sf(floor * total, total, share) == pytest.approx(0.05, abs=0.012 + one)


def test_floor_is_the_share_of_the_largest_class_and_luck():
    # 0.9 + 1.645 sqrt(0.9 x 0.1 / 1000) = 0.9 + 1.645 x 0.009487
    assert floor_over_chance([900, 100]) == pytest.approx(0.9156, abs=1e-4)
    assert floor_over_chance([100] * 10) == pytest.approx(0.1156, abs=1e-4)


@pytest.mark.parametrize("counts", [[3, 0], [1], [9, 1], [1, 1]], ids=str)
def test_floor_can_always_be_reached(counts):
    assert max(counts) / sum(counts) <= floor_over_chance(counts) <= 1
