"""The registry of metrics, and figures worked out by hand."""

import math
import pickle
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest

from components.errors import PipelineError
from components.evaluator.calibration import (
    BINS,
    bin_numbers,
    calibration_error,
    calibration_rows,
    calibration_sums,
    error_of_sums,
)
from components.evaluator.metrics import METRICS, Metric, accuracy, among_first_two, loss, macro_f1, register
from components.evaluator.sums import Sums, groups_of, sums_of, value_of
from tests.conftest import ROOT


def test_accuracy_is_the_share_on_the_diagonal_to_the_last_digit():
    assert accuracy(np.array([[3.0, 2.0], [1.0, 4.0]])) == 7 / 10


def test_macro_f1_is_the_mean_of_each_class_s_harmonic_mean_of_precision_and_recall():
    # Class 0: precision 3/4, recall 3/5; class 1: precision 2/4, recall 2/3.
    counts = np.array([[3, 2], [1, 2]])
    f1 = [2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5), 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)]
    assert macro_f1(counts) == pytest.approx(np.mean(f1))


def test_macro_f1_leaves_out_a_class_that_neither_occurs_nor_is_predicted():
    assert macro_f1(np.diag([4, 0, 6])) == 1.0
    # Predicted once and never right: 0 for that class, 2 * 3/(3 + 4) for the other.
    assert macro_f1(np.array([[3, 1], [0, 0]])) == pytest.approx((6 / 7 + 0) / 2)


def test_macro_f1_of_nothing_is_no_number():
    assert np.isnan(macro_f1(np.zeros((3, 3))))


# calibration


def test_calibration_error_weighs_each_bin_s_gap_by_its_examples():
    # Ten examples at 0.9 of which 7 are right, thirty at 0.5 of which 15 are: (10 * 0.2 + 30 * 0) / 40.
    found = error_of_sums(np.array([[9.0, 15.0], [7.0, 15.0], [10.0, 30.0]]))
    assert found == pytest.approx(0.05)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.65, 0.65], np.float32)
    right = np.array([True, True, True, False, True, False])
    # Bin of 0.95: accuracy 0.75, four of six; bin of 0.65: accuracy 0.5, two of six.
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.20 + 2 * 0.15) / 6)


def test_gaps_in_opposite_directions_do_not_cancel():
    found = error_of_sums(np.array([[9.0, 5.0], [7.0, 7.0], [10.0, 10.0]]))
    assert found == pytest.approx((2 + 2) / 20)


def test_calibration_error_of_nothing_is_no_number():
    assert np.isnan(error_of_sums(np.zeros((3, BINS))))


def test_bins_are_equally_wide_and_certainty_is_in_the_last():
    assert bin_numbers(np.array([0.0, 0.05, 0.15, 0.55, 0.999, 1.0])).tolist() == [0, 0, 1, 5, 9, 9]


def test_sums_of_parts_add_up_to_those_of_the_whole():
    confidence, right = np.array([0.3, 0.7, 0.95]), np.array([True, False, True])
    parts = calibration_sums(confidence[:1], right[:1]) + calibration_sums(confidence[1:], right[1:])
    np.testing.assert_array_equal(parts, calibration_sums(confidence, right))
    assert parts.sum(axis=1) == pytest.approx([1.95, 2, 3])


# the registry


def test_summary_keeps_the_keys_that_scripts_read():
    assert {name: metric.key for name, metric in METRICS.items()} == {
        "accuracy": "test_accuracy",
        "loss": "test_loss",
        "macro_f1": "macro_f1",
        "top_2_accuracy": "top_2_accuracy",
        "expected_calibration_error": "expected_calibration_error",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "accuracy"}, "a name and a key that are not taken yet"),
        ({"key": "test_loss"}, "a name and a key that are not taken yet"),
        ({"name": "slices"}, "a name and a key that are not taken yet"),
        ({"name": "a@b"}, "expected a Python identifier without a leading underscore"),
        ({"name": "_sums"}, "expected a Python identifier without a leading underscore"),
        ({"name": "example_count"}, "a name and a key that are not taken yet"),
        ({"from_sums": max}, "expected of_examples beside from_sums, found none"),
        ({"format": "per mille"}, "expected format percent or number, found 'per mille'"),
        ({"from_confusion": None}, "expected one of from_confusion, of_examples and class_name, found none or more"),
        ({"class_name": "AUC"}, "expected one of from_confusion, of_examples and class_name, found none or more"),
        ({"of_examples": loss}, "expected one of from_confusion, of_examples and class_name, found none or more"),
    ],
)
def test_entry_that_contradicts_itself_or_another_is_refused(fields, message):
    before = dict(METRICS)
    with pytest.raises(ValueError, match=message):
        register(Metric(**{"name": "other", "label": "other", "from_confusion": accuracy, **fields}))
    assert before == METRICS


# sums

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8], [0.5, 0.5, 0.0]], np.float32)
LABELS = np.array([0, 2, 2, 1])


def test_loss_is_keras_s():
    expected = keras.losses.SparseCategoricalCrossentropy(reduction="none")(LABELS, PROBABILITIES)
    np.testing.assert_allclose(loss(PROBABILITIES, LABELS), expected, rtol=1e-6)
    # Of a class that it gives no chance it is bounded.
    assert 16 < loss(PROBABILITIES[-1:], np.array([2]))[0] < 17


def test_right_class_is_among_the_first_two_as_keras_has_it():
    for labels in np.ndindex(3, 3, 3, 3):
        expected = keras.metrics.sparse_top_k_categorical_accuracy(np.array(labels), PROBABILITIES, k=2)
        np.testing.assert_array_equal(among_first_two(PROBABILITIES, np.array(labels)), expected)


def sums(groups: list[int], metrics=None) -> list[Sums]:
    return sums_of(PROBABILITIES, LABELS, np.array(groups), METRICS.values() if metrics is None else metrics)


def test_sums_of_groups_are_those_of_their_examples_and_add_up_to_those_of_all():
    one, other = sums([1, 0, 1, 0])
    assert one.counts == {(2, 1): 1, (1, 0): 1}
    assert other.counts == {(0, 0): 1, (2, 2): 1}
    (whole,) = sums([0, 0, 0, 0])
    kept, added = pickle.dumps(one), Sums()
    # As Beam's workers hand them on.
    for part in (one, pickle.loads(pickle.dumps(other))):
        added += part
    assert pickle.dumps(one) == kept
    for metric in METRICS.values():
        assert value_of(metric, added) == pytest.approx(value_of(metric, whole), rel=1e-12)
    confidence, right = PROBABILITIES.max(axis=1), PROBABILITIES.argmax(axis=1) == LABELS
    found = value_of(METRICS["expected_calibration_error"], whole)
    assert found == pytest.approx(calibration_error(confidence, right))
    assert value_of(METRICS["loss"], whole) == pytest.approx(loss(PROBABILITIES, LABELS).mean())
    assert value_of(METRICS["accuracy"], whole) == 0.5
    assert whole.examples == 4


def test_rows_of_the_calibration_add_up_to_its_sums():
    confidence, right = PROBABILITIES.max(axis=1), PROBABILITIES.argmax(axis=1) == LABELS
    rows = calibration_rows(PROBABILITIES, LABELS)
    assert rows.shape == (4, 3, BINS)
    np.testing.assert_allclose(rows.sum(axis=0), calibration_sums(confidence, right))


def test_no_examples_are_no_sums():
    nothing = sums_of(PROBABILITIES[:0], LABELS[:0], np.zeros(0, int), METRICS.values())
    assert (nothing, [part.tolist() for part in groups_of([np.array([], str)])]) == ([], [[], []])


def test_examples_of_a_kind_are_a_group():
    groups, first = groups_of([np.array(["a", "b", "a", "a"]), np.array(["x", "x", "y", "x"])])
    assert groups.tolist() == [0, 2, 1, 0]
    assert first.tolist() == [0, 2, 1]


@pytest.mark.parametrize(("function", "found"), [(lambda counts: 1 / 0, "ZeroDivisionError"), (str, "ValueError")])
def test_function_that_gives_no_number_fails_with_the_metric_s_name(function, found):
    metric = Metric(name="broken", label="broken", from_confusion=function)
    expected = "metric broken: expected a number from its from_confusion for a matrix of 2x2, found"
    with pytest.raises(PipelineError, match=f"{expected} {found}"):
        value_of(metric, Sums(Counter({(0, 1): 2})))


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda probabilities, labels: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda probabilities, labels: ["much"] * len(labels), "ValueError: could not convert"),
        (lambda probabilities, labels: [1.0], r"an array \[1\]"),
        (lambda probabilities, labels: probabilities.sort(axis=1), "ValueError: sort array is read-only"),
        (lambda probabilities, labels: labels.sort(), "ValueError: sort array is read-only"),
    ],
    ids=["fails", "no numbers", "too few", "sorts what others see", "sorts labels"],
)
def test_function_of_examples_that_gives_no_numbers_fails_with_the_metric_s_name(function, found):
    metric = Metric(name="broken", label="broken", of_examples=function)
    expected = "metric broken: expected numbers from its of_examples, a row for each of 4 examples, found"
    with pytest.raises(PipelineError, match=f"{expected} {found}"):
        sums([0, 0, 0, 0], [metric])


def test_value_of_sums_that_is_no_number_fails_with_the_metric_s_name():
    metric = Metric(name="broken", label="broken", of_examples=loss, from_sums=lambda sums, examples: "much")
    (whole,) = sums([0, 0, 0, 0], [metric])
    with pytest.raises(PipelineError, match="broken: expected a number from its from_sums for 4 examples, found"):
        value_of(metric, whole)


def test_matrix_has_the_counts_by_label_and_prediction():
    seen = []
    metric = Metric(name="seen", label="seen", from_confusion=lambda counts: seen.append(counts) or math.nan)
    value_of(metric, Sums(Counter({(0, 2): 3, (1, 1): 4})))
    assert seen[0].tolist() == [[0, 0, 3], [0, 4, 0], [0, 0, 0]]


def test_names_labels_and_floors_are_read_without_tensorflow():
    evaluator = "components.evaluator"
    modules = [f"{evaluator}.{name}" for name in ("metrics", "sums", "slices", "floors", "chance", "calibration")]
    modules += [
        "components.prediction_columns",
        "pipeline.report.predictions",
        "pipeline.predict",
    ]
    code = f"import sys, {', '.join(modules)}\n"
    code += "print({'tensorflow', 'tfx', 'tensorflow_model_analysis', 'apache_beam', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
