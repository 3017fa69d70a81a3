"""Decoding, eagerly and in a graph, against TensorFlow's own decoders."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.images import decode_images, tensor_header, with_channels

GREY = np.random.default_rng(0).integers(0, 256, (4, 9, 7), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (4, 9, 7, 3), np.uint8)


def serialized(image: np.ndarray) -> bytes:
    return tf.io.serialize_tensor(image).numpy()


def picture(image: np.ndarray, kind: str) -> bytes:
    """Returns an image as Pillow stores it: another library than the one under test."""
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def eagerly(records: list[bytes], shape: tuple[int, ...], **options) -> np.ndarray:
    return decode_images(tf.constant(records), shape, **options).numpy()


@functools.cache
def traced(shape: tuple[int, ...], encoding: str | None):
    """Returns `decode_images` as a graph, traced once: that is what takes the time."""
    graph = tf.function(lambda batch: decode_images(batch, shape, encoding=encoding))
    return graph.get_concrete_function(tf.TensorSpec([None], tf.string))


def in_tf_data(records: list[bytes], shape: tuple[int, ...], encoding: str | None = None) -> np.ndarray:
    dataset = tf.data.Dataset.from_tensors(tf.constant(records)).map(traced(shape, encoding))
    assert dataset.element_spec.shape.as_list()[1:] == list(with_channels(shape))
    return next(iter(dataset)).numpy()


BOTH = pytest.mark.parametrize("decode", [eagerly, in_tf_data])


@settings(max_examples=25)
@given(images=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=4, max_side=5)), known=st.booleans())
def test_serialized_tensors_of_any_shape_come_back(images, known):
    found = eagerly([serialized(image) for image in images], images.shape[1:], encoding="tensor" if known else None)
    np.testing.assert_array_equal(found, images.reshape(len(images), *with_channels(images.shape[1:])), strict=True)


@BOTH
@pytest.mark.parametrize("known", [None, "tensor"])
def test_serialized_tensors_agree_eagerly_and_in_graph(decode, known):
    found = decode([serialized(image) for image in GREY], (9, 7), encoding=known)
    np.testing.assert_array_equal(found, GREY[..., None], strict=True)


@BOTH
@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("known", [None, "png"])
def test_png_comes_back_exactly(decode, images, known):
    found = decode([picture(image, "png") for image in images], images.shape[1:], encoding=known)
    np.testing.assert_array_equal(found, images.reshape(4, *with_channels(images.shape[1:])), strict=True)


@BOTH
@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("known", [None, "jpeg"])
def test_jpeg_is_decoded_as_decode_jpeg_does(decode, images, known):
    records = [picture(image, "jpeg") for image in images]
    expected = np.stack([tf.io.decode_jpeg(record).numpy() for record in records])
    np.testing.assert_array_equal(decode(records, images.shape[1:], encoding=known), expected, strict=True)


@BOTH
def test_one_batch_may_hold_all_three_encodings(decode):
    records = [serialized(COLOUR[0]), picture(COLOUR[1], "jpeg"), picture(COLOUR[2], "png"), serialized(COLOUR[3])]
    found = decode(records, (9, 7, 3))
    np.testing.assert_array_equal(found[[0, 2, 3]], COLOUR[[0, 2, 3]])
    np.testing.assert_array_equal(found[1], tf.io.decode_jpeg(records[1]))


@BOTH
@pytest.mark.parametrize(
    "record",
    [
        serialized(GREY[0, :8]),
        serialized(GREY[0].T),
        serialized(GREY[0, ..., None]),
        serialized(GREY[0].astype(np.int32)),
        serialized(GREY[0])[:-1],
        picture(GREY[0, :8], "png"),
        picture(GREY[0].T.copy(), "jpeg"),
        b"",
        b"no image at all",
    ],
    ids=["shorter", "transposed", "another rank", "int32", "cut", "png", "jpeg", "empty", "text"],
)
def test_image_of_another_shape_or_kind_is_refused_with_the_shape_expected(decode, record):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"9,? 7|ould not parse"):
        decode([serialized(GREY[0]), record], (9, 7))


@BOTH
@pytest.mark.parametrize(
    "record", [serialized(GREY[0, :8]), picture(GREY[0, :8], "png"), b""], ids=["tensor", "png", "empty"]
)
def test_refusal_says_what_was_expected(decode, record):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"neither a serialized uint8 tensor, a JPEG nor a PNG"):
        decode([record], (9, 7))


STORED = {"tensor": serialized(GREY[1]), "png": picture(GREY[1], "png"), "jpeg": picture(GREY[1], "jpeg")}


@BOTH
@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize(
    ("told", "other"), [(told, other) for told in STORED for other in STORED if other != told], ids=str
)
def test_one_image_stored_otherwise_than_told_is_refused_wherever_it_is(decode, told, other, position):
    records = [STORED[told]] * 4
    assert decode(records, (9, 7), encoding=told).shape == (4, 9, 7, 1)
    records[position] = STORED[other]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s)not stored as the examples say, which is.*{told}"):
        decode(records, (9, 7), encoding=told)


@BOTH
@pytest.mark.parametrize(
    "record",
    [serialized(GREY[0].T), serialized(GREY[0, ..., None]), serialized(GREY[0].astype(np.int8)), b"", b"text"],
    ids=["transposed", "another rank", "int8", "empty", "text"],
)
def test_tensor_of_another_shape_or_kind_than_told_is_refused(decode, record):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not stored as the examples say, which is"):
        decode([serialized(GREY[0]), record], (9, 7), encoding="tensor")


@pytest.mark.parametrize("encoding", [None, *STORED])
def test_batch_of_no_images_is_no_error(encoding):
    assert decode_images(tf.constant([], tf.string), (9, 7), encoding=encoding).shape == (0, 9, 7, 1)


@settings(max_examples=25)
@given(shape=hnp.array_shapes(min_dims=2, max_dims=3, max_side=40))
def test_header_and_pixels_make_the_serialized_tensor(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert tensor_header(shape) + pixels.tobytes() == serialized(pixels)


def test_header_can_be_made_while_a_graph_is_traced():
    tensor_header.cache_clear()

    graph = tf.function(lambda records: decode_images(records, (9, 7), encoding="tensor"))
    np.testing.assert_array_equal(graph(tf.constant([serialized(GREY[0])]))[0, ..., 0], GREY[0])


def test_grey_images_get_one_channel():
    assert with_channels((28, 30)) == (28, 30, 1)
    assert with_channels((28, 30, 3)) == (28, 30, 3)
