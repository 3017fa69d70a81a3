"""What Transform computes: the statistics that standardize each pixel, over the training split.

Each worker sums its own images (`partial_sums`); TensorFlow Transform adds these up, exactly, in any order and for any
number of workers, and its graph has the sums as whole numbers. Mean and variance follow from them in float64. They
exist once, in this graph: training reads them from there into the model, which evaluation and serving then use.
"""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from models.errors import ArtifactError
from models.images import with_channels
from models.plain_paths import plain

COUNT = "pixel_count"
SUM = "pixel_sum"
SUM_OF_SQUARES = "pixel_sum_of_squares"


def partial_sums(images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what `preprocessing_fn` takes of some images, uint8 [n, ...]: their number, sum and sum of squares."""
    flat = images.reshape(len(images), -1)
    # 255 squared is still one.
    squares = flat.astype(np.uint16)
    np.multiply(squares, squares, out=squares)
    return {
        COUNT: np.int64(len(flat)),
        SUM: flat.sum(axis=0, dtype=np.int64),
        SUM_OF_SQUARES: squares.sum(axis=0, dtype=np.int64),
    }


def sums_spec(image_shape: tuple[int, ...]) -> dict[str, tf.io.FixedLenFeature]:
    """Returns what the sums of images of a shape are, by name: int64, one and one for each value of an image."""
    values = tf.io.FixedLenFeature([math.prod(image_shape)], tf.int64)
    return {COUNT: tf.io.FixedLenFeature([], tf.int64), SUM: values, SUM_OF_SQUARES: values}


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The function that TensorFlow Transform analyzes: adds up the sums of parts of the data.

    Args:
      inputs: a row for each part, as `sums_spec` says.

    Returns:
      The same by name and shape; each row is the sum of all.
    """
    # One analyzer for the three: of each TensorFlow Transform makes a dozen of Beam's steps.
    rows = tf.concat([inputs[COUNT][:, tf.newaxis], inputs[SUM], inputs[SUM_OF_SQUARES]], axis=1)
    total = tf.tile(tft.sum(rows, reduce_instance_dims=False)[tf.newaxis], [tf.shape(rows)[0], 1])
    count, sums, squares = tf.split(total, [1, inputs[SUM].shape[1], inputs[SUM].shape[1]], axis=1)
    return {COUNT: count[:, 0], SUM: sums, SUM_OF_SQUARES: squares}


def read_statistics(transform_output: str, image_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Reads the mean and the variance of each pixel from Transform's graph.

    Args:
      transform_output: the folder that Transform wrote.
      image_shape: (height, width) or (height, width, channels), of the examples that it summed.

    Returns:
      mean and (population) variance, float64 [height, width, channels].

    Raises:
      ArtifactError: it is the graph of another version of this project.
    """
    # The graph gives its sums for any row.
    blank = {name: tf.zeros([1, *spec.shape], spec.dtype) for name, spec in sums_spec(image_shape).items()}
    with plain(Path(transform_output)) as folder:
        output = tft.TFTransformOutput(str(folder))
        if (taken := output.raw_feature_spec().keys()) != blank.keys():
            raise ArtifactError(
                f"{transform_output}: expected a graph that takes {', '.join(blank)}, found one that takes "
                f"{', '.join(taken)}: another version of this project wrote it. Run Transform again (--from Transform)."
            )
        found = output.transform_raw_features(blank)
    count, *sums = (found[name][0].numpy() for name in (COUNT, SUM, SUM_OF_SQUARES))
    return moments(int(count), *(values.reshape(with_channels(image_shape)) for values in sums))


def moments(count: int, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and population variance (float64) of `count` values from their sum and sum of squares (int64)."""
    mean = total / count
    # In Python's integers, for beyond 10**7 images the products pass 2**63: the numerator is exact, without
    # cancellation, and a constant pixel has variance 0.
    total, squares = total.astype(object), squares.astype(object)
    variance = ((count * squares - total * total) / float(count) ** 2).astype(np.float64)
    return mean, variance
