"""What a training run counts on the way, and what it says at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pretraining.evaluation import EvalResult


@dataclass
class Progress:
    """Everything the loop counts. Saved with each checkpoint, so that a resumed run goes on counting."""

    step: int = 0  # optimizer steps begun and ended, skipped ones included
    tokens: int = 0  # labelled tokens learned from
    elapsed: float = 0.0  # seconds of wall time in `fit`; the pause before a resume is not counted
    skipped_nonfinite: int = 0
    skipped_empty: int = 0
    bad_in_a_row: int = 0
    best_loss: float = math.inf
    sampled_at: float = 0.0  # elapsed at the last round of samples
    window_loss: float = 0.0  # since the last log line: sum of token losses,
    window_tokens: int = 0  # tokens,
    window_seconds: float = 0.0  # and seconds spent in steps

    @property
    def tokens_per_second(self) -> float:
        """Of the steps since the last log line; evaluation, samples and saving are not in it."""
        return self.window_tokens / self.window_seconds if self.window_seconds else 0.0


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. `status` is complete or stopped; `train_loss` is the mean since the last log line."""

    status: str
    step: int
    tokens: int
    seconds: float
    train_loss: float
    val: EvalResult | None  # of the whole validation part; None when there is none or the run was stopped
    best_val_loss: float | None
    skipped_nonfinite: int
    skipped_empty: int
    checkpoint: Path | None
    reason: str | None = None  # why it stopped: SIGINT, SIGTERM, …
