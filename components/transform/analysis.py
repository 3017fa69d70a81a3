"""Sums the pixels of the training split: each shard where it is read, all of them by TensorFlow Transform.

TFX's executor hands each image to TensorFlow Transform, through all of Beam's steps. An engine takes them out of the
process that reads and into the one that sums, and holds more of them than it has room for.

Synopsis:

    write_graph(examples, folder, scratch, pipeline)
"""

import functools
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tensorflow_transform.tf_metadata.schema_utils import schema_from_feature_spec

from components.shards import read_batches
from models.examples import Examples
from models.features import IMAGE, TRAIN
from models.images import decode_images
from models.memory import block_rows
from models.preprocessing import partial_sums, preprocessing_fn, sums_spec


def write_graph(examples: Examples, folder: Path, scratch: Path, pipeline: beam.Pipeline) -> None:
    """Writes the transform graph of `preprocessing_fn` over the training split.

    Args:
      examples: whose shards are read, each by itself.
      folder: of the TransformGraph artifact; `tensorflow_transform.TFTransformOutput` reads it.
      scratch: for TensorFlow Transform; the workers see it as well.
      pipeline: a Beam pipeline, which this function runs.

    Raises:
      DataRefused: a shard is damaged, or its images are not stored as the artifact says.
    """
    shards = examples.shards(TRAIN)
    metadata = DatasetMetadata(schema_from_feature_spec(sums_spec(examples.image_shape)))
    with pipeline as root, tft_beam.Context(temp_dir=str(scratch)):
        sums = (
            root
            | "Shards" >> beam.Create(list(shards), reshuffle=len(shards) > 1)
            | "Sums" >> beam.Map(_sums, examples.compression, examples.image_shape, examples.encoding)
        )
        function = (sums, metadata) | "Analyze" >> tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = function | "WriteFunction" >> tft_beam.WriteTransformFn(str(folder))
        schema_folder = str(folder / tft.TFTransformOutput.RAW_METADATA_DIR)
        _ = metadata | "WriteSchema" >> tft_beam.WriteMetadata(schema_folder, root)


def _sums(shard: Path, compression: str, image_shape: tuple[int, ...], encoding: str) -> dict[str, np.ndarray]:
    found = None
    for images in read_batches(shard, compression, block_rows(image_shape), _decoder(image_shape, encoding)):
        part = partial_sums(images.numpy())
        found = {name: found[name] + part[name] for name in part} if found else part
    return found


@functools.cache
def _decoder(image_shape: tuple[int, ...], encoding: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function from records, string [n], to their images, uint8 [n, height, width, channels]: a graph."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(records: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_example(records, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        return decode_images(parsed[IMAGE], image_shape, encoding=encoding)

    return decode
