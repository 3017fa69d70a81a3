"""Transform that asks the examples what they hold, and sums as many at a time as the memory is for.

TFX hands `preprocessing_fn` a configuration of the pipeline's. Shape and encoding of the images are facts of the
examples at hand, which a part of the pipeline may have from another run; so the executor takes them from the artifact.
TFX leaves the number of records in a batch to Beam, which goes by time and never by bytes, up to 1,000 of any size.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY, EXAMPLES_KEY
from tfx.utils import json_utils

from components import places
from components.artifacts import Artifacts, open_examples, plainly_named, single
from models import preprocessing
from models.memory import rows_within

PREPROCESSING_FN = f"{preprocessing.__name__}.{preprocessing.preprocessing_fn.__name__}"


# Of the budget, for a batch.
_SHARE = 1 / 16
# Of a value on its way into the sums: four copies of the byte, then value and square in eight each, and some room.
_BYTES_A_VALUE = 24
_MOST_ROWS = 1000


def batch_rows(image_shape: tuple[int, ...], memory: int) -> int:
    """Returns how many images of a shape are summed at a time with a budget of `memory` bytes.

    The sums are whole numbers, so that they are the same for any.
    """
    return rows_within(_SHARE * memory, _BYTES_A_VALUE * math.prod(image_shape), most=_MOST_ROWS)


@contextlib.contextmanager
def _batches_of(rows: int) -> Iterator[None]:
    """Has TFX's executor read `rows` records at a time: it names the class that decides, and takes no number."""

    class Processor(executor.TransformProcessor):
        def _GetDesiredBatchSize(self, data_format: int, schema: schema_pb2.Schema) -> int:
            return rows

    original, executor.TransformProcessor = executor.TransformProcessor, Processor
    try:
        yield
    finally:
        executor.TransformProcessor = original


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
