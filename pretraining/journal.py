"""What a training run says while it runs: metrics, samples, log lines, callbacks, sinks.

The run folder is the truth and a failure to write it is an error (unless the run is to go on over a full disk:
`patient`); callbacks and sinks are lookers-on, and what one of them raises is logged once and never stops training.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pretraining.callbacks import Callback
from utils.errors import one_line
from utils.runs import Run


class Journal:
    """Sends each record to the run (if there is one), to every sink, and each event to every callback."""

    def __init__(
        self,
        run: Run | None,
        callbacks: Sequence[Callback] = (),
        sinks: Sequence[Any] = (),
        tags: Mapping[str, Any] | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self.run, self.callbacks, self.sinks, self.tags = run, list(callbacks), list(sinks), dict(tags or {})
        self.patient = patient  # a disk that refuses a line costs the line, is said once, and nothing else
        self.lost_lines = 0
        self._failed: set[tuple[int, str]] = set()

    def metric(self, **fields: Any) -> None:
        """One record of metrics.jsonl, with the run's tags."""
        record = {**fields, **self.tags}
        if self.run is not None:
            self._write(self.run.metric, **record)
        for sink in self.sinks:
            self._guarded(sink, "log", dict(record))

    def sample(self, **fields: Any) -> None:
        """One record of samples.jsonl, with the run's tags."""
        if self.run is not None:
            self._write(self.run.sample, **fields, **self.tags)

    def log(self, text: str) -> None:
        """A line of log.txt."""
        if self.run is not None:
            self._write(self.run.log, text)

    def say(self, text: str) -> None:
        """A line that a person should see: a warning on the terminal, and log.txt."""
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        self.log(text)

    def call(self, point: str, *arguments: Any) -> None:
        """`callback.<point>(*arguments)` for each callback."""
        for callback in self.callbacks:
            self._guarded(callback, point, *arguments)

    def _write(self, line: Callable[..., None], *arguments: Any, **fields: Any) -> None:
        try:
            line(*arguments, **fields)
        except OSError as error:
            if not self.patient:
                raise
            self.lost_lines += 1
            if self.lost_lines == 1:
                text = (
                    f"cannot write to {self.run} ({one_line(error)}): training goes on, some lines are lost"
                )
                warnings.warn(text, RuntimeWarning, stacklevel=3)

    def _guarded(self, other: Any, method: str, *arguments: Any) -> None:
        try:
            getattr(other, method)(*arguments)
        except Exception as error:
            if (id(other), method) not in self._failed:
                self._failed.add((id(other), method))
                with contextlib.suppress(OSError):
                    self.log(f"{type(other).__name__}.{method} failed ({one_line(error)}): training goes on")
