"""TFMA's configuration: the metrics, their slices, and which models are refused."""

import json
from collections.abc import Mapping

# From the module that defines them: the package itself has these names only once TFX is imported.
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.floors import Floor, check_floors
from components.evaluator.metrics import ACCURACY, CONFUSION_MATRIX, EXAMPLE_COUNT, METRICS, Metric
from components.evaluator.slices import SLICINGS, SPAN
from models.features import LABEL

OVERALL = config_pb2.SlicingSpec()
# By which TFMA finds the class that gives it sums.
SUMMED = {"class_name": "Summed", "module": "components.evaluator.tfma_metrics"}
# By which the difference of two shares may miss what it is in decimals: 0.9 - 0.905 is less than -0.005.
_ROUNDING = 1e-9


def eval_config(floors: Mapping[str, float], tolerance: float | None, *, spans: bool = False) -> config_pb2.EvalConfig:
    """Returns TFMA's configuration for all registered metrics and slicings.

    Args:
      floors: see `components.evaluator.floors`.
      tolerance: how much lower than the baseline's a candidate's accuracy may be; None: `bound_change` will say.
      spans: whether each span is a slice too.

    Raises:
      InputError: a floor names what does not exist.
    """
    checked = check_floors(floors)
    metrics = [_metric_config(metric, _thresholds(metric, checked)) for metric in METRICS.values()]
    # What is measured beside the metrics.
    counts = [
        config_pb2.MetricConfig(**SUMMED, config=json.dumps({"name": name}))
        for name in (CONFUSION_MATRIX, EXAMPLE_COUNT)
    ]
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(model_type="materialized_prediction", label_key=LABEL, prediction_key="probabilities")
        ],
        slicing_specs=[
            OVERALL,
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in [*SLICINGS, *([SPAN] if spans else [])]),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[*metrics, *counts])],
    )
    if tolerance is not None:
        bound_change(config, tolerance)
    return config


def bound_change(config: config_pb2.EvalConfig, tolerance: float) -> None:
    """Has the accuracy of a candidate be at most `tolerance` below that of the baseline."""
    parts = _accuracy_of(config).per_slice_thresholds
    overall = next((part for part in parts if OVERALL in part.slicing_specs), None)
    if overall is None:
        overall = parts.add(slicing_specs=[OVERALL])
    change = config_pb2.GenericChangeThreshold(
        direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -(tolerance + _ROUNDING)}
    )
    overall.threshold.change_threshold.CopyFrom(change)


def has_bound_of_change(config: config_pb2.EvalConfig) -> bool:
    """Whether somebody said how far below the baseline's accuracy a candidate's may be."""
    return any(part.threshold.HasField("change_threshold") for part in _accuracy_of(config).per_slice_thresholds)


def _accuracy_of(config: config_pb2.EvalConfig) -> config_pb2.MetricConfig:
    metrics = config.metrics_specs[0].metrics
    return next(metric for metric in metrics if json.loads(metric.config)["name"] == ACCURACY.name)


def _metric_config(metric: Metric, thresholds: list[config_pb2.PerSliceMetricThreshold]) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        **({"class_name": metric.class_name, "module": metric.module} if metric.class_name else SUMMED),
        config=json.dumps({**metric.config, "name": metric.name}),
        # Not `threshold`: that one would hold for every slice as well.
        per_slice_thresholds=thresholds,
    )


def _thresholds(metric: Metric, floors: tuple[Floor, ...]) -> list[config_pb2.PerSliceMetricThreshold]:
    found = {
        (floor.slicing, floor.value): config_pb2.MetricThreshold(value_threshold=_bound(floor))
        for floor in floors
        if floor.metric is metric
    }
    return [
        config_pb2.PerSliceMetricThreshold(slicing_specs=[_slicing_spec(*part)], threshold=threshold)
        for part, threshold in found.items()
    ]


def _bound(floor: Floor) -> config_pb2.GenericValueThreshold:
    side = "lower_bound" if floor.metric.higher_is_better else "upper_bound"
    return config_pb2.GenericValueThreshold(**{side: {"value": floor.bound}})


def _slicing_spec(slicing: str, value: str | None) -> config_pb2.SlicingSpec:
    if not slicing:
        return OVERALL
    if value is None:
        return config_pb2.SlicingSpec(feature_keys=[slicing])
    return config_pb2.SlicingSpec(feature_values={slicing: value})
