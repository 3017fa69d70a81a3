"""Macro F1 and calibration error against figures worked out by hand."""

import numpy as np
import pytest

from components.metrics import calibration_error, macro_f1


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


def test_calibration_error_weighs_each_bin_s_gap_by_its_examples():
    # Ten examples at 0.9 of which 7 are right, thirty at 0.5 of which 15 are: (10 * 0.2 + 30 * 0) / 40.
    found = calibration_error(np.array([9.0, 15.0]), np.array([7.0, 15.0]), np.array([10.0, 30.0]))
    assert found == pytest.approx(0.05)


def test_gaps_in_opposite_directions_do_not_cancel():
    found = calibration_error(np.array([9.0, 5.0]), np.array([7.0, 7.0]), np.array([10.0, 10.0]))
    assert found == pytest.approx((2 + 2) / 20)


def test_calibration_error_of_nothing_is_no_number():
    assert np.isnan(calibration_error(np.zeros(2), np.zeros(2), np.zeros(2)))
