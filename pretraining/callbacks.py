"""Named points of the training loop where other code may look on.

| point | when | with |
|---|---|---|
| `on_fit_start` | before the first step, after a resume | |
| `on_step_start` | before a step draws its batches | |
| `on_before_optimizer_step` | gradients are whole, unscaled and clipped; a skipped step does not come here | |
| `on_step_end` | after each step, skipped ones too | record |
| `on_log` | after each line of training metrics | record |
| `on_evaluate` | after each evaluation | result |
| `on_sample` | after each round of samples | samples |
| `on_save` | when a checkpoint is whole on disk; with `save_async` some steps later | path |
| `on_exception` | when `fit` is about to raise | error |
| `on_fit_end` | after the last evaluation and the last checkpoint | result |

A callback reads; it does not change training. What it raises is logged once per callback and ignored, so a
broken plot never costs a night of training. To end a run, call `trainer.stop.request("why")`. With several
processes each has its own callbacks: what one of them does must not wait for the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretraining.evaluation import EvalResult
    from pretraining.trainer import Trainer, TrainResult

POINTS = (
    *("on_fit_start", "on_step_start", "on_before_optimizer_step", "on_step_end", "on_log"),
    *("on_evaluate", "on_sample", "on_save", "on_exception", "on_fit_end"),
)


class Callback:
    """Override what you need. Every method gets the trainer first."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step, after a resume."""

    def on_step_start(self, trainer: Trainer) -> None:
        """Before a step draws its batches; `trainer.now.step` steps are done."""

    def on_before_optimizer_step(self, trainer: Trainer) -> None:
        """Gradients are whole, unscaled and clipped, the weights still old. Not called for a skipped step."""

    def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After each step. `record`: step, progress, tokens, elapsed, loss, lr, grad_norm, tokens_per_second,
        seconds_left."""

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After each line of training metrics; `record` is that line."""

    def on_evaluate(self, trainer: Trainer, result: EvalResult) -> None:
        """After each evaluation."""

    def on_sample(self, trainer: Trainer, samples: list[dict[str, Any]]) -> None:
        """After each round of samples: step, prompt, text."""

    def on_save(self, trainer: Trainer, path: Path) -> None:
        """After each checkpoint is on disk."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """When `fit` is about to raise; the error goes on afterwards."""

    def on_fit_end(self, trainer: Trainer, result: TrainResult) -> None:
        """After the last evaluation and the last checkpoint."""
