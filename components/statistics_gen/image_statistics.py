"""Looks inside serialized images: numeric features that TFDV can summarize, draw and validate.

TFDV takes a serialized tensor for opaque bytes. Here each image becomes one row of numbers (height, mean brightness,
share of black pixels, ...), computed on blocks of images with NumPy, and handed to TFDV as further columns of the Arrow
record batch. Everything after that, from the quantiles to the schema's comparators, is TFDV's own.

Synopsis:

    for table in read_feature_tables(examples, shard):       # pa.RecordBatch of a block of records
        table.schema.names                                   # ["image", "label", "image_height", ...]
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.shards import read_batches
from models.examples import Examples, encoding_of
from models.features import IMAGE, LABEL
from models.images import tensor_header, with_channels
from models.memory import block_rows

SHAPE_FEATURES = ("image_height", "image_width", "image_channels")
PIXEL_FEATURES = ("image_mean", "image_stddev", "image_black", "image_saturated")
DERIVED_FEATURES = SHAPE_FEATURES + PIXEL_FEATURES


def pixel_features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Summarizes images of one shape.

    Args:
      images: uint8 [n, height, width, channels].

    Returns:
      `DERIVED_FEATURES`, each [n]: height, width and channels (int64); mean and standard deviation of the values
      (float32, 0 to 255); shares of values that are 0 and 255 (float32, 0 to 1).
    """
    count, *shape = images.shape
    flat = images.reshape(count, -1)
    # Sums of integers are exact; 255 squared just fits 16 bits.
    total = flat.sum(axis=1, dtype=np.int64)
    squares = np.multiply(flat, flat, dtype=np.uint16).sum(axis=1, dtype=np.int64)
    mean = total / flat.shape[1]
    variance = np.maximum(squares / flat.shape[1] - mean**2, 0.0)
    features = {name: np.full(count, size, np.int64) for name, size in zip(SHAPE_FEATURES, shape, strict=True)}
    features["image_mean"] = mean.astype(np.float32)
    features["image_stddev"] = np.sqrt(variance).astype(np.float32)
    features["image_black"] = np.mean(flat == 0, axis=1, dtype=np.float32)
    features["image_saturated"] = np.mean(flat == 255, axis=1, dtype=np.float32)
    return features


def image_table(
    images: list[bytes], labels: np.ndarray, image_shape: tuple[int, ...], encoding: str | None = None
) -> pa.RecordBatch:
    """Returns the columns that TFDV sees: the two features of the records and the derived ones.

    Args:
      images: the bytes of each record's `image`.
      labels: int64 [n].
      image_shape: the shape that most are expected to have; others are decoded one by one.
      encoding: in which each must be stored; None takes any.

    Returns:
      One list column for each feature, one value a row. The derived features of an image that cannot be decoded are
      missing (null), which the schema's presence then reports.
    """
    if encoding in (None, "tensor"):
        rows = _uniform_rows(images, image_shape)
    else:
        rows = _uniform_pictures(images, image_shape, encoding)
    derived = pixel_features(rows) if rows is not None else _derive_each(images, encoding)
    columns = {IMAGE: pa.array(images, pa.binary()), LABEL: pa.array(labels, pa.int64())}
    for name in DERIVED_FEATURES:
        kind = pa.int64() if name in SHAPE_FEATURES else pa.float32()
        columns[name] = pa.array(derived[name], kind)
    return pa.RecordBatch.from_arrays([_as_lists(column) for column in columns.values()], list(columns))


def read_records(examples: Examples, shard: Path) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Yields the images (bytes, as stored) and labels (int64 [n]) of one shard, a block of records at a time.

    Raises:
      DataRefused: a record fails its checksum or is no `tf.train.Example` of an image and a label.
    """
    features = {IMAGE: tf.io.FixedLenFeature([], tf.string), LABEL: tf.io.FixedLenFeature([], tf.int64)}
    parse = functools.partial(tf.io.parse_example, features=features)
    for parsed in read_batches(shard, examples.compression, block_rows(examples.image_shape), parse):
        yield parsed[IMAGE].numpy().tolist(), parsed[LABEL].numpy()


def read_feature_tables(examples: Examples, shard: Path) -> Iterator[pa.RecordBatch]:
    """Yields the tables of one shard; see `read_records` and `image_table`."""
    for images, labels in read_records(examples, shard):
        yield image_table(images, labels, examples.image_shape, examples.encoding)


def _uniform_rows(images: list[bytes], image_shape: tuple[int, ...]) -> np.ndarray | None:
    """Decodes serialized tensors of one shape at once; None where one of them is anything else."""
    header = tensor_header(image_shape)
    size = int(np.prod(image_shape))
    joined = b"".join(images)
    if len(joined) != len(images) * (len(header) + size) or len(set(map(len, images))) > 1:
        return None
    rows = np.frombuffer(joined, np.uint8).reshape(len(images), -1)
    if not (rows[:, : len(header)] == np.frombuffer(header, np.uint8)).all():
        return None
    height, width, *channels = image_shape
    return rows[:, len(header) :].reshape(-1, height, width, *(channels or [1]))


def _uniform_pictures(images: list[bytes], image_shape: tuple[int, ...], encoding: str) -> np.ndarray | None:
    """Decodes pictures of one encoding and shape at once; None where one of them is anything else."""
    if any(encoding_of(image) != encoding for image in images):
        return None
    try:
        return _picture_decoder(with_channels(image_shape))(tf.constant(images)).numpy()
    except tf.errors.InvalidArgumentError:
        return None


@functools.cache
def _picture_decoder(shape: tuple[int, int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a graph that decodes several pictures at a time: string [n] to uint8 [n, height, width, channels].

    By TensorFlow's decoder, for JPEG decoders differ and the pixels are to be those that training sees; but with as
    many channels as a picture has.
    """

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.io.decode_image(encoded, expand_animations=False), shape)

    def decode_all(images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(decode, images, fn_output_signature=tf.TensorSpec(shape, tf.uint8), parallel_iterations=16)

    return tf.function(decode_all, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


def _derive_each(images: list[bytes], encoding: str | None) -> dict[str, list]:
    """Derives the features of images of any shape, None for those that cannot be decoded or are stored otherwise."""
    features = {name: [] for name in DERIVED_FEATURES}
    for encoded in images:
        image = _decode(encoded) if encoding in (None, encoding_of(encoded)) else None
        derived = pixel_features(image[np.newaxis]) if image is not None and image.size else None
        for name, values in features.items():
            values.append(None if derived is None else derived[name][0])
    return features


def _decode(encoded: bytes) -> np.ndarray | None:
    """Decodes one image to uint8 [height, width, channels], None where it is none."""
    try:
        if encoding_of(encoded) != "tensor":
            return tf.io.decode_image(encoded, expand_animations=False).numpy()
        image = tf.io.parse_tensor(encoded, tf.uint8).numpy()
    except tf.errors.InvalidArgumentError:
        return None
    if image.ndim == 2:
        return image[..., np.newaxis]
    return image if image.ndim == 3 else None


def _as_lists(column: pa.Array) -> pa.ListArray:
    """Wraps each value in a list of one, a null in a null: the layout of a parsed `tf.train.Example`."""
    valid = np.asarray(column.is_valid())
    offsets = np.concatenate([[0], np.cumsum(valid)])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        column.drop_null(),
        mask=pa.array(~valid) if not valid.all() else None,
    )
