"""Writes a model's graph where TensorBoard's graph page finds it.

Keras 3's own callback looks for a function that TensorFlow no longer has and writes no graph of operations; its
conceptual graph is in a format that the page cannot read. Without either, the page says "Malformed GraphDef".

Synopsis:

    write_graph(model, log_dir / "train")
"""

from pathlib import Path

import keras
import tensorflow as tf


def write_graph(model: keras.Model, log_dir: Path) -> None:
    """Writes the operations of one forward pass, grouped by layer, as the run `log_dir`."""
    images = tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype, name="images")
    forward = tf.function(lambda images: model(images, training=False)).get_concrete_function(images)
    writer = tf.summary.create_file_writer(str(log_dir))
    with writer.as_default():
        tf.summary.graph(forward.graph)
    writer.close()
