"""What a damaged shard is told by: its name, and the line of TensorFlow's message that says why."""

import numpy as np
import pytest
import tensorflow as tf

from components.errors import DataRefused
from components.shards import _reason, damage_told
from models.input_pipeline import first_records, open_split
from tests.served_models import banded_images, write_examples

LABELS = np.arange(30) % 3


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


@pytest.mark.parametrize(
    ("damage", "reads"),
    [(damage, reads) for damage in ("flipped", "cut") for reads in ("cached", "on_disk")]
    + [("flipped", "first_records")],
)
def test_damage_that_a_training_meets_is_told_with_the_shard(tmp_path, damage, reads):
    examples = write_examples(tmp_path / "examples", {"val": (banded_images(LABELS), LABELS)}, shards=2)
    shard = examples.shards("val")[1]
    content = shard.read_bytes()
    # Records are of one size; what is cut off is a whole one.
    shard.write_bytes(content[:-3] + b"???" if damage == "flipped" else content[: -len(content) // 15])
    told = {
        "flipped": rf"{shard}: expected records of an image and a label, found a damaged one after record \d+ \(",
        "cut": rf"{shard.parent}: expected the 30 records that ExampleGen wrote, found 29: a shard was",
    }
    with pytest.raises(DataRefused, match=told[damage]), damage_told(examples, "val"):
        if reads == "first_records":
            first_records(examples, "val", 100)
        else:
            open_split(examples, "val", memory=10**6 if reads == "cached" else 0, scratch=tmp_path)


def test_error_that_no_shard_is_to_blame_for_stays_as_it_is(tmp_path):
    examples = write_examples(tmp_path / "examples", {"val": (banded_images(LABELS), LABELS)})
    error = tf.errors.InvalidArgumentError(None, None, "of a network")
    with pytest.raises(tf.errors.InvalidArgumentError) as raised, damage_told(examples, "val"):
        raise error
    assert raised.value is error
