"""What the lines of the scaling study must keep: known laws are found again, and an interval holds the truth."""

from __future__ import annotations

import math

import numpy as np

from pretraining import power_laws, scaling_lines, scaling_study
from utils.errors import UserError

TRUE = power_laws.LossLaw(e=1.2, a=60.0, b=200.0, alpha=0.42, beta=0.38, residual=0.0)


def check_known_laws_are_found_again() -> None:
    """Exact points of a law give back that law, for the line, the valley and the formula."""
    xs = [1e3, 1e4, 1e6]
    line = power_laws.power_law(xs, [5.0 * x**-0.3 for x in xs])
    assert math.isclose(line.exponent, -0.3, rel_tol=1e-9) and math.isclose(line(1e5), 5.0 * 1e5**-0.3), line
    sizes = [1e4, 3e4, 1e5, 4e5]
    valley = power_laws.parabola(sizes, [2.0 + 0.05 * math.log(n / 7e4) ** 2 for n in sizes])
    assert math.isclose(valley.best, 7e4, rel_tol=1e-6), f"the lowest point is 70,000, not {valley.best:,.0f}"
    assert math.isclose(valley.loss, 2.0, rel_tol=1e-9) and valley.inside
    runs = [(n, d) for n in (1e4, 4e4, 1.6e5, 6.4e5) for d in (1e5, 4e5, 1.6e6)]
    found = power_laws.fit_loss([n for n, _ in runs], [d for _, d in runs], [TRUE(n, d) for n, d in runs])
    assert abs(found.alpha - TRUE.alpha) < 0.01 and abs(found.beta - TRUE.beta) < 0.01, found
    assert abs(found.e - TRUE.e) < 0.02 and found.residual < 1e-4, found


def check_fit_is_as_good_as_scipys() -> None:
    """On noisy losses a general optimiser started at the truth finds no better fit."""
    from scipy.optimize import least_squares

    chance = np.random.default_rng(5)
    runs = [(n, d) for n in (1e4, 4e4, 1.6e5, 6.4e5) for d in (1e5, 4e5, 1.6e6)]
    n, d = (np.array(column) for column in zip(*runs))
    y = np.array([TRUE(*run) for run in runs]) * (1 + chance.normal(0, 0.003, len(runs)))
    found = power_laws.fit_loss(n, d, y)

    def left_over(p: np.ndarray) -> np.ndarray:
        return (p[0] + np.exp(p[1]) / n ** p[3] + np.exp(p[2]) / d ** p[4]) / y - 1

    start = [TRUE.e, math.log(TRUE.a), math.log(TRUE.b), TRUE.alpha, TRUE.beta]
    best = math.sqrt(2 * least_squares(left_over, start, xtol=1e-12, ftol=1e-12).cost / len(runs))
    assert found.residual <= best * 1.01, f"scipy leaves {best:.3e} over, this fit {found.residual:.3e}"


def check_best_size_is_the_lowest_point() -> None:
    """The formula's best size is where a walk along equal compute finds the lowest loss, and grows as it says."""
    for flops in (1e11, 1e13):
        sizes = np.exp(np.linspace(math.log(1e3), math.log(1e8), 20_001))
        lowest = sizes[np.argmin([TRUE(n, flops / (6 * n)) for n in sizes])]
        assert math.isclose(TRUE.best_size(flops), lowest, rel_tol=2e-3), (TRUE.best_size(flops), lowest)
    growth = math.log(TRUE.best_size(1e13) / TRUE.best_size(1e11)) / math.log(100)
    assert math.isclose(growth, TRUE.best_exponent, rel_tol=1e-9)


def check_intervals_hold_the_truth() -> None:
    """Of 60 noisy lines the 95 % interval holds the true exponent at least 50 times, and is as wide as the noise."""
    chance = np.random.default_rng(1)
    xs = np.logspace(3, 6, 8)
    held, widths = 0, []
    for _ in range(60):
        ys = xs**-0.25 * np.exp(chance.normal(0, 0.05, xs.size))
        low, high = power_laws.power_law(list(xs), list(ys)).interval or (0.0, 0.0)
        held += low <= -0.25 <= high
        widths.append(high - low)
    assert held >= 50, f"only {held} of 60 intervals hold the truth: they promise too much"
    assert 0 < np.mean(widths) < 0.1, f"intervals are {np.mean(widths):.3f} wide: that says nothing"
    losses = [2.0, 2.1, 2.2]
    (a, b), _ = power_laws.bootstrap(lambda values: float(values.mean()), losses, 0.03)
    expected = 2 * 1.96 * 0.03 / math.sqrt(3)
    assert abs((b - a) - expected) < 0.15 * expected, f"noise of 0.03 gives {b - a:.4f}, not {expected:.4f}"


def check_flops_and_budgets() -> None:
    """A token costs 6 N and 12 L d T for attention; every run of a row of the table spends its budget to one step."""
    config = scaling_study.StudyConfig()
    rows = scaling_study.wanted_runs(config)
    for row in rows:
        tables = 12 * row["layers"] * row["width"] * config.block_size
        assert row["flops_per_token"] == 6 * row["n"] + tables, (
            f"{row['layers']} × {row['width']}: {row['flops_per_token']:,} FLOPs a token are not 6 N + 12 L d T"
        )
        if row["budget"] is not None:
            a_step = row["flops_per_token"] * config.batch_size * config.block_size
            spent = row["steps"] * a_step
            assert abs(spent - row["budget"]) <= a_step, (
                f"{spent:.2e} FLOPs for a budget of {row['budget']:.2e}"
            )
    per_budget = [row["budget"] for row in rows if row["part"] == "budgets"]
    assert all(per_budget.count(budget) == 5 for budget in config.budgets), "five models a budget"


def check_analysis_of_a_known_world() -> None:
    """Runs whose losses come from a known law: the study finds its exponents, and noise makes its intervals."""
    config = scaling_study.StudyConfig(budgets=(1e10, 1e11, 1e12))
    rows = []
    for row in scaling_study.wanted_runs(config):
        tokens = row["steps"] * config.batch_size * config.block_size
        loss = TRUE(row["n"], tokens)
        if row["part"] == "rates":
            loss = 2.0 + math.log(row["lr"] / (0.02 * row["width"] ** -0.5)) ** 2
        if row["part"] == "noise":
            loss += 0.01 * (row["seed"] - 2)
        rows.append({**row, "tokens": tokens, "val_loss": loss})
    found = scaling_lines.analyse(rows)
    assert [valley["budget"] for valley in found["valleys"]] == [1e10, 1e11, 1e12]
    low, high = found["size_law"]["interval"]
    assert low < found["size_law"]["exponent"] < high
    assert abs(found["size_law"]["exponent"] - TRUE.best_exponent) < 0.15, found["size_law"]
    assert abs(found["rate_law"]["exponent"] + 0.5) < 0.05, found["rate_law"]
    assert abs(found["formula"]["alpha"] - TRUE.alpha) < 0.02, found["formula"]
    assert math.isclose(found["noise"], np.std([0.0, -0.01, 0.0, 0.01], ddof=1)), found["noise"]
    part = scaling_lines.analyse(rows[: len(rows) // 3])
    assert part["formula"] is None and part["noise"] is None, (
        "what was not measured must be None, not a guess"
    )


def check_bad_points_are_refused() -> None:
    """No valley, too few points, numbers that are not positive: one line, no nonsense."""
    for call in (
        lambda: power_laws.parabola([1, 2, 4], [1.0, 2.0, 1.0]),
        lambda: power_laws.parabola([1, 2], [1.0, 2.0]),
        lambda: power_laws.power_law([1, 1], [1, 2]),
        lambda: power_laws.power_law([1, 2], [1, -2]),
        lambda: power_laws.fit_loss([1, 2, 3], [1, 2, 3], [1, 2, 3]),
        lambda: power_laws.bootstrap(lambda _: 1.0, [1.0, 2.0], float("nan")),
    ):
        try:
            found = call()
        except UserError as error:
            assert "\n" not in str(error)
        else:
            raise AssertionError(f"bad points gave {found}")
