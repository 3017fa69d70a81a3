"""Decodes the `image` feature of a batch of records: serialized tensor, JPEG or PNG to uint8.

ExampleGen writes one encoding for a data set; serving meets all of them, so the graph looks at the bytes. A serialized
uint8 tensor of one shape is a constant header followed by the pixels: a whole batch of those is decoded by one
`decode_raw`, where `tf.io.parse_tensor` takes one scalar at a time and costs about 10 us a record.

Synopsis:

    images = decode_images(serialized, (28, 28))      # string [batch] -> uint8 [batch, 28, 28, 1]
"""

import functools

import tensorflow as tf

from models.features import IMAGE, LABEL

_NOT_AN_IMAGE = "the `image` feature is neither a serialized uint8 tensor, a JPEG nor a PNG of shape"


@functools.cache
def tensor_header(image_shape: tuple[int, ...]) -> bytes:
    """Returns what `tf.io.serialize_tensor` writes before the pixels of a uint8 tensor of `image_shape`."""
    size = functools.reduce(int.__mul__, image_shape)
    with tf.init_scope():
        serialized = tf.io.serialize_tensor(tf.zeros(image_shape, tf.uint8)).numpy()
    header = serialized[: len(serialized) - size]
    if serialized != header + bytes(size):
        raise AssertionError("tf.io.serialize_tensor no longer ends with the raw pixels")
    return header


def with_channels(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Returns (height, width, channels) of an image of shape (height, width) or (height, width, channels)."""
    height, width, *rest = image_shape
    return (height, width, rest[0] if rest else 1)


def decode_images(serialized: tf.Tensor, image_shape: tuple[int, ...], *, encoding: str | None = None) -> tf.Tensor:
    """Decodes the bytes of a batch of images.

    Args:
      serialized: string [batch].
      image_shape: (height, width) or (height, width, channels), as ExampleGen read it.
      encoding: "tensor" if all are known to be serialized tensors of this shape, which keeps the graph small; None
        looks at the bytes.

    Returns:
      uint8 [batch, height, width, channels].

    Raises:
      tf.errors.InvalidArgumentError: an image has another shape or no known encoding.
    """
    header = tensor_header(image_shape)
    height, width, channels = with_channels(image_shape)
    size = height * width * channels

    def decode_raw() -> tf.Tensor:
        pixels = tf.strings.substr(serialized, len(header), size)
        return tf.reshape(tf.io.decode_raw(pixels, tf.uint8, fixed_length=size), [-1, height, width, channels])

    def decode_each() -> tf.Tensor:
        return tf.map_fn(
            lambda one: _decode_one(one, image_shape),
            serialized,
            fn_output_signature=tf.TensorSpec([height, width, channels], tf.uint8),
        )

    if encoding == "tensor":
        return decode_raw()
    is_tensor = tf.logical_and(
        tf.equal(tf.strings.substr(serialized, 0, len(header)), header),
        tf.equal(tf.strings.length(serialized), len(header) + size),
    )
    return tf.cond(tf.reduce_all(is_tensor), decode_raw, decode_each)


def _decode_one(serialized: tf.Tensor, image_shape: tuple[int, ...]) -> tf.Tensor:
    """Decodes one image (string scalar) to uint8 [height, width, channels]."""
    shape = with_channels(image_shape)

    def decode_picture() -> tf.Tensor:
        return tf.io.decode_image(serialized, channels=shape[2], expand_animations=False)

    def decode_tensor() -> tf.Tensor:
        header = tf.equal(
            tf.strings.substr(serialized, 0, len(tensor_header(image_shape))),
            tensor_header(image_shape),
        )
        check = tf.debugging.Assert(header, [_NOT_AN_IMAGE, list(image_shape)])
        with tf.control_dependencies([check]):
            return tf.reshape(tf.io.parse_tensor(serialized, tf.uint8), shape)

    is_picture = tf.logical_or(
        tf.equal(tf.strings.substr(serialized, 0, 4), b"\x89PNG"),
        tf.equal(tf.strings.substr(serialized, 0, 3), b"\xff\xd8\xff"),
    )
    image = tf.cond(is_picture, decode_picture, decode_tensor)
    check = tf.debugging.assert_equal(tf.shape(image), shape, message=f"{_NOT_AN_IMAGE} {list(image_shape)}")
    with tf.control_dependencies([check]):
        return tf.ensure_shape(image, shape)


def parse_examples(records: tf.Tensor, image_shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Parses a batch of serialized `tf.train.Example`s.

    Args:
      records: string [batch].
      image_shape: (height, width) or (height, width, channels).

    Returns:
      images, uint8 [batch, height, width, channels], and labels, int64 [batch].
    """
    parsed = tf.io.parse_example(
        records,
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            LABEL: tf.io.FixedLenFeature([], tf.int64),
        },
    )
    return decode_images(parsed[IMAGE], image_shape), parsed[LABEL]
