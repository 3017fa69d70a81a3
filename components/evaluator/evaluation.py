"""Measures a candidate with TFMA from its predictions, and its change against a baseline's. No model is loaded.

Synopsis:

    evaluate(eval_config(floors, tolerance), predictions, None, class_names, results, pipeline)
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

# Registers the metrics that TFMA looks up by their names; and what they are made of becomes part of the cache key.
from components.evaluator import tfma_metrics  # noqa: F401
from components.evaluator.slices import CLASS
from components.prediction_columns import COLUMNS
from models.features import LABEL
from models.plain_paths import plain


def evaluate(
    config: config_pb2.EvalConfig,
    predictions: Path,
    baseline: Path | None,
    class_names: Sequence[str],
    output: Path,
    pipeline: beam.Pipeline,
) -> None:
    """Measures a candidate on the test split, and its change against a baseline.

    Args:
      config: metrics, slices and thresholds for one model.
      predictions, baseline: what the models answered, as `components.bulk_inferrer.inference` writes it; without a
        baseline there is no change to bound.
      class_names: by label.
      output: folder of TFMA's results.
      pipeline: where the work runs.

    Raises:
      PipelineError: the function of a metric fails.
    """
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=baseline is not None, rubber_stamp=True)
    files, shared = {}, []
    for spec in config.model_specs:
        if spec.is_baseline:
            # A feature beside the candidate's, and no slicing's: their names are identifiers.
            spec.prediction_key = f"{spec.name} {spec.prediction_key}"
        files[spec.prediction_key] = file = baseline if spec.is_baseline else predictions
        # TFMA keeps where the answers lay, and opens nothing there.
        shared.append(tfma.EvalSharedModel(model_path=str(file), model_name=spec.name, model_type=spec.model_type))
    with plain(output) as named, pipeline:
        _ = (
            pipeline
            # Nothing else would spread them.
            | beam.Create(range(pq.read_metadata(predictions).num_row_groups), reshuffle=True)
            | beam.ParDo(_ReadRows(files, class_names))
            | tfma.ExtractEvaluateAndWriteResults(eval_config=config, eval_shared_model=shared, output_path=str(named))
        )


class _ReadRows(beam.DoFn):
    """Reads a row group as a batch of TFMA's extracts: label, predictions of each model, and the slice of each slicing.

    The files are those of each model by the name of its predictions, the candidate's first.
    """

    def __init__(self, files: dict[str, Path], class_names: Sequence[str]) -> None:
        self._files, self._class_names = files, np.array(class_names)

    def process(self, number: int) -> Iterator[dict]:
        tables = {key: pq.ParquetFile(file).read_row_group(number) for key, file in self._files.items()}
        features = {key: np.array(table["probabilities"].to_pylist(), np.float32) for key, table in tables.items()}
        first = next(iter(tables.values()))
        features[LABEL] = first["label"].to_numpy()
        features[CLASS] = self._class_names[features[LABEL]]
        slicings = [name for name in first.column_names if name not in COLUMNS.names]
        yield {tfma.FEATURES_KEY: features | {name: np.array(first[name].to_pylist()) for name in slicings}}
