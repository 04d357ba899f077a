"""Is a difference between two variants more than noise? Differences seed by seed, and Student's interval for them.

The idea: a seed does the same to both sides (the same batches in the same order), so it cancels in the difference and
only there. A handful of differences gives a poor guess of its own spread, which "1.96 standard errors" does not know
and Student's t does ("The probable error of a mean", Biometrika 1908). Quantiles are computed by the finite series of
Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

Left out on purpose: correcting for many comparisons, and tests without any assumption about the noise, of which the
notebook speaks. Notebook: `08_race_of_the_variants.ipynb`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from utils.errors import UserError


def t_share(t: float, df: int) -> float:
    """The share of Student's distribution with `df` degrees of freedom that lies within ±t.

    >>> round(t_share(4.3027, 2), 4), round(t_share(1.96, 10_000), 2)
    (0.95, 0.95)
    """
    angle = math.atan(t / math.sqrt(df))
    cos, term, total = math.cos(angle), 1.0, 0.0
    odd = df % 2
    if odd:
        term = cos
    for k in range(2 + odd, df + 1, 2):
        total += term
        term *= cos * cos * (k - 1) / k
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def t_quantile(df: int, share: float = 0.95) -> float:
    """The t with `share` of Student's distribution within ±t.

    >>> [round(t_quantile(df), 2) for df in (1, 2, 3, 9)]
    [12.71, 4.3, 3.18, 2.26]
    """
    if df < 1 or not 0 < share < 1:
        raise UserError(f"df={df} must be at least 1 and share={share} between 0 and 1")
    low, high = 0.0, 1.0
    while t_share(high, df) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_share(middle, df) < share else (low, middle)
    return high


@dataclass(frozen=True)
class Paired:
    """Differences seed by seed, their mean, and the interval that holds the true one in `share` of all races."""

    differences: dict[int, float]
    mean: float
    sd: float | None  # of the differences; None for a single seed
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`worse`, `better` (a loss: lower is better) or `not told apart`."""
        return "worse" if self.low > 0 else "better" if self.high < 0 else "not told apart"

    @property
    def says(self) -> str:
        """The difference in words."""
        n = len(self.differences)
        if n < 2:
            return f"{self.mean:+.4f} with {n} seed: nothing can be said of its noise"
        return f"{self.mean:+.4f} (95 %: {self.low:+.4f} to {self.high:+.4f}, {n} seeds): {self.verdict}"


def paired(first: Mapping[int, float], other: Mapping[int, float], share: float = 0.95) -> Paired:
    """`other` - `first`, seed by seed; both are seed -> loss. Raises UserError where no seed is in both."""
    differences = {seed: other[seed] - first[seed] for seed in sorted(first.keys() & other.keys())}
    if not differences:
        raise UserError(f"no seed is in both: {sorted(first)} and {sorted(other)}")
    values, n = list(differences.values()), len(differences)
    mean = statistics.fmean(values)
    if n < 2:
        return Paired(differences, mean, None, -math.inf, math.inf)
    sd = statistics.stdev(values)
    half = t_quantile(n - 1, share) * sd / math.sqrt(n)
    return Paired(differences, mean, sd, mean - half, mean + half)


def seeds_needed(sd: float, difference: float, share: float = 0.95) -> int:
    """The number of seeds whose interval is no wider than ±difference, if differences spread by `sd`.

    >>> seeds_needed(0.01, 0.01), seeds_needed(0.01, 0.05)
    (7, 3)
    """
    if sd <= 0 or difference == 0:
        raise UserError(f"sd={sd} must be above 0 and difference={difference} not 0")
    n = 2
    while t_quantile(n - 1, share) * sd / math.sqrt(n) > abs(difference):
        n = n + 1 if n < 100 else math.ceil(n * 1.02)
    return n
