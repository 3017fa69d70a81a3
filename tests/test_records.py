"""Shards as any TensorFlow program sees them."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from components.errors import InputError
from components.example_gen.records import ShardFormat, image_encoder, write_shard

TENSOR = ShardFormat(encoding="tensor", compression="")
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6), np.uint8)
LABELS = np.array([3, 0, 255, 1, 1, 9, 2], np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data_tfrecord-00000-of-00001"


def blocks(images: np.ndarray = IMAGES, size: int = 3):
    """Yields `images` with their labels in blocks of `size`."""
    for start in range(0, len(images), size):
        yield images[start : start + size], LABELS[start : start + size]


def payloads(content: bytes) -> list[bytes]:
    """Cuts a TFRecord file by its specification: length (8), its CRC (4), data, CRC of the data (4)."""
    records = []
    while content:
        (length,) = struct.unpack_from("<Q", content)
        records.append(content[12 : 12 + length])
        content = content[16 + length :]
    return records


@settings(max_examples=40)
@given(images=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=4, max_side=5)))
def test_image_bytes_are_what_serialize_tensor_gives(images):
    encode = image_encoder("tensor", images.shape[1:])
    for image in images:
        assert encode(image) == tf.io.serialize_tensor(image).numpy()


@pytest.mark.parametrize("side", [1, 11, 12, 127, 128, 300], ids=str)
def test_header_holds_where_its_length_fields_grow(side):
    """Protocol buffers store sizes in 7 bits a byte: from 128 on they take another byte."""
    image = np.full((side, side), 7, np.uint8)
    assert image_encoder("tensor", (side, side))(image) == tf.io.serialize_tensor(image).numpy()


@pytest.mark.parametrize(("compression", "unpack"), [("", bytes), ("GZIP", gzip.decompress)])
def test_records_have_exactly_the_two_features_in_order(path, compression, unpack):
    write_shard(path, blocks(), ShardFormat(encoding="tensor", compression=compression))
    examples = [tf.train.Example.FromString(payload) for payload in payloads(unpack(path.read_bytes()))]
    assert len(examples) == 7
    for example, image, label in zip(examples, IMAGES, LABELS, strict=True):
        feature = example.features.feature
        assert set(feature) == {"image", "label"}
        assert list(feature["label"].int64_list.value) == [label]
        assert list(feature["image"].bytes_list.value) == [tf.io.serialize_tensor(image).numpy()]


def test_any_tensorflow_program_reads_a_shard_back(path):
    write_shard(path, blocks(), ShardFormat(encoding="tensor", compression="GZIP"))
    spec = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    for index, record in enumerate(tf.data.TFRecordDataset(str(path), "GZIP")):
        parsed = tf.io.parse_single_example(record, spec)
        np.testing.assert_array_equal(tf.io.parse_tensor(parsed["image"], tf.uint8), IMAGES[index], strict=True)
        assert parsed["label"] == LABELS[index]
    assert index == 6


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_png_loses_nothing(channels):
    shape = (6, 5) if channels is None else (6, 5, channels)
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    decoded = tf.io.decode_png(image_encoder("png", shape)(image)).numpy()
    np.testing.assert_array_equal(decoded.reshape(shape), image, strict=True)


@pytest.mark.parametrize("channels", [None, 3])
def test_jpeg_is_tensorflows_own_and_close_to_the_image(channels):
    shape = (16, 24) if channels is None else (16, 24, channels)
    image = np.broadcast_to(np.linspace(20, 220, 24).astype(np.uint8).reshape(24, *[1] * (len(shape) - 2)), shape)
    encoded = image_encoder("jpeg", shape)(image)
    assert encoded[:3] == b"\xff\xd8\xff"
    decoded = tf.io.decode_jpeg(encoded).numpy().reshape(shape)
    assert np.abs(decoded.astype(int) - image).max() <= 8


@pytest.mark.parametrize(("encoding", "channels", "allowed"), [("jpeg", 4, "1 or 3"), ("png", 5, "1 or 2 or 3 or 4")])
def test_channels_that_an_encoding_cannot_hold_are_refused(encoding, channels, allowed):
    with pytest.raises(InputError, match=rf"{encoding}: expected {allowed} channels, the images have {channels}\."):
        image_encoder(encoding, (4, 4, channels))


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_digest_is_that_of_the_file_and_the_same_bytes_come_again(path, tmp_path, compression):
    shard_format = ShardFormat(encoding="tensor", compression=compression)
    digest = write_shard(path, blocks(), shard_format)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert write_shard(tmp_path / "again", blocks(size=2), shard_format) == digest
    assert write_shard(tmp_path / "other", blocks(IMAGES[:6]), shard_format) != digest


def test_finished_shard_lies_alone_in_its_folder(path):
    write_shard(path, blocks(), TENSOR)
    assert list(path.parent.iterdir()) == [path]


def test_full_disk_is_told_in_a_line_and_leaves_nothing(path, monkeypatch):
    class FullDisk(tf.io.TFRecordWriter):
        def write(self, record):
            super().write(record)
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nand more")

    monkeypatch.setattr(tf.io, "TFRecordWriter", FullDisk)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)\. Free some space") as raised:
        write_shard(path, blocks(), TENSOR)
    assert "\n" not in str(raised.value)
    assert list(path.parent.iterdir()) == []


def test_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/shard: expected what the run has put there, found nothing"):
        write_shard(tmp_path / "nowhere" / "shard", blocks(), TENSOR)
    assert list(tmp_path.iterdir()) == []


def test_failed_rename_leaves_the_former_shard(path, monkeypatch):
    path.write_bytes(b"former")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        write_shard(path, blocks(), TENSOR)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"former"


def test_error_in_the_images_leaves_nothing(path):
    def broken():
        yield IMAGES[:3], LABELS[:3]
        raise InputError("the images end here")

    with pytest.raises(InputError, match="the images end here"):
        write_shard(path, broken(), TENSOR)
    assert list(path.parent.iterdir()) == []
