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

from components.errors import PipelineError

# Registers the metric that TFMA looks up by its name; and what it is made of becomes part of the cache key.
from components.evaluator import tfma_metrics
from components.evaluator.chance import difference_by_chance
from components.evaluator.eval_config import SUMMED
from components.evaluator.metrics import METRICS
from components.evaluator.slices import CLASS
from components.evaluator.sums import groups_of, sums_of
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
      PipelineError: the function of a metric fails or gives no number, or an answer is none.
    """
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=baseline is not None, rubber_stamp=True)
    answers, shared = [], []
    for spec in config.model_specs:
        if spec.is_baseline:
            # A feature beside the candidate's, and no slicing's: their names are identifiers.
            spec.prediction_key = f"{spec.name} {spec.prediction_key}"
        file = baseline if spec.is_baseline else predictions
        answers.append((spec.name, spec.prediction_key, file))
        # TFMA keeps where the answers lay, and opens nothing there.
        shared.append(tfma.EvalSharedModel(model_path=str(file), model_name=spec.name, model_type=spec.model_type))
    by_example = any(metric.class_name != SUMMED["class_name"] for metric in config.metrics_specs[0].metrics)
    with plain(output) as named, pipeline:
        _ = (
            pipeline
            # Nothing else would spread them.
            | beam.Create(range(pq.read_metadata(predictions).num_row_groups), reshuffle=True)
            | beam.ParDo(_ReadRows(answers, class_names, by_example))
            | tfma.ExtractEvaluateAndWriteResults(eval_config=config, eval_shared_model=shared, output_path=str(named))
        )


def tolerance_by_chance(predictions: Path, baseline: Path) -> float:
    """Returns how far below the baseline's a candidate's accuracy may be by chance alone: `difference_by_chance`.

    Args:
      predictions, baseline: as in `evaluate`.
    """
    counts = np.zeros(2, int)
    files = [pq.ParquetFile(file) for file in (predictions, baseline)]
    for number in range(files[0].num_row_groups):
        tables = [file.read_row_group(number, columns=["label", "prediction"]) for file in files]
        right, baseline_right = (table["label"].to_numpy() == table["prediction"].to_numpy() for table in tables)
        counts += (right & ~baseline_right).sum(), (baseline_right & ~right).sum()
    return difference_by_chance(*counts.tolist(), files[0].metadata.num_rows)


class _ReadRows(beam.DoFn):
    """Reads a row group as a batch of TFMA's extracts, one for all its examples that are in the same slices.

    An extract has the sums of its examples by model, the slice of each slicing, and label and predictions of one of
    them. Where TFMA or Keras computes a metric, each example is an extract.

    The answers are of each model its name, that of its predictions as a feature, and their file, the candidate's first.
    """

    def __init__(self, answers: Sequence[tuple[str, str, Path]], class_names: Sequence[str], by_example: bool) -> None:
        self._answers, self._class_names, self._by_example = answers, np.array(class_names), by_example
        self._metrics = list(METRICS.values())

    def process(self, number: int) -> Iterator[dict]:
        tables = [pq.ParquetFile(file).read_row_group(number) for _, _, file in self._answers]
        labels = tables[0]["label"].to_numpy()
        slicings = [name for name in tables[0].column_names if name not in COLUMNS.names]
        slices = {CLASS: self._class_names[labels]} | {name: np.array(tables[0][name].to_pylist()) for name in slicings}
        each = np.arange(len(labels))
        groups, first = (each, each) if self._by_example else groups_of(slices.values())
        features, sums = {LABEL: labels[first]} | {name: column[first] for name, column in slices.items()}, {}
        for (model, key, file), table in zip(self._answers, tables, strict=True):
            probabilities = np.array(table["probabilities"].to_pylist(), np.float32)
            if not np.isfinite(probabilities).all():
                raise PipelineError(f"{file}: expected probabilities, found an answer that is no number.")
            features[key] = probabilities[first]
            sums[model] = np.empty(len(first), object)
            sums[model][:] = sums_of(probabilities, labels, groups, self._metrics)
        yield {tfma.FEATURES_KEY: features, tfma_metrics.SUMS: sums}
