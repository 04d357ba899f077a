"""Learning-rate schedules: pure functions from progress (0 … 1) to a multiplier of the peak rate.

Warm up in a straight line, then decay. `progress` is the share of the budget already used when a step
begins: step/steps under a budget of steps, elapsed/budget under one of minutes, so the same function ends
its decay exactly when steps or time end. The first step of a run never has rate 0: a step that cannot learn
is a wasted step. Cosine: Loshchilov & Hutter, arXiv 1608.03983 §3; warm-up: Goyal et al., arXiv 1706.02677
§2.2; warm-up–stable–decay: Hu et al., arXiv 2404.06395 §4. Left out: restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from utils.errors import UserError

# (share of the decay phase already used, floor as a share of the peak, share `wsd` spends cooling) -> share
Decay = Callable[[float, float, float], float]

UNKNOWN_STEP = 1e-3  # a budget of minutes does not know the size of a step: taken as a thousandth


def constant(q: float, floor: float, cooldown: float) -> float:
    """1, whatever the progress."""
    return 1.0


def linear(q: float, floor: float, cooldown: float) -> float:
    """A straight line from 1 at q = 0 to `floor` at q = 1."""
    return 1.0 + (floor - 1.0) * q


def cosine(q: float, floor: float, cooldown: float) -> float:
    """Half a cosine from 1 at q = 0 to `floor` at q = 1; half-way it is their mean."""
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * q))


def wsd(q: float, floor: float, cooldown: float) -> float:
    """Stable at 1, then a straight line to `floor` over the last `cooldown` of the decay phase."""
    if cooldown <= 0 or q < 1.0 - cooldown:
        return 1.0
    return 1.0 + (floor - 1.0) * (q - (1.0 - cooldown)) / cooldown


SCHEDULES: dict[str, Decay] = {"cosine": cosine, "linear": linear, "constant": constant, "wsd": wsd}


def lr_multiplier(
    name: str,
    progress: float,
    *,
    warmup: float = 0.0,
    floor: float = 0.0,
    cooldown: float = 0.4,
    step_size: float = UNKNOWN_STEP,
) -> float:
    """The share of the peak learning rate for a step that begins at `progress`.

    `warmup` and `cooldown` are shares of the budget, `floor` is min_lr / lr, `step_size` the progress of one
    step. With T steps and W of warm-up (progress s/T, warmup W/T, step_size 1/T) step s has
    (s + 1)/(W + 1) while s < W, and exactly 1 at s = W.

    >>> [round(lr_multiplier("cosine", s / 8, warmup=2 / 8, step_size=1 / 8), 3) for s in range(8)]
    [0.333, 0.667, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    if name not in SCHEDULES:
        raise UserError(f"schedule is {name!r}, but there is no such schedule: choose {', '.join(SCHEDULES)}")
    progress = min(max(progress, 0.0), 1.0)
    # subtle: 1e-12 keeps rounding in s/T from counting step W as one more step of warm-up
    if progress < warmup - 1e-12:
        return (progress + step_size) / (warmup + step_size)
    if warmup >= 1.0:
        return 1.0
    return SCHEDULES[name](min(max((progress - warmup) / (1.0 - warmup), 0.0), 1.0), floor, cooldown)
