"""Says whether a candidate is blessed, and why not, in words for people.

Synopsis:

    reasons = refusal_reasons(evaluation, config, metrics)     # [] for a blessed one
    describe_verdict(metrics, reasons, notes, baseline_id)     # e.g. "blessed: test accuracy 0.9263; weakest class ..."
"""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.chance import floor_over_chance, interval
from components.evaluator.eval_config import OVERALL
from components.evaluator.metrics import ACCURACY
from components.evaluator.slices import CLASS

_VALUES_TOLD = 20
# Of more, the interval is narrower than what two seeds differ by.
_FEW_EXAMPLES = 1_000


def refusal_reasons(
    evaluation: Path, config: config_pb2.EvalConfig, metrics: dict, *, by_chance: bool = False
) -> list[str]:
    """Returns a line for each threshold that the model failed: metric, slice, bound and value.

    Without a floor of the overall accuracy, the model has to beat the largest class.

    Args:
      evaluation: folder of TFMA's results.
      config: what they were made with.
      metrics: what `read_metrics` read from them.
      by_chance: whether the bound below the baseline is what chance alone can make of equals.
    """
    validation = tfma.load_validation_result(str(evaluation))
    failed = sorted(validation.metric_validations_per_slice, key=_place)
    reasons = [_reason(failure, _place(part), by_chance) for part in failed for failure in part.failures]
    reasons += _missing_slices(config, metrics["slices"])
    if not _has_floor(config):
        reasons += _no_better_than_chance(metrics)
    # A first model of data that have no floors is compared with nothing by TFMA, which it calls missing thresholds.
    if not validation.validation_ok and not validation.missing_thresholds and not reasons:
        reasons.append("the thresholds could not be checked, see the log")
    return reasons


def _has_floor(config: config_pb2.EvalConfig) -> bool:
    """Whether the overall accuracy has a floor."""
    return any(
        part.threshold.HasField("value_threshold") and OVERALL in part.slicing_specs
        for metric in config.metrics_specs[0].metrics
        if json.loads(metric.config)["name"] == ACCURACY.name
        for part in metric.per_slice_thresholds
    )


def _no_better_than_chance(metrics: dict) -> Iterator[str]:
    counts = {name: part["examples"] for name, part in metrics["slices"][CLASS].items()}
    largest = max(counts, key=counts.get)
    floor = floor_over_chance(list(counts.values()))
    if metrics[ACCURACY.key] < floor:
        yield (
            f"{ACCURACY.name} (overall): expected at least {floor:.4f}, which naming {largest} for all "
            f"{sum(counts.values()):,} images and luck can reach, found {metrics[ACCURACY.key]:.4f}; set a floor of "
            "your own with --set floors.accuracy=FLOOR"
        )


def _place(part) -> list[tuple[str, str]]:
    """Returns slicing and slice of a part of TFMA's validation, [] for all examples."""
    return [(key.column, key.bytes_value.decode()) for key in part.slice_key.single_slice_keys]


def _reason(failure, place: list[tuple[str, str]], by_chance: bool) -> str:
    where = " ".join(place[0]) if place else "overall"
    threshold = failure.metric_threshold
    if failure.metric_key.is_diff:
        tolerance = round(-threshold.change_threshold.absolute.value, 4 if by_chance else 6)
        wanted = f"at most {tolerance:g} below the latest other blessed model"
        wanted += ", two standard errors of the difference" if by_chance else ""
    else:
        wanted = _bound(threshold.value_threshold)
    found = failure.metric_value.double_value.value
    return f"{failure.metric_key.name} ({where}): expected {wanted}, found {found:.4f}"


def _missing_slices(config: config_pb2.EvalConfig, slices: dict[str, dict[str, dict]]) -> Iterator[str]:
    """Yields a reason for each floor of a slice in which there is no example."""
    for metric in config.metrics_specs[0].metrics:
        for part in metric.per_slice_thresholds:
            for slicing, value in part.slicing_specs[0].feature_values.items():
                if value not in slices[slicing]:
                    yield (
                        f"{json.loads(metric.config)['name']} ({slicing} {value}): expected "
                        f"{_bound(part.threshold.value_threshold)}, found no example in that slice; the values of "
                        f"{slicing} are {_enumerate(slices[slicing])}"
                    )


def _enumerate(values: Collection[str]) -> str:
    return ", ".join(list(values)[:_VALUES_TOLD]) + (", ..." if len(values) > _VALUES_TOLD else "")


def _bound(threshold: config_pb2.GenericValueThreshold) -> str:
    if threshold.HasField("lower_bound"):
        return f"at least {threshold.lower_bound.value:g}"
    return f"at most {threshold.upper_bound.value:g}"


def describe_verdict(
    metrics: dict, reasons: list[str], notes: list[str], baseline_id: int | None, class_names: Sequence[str] = ()
) -> str:
    """Returns the verdict and what it rests on, in a line.

    Args:
      metrics: of the candidate, see `read_metrics`.
      reasons: why it is refused, if it is.
      notes: why models are no baseline.
      baseline_id: of the model that it was compared with, if there is one.
      class_names: of all classes; those that no test image is of are told, for nothing holds of them.
    """
    accuracies = metrics["per_class_accuracy"]
    weakest = min(accuracies, key=accuracies.get)
    compared = notes or [f"compared with model {baseline_id}" if baseline_id else "no earlier model to compare with"]
    facts = [
        f"test accuracy {metrics['test_accuracy']:.4f}",
        f"weakest class {weakest} {accuracies[weakest]:.4f}",
        *compared,
    ]
    if unmeasured := [name for name in class_names if name not in accuracies]:
        facts.insert(2, f"no test image of {_enumerate(unmeasured)}")
    if (examples := metrics["examples"]) < _FEW_EXAMPLES:
        low, high = interval(metrics["test_accuracy"] * examples, examples)
        facts.insert(1, f"{examples:,} test images, which tell it to {low:.3f} to {high:.3f}")
    return f"{'refused' if reasons else 'blessed'}: " + "; ".join([*reasons, *facts])
