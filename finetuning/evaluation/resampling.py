"""Is the difference real? Two models, the same requests: pairs, not two shares side by side.

Two shares with overlapping intervals may still differ for certain, because both models met the same easy and hard
requests. So the difference is taken request by request (won, tied, lost), and the *paired bootstrap* asks which
differences other requests of the same sort might have given: draw as many pairs again, with replacement, many times.
The draws come from the counts with half a pair added to each of the four outcomes (Agresti & Min 2005, Statistics in
Medicine 24, 729): a bootstrap over what was seen alone cannot imagine what it has not seen, and calls ten of ten
certain.

Over seeds the spread between runs is what counts, not the number of requests: `over_seeds` is Student's interval.
Sources: Efron 1979; Koehn 2004 (W04-3250) for paired resampling of systems; McNemar 1947 for the exact test.
Left out: several comparisons at once (each interval stands alone). Notebook: `05_did_it_get_better.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finetuning.evaluation.intervals import wilson_interval

RESAMPLES = 10_000
# Student's t, two-sided 95 %, by degrees of freedom from 1.
_T95 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval [low, high]; `count` is what it rests on (pairs, or seeds)."""

    value: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: an interval that is not known (one seed) becomes null."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}


@dataclass(frozen=True)
class WinRate:
    """How often one model beat another on the same requests. A tie is half a win; 0.5 is no difference."""

    wins: int
    ties: int
    losses: int
    rate: Estimate
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe fields."""
        return {**asdict(self), "rate": self.rate.to_dict()}


def outcomes(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, int]:
    """(won, tied, lost) of `after` against `before`, request by request.

    Raises ValueError when the two are not about the same requests.

    >>> outcomes([False, True, True], [True, True, False])
    (1, 1, 1)
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"pairs need one answer of each model: got {len(before)} and {len(after)}")
    won = sum(bool(a) and not b for b, a in zip(before, after, strict=True))
    lost = sum(bool(b) and not a for b, a in zip(before, after, strict=True))
    return won, len(before) - won - lost, lost


def paired_difference(
    before: Sequence[bool], after: Sequence[bool], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Share right of `after` minus that of `before`, with the 95 % interval of the paired bootstrap.

    To draw n pairs again with replacement is to draw (won, tied, lost) from a multinomial, so that is what is drawn.
    """
    import numpy as np

    won, tied, lost = outcomes(before, after)
    n = won + tied + lost
    shares = np.array([won + 0.5, tied + 1.0, lost + 0.5]) / (n + 2)  # ties are two outcomes: both, neither
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    differences = (drawn[:, 0] - drawn[:, 2]) / n
    low, high = np.quantile(differences, [0.025, 0.975])
    value = (won - lost) / n
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def win_rate(before: Sequence[bool], after: Sequence[bool], *, seed: int = 0) -> WinRate:
    """How often `after` is right where `before` is wrong, ties halved, with its interval and an exact p-value."""
    won, tied, lost = outcomes(before, after)
    gap = paired_difference(before, after, seed=seed)
    rate = Estimate(0.5 + gap.value / 2, 0.5 + gap.low / 2, 0.5 + gap.high / 2, gap.count)
    return WinRate(won, tied, lost, rate, sign_test(won, lost))


def sign_test(wins: int, losses: int) -> float:
    """How often a fair coin would be as one-sided as this, two-sided and exact (McNemar's exact test).

    >>> sign_test(5, 0), sign_test(3, 3)
    (0.0625, 1.0)
    """
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one figure over independent runs, with Student's 95 % interval; one run has no interval (±inf).

    >>> over_seeds([0.5]).high
    inf
    """
    n = len(values)
    if not n:
        raise ValueError("no value to average: give one for each seed")
    mean = sum(values) / n
    if n == 1:
        return Estimate(mean, -math.inf, math.inf, 1)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    half = student_t(n - 1) * deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def student_t(freedom: int) -> float:
    """The factor of a 95 % interval with so many degrees of freedom; above 10 by Cornish and Fisher's series."""
    if freedom < 1:
        raise ValueError(f"degrees of freedom are {freedom}: at least two values are needed")
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def requests_needed(half_width: float, share: float = 0.5) -> int:
    """How many requests make the 95 % interval of a share at most ± `half_width` wide (Wilson's).

    The textbook's 1.96² p (1 − p) / h² says 1,068 for ± 3 points at one half; Wilson's interval needs four fewer.

    >>> requests_needed(0.03)
    1064
    """
    if not (0 < half_width < 0.5 and 0 <= share <= 1):
        raise ValueError(f"half_width is {half_width}, share {share}: give ± 0.03, and a share from 0 to 1")
    low, high = 1, 1
    while _half(high, share) > half_width:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _half(middle, share) <= half_width else (middle + 1, high)
    return low


def _half(total: int, share: float) -> float:
    low, high = wilson_interval(round(share * total), total)
    return (high - low) / 2


def pairs_needed(difference: float, disagree: float, *, power: float = 0.8) -> int:
    """How many pairs find a `difference` (0.05 is five points) with 95 % confidence and the given power.

    `disagree` is the share of requests on which exactly one of the two models is right. What both know, or neither,
    tells nothing. Connor 1987, Biometrics 43, 207.

    >>> pairs_needed(0.05, 0.1), pairs_needed(0.05, 0.4)
    (312, 1254)
    """
    from statistics import NormalDist

    if not 0 < abs(difference) <= disagree <= 1:
        raise ValueError(f"difference is {difference}, disagree {disagree}: the first cannot be the larger")
    z_a, z_b = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(power)
    spread = z_a * math.sqrt(disagree) + z_b * math.sqrt(disagree - difference**2)
    return math.ceil((spread / difference) ** 2)
