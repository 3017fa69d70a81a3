"""Asks a served model about records and keeps its predictions, so that errors can be looked at without the model.

One row a record, in the order of the shards: where it lies, what it is, what the model takes it for, how sure it is.
The predictions come from the signature that is served, on Beam: a shard is one element, read as many records at a time
as their bytes allow. `folder.py` asks about images that are no records.

Synopsis:

    predict(saved_model, shards, target, pipeline)                                            # a Beam pipeline
    pandas.read_parquet(target)      # source, example, label, prediction, class_name, probability, probabilities
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from components.errors import InputError
from components.evaluator.slicer import Slicer
from components.evaluator.slices import CLASS, SLICINGS, SPAN
from components.prediction_columns import COLUMNS
from models.examples import Examples, compression_of, open_shards
from models.features import IMAGE, LABEL, TEST
from models.files import replacing
from models.memory import inference_rows
from models.plain_paths import plain

_NO_LABEL = -1


def predict(
    saved_model: Path,
    shards: Sequence[Path],
    target: Path,
    pipeline: beam.Pipeline,
    *,
    examples: Examples | None = None,
) -> int:
    """Writes the predictions for all records as Parquet.

    Args:
      saved_model: folder of the served model.
      shards: TFRecord files of `tf.train.Example`s.
      target: file of the predictions.
      pipeline: where the work runs.
      examples: the artifact that they are shards of; if given, a column for each slicing but the class names the
        slice of each record, and one its span, if they come in spans.

    Returns:
      The number of records.

    Raises:
      InputError: a record is damaged, or its image is not what the model was trained on or not stored as the artifact
        says; nothing is written.
      PipelineError: the function of a slicing fails.
    """
    # The column `label` tells the class already.
    slicings = [name for name in SLICINGS if name != CLASS] if examples else []
    spans = dict(zip(examples.shards(TEST), examples.spans(TEST), strict=True)) if examples else {}
    columns = [*slicings, *([SPAN] if any(spans.values()) else [])]
    schema = pa.schema([*COLUMNS, *(pa.field(name, pa.string()) for name in columns)])
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, which all hosts see, and not in a temporary folder of this one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch, replacing(target) as partial:
        parts = [Path(scratch, f"{number}.parquet") for number in range(len(shards))]
        named = [(shard, spans.get(shard, ""), part) for shard, part in zip(shards, parts, strict=True)]
        with pipeline:
            _ = (
                pipeline
                # Nothing else would spread the shards.
                | beam.Create(named, reshuffle=len(named) > 1)
                | beam.ParDo(_Predict(saved_model, examples, slicings, schema))
            )
        rows = 0
        with pq.ParquetWriter(partial, schema) as writer:
            for part in parts:
                for table in _tables(part):
                    numbers = pa.array(np.arange(rows, rows + len(table)))
                    writer.write_table(table.set_column(schema.get_field_index("example"), "example", numbers))
                    rows += len(table)
    return rows


def _tables(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


class _Predict(beam.DoFn):
    """Asks the model about one shard and writes the predictions to a file of its own; loads the model once."""

    def __init__(self, saved_model: Path, examples: Examples | None, slicings: list[str], schema: pa.Schema) -> None:
        self._saved_model, self._examples, self._slicings, self._schema = saved_model, examples, slicings, schema

    def setup(self) -> None:
        with plain(self._saved_model) as named:
            self._model = tf.saved_model.load(str(named))
        _, inputs = self._model.signatures["predict_images"].structured_input_signature
        self._rows = inference_rows(tuple(inputs["images"].shape[1:]))
        self._slicer = Slicer(self._examples, self._slicings) if self._examples else None

    def process(self, element: tuple[Path, str, Path]) -> None:
        shard, span, part = element
        seen = 0
        # A worker that is taken for dead may still be writing: each attempt has a file of its own until it is done.
        with replacing(part) as partial, pq.ParquetWriter(partial, self._schema) as writer:
            try:
                for batch in open_shards((shard,), compression_of(shard)).batch(self._rows):
                    writer.write_table(self._table(str(shard), span, batch.numpy().tolist()))
                    seen += len(batch)
            except tf.errors.DataLossError as error:
                raise InputError(f"{shard}: expected TFRecords, found a damaged one after record {seen:,}.") from error

    def _table(self, where: str, span: str, records: list[bytes]) -> pa.Table:
        try:
            found = self._model.signatures["serving_default"](examples=tf.constant(records))
            features = {
                IMAGE: tf.io.FixedLenFeature([], tf.string),
                LABEL: tf.io.FixedLenFeature([], tf.int64, _NO_LABEL),
            }
            parsed = tf.io.parse_example(tf.constant(records), features)
        except tf.errors.InvalidArgumentError as error:
            reason = next(line for line in str(error.message).splitlines() if line.strip())
            raise InputError(f"{where}: the model expected other records ({reason}).") from error
        labels, probabilities = parsed[LABEL].numpy(), found["probabilities"].numpy()
        columns = {
            "source": [where] * len(records),
            "example": np.zeros(len(records), np.int64),
            "label": pa.array(labels, pa.int64(), mask=labels == _NO_LABEL),
            "prediction": found["class_id"].numpy(),
            "class_name": [name.decode() for name in found["class_name"].numpy()],
            "probability": probabilities.max(axis=-1),
            "probabilities": list(probabilities),
        }
        if self._slicer is not None:
            columns |= self._slicer(parsed[IMAGE].numpy().tolist(), labels, where)
        if span:
            columns[SPAN] = [span] * len(records)
        return pa.table(columns, schema=self._schema)
