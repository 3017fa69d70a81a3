"""Transform that asks the examples what they hold, and sums as many at a time as the memory is for.

TFX hands `preprocessing_fn` a configuration of the pipeline's. Shape and encoding of the images are facts of the
examples at hand, which a part of the pipeline may have from another run; so the executor takes them from the artifact.
TFX leaves the number of records in a batch to Beam, which goes by time and never by bytes, up to 1,000 of any size; and
it has one read for all files, which an engine of many machines does on one of them.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY, EXAMPLES_KEY
from tfx.utils import json_utils
from tfx_bsl.tfxio import record_based_tfxio

from components import places
from components.artifacts import Artifacts, open_examples, plainly_named, single
from components.shards import read_batches
from models import preprocessing
from models.examples import compression_of
from models.memory import rows_within

PREPROCESSING_FN = f"{preprocessing.__name__}.{preprocessing.preprocessing_fn.__name__}"


# Of the budget, for a batch.
_SHARE = 1 / 16
# Of a value on its way into the sums: four copies of the byte, then value and square in eight each, and some room.
_BYTES_A_VALUE = 24
_MOST_ROWS = 1000
# Records that TensorFlow hands over at a time.
_READ_ROWS = 1000


def batch_rows(image_shape: tuple[int, ...], memory: int) -> int:
    """Returns how many images of a shape are summed at a time with a budget of `memory` bytes.

    The sums are whole numbers, so that they are the same for any.
    """
    return rows_within(_SHARE * memory, _BYTES_A_VALUE * math.prod(image_shape), most=_MOST_ROWS)


@contextlib.contextmanager
def _batches_of(rows: int) -> Iterator[None]:
    """Has TFX's executor take `rows` records at a time, and read each file by itself.

    It names the class and the function that decide, and takes neither a number nor another reader.
    """

    class Processor(executor.TransformProcessor):
        def _GetDesiredBatchSize(self, data_format: int, schema: schema_pb2.Schema) -> int:
            return rows

    processor, executor.TransformProcessor = executor.TransformProcessor, Processor
    read, record_based_tfxio.ReadTfRecord = record_based_tfxio.ReadTfRecord, _ReadShards
    try:
        yield
    finally:
        executor.TransformProcessor, record_based_tfxio.ReadTfRecord = processor, read


class _ReadShards(beam.PTransform):
    """Reads TFRecord files, each an element of its own, where TFX-BSL reads those of a pattern as one source."""

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__()
        self._shards = [Path(path) for pattern in patterns for path in sorted(tf.io.gfile.glob(pattern))]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        shards = pipeline | "Shards" >> beam.Create(self._shards, reshuffle=len(self._shards) > 1)
        return shards | "Records" >> beam.FlatMap(_records).with_output_types(bytes)


def _records(shard: Path) -> Iterator[bytes]:
    for records in read_batches(shard, compression_of(shard), _READ_ROWS):
        yield from records.numpy().tolist()


class _Executor(executor.Executor):
    """Runs TFX's with the shape and the encoding of the examples as its configuration, in batches of bounded bytes."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, EXAMPLES_KEY))
        config = {"image_shape": list(examples.image_shape), "image_encoding": examples.encoding}
        rows = batch_rows(examples.image_shape, places.memory())
        with _batches_of(rows), plainly_named(input_dict, output_dict):
            super().Do(input_dict, output_dict, {**exec_properties, CUSTOM_CONFIG_KEY: json_utils.dumps(config)})


class ImageTransform(component.Transform):
    """TFX's Transform for images; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)
