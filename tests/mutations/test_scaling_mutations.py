"""The bugs that the laws of the scaling study exist for, put back on purpose."""

import numpy as np
import pytest
import scaling_checks as checks

from pretraining import power_laws, scaling_study


def test_a_parabola_in_n_instead_of_its_logarithm(monkeypatch):
    real = power_laws.np.log
    monkeypatch.setattr(power_laws.np, "log", lambda x: np.asarray(x, float) / 1e5 if np.ndim(x) else real(x))
    with pytest.raises((AssertionError, OverflowError)):
        checks.check_known_laws_are_found_again()


def test_sizes_and_tokens_swapped(monkeypatch):
    real = power_laws.fit_loss
    monkeypatch.setattr(power_laws, "fit_loss", lambda n, d, y: real(d, n, y))
    with pytest.raises(AssertionError):
        checks.check_known_laws_are_found_again()


def test_a_best_size_with_the_exponents_the_wrong_way_round(monkeypatch):
    monkeypatch.setattr(
        power_laws.LossLaw, "best_exponent", property(lambda self: self.alpha / (self.alpha + self.beta))
    )
    with pytest.raises(AssertionError):
        checks.check_best_size_is_the_lowest_point()


def test_an_interval_that_forgets_the_noise(monkeypatch):
    monkeypatch.setattr(power_laws, "interval", lambda values, level=0.95: (values[0], values[0]))
    with pytest.raises(AssertionError, match="promise too much"):
        checks.check_intervals_hold_the_truth()


def test_six_n_without_attention(monkeypatch):
    monkeypatch.setattr(
        scaling_study, "flops_per_token", lambda shape: 6 * scaling_study.multiplying_weights(shape)
    )
    with pytest.raises(AssertionError, match="12 L d T"):
        checks.check_flops_and_budgets()


def test_a_table_of_equal_steps_instead_of_equal_compute(monkeypatch):
    real = scaling_study.wanted_runs
    monkeypatch.setattr(
        scaling_study, "wanted_runs", lambda *words: [{**row, "steps": 500} for row in real(*words)]
    )
    with pytest.raises(AssertionError, match="for a budget of"):
        checks.check_flops_and_budgets()
