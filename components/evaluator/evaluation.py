"""Measures a candidate with TFMA, and its change against a baseline.

Synopsis:

    if not comparable(baseline, examples):      # else the reason why not
        evaluate(eval_config(floors, tolerance), candidate, baseline, examples, results, pipeline)
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.coders import example_coder
from tfx_bsl.tfxio import record_based_tfxio

# Registers the metrics that TFMA looks up by their names; and what they are made of becomes part of the cache key.
from components.evaluator import tfma_metrics  # noqa: F401
from components.evaluator.slicer import Slicer
from components.evaluator.slices import SLICINGS, SPAN
from models.examples import Examples, open_shards
from models.features import IMAGE, LABEL, TEST
from models.files import write_text
from models.memory import inference_rows
from models.plain_paths import plain


def comparable(baseline: Path, examples: Examples) -> str:
    """Returns why a baseline cannot be compared with a model of these examples, "" if it can.

    Args:
      baseline: folder of its SavedModel.
      examples: what the candidate is measured on.
    """
    classes = len(examples.class_names)
    (record,) = examples.records(TEST).take(1)
    try:
        with plain(baseline) as named:
            loaded = tf.saved_model.load(str(named))
        prediction = loaded.signatures["serving_default"](examples=record[tf.newaxis])
        found = prediction["probabilities"].shape[-1]
    except Exception as error:  # whatever an older model fails with, the candidate must not fail with it
        return f"it cannot be asked ({type(error).__name__}: {str(error).splitlines()[0]})"
    return "" if found == classes else f"it tells {found} classes apart, the candidate {classes}"


def evaluate(
    config: config_pb2.EvalConfig,
    candidate: Path,
    baseline: Path | None,
    examples: Examples,
    output: Path,
    pipeline: beam.Pipeline,
) -> None:
    """Measures a candidate on the test split, and its change against a baseline.

    Args:
      config: metrics, slices and thresholds for one model.
      candidate, baseline: folders of the SavedModels; without a baseline there is no change to bound.
      examples: what to measure on.
      output: folder of TFMA's results.
      pipeline: where the work runs.

    Raises:
      InputError: a record's image is not stored as the artifact says.
      PipelineError: the function of a metric or of a slicing fails.
    """
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=baseline is not None, rubber_stamp=True)
    with contextlib.ExitStack() as stack:
        named = [stack.enter_context(plain(folder)) if folder else None for folder in (candidate, baseline, output)]
        _evaluate(config, *named, examples, pipeline)
        # TFMA keeps where the models lay.
        told = output / "eval_config.json"
        text = told.read_text(encoding="utf-8")
        for link, folder in zip(named, (candidate, baseline, output), strict=True):
            if folder and link != folder:
                write_text(told, text := text.replace(json.dumps(str(link))[1:-1], json.dumps(str(folder))[1:-1]))


def _evaluate(
    config: config_pb2.EvalConfig,
    candidate: Path,
    baseline: Path | None,
    output: Path,
    examples: Examples,
    pipeline: beam.Pipeline,
) -> None:
    shared = [
        tfma.default_eval_shared_model(
            eval_saved_model_path=str(baseline if spec.is_baseline else candidate),
            model_name=spec.name,
            eval_config=config,
        )
        for spec in config.model_specs
    ]
    shared = shared[0] if len(shared) == 1 else shared
    extractors = tfma.default_extractors(eval_shared_model=shared, eval_config=config)
    # Behind the first, which makes features of the records, and before the predictions, which need not wait for slices.
    slices = tfma.extractors.Extractor(stage_name="ExtractSlices", ptransform=beam.ParDo(_AddSlices(examples)))
    extractors.insert(1, slices)
    with pipeline:
        _ = (
            pipeline
            | beam.Create(list(zip(examples.shards(TEST), examples.spans(TEST), strict=True)))
            | beam.ParDo(_ReadShard(examples))
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=config, eval_shared_model=shared, extractors=extractors, output_path=str(output)
            )
        )


class _ReadShard(beam.DoFn):
    """Reads a shard as TFMA takes examples: Arrow batches with a column for each feature, the record, and its span.

    TFX-BSL's own source knows no file of a record, and its batches go by the clock, up to 1,000 records of any size.
    """

    def __init__(self, examples: Examples) -> None:
        self._compression, self._rows = examples.compression, inference_rows(examples.image_shape)

    def process(self, element: tuple[Path, str]) -> Iterator[pa.RecordBatch]:
        shard, span = element
        decoder = example_coder.ExamplesToRecordBatchDecoder()
        for records in open_shards((shard,), self._compression).batch(self._rows).as_numpy_iterator():
            raw = records.tolist()
            batch = record_based_tfxio.AppendRawRecordColumn(decoder.DecodeBatch(raw), tfma.ARROW_INPUT_COLUMN, raw)
            if span:
                column = pa.array([[span.encode()]] * len(raw), pa.list_(pa.binary()))
                batch = pa.RecordBatch.from_arrays([*batch.columns, column], [*batch.schema.names, SPAN])
            yield batch


class _AddSlices(beam.DoFn):
    """Adds to a batch of TFMA's extracts the slices of each example, a feature for each slicing."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def setup(self) -> None:
        self._slicer = Slicer(self._examples, SLICINGS)

    def process(self, element: dict) -> Iterator[dict]:
        features = element[tfma.FEATURES_KEY]
        images, labels = [value.item() for value in features[IMAGE]], np.ravel(features[LABEL])
        slices = self._slicer(images, labels, f"{TEST} split")
        yield {**element, tfma.FEATURES_KEY: {**features, **slices}}
