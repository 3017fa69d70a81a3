"""Rows read from a file, against the array that it was written from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.row_reader import RowReader, spread_rows


@given(
    values=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)),
    data=st.data(),
)
def test_rows_come_in_the_order_in_which_they_are_asked_for(tmp_path_factory, values, data):
    path = tmp_path_factory.mktemp("rows") / "plain"
    path.write_bytes(values.tobytes())
    indices = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=10)), np.int64)
    with RowReader(path, values.shape) as rows:
        found = rows.gather(indices)
    np.testing.assert_array_equal(found, values[indices], strict=True)


def test_row_beyond_the_end_is_an_error_and_rows_outlive_the_name_of_the_file(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(bytes(range(10)))
    with RowReader(path, (3, 4)) as rows:
        path.unlink()
        assert rows.gather(np.array([1])).tolist() == [[4, 5, 6, 7]]
        with pytest.raises(OSError, match="row 2 lies beyond the end of the file"):
            rows.gather(np.array([0, 2]))


def test_rows_may_lie_a_stride_apart(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(bytes(range(16)))
    with RowReader(path, (2, 3, 2), stride=8) as rows:
        assert rows.gather(np.array([1, 0])).tolist() == [[[8, 9], [10, 11], [12, 13]], [[0, 1], [2, 3], [4, 5]]]


@given(st.integers(0, 3_000), st.integers(1, 3_000))
def test_rows_that_stand_for_all_are_as_far_apart_everywhere(size, most):
    rows = spread_rows(size, most)
    assert len(rows) == min(size, most)
    if size <= most:
        assert rows.tolist() == list(range(size))
    else:
        assert rows[0] == 0
        assert set(np.diff([*rows, size])) <= {size // most, -(-size // most)}
