"""How many rows fit into a number of bytes, and how many bytes there are by default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.host import memory_bytes
from models.memory import MIB, block_rows, budget_bytes, inference_rows, rows_within


def test_budget_is_what_was_given_or_a_quarter_of_the_machine():
    assert budget_bytes(300) == 314_572_800
    assert budget_bytes(256.5) == 268_959_744
    assert budget_bytes(None) == max(256 * MIB, memory_bytes() // 4)


@pytest.mark.parametrize(
    ("available", "row_bytes", "most", "rows"),
    [(100, 30, 50, 3), (90, 30, 50, 3), (89, 30, 50, 2), (29, 30, 50, 1), (0, 30, 50, 1), (10_000, 30, 50, 50)],
)
def test_rows_are_as_many_as_fit_at_least_one_and_at_most_the_cap(available, row_bytes, most, rows):
    assert rows_within(available, row_bytes, most=most) == rows


@pytest.mark.parametrize(
    ("image_shape", "read", "inferred"),
    [((28, 28), 4096, 500), ((32, 32, 3), 4096, 500), ((96, 96, 3), 1213, 303), ((224, 224, 3), 222, 55)],
)
def test_blocks_have_the_rows_of_small_images_and_the_bytes_of_large_ones(image_shape, read, inferred):
    assert block_rows(image_shape) == read
    assert inference_rows(image_shape) == inferred


@given(side=st.integers(1, 20_000), channels=st.integers(1, 4))
def test_no_block_takes_more_than_its_bytes_unless_one_image_does(side, channels):
    image_bytes = side * side * channels
    assert block_rows((side, side, channels)) * image_bytes <= max(image_bytes, 32 * MIB)
    assert inference_rows((side, side, channels)) * image_bytes <= max(image_bytes, 8 * MIB)
