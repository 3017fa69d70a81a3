"""Gives TFMA the metrics that are made of sums, and the counts beside them.

The class is named by `components.evaluator.eval_config`; TFMA looks it up and calls it for each slice. What it is given
is a `Sums` an extract, of one example or of many, so memory does not grow with the examples.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import Matrices, MatrixEntryKey

from components.evaluator.metrics import CONFUSION_MATRIX, EXAMPLE_COUNT, METRICS, Metric
from components.evaluator.sums import Sums, value_of

# Of an extract, the sums by the name of the model.
SUMS = "sums"


class Summed(metric_types.Metric):
    """The metric of this name in `METRICS`, or one of the counts beside them."""

    def __init__(self, name: str) -> None:
        super().__init__(metric_util.merge_per_key_computations(_summed), name=name)


metric_types.register_metric(Summed)


# TFMA looks at the names of the arguments to see what it has to pass.
def _summed(
    name: str, model_name: str = "", output_name: str = "", example_weighted: bool = False
) -> metric_types.MetricComputations:
    # Looked up here, and not where the work runs: a metric may be registered in this process alone.
    metric = METRICS.get(name)
    # TFMA puts out nothing whose name begins so, and computes it once, however many metrics are derived from it.
    sums, key = (
        metric_types.MetricKey(
            name=named, model_name=model_name, output_name=output_name, example_weighted=example_weighted
        )
        for named in ("_sums", name)
    )
    return [
        metric_types.MetricComputation(keys=[sums], preprocessors=[_SumsOf(model_name)], combiner=_Added(sums)),
        metric_types.DerivedMetricComputation(
            keys=[key], result=lambda found: {key: _value(name, metric, found[sums])}
        ),
    ]


def _value(name: str, metric: Metric | None, sums: Sums) -> object:
    if name == EXAMPLE_COUNT:
        return float(sums.examples)
    if name == CONFUSION_MATRIX:
        # At a threshold of 0, the most probable class always counts.
        return Matrices({0.0: {MatrixEntryKey(*cell): float(number) for cell, number in sums.counts.items()}})
    return value_of(metric, sums)


class _SumsOf(metric_types.Preprocessor):
    """Takes the sums of a model from an extract, for its combiner."""

    def __init__(self, model_name: str) -> None:
        super().__init__(name=f"sums of {model_name}")
        self._model_name = model_name

    def process(self, extracts: dict) -> Iterator[Sums]:
        yield extracts[SUMS][self._model_name].item()


class _Added(beam.CombineFn):
    """Adds up sums."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> Sums:
        return Sums()

    def add_input(self, accumulator: Sums, element: Sums) -> Sums:
        accumulator += element
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        whole = Sums()
        for accumulator in accumulators:
            whole += accumulator
        return whole

    def extract_output(self, accumulator: Sums) -> dict:
        return {self._key: accumulator}
