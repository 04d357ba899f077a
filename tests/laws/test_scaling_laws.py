"""The lines of the scaling study: known laws are found again, intervals hold the truth, budgets are spent."""

import pytest
import scaling_checks as checks


def test_known_laws_are_found_again():
    checks.check_known_laws_are_found_again()


def test_the_fit_is_as_good_as_a_general_optimisers():
    pytest.importorskip("scipy")
    checks.check_fit_is_as_good_as_scipys()


def test_the_best_size_is_the_lowest_point_at_equal_compute():
    checks.check_best_size_is_the_lowest_point()


def test_intervals_hold_the_truth():
    checks.check_intervals_hold_the_truth()


def test_flops_are_six_n_and_attention_and_each_run_spends_its_budget():
    checks.check_flops_and_budgets()


def test_the_analysis_finds_the_laws_of_a_known_world():
    checks.check_analysis_of_a_known_world()


def test_bad_points_are_refused():
    checks.check_bad_points_are_refused()
