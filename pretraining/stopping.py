"""Stop politely: Ctrl-C or a kill request finishes the step, saves, and says how to go on.

The first SIGINT or SIGTERM only sets a flag, which the training loop reads between two steps. A second one
is meant: it raises KeyboardInterrupt at once (what was saved before stays good, LP2). Handlers exist only
inside the `with` block and only in the main thread; elsewhere the flag can still be set by `request()`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """A flag with a reason. Also a context manager that listens to SIGINT and SIGTERM."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether someone asked to stop."""
        return self.reason is not None

    def request(self, reason: str = "request") -> None:
        """Ask the loop to stop after the step it is in."""
        self.reason = self.reason or reason

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt(f"second {signal.Signals(number).name}")
        self.request(signal.Signals(number).name)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()
