"""The face of a run: a live bar in a terminal, plain lines everywhere else.

Shows share done, step, loss, tokens/s and time left; prints evaluations and samples above the bar. A log
file or a pipe gets one line now and then instead of thousands of bar frames.
"""

from __future__ import annotations

import math
import time
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from pretraining.callbacks import Callback

if TYPE_CHECKING:
    from pathlib import Path

    from pretraining.evaluation import EvalResult
    from pretraining.run_state import TrainResult
    from pretraining.trainer import Trainer

FRAME_SECONDS = 0.2


def duration(seconds: float) -> str:
    """Seconds as a clock.

    >>> duration(75), duration(3725), duration(math.inf)
    ('1:15', '1:02:05', '?')
    """
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class ProgressBar(Callback):
    """Prints to `file` (default: stdout). `line_seconds` is the pace of plain lines."""

    def __init__(
        self, file: IO[str] | None = None, *, line_seconds: float = 10.0, title: str = "train"
    ) -> None:
        self.console = Console(file=file, highlight=False)
        self.line_seconds, self.title = line_seconds, title
        self._bar: Progress | None = None
        self._task: Any = None
        self._shown = 0.0
        self._smooth: float | None = None  # loss, averaged over about twenty steps: one step is noise

    def on_fit_start(self, trainer: Trainer) -> None:
        if trainer.now.step:
            note = f" ({trainer.resume_note})" if trainer.resume_note else ""
            self.console.print(f"{self.title}: going on from step {trainer.now.step}{note}", soft_wrap=True)
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
            self._bar = Progress(*columns, console=self.console, auto_refresh=False, transient=True)
            self._task = self._bar.add_task(self.title, total=1.0, status="")
            self._bar.start()

    def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if math.isfinite(record["loss"]):
            old = record["loss"] if self._smooth is None else self._smooth
            self._smooth = 0.95 * old + 0.05 * record["loss"]
        now = time.monotonic()
        if now - self._shown < (FRAME_SECONDS if self._bar else self.line_seconds):
            return
        self._shown = now
        status = self.status(record)
        if self._bar is not None:
            self._bar.update(self._task, completed=record["progress"], status=status, refresh=True)
        else:
            self.console.print(f"{self.title}: {status}", soft_wrap=True)

    def status(self, record: dict[str, Any]) -> str:
        """One line: share, step, loss, speed, time left."""
        loss = "?" if self._smooth is None else f"{self._smooth:.3f}"
        return (
            f"{record['progress']:4.0%}  step {record['step']}  loss {loss}  "
            f"{record['tokens_per_second']:,.0f} tokens/s  {duration(record['seconds_left'])} left"
        )

    def on_evaluate(self, trainer: Trainer, result: EvalResult) -> None:
        bits = "" if result.bits_per_byte is None else f", {result.bits_per_byte:.3f} bits per byte"
        self.console.print(
            f"{self.title}: step {trainer.now.step}: validation loss {result.loss:.4f} "
            f"(perplexity {result.perplexity:.1f}{bits}) on {result.tokens:,} tokens",
            soft_wrap=True,  # a log file has no width
        )

    def on_sample(self, trainer: Trainer, samples: list[dict[str, Any]]) -> None:
        for row in samples:
            line = Text(f"{self.title}: step {row['step']}: ")
            line.append(row["prompt"], style="bold").append(row["text"], style="italic")
            self.console.print(line, soft_wrap=True)

    def on_save(self, trainer: Trainer, path: Path) -> None:
        if self._bar is None:
            self.console.print(f"{self.title}: saved {path.name}")

    def on_fit_end(self, trainer: Trainer, result: TrainResult) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away (also after an error)."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
