"""Asks served models about the test split and keeps their predictions: whoever wants to know an answer reads it there.

One row a record, in the order of the shards: where it lies, what it is, what the model takes it for, how sure it is.
The predictions come from the signature that is served, on Beam: a shard is one element, read as many records at a time
as their bytes allow. `folder.py` asks about images that are no records.

Synopsis:

    comparable(baseline, examples)                           # "" or why a baseline cannot be compared with
    predict(examples, {target: saved_model}, pipeline)       # a Beam pipeline
    pandas.read_parquet(target)      # source, example, label, prediction, class_name, probability, probabilities
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from components.bulk_inferrer.slicer import Slicer
from components.errors import InputError, first_line
from components.evaluator.slices import CLASS, SLICINGS, SPAN
from components.prediction_columns import COLUMNS
from components.shards import check_count, read_batches
from models.card import read_card
from models.examples import Examples
from models.features import IMAGE, LABEL, TEST
from models.files import replacing
from models.memory import inference_rows
from models.plain_paths import plain


def comparable(baseline: Path, examples: Examples) -> str:
    """Returns why a baseline cannot be compared with a model of these examples, "" if it can.

    Args:
      baseline: folder of its SavedModel.
      examples: what the candidate is measured on.

    Raises:
      DataRefused: their first record is damaged.
    """
    classes, card = examples.class_names, read_card(baseline)
    batches = (batch for shard in examples.shards(TEST) for batch in read_batches(shard, examples.compression, 1))
    if (record := next(batches, None)) is None:
        check_count(examples.split_folder(TEST), examples.counts[TEST], 0)
    try:
        with plain(baseline) as named:
            loaded = tf.saved_model.load(str(named))
        prediction = loaded.signatures["serving_default"](examples=record)
        found = prediction["probabilities"].shape[-1]
    except Exception as error:  # whatever an older model fails with, the candidate must not fail with it
        return f"it cannot be asked ({type(error).__name__}: {first_line(error)})"
    if found != len(classes):
        return f"it tells {found} classes apart, the candidate {len(classes)}"
    # Compared by number, one class would be measured as another. Only a model of an earlier version has no card.
    pairs = zip(card["class_names"], classes, strict=False) if card else ()
    other = next(((theirs, ours) for theirs, ours in pairs if theirs != ours), None)
    return f"it tells other classes apart: {other[0]}, where the candidate has {other[1]}" if other else ""


def predict(examples: Examples, models: Mapping[Path, Path], pipeline: beam.Pipeline) -> int:
    """Writes the predictions of each model for the test split as Parquet, each as many rows in a row group.

    Args:
      examples: what to ask about. A column for each slicing but the class names the slice of each record, and one its
        span, if they come in spans.
      models: folder of each served model, by the file of its predictions; the files lie in one folder.
      pipeline: where the work runs.

    Returns:
      The number of records.

    Raises:
      DataRefused: a shard is damaged or cut short; nothing is written.
      InputError: an image is not what the model was trained on or not stored as the artifact says; nothing is written.
      PipelineError: the function of a slicing fails.
    """
    shards, spans = examples.shards(TEST), examples.spans(TEST)
    # The column `label` tells the class already.
    columns = [*(name for name in SLICINGS if name != CLASS), *([SPAN] if any(spans) else [])]
    schema = pa.schema([*COLUMNS, *(pa.field(name, pa.string()) for name in columns)])
    (folder,) = {target.parent for target in models}
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the targets, which all hosts see, and not in a temporary folder of this one.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        parts = {target: [Path(scratch, f"{target.stem}-{n}") for n in range(len(shards))] for target in models}
        with pipeline:
            for target, saved_model in models.items():
                named = list(zip(shards, spans, parts[target], strict=True))
                _ = (
                    pipeline
                    # Nothing else would spread the shards.
                    | f"shards for {target.stem}" >> beam.Create(named, reshuffle=len(named) > 1)
                    | f"ask for {target.stem}" >> beam.ParDo(_Predict(saved_model, examples, schema))
                )
        for written in parts.values():
            rows = sum(pq.read_metadata(part).num_rows for part in written)
            check_count(examples.split_folder(TEST), examples.counts[TEST], rows)
        for target in models:
            rows = _join(parts[target], target, schema)
    return rows


def _join(parts: list[Path], target: Path, schema: pa.Schema) -> int:
    """Makes one file of those of the shards, its examples numbered, and returns their number."""
    rows = 0
    with replacing(target) as partial, pq.ParquetWriter(partial, schema) as writer:
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

    def __init__(self, saved_model: Path, examples: Examples, schema: pa.Schema) -> None:
        self._saved_model, self._examples, self._schema = saved_model, examples, schema

    def setup(self) -> None:
        with plain(self._saved_model) as named:
            self._model = tf.saved_model.load(str(named))
        self._slicer = Slicer(self._examples, [name for name in self._schema.names if name in SLICINGS])

    def process(self, element: tuple[Path, str, Path]) -> None:
        shard, span, part = element
        rows = inference_rows(self._examples.image_shape)
        # A worker that is taken for dead may still be writing: each attempt has a file of its own until it is done.
        with replacing(part) as partial, pq.ParquetWriter(partial, self._schema) as writer:
            for records in read_batches(shard, self._examples.compression, rows):
                writer.write_table(self._table(str(shard), span, records.numpy().tolist()))

    def _table(self, where: str, span: str, records: list[bytes]) -> pa.Table:
        try:
            found = self._model.signatures["serving_default"](examples=tf.constant(records))
            features = {IMAGE: tf.io.FixedLenFeature([], tf.string), LABEL: tf.io.FixedLenFeature([], tf.int64)}
            parsed = tf.io.parse_example(tf.constant(records), features)
        except tf.errors.InvalidArgumentError as error:
            reason = next(line for line in str(error.message).splitlines() if line.strip())
            raise InputError(f"{where}: the model expected other records ({reason}).") from error
        labels, probabilities = parsed[LABEL].numpy(), found["probabilities"].numpy()
        columns = {
            "source": [where] * len(records),
            "example": np.zeros(len(records), np.int64),
            "label": labels,
            "prediction": found["class_id"].numpy(),
            "class_name": [name.decode() for name in found["class_name"].numpy()],
            "probability": probabilities.max(axis=-1),
            "probabilities": list(probabilities),
            **self._slicer(parsed[IMAGE].numpy().tolist(), labels, where),
            SPAN: [span] * len(records),
        }
        return pa.table({name: columns[name] for name in self._schema.names}, schema=self._schema)
