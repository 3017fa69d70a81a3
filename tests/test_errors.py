"""What is told of a failure, whatever its text is."""

import pytest

from components.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such thing\nand where it was looked for"), "no such thing"),
        (ValueError("\n  \n  behind two empty lines  \n"), "behind two empty lines"),
        (MemoryError(), "MemoryError"),
        (OSError("\n"), "OSError"),
    ],
)
def test_one_line_is_told_of_any_failure(error, line):
    assert first_line(error) == line
