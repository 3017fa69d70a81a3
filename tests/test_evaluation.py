"""Floors as a setting, and the thresholds that TFMA is given for them."""

import json

import pytest
from tensorflow_model_analysis.proto import config_pb2

from components.errors import InputError
from components.evaluator.eval_config import bound_change, eval_config, has_bound_of_change
from components.evaluator.floors import check_floors
from components.evaluator.metrics import METRICS
from components.evaluator.verdict import describe_verdict

FLOORS = {"accuracy": 0.91, "accuracy@class": 0.55, "accuracy@class=Ankle boot": 0.8, "loss": 0.4}


def metric(name: str, config: config_pb2.EvalConfig) -> config_pb2.MetricConfig:
    (found,) = [part for part in config.metrics_specs[0].metrics if json.loads(part.config)["name"] == name]
    return found


@pytest.fixture
def accuracy() -> config_pb2.MetricConfig:
    return metric("accuracy", eval_config(FLOORS, 0.005))


def test_overall_accuracy_has_the_floor_and_the_tolerance_against_the_baseline(accuracy):
    (overall,) = [part for part in accuracy.per_slice_thresholds if not part.slicing_specs[0].ByteSize()]
    assert overall.threshold.value_threshold.lower_bound.value == 0.91
    change = overall.threshold.change_threshold
    assert change.direction == config_pb2.MetricDirection.HIGHER_IS_BETTER
    assert change.absolute.value == -0.005 - 1e-9


@pytest.mark.parametrize("examples", [200, 400, 1_000, 10_000])
def test_a_candidate_that_is_worse_by_exactly_the_tolerance_passes(examples, accuracy):
    (overall,) = [part for part in accuracy.per_slice_thresholds if not part.slicing_specs[0].ByteSize()]
    limit, fewer = overall.threshold.change_threshold.absolute.value, examples // 200
    for right in range(fewer + 1, examples + 1):
        # As TFMA takes the difference.
        assert (right - fewer) / examples - right / examples >= limit
        assert not (right - fewer - 1) / examples - right / examples >= limit


def test_each_class_has_its_own_floor_and_no_baseline(accuracy):
    (each,) = [part for part in accuracy.per_slice_thresholds if part.slicing_specs[0].feature_keys]
    assert list(each.slicing_specs[0].feature_keys) == ["class"]
    assert each.threshold.value_threshold.lower_bound.value == 0.55
    assert not each.threshold.HasField("change_threshold")


def test_one_slice_has_the_floor_of_its_value(accuracy):
    (one,) = [part for part in accuracy.per_slice_thresholds if part.slicing_specs[0].feature_values]
    assert dict(one.slicing_specs[0].feature_values) == {"class": "Ankle boot"}
    assert one.threshold.value_threshold.lower_bound.value == 0.8


def test_thresholds_hold_for_the_slices_they_name_only(accuracy):
    config = eval_config({}, 0.005)
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["class"], ["brightness"]]
    assert not accuracy.HasField("threshold")
    assert not accuracy.threshold.ByteSize()


def test_of_a_metric_of_which_less_is_better_the_floor_is_the_most():
    (overall,) = metric("loss", eval_config(FLOORS, 0.005)).per_slice_thresholds
    assert overall.threshold.value_threshold.upper_bound.value == 0.4
    assert not overall.threshold.value_threshold.HasField("lower_bound")


def test_without_a_floor_accuracy_is_compared_with_the_baseline_all_the_same():
    (overall,) = metric("accuracy", eval_config({}, 0.01)).per_slice_thresholds
    assert overall.threshold.change_threshold.absolute.value == -0.01 - 1e-9
    assert not overall.threshold.HasField("value_threshold")


def test_where_nobody_says_how_much_worse_a_candidate_may_be_the_answers_do():
    for floors in ({}, FLOORS):
        config = eval_config(floors, None)
        assert not has_bound_of_change(config)
        bound_change(config, 0.01)
        assert has_bound_of_change(config)
        assert config == eval_config(floors, 0.01)


def test_each_registered_metric_is_measured_under_its_name():
    names = [json.loads(part.config)["name"] for part in eval_config({}, 0.0).metrics_specs[0].metrics]
    assert names[: len(METRICS)] == list(METRICS)


def test_kept_probabilities_are_what_is_measured():
    (spec,) = eval_config({}, 0.0).model_specs
    assert (spec.prediction_key, spec.label_key) == ("probabilities", "label")
    # Which TFMA neither loads nor asks.
    assert spec.model_type == "materialized_prediction"


# floors


def test_floor_says_metric_slicing_and_value():
    floors = check_floors({"accuracy": 0.9, "top_2_accuracy@brightness": 0.5, "accuracy@class=a@b=c": 1})
    assert [(floor.metric.name, floor.slicing, floor.value, floor.bound) for floor in floors] == [
        ("accuracy", "", None, 0.9),
        ("top_2_accuracy", "brightness", None, 0.5),
        ("accuracy", "class", "a@b=c", 1.0),
    ]


@pytest.mark.parametrize(
    ("key", "bound", "message"),
    [
        (
            "acuracy",
            0.9,
            r"floors\.acuracy: expected a metric \(accuracy, .*\), found 'acuracy'\. Did you mean accuracy\?",
        ),
        ("kappa", 0.9, r"floors\.kappa: expected a metric \(accuracy, .*\), found 'kappa'\.$"),
        ("", 0.9, r"floors\.: expected a metric \(accuracy, .*\), found ''\.$"),
        (
            "accuracy@clas=Bag",
            0.9,
            r"floors\.accuracy@clas=Bag: expected a slicing \(class, brightness\), found 'clas'\. Did you mean class\?",
        ),
        ("accuracy@", 0.9, r"floors\.accuracy@: expected a slicing \(class, brightness\), found ''\.$"),
        ("macro_f1@class", 0.9, "expected a metric of slices, found macro_f1, which is measured overall only"),
        ("accuracy", 91, r"floors\.accuracy: expected 0 to 1, found 91"),
        ("accuracy", -0.1, r"floors\.accuracy: expected 0 to 1, found -0\.1"),
        ("accuracy", True, r"floors\.accuracy: expected 0 to 1, found True"),
        ("loss", float("nan"), r"floors\.loss: expected a number, found nan"),
        ("loss", "low", r"floors\.loss: expected a number, found 'low'"),
    ],
)
def test_floor_that_cannot_be_is_one_line_with_the_nearest_name(key, bound, message):
    with pytest.raises(InputError, match=message) as caught:
        check_floors({key: bound})
    assert "\n" not in str(caught.value)


def test_verdict_names_the_classes_that_no_test_image_is_of():
    metrics = {"per_class_accuracy": {"a": 1.0, "c": 0.5}, "test_accuracy": 0.75, "examples": 2_000}
    told = describe_verdict(metrics, [], [], None, ("a", "b", "c"))
    assert told == (
        "blessed: test accuracy 0.7500; weakest class c 0.5000; no test image of b; no earlier model to compare with"
    )
    assert "no test image" not in describe_verdict(metrics, [], [], None, ("a", "c"))
