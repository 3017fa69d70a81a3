"""Sums the pixels of the training split: some shards where they are read, all of them by TensorFlow Transform.

TFX's executor hands each image to TensorFlow Transform, through all of Beam's steps. An engine takes them out of the
process that reads and into the one that sums, and holds more of them than it has room for. What goes that way here is
bounded in bytes, for any number of images.

Synopsis:

    write_graph(examples, folder, scratch, pipeline)
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tensorflow_transform.tf_metadata.schema_utils import schema_from_feature_spec

from components.errors import DataRefused
from components.shards import read_batches
from models.examples import Examples
from models.features import IMAGE, TRAIN
from models.images import decode_images
from models.memory import MIB, block_rows, rows_within
from models.preprocessing import partial_sums, preprocessing_fn, sums_spec

# The sums that are on their way at a time: at most so many, and so many bytes, of which a value has twice eight.
_GROUPS, _SUMS_BYTES, _BYTES_A_VALUE = 64, 256 * MIB, 16


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
    groups = _groups(examples.shards(TRAIN), examples.image_shape)
    metadata = DatasetMetadata(schema_from_feature_spec(sums_spec(examples.image_shape)))
    with pipeline as root, tft_beam.Context(temp_dir=str(scratch)):
        sums = (
            root
            | "Shards" >> beam.Create(groups, reshuffle=len(groups) > 1)
            | "Sums" >> beam.Map(_sums, examples.compression, examples.image_shape, examples.encoding)
        )
        function = (sums, metadata) | "Analyze" >> tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = function | "WriteFunction" >> tft_beam.WriteTransformFn(str(folder))
        schema_folder = str(folder / tft.TFTransformOutput.RAW_METADATA_DIR)
        _ = metadata | "WriteSchema" >> tft_beam.WriteMetadata(schema_folder, root)


def _groups(shards: Sequence[Path], image_shape: tuple[int, ...]) -> list[Sequence[Path]]:
    """Returns the shards in as many groups as may be summed at the same time."""
    count = rows_within(_SUMS_BYTES, _BYTES_A_VALUE * math.prod(image_shape), most=min(_GROUPS, len(shards)))
    return [shards[number::count] for number in range(count)]


def _sums(
    shards: Sequence[Path], compression: str, image_shape: tuple[int, ...], encoding: str
) -> dict[str, np.ndarray]:
    """Returns the sums of the images of some shards.

    Raises:
      DataRefused: one of them is damaged, or has none.
    """
    found: dict[str, np.ndarray] = {}
    for shard in shards:
        images = None
        for images in read_batches(shard, compression, block_rows(image_shape), _decoder(image_shape, encoding)):
            part = partial_sums(images.numpy())
            found = {name: found.get(name, 0) + part[name] for name in part}
        if images is None:
            raise DataRefused(f"{shard}: expected records, found none. Delete the file and run again.")
    return found


@functools.cache
def _decoder(image_shape: tuple[int, ...], encoding: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function from records, string [n], to their images, uint8 [n, height, width, channels]: a graph."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decode(records: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_example(records, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        return decode_images(parsed[IMAGE], image_shape, encoding=encoding)

    return decode
