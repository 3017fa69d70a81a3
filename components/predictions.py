"""Asks a served model about records and keeps its answers, so that errors can be looked at without the model.

One row a record, in the order of the sources: where it lies, what it is, what the model takes it for, how sure it is.
The answers come from the signature that is served, on Beam: a shard, or a few hundred image files, is one element.

Synopsis:

    predict(saved_model, [Source(paths=(shard,)) for shard in shards], target, beam.Pipeline())
    pandas.read_parquet(target)      # source, example, label, prediction, class_name, probability, probabilities
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from components.errors import InputError
from components.slices import BRIGHTNESS, brightness
from models.features import IMAGE, LABEL, TEST

PREDICTIONS_FILE = "predictions.parquet"
_BATCH = 500
_NO_LABEL = -1
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_COLUMNS = pa.schema(
    {
        "source": pa.string(),
        "example": pa.int64(),
        "label": pa.int64(),
        "prediction": pa.int64(),
        "class_name": pa.string(),
        "probability": pa.float32(),
        "probabilities": pa.list_(pa.float32()),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What one Beam element reads: a TFRecord shard of `tf.train.Example`s, or some PNG or JPEG files."""

    paths: tuple[Path, ...]


def find_sources(path: Path) -> list[Source]:
    """Finds what a folder (or a single file) holds to be asked about, in the order of the names.

    Raises:
      InputError: it holds neither TFRecord shards nor images, or both.
    """
    found = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    images = [file for file in found if file.suffix.lower() in _IMAGE_SUFFIXES]
    shards = [file for file in found if "tfrecord" in file.name]
    if bool(images) == bool(shards) or not path.exists():
        kinds = "both" if images else "neither"
        raise InputError(f"{path}: expected TFRecord shards (*tfrecord*) or images (.png, .jpg), found {kinds}.")
    if shards:
        return [Source(paths=(shard,)) for shard in shards]
    return [Source(paths=tuple(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)]


def predict(
    saved_model: Path,
    sources: list[Source],
    target: Path,
    pipeline: beam.Pipeline,
    *,
    image_shape: tuple[int, ...] | None = None,
) -> int:
    """Writes the answers to all records as Parquet, under a temporary name at first.

    Args:
      saved_model: folder of the served model.
      sources: what to ask about.
      target: file of the answers.
      pipeline: where the work runs.
      image_shape: of the records' images; if given, a column `brightness` names the slice of each.

    Returns:
      The number of records.

    Raises:
      InputError: a record is damaged or its image is not what the model was trained on.
    """
    schema = _COLUMNS if image_shape is None else _COLUMNS.append(pa.field(BRIGHTNESS, pa.string()))
    partial = target.with_name(f".{target.name}.partial")
    with tempfile.TemporaryDirectory() as scratch:
        parts = [Path(scratch, f"{number}.parquet") for number in range(len(sources))]
        with pipeline:
            _ = (
                pipeline
                | beam.Create(list(zip(sources, parts, strict=True)), reshuffle=False)
                | beam.ParDo(_Answer(saved_model, image_shape, schema))
            )
        rows = 0
        try:
            with pq.ParquetWriter(partial, schema) as writer:
                for part in parts:
                    for table in _tables(part):
                        numbers = pa.array(np.arange(rows, rows + len(table)))
                        writer.write_table(table.set_column(schema.get_field_index("example"), "example", numbers))
                        rows += len(table)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return rows


def _tables(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


class _Answer(beam.DoFn):
    """Asks the model about one source and writes the answers to a file of its own; loads the model once."""

    def __init__(self, saved_model: Path, image_shape: tuple[int, ...] | None, schema: pa.Schema) -> None:
        self._saved_model, self._image_shape, self._schema = saved_model, image_shape, schema

    def setup(self) -> None:
        self._model = tf.saved_model.load(str(self._saved_model))

    def process(self, element: tuple[Source, Path]) -> None:
        source, part = element
        with pq.ParquetWriter(part, self._schema) as writer:
            for names, records in _batches(source):
                writer.write_table(self._ask(names, records))

    def _ask(self, names: list[str], records: list[bytes]) -> pa.Table:
        try:
            answer = self._model.signatures["serving_default"](examples=tf.constant(records))
            features = {
                IMAGE: tf.io.FixedLenFeature([], tf.string),
                LABEL: tf.io.FixedLenFeature([], tf.int64, _NO_LABEL),
            }
            parsed = tf.io.parse_example(tf.constant(records), features)
        except tf.errors.InvalidArgumentError as error:
            where = names[0] if names[0] == names[-1] else f"{names[0]} to {names[-1]}"
            reason = next(line for line in str(error.message).splitlines() if line.strip())
            raise InputError(f"{where}: the model expected other records ({reason}).") from error
        labels, probabilities = parsed[LABEL].numpy(), answer["probabilities"].numpy()
        columns = {
            "source": names,
            "example": np.zeros(len(records), np.int64),
            "label": pa.array(labels, pa.int64(), mask=labels == _NO_LABEL),
            "prediction": answer["class_id"].numpy(),
            "class_name": [name.decode() for name in answer["class_name"].numpy()],
            "probability": probabilities.max(axis=-1),
            "probabilities": list(probabilities),
        }
        if self._image_shape is not None:
            columns[BRIGHTNESS] = brightness(parsed[IMAGE].numpy().tolist(), self._image_shape)
        return pa.table(columns, schema=self._schema)


def _batches(source: Source) -> Iterator[tuple[list[str], list[bytes]]]:
    """Yields names of files and the serialized records from them, up to `_BATCH` at a time."""
    first = source.paths[0]
    if first.suffix.lower() in _IMAGE_SUFFIXES:
        records = [_example(path.read_bytes()) for path in source.paths]
        yield [str(path) for path in source.paths], records
        return
    compression = "GZIP" if first.suffix == ".gz" else ""
    seen = 0
    try:
        for batch in tf.data.TFRecordDataset(str(first), compression, buffer_size=1 << 20).batch(_BATCH):
            records = batch.numpy().tolist()
            yield [str(first)] * len(records), records
            seen += len(records)
    except tf.errors.DataLossError as error:
        raise InputError(f"{first}: expected TFRecords, found a damaged one after record {seen:,}.") from error


def _example(encoded: bytes) -> bytes:
    """Returns a serialized `tf.train.Example` of an encoded image."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    return tf.train.Example(features=tf.train.Features(feature={IMAGE: feature})).SerializeToString()


class Predictions(types.Artifact):
    """Answers of a model to the test split, `predictions.parquet`."""

    TYPE_NAME = "Predictions"


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the artifacts and calls `predict`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        predictions = artifact_utils.get_single_instance(output_dict["predictions"])
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        rows = predict(
            Path(model),
            find_sources(Path(artifact_utils.get_split_uri([examples], TEST))),
            Path(predictions.uri, PREDICTIONS_FILE),
            self._make_beam_pipeline(),
            image_shape=tuple(json.loads(examples.get_string_custom_property("image_shape"))),
        )
        predictions.set_int_custom_property("examples", rows)
        predictions.set_string_custom_property("class_names", examples.get_string_custom_property("class_names"))


class PredictorSpec(component_spec.ComponentSpec):
    """Interface of `Predictor`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"predictions": component_spec.ChannelParameter(type=Predictions)}


class Predictor(base_beam_component.BaseBeamComponent):
    """Keeps a candidate's answers to the test split; see the module's docstring."""

    SPEC_CLASS = PredictorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel, model: types.BaseChannel) -> None:
        super().__init__(PredictorSpec(examples=examples, model=model, predictions=types.Channel(type=Predictions)))
