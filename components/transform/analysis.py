"""Sums the pixels of the training split with TensorFlow Transform, as many images at a time as the memory is for.

TFX's executor does the same by a dozen tracings of the function, leaves the number of records in a batch to Beam, which
goes by time and never by bytes, and has one read for all files, which an engine of many machines does on one of them.

Synopsis:

    write_graph(examples, schema, folder, scratch, pipeline, rows=batch_rows(examples.image_shape, 2**30))
"""

import functools
import math
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
from tfx_bsl.public.tfxio import TFExampleBeamRecord

from components.shards import read_batches
from models.examples import Examples
from models.features import IMAGE, TRAIN
from models.memory import rows_within
from models.preprocessing import preprocessing_fn

# Of the budget, for a batch.
_SHARE = 1 / 16
# Of a value on its way into the sums: four copies of the byte, value and square in eight each, twice, and some room.
_BYTES_A_VALUE = 40
_MOST_ROWS = 1000


def batch_rows(image_shape: tuple[int, ...], memory: int) -> int:
    """Returns how many images of a shape are summed at a time with a budget of `memory` bytes.

    The sums are whole numbers, so that they are the same for any.
    """
    return rows_within(_SHARE * memory, _BYTES_A_VALUE * math.prod(image_shape), most=_MOST_ROWS)


def write_graph(
    examples: Examples, schema: schema_pb2.Schema, folder: Path, scratch: Path, pipeline: beam.Pipeline, *, rows: int
) -> None:
    """Writes the transform graph of `preprocessing_fn` over the training split, and the schema of what it takes.

    Args:
      examples: whose shards are read, each by itself.
      schema: of the records.
      folder: of the TransformGraph artifact; `tensorflow_transform.TFTransformOutput` reads it.
      scratch: for TensorFlow Transform; the workers see it as well.
      pipeline: a Beam pipeline, which this function runs.
      rows: records in a batch.

    Raises:
      DataRefused: a shard is damaged.
    """
    # Nothing else is summed; and the schema has what the statistics say of an image as well, which no record holds.
    images = schema_pb2.Schema(feature=[feature for feature in schema.feature if feature.name == IMAGE])
    adapter = TFExampleBeamRecord(physical_format="tfrecord", schema=images).TensorAdapterConfig()
    config = {"image_shape": list(examples.image_shape), "image_encoding": examples.encoding}
    shards = examples.shards(TRAIN)
    analyzed = functools.partial(preprocessing_fn, custom_config=config)
    with pipeline as root, tft_beam.Context(temp_dir=str(scratch)):
        batches = (
            root
            | "Shards" >> beam.Create(list(shards), reshuffle=len(shards) > 1)
            | "Batches" >> beam.FlatMap(_batches, examples.compression, rows, images).with_output_types(pa.RecordBatch)
        )
        function = (batches, adapter) | "Analyze" >> tft_beam.AnalyzeDataset(analyzed)
        _ = function | "WriteFunction" >> tft_beam.WriteTransformFn(str(folder))
        schema_folder = str(folder / tft.TFTransformOutput.RAW_METADATA_DIR)
        _ = DatasetMetadata(images) | "WriteSchema" >> tft_beam.WriteMetadata(schema_folder, root)


def _batches(shard: Path, compression: str, rows: int, schema: schema_pb2.Schema) -> Iterator[pa.RecordBatch]:
    decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())
    for records in read_batches(shard, compression, rows):
        yield decoder.DecodeBatch(records.numpy().tolist())
