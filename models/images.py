"""Decodes the `image` feature of a batch of records: serialized tensor, JPEG or PNG to uint8.

ExampleGen writes one encoding for a data set, which its artifact tells and every reader checks; serving meets all of
them, so that its graph looks at the bytes. A serialized
uint8 tensor of one shape is a constant header followed by the pixels: a whole batch of those is decoded by one
`decode_raw`, where `tf.io.parse_tensor` takes one scalar at a time and costs about 10 us a record.

Synopsis:

    images = decode_images(serialized, (28, 28))      # string [batch] -> uint8 [batch, 28, 28, 1]
"""

import functools

import tensorflow as tf

from models.features import MAGIC

_NOT_AN_IMAGE = "the `image` feature is neither a serialized uint8 tensor, a JPEG nor a PNG of shape"
_OTHERWISE = "an image of the batch is not stored as the examples say, which is"


# For a function that a graph is made of as it stands: AutoGraph would read its source, rewrite it and load it as a
# module, a tenth of a second and more each (docs/LOG.md).
as_written = tf.autograph.experimental.do_not_convert


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


@as_written
def decode_images(serialized: tf.Tensor, image_shape: tuple[int, ...], *, encoding: str | None = None) -> tf.Tensor:
    """Decodes the bytes of a batch of images.

    Args:
      serialized: string [batch].
      image_shape: (height, width) or (height, width, channels), as ExampleGen read it.
      encoding: how all of them are stored, "tensor", "jpeg" or "png", as their artifact says; None takes each as it is.

    Returns:
      uint8 [batch, height, width, channels].

    Raises:
      tf.errors.InvalidArgumentError: an image has another shape, another encoding, or no known one.
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

    def begin_with(magic: bytes) -> tf.Tensor:
        return tf.reduce_all(tf.equal(tf.strings.substr(serialized, 0, len(magic)), magic))

    if encoding is not None and encoding != "tensor":
        with tf.control_dependencies([tf.debugging.Assert(begin_with(MAGIC[encoding]), [_OTHERWISE, encoding])]):
            return decode_each()
    # One look at the whole batch, where a look at each image would cost as much as decoding it.
    tensors = tf.logical_and(
        begin_with(header), tf.reduce_all(tf.equal(tf.strings.length(serialized), len(header) + size))
    )
    if encoding == "tensor":
        with tf.control_dependencies([tf.debugging.Assert(tensors, [_OTHERWISE, encoding, list(image_shape)])]):
            return decode_raw()
    return tf.cond(tensors, decode_raw, decode_each)


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
        *(tf.equal(tf.strings.substr(serialized, 0, len(magic)), magic) for magic in MAGIC.values())
    )
    image = tf.cond(is_picture, decode_picture, decode_tensor)
    check = tf.debugging.assert_equal(tf.shape(image), shape, message=f"{_NOT_AN_IMAGE} {list(image_shape)}")
    with tf.control_dependencies([check]):
        return tf.ensure_shape(image, shape)
