"""Student's interval against printed tables, the density's integral and simulated races of equals."""

import math
import statistics

import pytest
import torch

from attention_mechanisms.significance import paired, seeds_needed, t_quantile, t_share
from utils.errors import UserError

# Student's t, two-sided 95 %, as every printed table has it.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 8: 2.306, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize(("df", "t"), TABLE.items())
def test_quantiles_are_those_of_the_printed_table(df, t):
    assert abs(t_quantile(df) - t) < 6e-4
    assert abs(t_share(t_quantile(df), df) - 0.95) < 1e-12


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 12])
def test_shares_are_the_integral_of_the_density(df):
    scale = math.gamma((df + 1) / 2) / math.sqrt(df * math.pi) / math.gamma(df / 2)
    x = torch.linspace(-1.7, 1.7, 100_001, dtype=torch.float64)
    area = torch.trapezoid(scale * (1 + x**2 / df) ** (-(df + 1) / 2), x)
    assert abs(t_share(1.7, df) - float(area)) < 1e-8


@pytest.mark.parametrize("n", [2, 3, 5])
def test_equal_variants_are_called_different_in_five_of_a_hundred_races(n):
    torch.manual_seed(0)
    races, alarms = 4_000, 0
    for row in torch.randn(races, n, dtype=torch.float64).tolist():
        alarms += paired(dict.fromkeys(range(n), 2.0), {i: 2.0 + x for i, x in enumerate(row)}).verdict != (
            "not told apart"
        )
    assert abs(alarms / races - 0.05) < 4 * math.sqrt(0.05 * 0.95 / races), f"{alarms} of {races}"


def test_what_a_seed_does_to_both_cancels():
    first = {0: 2.0, 1: 3.0, 2: 5.0}
    result = paired(first, {2: 5.11, 0: 2.1, 1: 3.09})
    assert result.verdict == "worse" and abs(result.mean - 0.1) < 1e-9
    assert abs(result.sd - 0.01) < 1e-9 and list(result.differences) == [0, 1, 2]
    half = 4.3027 * 0.01 / math.sqrt(3)
    assert abs(result.low - (0.1 - half)) < 1e-6 and abs(result.high - (0.1 + half)) < 1e-6
    assert paired({2: 5.11, 0: 2.1, 1: 3.09}, first).verdict == "better"
    assert "3 seeds): worse" in result.says


def test_only_seeds_that_both_have_are_compared():
    result = paired({0: 1.0, 1: 1.0, 7: 9.0}, {1: 1.2, 0: 1.1, 8: 0.0})
    assert result.differences.keys() == {0, 1}
    with pytest.raises(UserError, match="no seed is in both"):
        paired({0: 1.0}, {1: 1.0})


def test_one_seed_says_nothing_of_noise():
    result = paired({0: 1.0}, {0: 2.0})
    assert result.verdict == "not told apart" and "nothing can be said" in result.says


@pytest.mark.parametrize(("sd", "difference"), [(0.01, 0.01), (0.02, 0.005), (0.01, -0.03)])
def test_so_many_seeds_are_enough_and_one_fewer_is_not(sd, difference):
    n = seeds_needed(sd, difference)
    half = {m: t_quantile(m - 1) * sd / math.sqrt(m) for m in (n - 1, n)}
    assert half[n] <= abs(difference) < half[n - 1]


def test_bad_input_is_refused():
    for df, share in ((0, 0.95), (2, 1.0), (2, 0.0)):
        with pytest.raises(UserError, match="must be at least 1"):
            t_quantile(df, share)
    for sd, difference in ((0.0, 1.0), (1.0, 0.0)):
        with pytest.raises(UserError, match="must be above 0"):
            seeds_needed(sd, difference)


def test_with_as_many_seeds_as_one_likes_the_limit_is_the_normal_one():
    assert abs(t_quantile(100_000) - statistics.NormalDist().inv_cdf(0.975)) < 1e-4
