"""Learning-rate schedules: pure functions from progress (0 … 1) to a multiplier of the peak rate.

Warm up in a straight line, then decay. `progress` is the share of the budget already used when a step
begins: step/steps under a budget of steps, elapsed/budget under one of minutes, so the same function ends
its decay exactly when steps or time end. The first step of a run never has rate 0: a step that cannot learn
is a wasted step. Cosine: Loshchilov & Hutter, arXiv 1608.03983 §3; warm-up: Goyal et al., arXiv 1706.02677
§2.2; warm-up–stable–decay: Hu et al., arXiv 2404.06395 §4; inverse square root: Vaswani et al., arXiv
1706.03762 §5.3. A new one is one function, named in the config as `module:function`. Left out: restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

UNKNOWN_STEP = 1e-3  # a budget of minutes does not know the size of a step: taken as a thousandth


@dataclass(frozen=True)
class Phase:
    """What a decay may ask besides how far it has come. All but `floor` are shares of the budget."""

    floor: float = 0.0  # where it ends, as a share of the peak
    cooldown: float = 0.4  # what `wsd` spends cooling
    warmup: float = 0.0  # what came before it
    step: float = UNKNOWN_STEP  # the size of one step


Decay = Callable[[float, Phase], float]  # (share of the decay phase already used, phase) -> share of the peak


def constant(q: float, phase: Phase) -> float:
    """1, whatever the progress."""
    return 1.0


def linear(q: float, phase: Phase) -> float:
    """A straight line from 1 at q = 0 to `floor` at q = 1."""
    return 1.0 + (phase.floor - 1.0) * q


def cosine(q: float, phase: Phase) -> float:
    """Half a cosine from 1 at q = 0 to `floor` at q = 1; half-way it is their mean."""
    return phase.floor + (1.0 - phase.floor) * 0.5 * (1.0 + math.cos(math.pi * q))


def wsd(q: float, phase: Phase) -> float:
    """Stable at 1, then a straight line to `floor` over the last `cooldown` of the decay phase."""
    if phase.cooldown <= 0 or q < 1.0 - phase.cooldown:
        return 1.0
    return 1.0 + (phase.floor - 1.0) * (q - (1.0 - phase.cooldown)) / phase.cooldown


def inverse_sqrt(q: float, phase: Phase) -> float:
    """√((W + 1) / (s + 1)) for step s after W steps of warm-up: falls for ever, to no end known beforehand.

    It meets the warm-up at 1 and never goes below `floor`.
    """
    done = phase.warmup + q * (1.0 - phase.warmup)
    return max(phase.floor, math.sqrt((phase.warmup + phase.step) / (done + phase.step)))


SCHEDULES: dict[str, Decay] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "wsd": wsd,
    "inverse_sqrt": inverse_sqrt,
}


def find_schedule(name: str) -> Decay:
    """The decay of that name, or of that `module:function`. Raises UserError listing the known ones."""
    if name in SCHEDULES:
        return SCHEDULES[name]
    from pretraining.registries import resolve

    return resolve("schedule", name, SCHEDULES)


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
    decay = find_schedule(name)
    progress = min(max(progress, 0.0), 1.0)
    # subtle: 1e-12 keeps rounding in s/T from counting step W as one more step of warm-up
    if progress < warmup - 1e-12:
        return (progress + step_size) / (warmup + step_size)
    if warmup >= 1.0:
        return 1.0
    q = min(max((progress - warmup) / (1.0 - warmup), 0.0), 1.0)
    return decay(q, Phase(floor, cooldown, warmup, step_size))
