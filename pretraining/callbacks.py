"""Named points of the training loop where other code may look on.

A callback reads; it does not change training. What it raises is logged once per callback and ignored, so a
broken plot never costs a night of training (a StopTraining request is the exception: it ends the run).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretraining.evaluation import EvalResult
    from pretraining.trainer import Trainer, TrainResult


class Callback:
    """Override what you need. Every method gets the trainer first."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step, after a resume."""

    def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After each step. `record`: step, progress, loss, lr, grad_norm, tokens_per_second, elapsed."""

    def on_evaluate(self, trainer: Trainer, result: EvalResult) -> None:
        """After each evaluation."""

    def on_sample(self, trainer: Trainer, samples: list[dict[str, Any]]) -> None:
        """After each round of samples: step, prompt, text."""

    def on_save(self, trainer: Trainer, path: Path) -> None:
        """After each checkpoint is on disk."""

    def on_fit_end(self, trainer: Trainer, result: TrainResult) -> None:
        """After the last evaluation and the last checkpoint."""
