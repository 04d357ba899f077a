"""Straight lines on paper with two logarithmic axes, and how sure one may be of their slopes.

Three fits, each a few lines of linear algebra. `power_law` is y = a · x^b, a line through logarithms. `parabola` finds
the best size at one budget: loss against log N is a valley, and its lowest point needs no formula of a model
(Hoffmann et al. 2022, arXiv 2203.15556, section 3.2). `fit_loss` is their section 3.3, L(N, D) = E + A/N^α + B/D^β: for
given exponents it is linear in E, A and B, so a search over two exponents is all there is. Every fit comes with an
interval by the bootstrap: the residuals are dealt out again, and the fit repeated. The interval speaks of noise, not
of a wrong formula, and a line says nothing about sizes far beyond the points it was drawn through.
Left out: the training (`scaling_study`). Notebook: 05 of this chapter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError

Array = NDArray[np.float64]
RESAMPLES = 400
LEVEL = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """y = factor · x^exponent, with the 95 % interval of the exponent (None from fewer than three points)."""

    factor: float
    exponent: float
    interval: tuple[float, float] | None = None

    def __call__(self, x: float) -> float:
        """The line at x."""
        return self.factor * x**self.exponent


@dataclass(frozen=True)
class Parabola:
    """Loss against ln N near its lowest point: loss + curvature · (ln N − ln best)². `inside`: within the points."""

    best: float
    loss: float
    curvature: float
    inside: bool

    def __call__(self, n: float) -> float:
        """The parabola at size n."""
        return self.loss + self.curvature * math.log(n / self.best) ** 2


@dataclass(frozen=True)
class LossLaw:
    """L(N, D) = e + a / N^alpha + b / D^beta, with what the fit leaves over (root mean square, relative)."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float
    residual: float

    def __call__(self, n: float, d: float) -> float:
        """The predicted loss of n parameters after d tokens."""
        return self.e + self.a / n**self.alpha + self.b / d**self.beta

    @property
    def best_exponent(self) -> float:
        """The exponent of the best size: N* ∝ C^(β/(α+β)), for C = 6ND (their equation 4)."""
        return self.beta / (self.alpha + self.beta)

    def best_size(self, flops: float, per_token: float = 6.0) -> float:
        """The size that reaches the lowest loss for `flops`, where a token costs `per_token` · N."""
        ratio = (self.alpha * self.a) / (self.beta * self.b)
        return ratio ** (1 / (self.alpha + self.beta)) * (flops / per_token) ** self.best_exponent


def _positive(name: str, values: Sequence[float], least: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.size < least or not np.isfinite(array).all() or (array <= 0).any():
        raise UserError(f"{name} needs at least {least} positive numbers, but got {list(values)[:6]}")
    return array


def power_law(
    xs: Sequence[float], ys: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> PowerLaw:
    """The line through (ln x, ln y) with the least squares. `resamples=0` leaves the interval out.

    Raises UserError for fewer than two different x, or a number that is not positive.

    >>> round(power_law([1, 10, 100], [2, 20, 200]).exponent, 6)
    1.0
    """
    x, y = np.log(_positive("power_law", xs, 2)), np.log(_positive("power_law", ys, 2))
    if x.size != y.size or np.ptp(x) == 0:
        raise UserError(f"power_law needs two different x, each with its y: got {x.size} and {y.size}")
    slope, start = _line(x, y)
    if x.size < 3 or not resamples:
        return PowerLaw(math.exp(start), slope)
    left_over = y - (start + slope * x)
    # n points have only n − 2 free residuals: without the factor the interval would be too short
    left_over *= math.sqrt(x.size / (x.size - 2))
    chance = np.random.default_rng(seed)
    slopes = [
        _line(x, start + slope * x + chance.choice(left_over, x.size) * chance.choice([-1.0, 1.0], x.size))[0]
        for _ in range(resamples)
    ]
    return PowerLaw(math.exp(start), slope, interval(slopes))


def _line(x: Array, y: Array) -> tuple[float, float]:
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return slope, float(y.mean() - slope * x.mean())


def parabola(sizes: Sequence[float], losses: Sequence[float]) -> Parabola:
    """The least-squares parabola of loss against ln N.

    Raises UserError for fewer than three different sizes, and where the points have no valley.
    """
    x, y = np.log(_positive("parabola", sizes, 3)), _positive("parabola", losses, 3)
    if x.size != y.size or np.unique(x).size < 3:
        raise UserError(
            f"parabola needs three different sizes, each with its loss: got {x.size} and {y.size}"
        )
    centre = x.mean()
    curvature, slope, level = (float(c) for c in np.polyfit(x - centre, y, 2))
    if curvature <= 0:
        raise UserError("the losses have no lowest point: the sizes must reach from too small to too large")
    vertex = -slope / (2 * curvature)
    best = vertex + centre
    inside = bool(x.min() <= best <= x.max())
    return Parabola(math.exp(best), level - slope**2 / (4 * curvature), curvature, inside)


def fit_loss(
    sizes: Sequence[float], tokens: Sequence[float], losses: Sequence[float], *, points: int = 41
) -> LossLaw:
    """E + A/N^α + B/D^β with the least relative squares, α and β between 0.02 and 2, E, A, B not negative.

    Raises UserError for fewer than six runs, or where all have one size or one number of tokens.
    """
    n, d, y = (_positive("fit_loss", values, 6) for values in (sizes, tokens, losses))
    if not n.size == d.size == y.size or np.ptp(n) == 0 or np.ptp(d) == 0:
        raise UserError(
            "fit_loss needs a size, a number of tokens and a loss for each run, and different ones"
        )
    low, high = np.log([0.02, 2.0])
    alphas = betas = np.exp(np.linspace(low, high, points))
    width = (high - low) / (points - 1)
    for _ in range(5):  # five times finer around the best, five times
        error, alpha, beta, _ = _search(n, d, y, alphas, betas)
        steps = np.linspace(-width, width, 11)
        alphas, betas = np.exp(math.log(alpha) + steps), np.exp(math.log(beta) + steps)
        width /= 5
    error, alpha, beta, (e, a, b) = _search(n, d, y, alphas, betas)
    return LossLaw(e, a, b, alpha, beta, math.sqrt(error / y.size))


def _search(
    n: Array, d: Array, y: Array, alphas: Array, betas: Array
) -> tuple[float, float, float, tuple[float, float, float]]:
    """The best pair of exponents on a grid, with its error and (E, A, B). All pairs are solved at once."""
    middle_n, middle_d = math.exp(np.log(n).mean()), math.exp(np.log(d).mean())
    pairs = [(float(alpha), float(beta)) for alpha in alphas for beta in betas]
    columns = np.stack([_columns(n / middle_n, d / middle_d, pair) for pair in pairs]) / y[:, None]
    best = (math.inf, 0, np.zeros(3))  # error, pair, coefficients
    for chosen in (
        [0, 1, 2],
        [1, 2],
        [0, 2],
        [0, 1],
    ):  # with a coefficient at 0 where all three want one below it
        part = columns[:, :, chosen]  # (pairs, runs, coefficients)
        found = np.linalg.pinv(part) @ np.ones_like(y)  # relative errors: the target is 1
        errors = ((np.einsum("prc,pc->pr", part, found) - 1.0) ** 2).sum(axis=1)
        errors[(found < 0).any(axis=1)] = math.inf
        at = int(errors.argmin())
        if errors[at] < best[0]:
            coefficients = np.zeros(3)
            coefficients[chosen] = found[at]
            best = (float(errors[at]), at, coefficients)
    error, at, (e, a, b) = best
    alpha, beta = pairs[at]
    return error, alpha, beta, (float(e), float(a * middle_n**alpha), float(b * middle_d**beta))


def _columns(n: Array, d: Array, exponents: tuple[float, float]) -> Array:
    return np.stack([np.ones_like(n), n ** -exponents[0], d ** -exponents[1]], axis=1)


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of bootstrap values."""
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    measure: Callable[[Array], float],
    losses: Sequence[float],
    noise: float,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[tuple[float, float], int]:
    """The interval of `measure(losses)` when each loss carries normal noise of this sd, and how often it failed.

    For figures that come out of several fits in a row: the noise is what seeds were seen to do, and goes through all
    of them. A resample in which a fit is impossible (no valley) counts as failed and not as a value.
    """
    base = _positive("bootstrap", losses, 2)
    if not noise >= 0:
        raise UserError(f"noise is {noise}: the standard deviation of a loss over seeds")
    chance = np.random.default_rng(seed)
    values, failed = [], 0
    for _ in range(resamples):
        try:
            values.append(float(measure(base + chance.normal(0.0, noise, base.size))))
        except UserError:
            failed += 1
    if len(values) < max(2, resamples // 2):
        raise UserError(
            f"{failed} of {resamples} resamples had no fit: the losses are too noisy for this figure"
        )
    return interval(values), failed
