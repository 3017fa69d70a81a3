"""The registry of metrics, and figures worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest

from components.errors import PipelineError
from components.evaluator.calibration import BINS, bin_numbers, calibration_error, calibration_sums, error_of_sums
from components.evaluator.metrics import METRICS, Metric, accuracy, macro_f1, register
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
        ({"name": "a@b"}, "expected a Python identifier"),
        ({"format": "per mille"}, "expected format percent or number, found 'per mille'"),
        ({"from_confusion": None}, "expected either from_confusion or class_name"),
        ({"class_name": "AUC"}, "expected either from_confusion or class_name"),
    ],
)
def test_entry_that_contradicts_itself_or_another_is_refused(fields, message):
    before = dict(METRICS)
    with pytest.raises(ValueError, match=message):
        register(Metric(**{"name": "other", "label": "other", "from_confusion": accuracy, **fields}))
    assert before == METRICS


@pytest.mark.parametrize(("function", "found"), [(lambda counts: 1 / 0, "ZeroDivisionError"), (str, "ValueError")])
def test_function_that_gives_no_number_fails_with_the_metric_s_name(function, found):
    from components.evaluator.tfma_metrics import value_from_confusion

    with pytest.raises(PipelineError, match=f"metric broken: expected a number .* for a matrix of 2x2, found {found}"):
        value_from_confusion(Metric(name="broken", label="broken", from_confusion=function), {(0, 1): 2.0})


def test_matrix_has_the_counts_by_label_and_prediction():
    from components.evaluator.tfma_metrics import value_from_confusion

    seen = []
    metric = Metric(name="seen", label="seen", from_confusion=lambda counts: seen.append(counts) or math.nan)
    value_from_confusion(metric, {(0, 2): 3.0, (1, 1): 4.0})
    assert seen[0].tolist() == [[0, 0, 3], [0, 4, 0], [0, 0, 0]]


def test_names_labels_and_floors_are_read_without_tensorflow():
    evaluator = "components.evaluator"
    modules = [f"{evaluator}.{name}" for name in ("metrics", "slices", "floors", "chance", "calibration")]
    modules += [
        "components.prediction_columns",
        "pipeline.report.predictions",
        "pipeline.predict",
    ]
    code = f"import sys, {', '.join(modules)}\n"
    code += "print({'tensorflow', 'tfx', 'tensorflow_model_analysis', 'apache_beam', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
