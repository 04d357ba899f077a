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
    window_seconds: float = 0.0  # seconds spent in steps,
    window_computed: int = 0  # and tokens that went through the model, ignored labels included
    saved_at: float = 0.0  # elapsed at the last checkpoint

    @property
    def tokens_per_second(self) -> float:
        """Of the steps since the last log line; evaluation, samples and saving are not in it."""
        return self.window_tokens / self.window_seconds if self.window_seconds else 0.0

    def learned(self, loss: float, tokens: int) -> None:
        """Count a step that updated the weights: its mean loss and its labelled tokens."""
        self.tokens += tokens
        self.window_loss += loss * tokens
        self.window_tokens += tokens

    def close_window(self) -> float | None:
        """The token-weighted mean loss since the last call, and a new window; None when nothing was learned."""
        mean = self.window_loss / self.window_tokens if self.window_tokens else None
        self.window_loss, self.window_tokens, self.window_seconds, self.window_computed = 0.0, 0, 0.0, 0
        return mean


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

    @classmethod
    def of(
        cls, now: Progress, val: EvalResult | None, *, loss: float, saved: Path | None, stopped: str | None
    ) -> TrainResult:
        """The result of a run that counted `now`; `stopped` is the reason, None for a run that came to its end."""
        return cls(
            status="stopped" if stopped else "complete",
            step=now.step,
            tokens=now.tokens,
            seconds=now.elapsed,
            train_loss=loss,
            val=val,
            best_val_loss=now.best_loss if math.isfinite(now.best_loss) else None,
            skipped_nonfinite=now.skipped_nonfinite,
            skipped_empty=now.skipped_empty,
            checkpoint=saved,
            reason=stopped,
        )
