"""Reading TFRecords and protocol buffers without TensorFlow; whole artifacts are in test_examples.py."""

import pytest

from models.tfrecords import fields


def test_fields_of_a_protocol_buffer_by_the_example_of_its_specification():
    # "150 in field 1" and "testing in field 2", https://protobuf.dev/programming-guides/encoding/
    message = bytes.fromhex("089601" + "120774657374696e67")
    assert list(fields(message)) == [(1, 150), (2, b"testing")]
    with pytest.raises(ValueError, match="found wire type 3 at byte 1"):
        list(fields(b"\x0b"))
