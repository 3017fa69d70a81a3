"""The thresholds that TFMA is given."""

import pytest
import tensorflow_model_analysis as tfma
from tfx import v1 as tfx  # noqa: F401  (without it TFMA lacks its configuration classes)

from pipeline.config import preset
from pipeline.evaluation import eval_config


@pytest.fixture
def accuracy() -> tfma.MetricConfig:
    config = eval_config(preset("fast", accuracy_floor=0.91, class_accuracy_floor=0.55, accuracy_tolerance=0.005))
    (metric,) = [
        metric
        for spec in config.metrics_specs
        for metric in spec.metrics
        if metric.class_name == "SparseCategoricalAccuracy"
    ]
    return metric


def test_overall_accuracy_has_the_floor_and_the_tolerance_against_the_baseline(accuracy):
    (overall,) = [part for part in accuracy.per_slice_thresholds if not part.slicing_specs[0].feature_keys]
    assert overall.threshold.value_threshold.lower_bound.value == 0.91
    change = overall.threshold.change_threshold
    assert change.direction == tfma.MetricDirection.HIGHER_IS_BETTER
    assert change.absolute.value == -0.005


def test_each_class_has_its_own_floor_and_no_baseline(accuracy):
    (each,) = [part for part in accuracy.per_slice_thresholds if part.slicing_specs[0].feature_keys]
    assert list(each.slicing_specs[0].feature_keys) == ["class"]
    assert each.threshold.value_threshold.lower_bound.value == 0.55
    assert not each.threshold.HasField("change_threshold")


def test_thresholds_hold_for_the_slices_they_name_only(accuracy):
    config = eval_config(preset("fast"))
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["class"], ["brightness"]]
    assert not accuracy.HasField("threshold")
    assert not accuracy.threshold.ByteSize()


def test_served_probabilities_are_what_is_measured():
    (spec,) = eval_config(preset("fast")).model_specs
    assert (spec.signature_name, spec.prediction_key, spec.label_key) == ("serving_default", "probabilities", "label")
    assert spec.model_type == "tf_generic"
