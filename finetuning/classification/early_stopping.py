"""Stop when the validation loss has not become better for a while: a callback of the Trainer.

A small set is learned by heart in a few epochs, and from then on the validation loss rises while the training loss
falls. The best checkpoint is kept anyway (`keep_best`); stopping only saves the time after it. A resumed run is given
the losses measured before, so it stops where the whole one does. Prechelt 1998, "Early Stopping - But When?".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretraining.callbacks import Callback
from utils.errors import UserError

REASON = "early stop"


class EarlyStopping(Callback):
    """Asks the trainer to stop after `patience` evaluations in a row without a new lowest loss; 0 never does."""

    def __init__(self, patience: int, losses: Sequence[float] = ()) -> None:
        if patience < 0:
            raise UserError(f"patience is {patience}: give a number of evaluations, or 0 to never stop early")
        self.patience, self.losses = patience, list(losses)

    @property
    def waited(self) -> int:
        """Evaluations since the lowest loss (the first, where several are equal)."""
        return len(self.losses) - 1 - self.losses.index(min(self.losses)) if self.losses else 0

    def on_evaluate(self, trainer: Any, result: Any) -> None:
        self.losses.append(result.loss)
        if self.patience and self.waited >= self.patience:
            trainer.stop.request(f"{REASON}: {self.waited} evaluations without a lower validation loss")
