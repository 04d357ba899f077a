"""How long a run is, and how far it has come: steps, epochs and minutes as one number from 0 to 1.

Progress is the largest share of any budget that was given. The learning rate follows progress and nothing
else, so its decay ends exactly when the run does, whichever budget ends it.
"""

from __future__ import annotations

import math

from pretraining.config import DEFAULT_STEPS, TrainConfig
from pretraining.schedules import UNKNOWN_STEP, find_schedule, lr_multiplier
from utils.errors import UserError


class Budget:
    """The length of a run. `steps` is None when only minutes were given.

    `tokens_per_epoch` and `block_size` turn epochs into steps; without them a config with epochs is refused.
    """

    def __init__(
        self, config: TrainConfig, *, tokens_per_epoch: int | None = None, block_size: int | None = None
    ) -> None:
        find_schedule(config.schedule)  # an unknown one is better known before the first step
        self.config = config
        self.steps_per_epoch: float | None = None
        if tokens_per_epoch and block_size:
            per_step = config.batch_size * config.grad_accum * block_size
            self.steps_per_epoch = tokens_per_epoch / per_step
        limits = [] if config.steps is None else [config.steps]
        if config.epochs is not None:
            if self.steps_per_epoch is None:
                raise UserError(
                    "epochs needs batches with tokens_per_epoch and block_size: give steps or minutes instead"
                )
            limits.append(max(1, math.ceil(config.epochs * self.steps_per_epoch)))
        if not config.has_budget:
            limits.append(DEFAULT_STEPS)
        self.steps = min(limits) if limits else None

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the budget used after `step` steps and `elapsed` seconds, at most 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = elapsed / (60.0 * self.config.minutes) if self.config.minutes else 0.0
        return min(max(by_steps, by_time), 1.0)

    def crosses(self, step: int, epochs: float) -> bool:
        """Whether step number `step` (from 1) ends or passes a multiple of `epochs` epochs; 0 is never.

        Counted from the step alone, so that a resumed run evaluates and saves where the whole one does.
        """
        if not epochs or self.steps_per_epoch is None:
            return False
        each = epochs * self.steps_per_epoch
        return math.floor(step / each + 1e-9) > math.floor((step - 1) / each + 1e-9)

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
