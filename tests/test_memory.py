"""What the machine has, told by files that the tests write, and how many rows fit into a number of bytes."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.memory import MIB, block_rows, budget_bytes, inference_rows, machine_bytes, rows_within

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes the files of a system below `tmp_path`, by their paths."""

    def write(files: dict[str, str]):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000000\n"},
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "3000000\n"},
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/memory.max": "3000000\n",
            "sys/fs/cgroup/memory.max": "4000000\n",
        },
        {"proc/self/cgroup": "0::/outside/of/it\n", "sys/fs/cgroup/memory.max": "3000000\n"},
        {
            "proc/self/cgroup": "5:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n",
            "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "3000000\n",
        },
    ],
    ids=["root of a container", "own group", "group above", "path of the host", "version 1"],
)
def test_limit_of_the_container_is_what_the_machine_has(write, files):
    assert machine_bytes(write(files)) == 3_000_000


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"},
        {"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
    ],
    ids=["no groups", "no limit", "no limit in version 1"],
)
def test_machine_without_a_limit_has_all_of_its_memory(write, files):
    assert machine_bytes(write(files)) == MACHINE


def test_budget_is_what_was_given_or_a_quarter_of_the_machine():
    assert budget_bytes(300) == 314_572_800
    assert budget_bytes(256.5) == 268_959_744
    assert budget_bytes(None) == max(256 * MIB, machine_bytes() // 4)


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
