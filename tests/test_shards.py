"""What a damaged shard is told by: the line of TensorFlow's message that says why."""

import pytest

from components.shards import _reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("corrupted record at 240 [Op:IteratorGetNext] name: ", "corrupted record at 240 [Op:IteratorGetNext] name:"),
        (
            "Graph execution error:\n\nDetected at node Assert defined at (most recent call last):\n"
            "<stack traces unavailable>\nassertion failed: [not so] [png]\n\t [[{{node Assert}}]] [Op:decode]",
            "assertion failed: [not so] [png]",
        ),
        (
            "2 root error(s) found.\n  (0) too short\n  (1) too short\n0 derived errors ignored.",
            "2 root error(s) found.",
        ),
        ("  indented alone", "indented alone"),
        ("", "no reason was given"),
    ],
)
def test_reason_is_the_line_that_says_why(message, reason):
    assert _reason(message) == reason
