"""What a model's graph tells: its picture for TensorBoard's graph page, and the multiply-adds of an image.

Keras 3's own callback looks for a function that TensorFlow no longer has and writes no graph of operations; its
conceptual graph is in a format that the page cannot read. Without either, the page says "Malformed GraphDef".

Synopsis:

    write_graph(model, (28, 28, 1), log_dir / "train")
    multiply_adds(model, (28, 28, 1))
"""

import math
from pathlib import Path

import keras
import tensorflow as tf

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv3D")
# Each with the attribute that says whether its first factor is taken transposed.
_PRODUCTS = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}


def write_graph(model: keras.Model, input_shape: tuple[int, int, int], log_dir: Path) -> None:
    """Writes the operations of one forward pass, grouped by layer, as the run `log_dir`."""
    writer = tf.summary.create_file_writer(str(log_dir))
    with writer.as_default():
        tf.summary.graph(_forward(model, (None, *input_shape)))
    writer.close()


def multiply_adds(model: keras.Model, input_shape: tuple[int, int, int]) -> int:
    """Returns the multiply-adds of the convolutions and matrix products for one image, of whatever layers they are."""
    total = 0
    for operation in _forward(model, (1, *input_shape)).get_operations():
        if operation.type in _CONVOLUTIONS:
            # With the first axis: a network may look at several views of the image.
            positions, kernel = operation.outputs[0].shape[:-1], operation.inputs[1].shape
            total += math.prod(positions) * math.prod(kernel)
        elif operation.type in _PRODUCTS:
            left, transposed = operation.inputs[0].shape, operation.get_attr(_PRODUCTS[operation.type])
            total += math.prod(operation.outputs[0].shape) * left[-2 if transposed else -1]
    return total


def _forward(model: keras.Model, shape: tuple[int | None, ...]) -> tf.Graph:
    """Returns the graph of the answer to images of `shape`."""
    images = tf.TensorSpec(shape, tf.float32, name="images")
    return (
        tf.function(lambda images: model(images, training=False), autograph=False).get_concrete_function(images).graph
    )
