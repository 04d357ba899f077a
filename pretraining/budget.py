"""How long a run is, and how far it has come: steps, epochs and minutes as one number from 0 to 1.

Progress is the largest share of any budget that was given. The learning rate follows progress and nothing
else, so its decay ends exactly when the run does, whichever budget ends it.
"""

from __future__ import annotations

import math

from pretraining.config import DEFAULT_STEPS, TrainConfig
from pretraining.schedules import SCHEDULES, UNKNOWN_STEP, lr_multiplier
from utils.errors import UserError


class Budget:
    """The length of a run. `steps` is None when only minutes were given.

    `tokens_per_epoch` and `block_size` turn epochs into steps; without them a config with epochs is refused.
    """

    def __init__(
        self, config: TrainConfig, *, tokens_per_epoch: int | None = None, block_size: int | None = None
    ) -> None:
        if config.schedule not in SCHEDULES:
            raise UserError(f"schedule is {config.schedule!r}: choose one of {', '.join(SCHEDULES)}")
        self.config = config
        limits = [] if config.steps is None else [config.steps]
        if config.epochs is not None:
            if not tokens_per_epoch or not block_size:
                raise UserError(
                    "epochs needs batches with tokens_per_epoch and block_size: give steps or minutes instead"
                )
            per_step = config.batch_size * config.grad_accum * block_size
            limits.append(max(1, math.ceil(config.epochs * tokens_per_epoch / per_step)))
        if not config.has_budget:
            limits.append(DEFAULT_STEPS)
        self.steps = min(limits) if limits else None

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the budget used after `step` steps and `elapsed` seconds, at most 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = elapsed / (60.0 * self.config.minutes) if self.config.minutes else 0.0
        return min(max(by_steps, by_time), 1.0)

    def lr_factor(self, progress: float) -> float:
        """The share of its peak that every learning rate has in a step that begins at `progress`."""
        config = self.config
        warmup = config.warmup if config.warmup < 1 else config.warmup / (self.steps or DEFAULT_STEPS)
        return lr_multiplier(
            config.schedule,
            progress,
            warmup=warmup,
            floor=config.min_lr / config.lr,
            cooldown=config.cooldown,
            step_size=1 / self.steps if self.steps else UNKNOWN_STEP,
        )
