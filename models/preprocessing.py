"""What Transform computes: the statistics that standardize each pixel, over the training split.

They leave the transform graph as whole numbers (count, sum and sum of squares of each pixel), which TensorFlow
Transform adds up exactly, in any order and any number of workers; mean and variance follow from them in float64. They
exist once, in this graph: training reads them from there into the model, which evaluation and serving then use.
"""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from models.features import IMAGE
from models.images import decode_images, tensor_header, with_channels
from models.plain_paths import plain

COUNT = "pixel_count"
SUM = "pixel_sum"
SUM_OF_SQUARES = "pixel_sum_of_squares"


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict) -> dict[str, tf.Tensor]:
    """The function that TensorFlow Transform analyzes.

    Args:
      inputs: `image`, string [batch, 1], dense or sparse.
      custom_config: `image_shape`, (height, width) or (height, width, channels), and `image_encoding`.

    Returns:
      `pixel_count`: int64 [batch]; `pixel_sum`, `pixel_sum_of_squares`: int64 [batch, height, width, channels]. Each
      row is the same.
    """
    image_shape = tuple(custom_config["image_shape"])
    images = decode_images(_flat(inputs[IMAGE]), image_shape, encoding=custom_config["image_encoding"])
    values = tf.cast(tf.reshape(images, [-1, math.prod(image_shape)]), tf.int64)
    # One analyzer: TensorFlow Transform makes a dozen of Beam's steps of each.
    summed = tf.concat([tf.ones_like(values[:, :1]), values, values * values], axis=1)
    sums = tft.sum(summed, reduce_instance_dims=False)
    total, squares = tf.split(sums[1:], 2)
    rows = tf.shape(values)[0]

    def repeat(statistic: tf.Tensor) -> tf.Tensor:
        return tf.tile(tf.reshape(statistic, [1, *with_channels(image_shape)]), [rows, 1, 1, 1])

    return {COUNT: tf.fill([rows], sums[0]), SUM: repeat(total), SUM_OF_SQUARES: repeat(squares)}


def read_statistics(
    transform_output: str, image_shape: tuple[int, ...], encoding: str = "tensor"
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the mean and the variance of each pixel from Transform's graph.

    Args:
      transform_output: the folder that Transform wrote.
      image_shape: (height, width) or (height, width, channels), as it was given to Transform.
      encoding: likewise.

    Returns:
      mean and (population) variance, float64 [height, width, channels].
    """
    with plain(Path(transform_output)) as folder:
        return _read_statistics(tft.TFTransformOutput(str(folder)), image_shape, encoding)


def _read_statistics(output: tft.TFTransformOutput, image_shape: tuple[int, ...], encoding: str) -> tuple:
    blank, spec = tf.constant([[_blank(image_shape, encoding)]]), output.raw_feature_spec()[IMAGE]
    sparse = isinstance(spec, tf.io.VarLenFeature)
    raw = {IMAGE: tf.sparse.from_dense(blank) if sparse else tf.reshape(blank, [1, *spec.shape])}
    row = {name: value[0].numpy() for name, value in output.transform_raw_features(raw).items()}
    return moments(int(row[COUNT]), row[SUM], row[SUM_OF_SQUARES])


def _blank(image_shape: tuple[int, ...], encoding: str) -> bytes:
    """Returns a black image, encoded: the graph gives its statistics for any."""
    if encoding == "tensor":
        return tensor_header(image_shape) + bytes(int(np.prod(image_shape)))
    encode = tf.io.encode_jpeg if encoding == "jpeg" else tf.io.encode_png
    return encode(tf.zeros(with_channels(image_shape), tf.uint8)).numpy()


def moments(count: int, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and population variance (float64) of `count` values from their sum and sum of squares (int64)."""
    mean = total / count
    # In Python's integers, for beyond 10**7 images the products pass 2**63: the numerator is exact, without
    # cancellation, and a constant pixel has variance 0.
    total, squares = total.astype(object), squares.astype(object)
    variance = ((count * squares - total * total) / float(count) ** 2).astype(np.float64)
    return mean, variance


def _flat(feature: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    """Returns one value for each record, [batch]."""
    values = feature.values if isinstance(feature, tf.SparseTensor) else feature
    return tf.reshape(values, [-1])
