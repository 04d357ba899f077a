"""Other commands run as processes: started with a log, stopped politely, and their end put into words.

Sweeps and pipelines hand each piece of work to a process of its own, so that a piece that runs out of memory takes
nothing else with it. The exit code is the truth about how it ended: 0 done, 2 bad input, 130 stopped after saving
(`utils.cli`), a negative number for the signal that killed it. Nothing else is believed: a process that wrote its
files and then died has failed. Left out: other machines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError, one_line

STOPPED = 130  # what a command of this project returns when it was asked to stop, and saved
GRACE_SECONDS = 60.0  # between the request to stop and the kill: time to finish a step and save
_TAIL = 4000  # bytes of a log that are looked at for its last words
_MEMORY_WORDS = ("out of memory", "outofmemoryerror", "can't allocate memory", "memoryerror", "bad_alloc")
_MEMORY_FIX = "take a smaller batch_size with more grad_accum, a smaller model, or fewer at a time"


@dataclass(frozen=True)
class Ending:
    """How a process ended. `status` is complete, stopped or failed; `reason` says why it is not complete."""

    status: str
    code: int
    reason: str | None = None


def ending(code: int, log: str = "") -> Ending:
    """What an exit code means, with the last words of its log.

    >>> ending(0).status, ending(130).status, ending(-9).status
    ('complete', 'stopped', 'failed')
    """
    if code == 0:
        return Ending("complete", code)
    number = -code if code < 0 else code - 128 if code > 128 else 0  # a shell reports 128 + signal
    if code == STOPPED or number in (signal.SIGTERM, signal.SIGINT):
        name = "SIGINT" if number == signal.SIGINT and code < 0 else "SIGTERM" if code < 0 else "request"
        return Ending("stopped", code, f"stopped by {name}")
    if number == signal.SIGKILL:
        return Ending(
            "failed", code, f"killed (SIGKILL): most often the system's memory ran out; {_MEMORY_FIX}"
        )
    last = last_words(log)
    if any(word in last.lower() for word in _MEMORY_WORDS):
        return Ending("failed", code, f"out of memory ({last[:160]}): {_MEMORY_FIX}")
    if 0 < number < 65 and number in set(signal.Signals):
        return Ending(
            "failed", code, f"died of {signal.Signals(number).name}" + (f": {last}" if last else "")
        )
    kind = "bad input: " if code == 2 else ""
    return Ending("failed", code, f"{kind}{last}" if last else f"exit code {code} without a word")


def last_words(log: str) -> str:
    """The last line that begins with `error:` (without that word), else the last line that is not empty."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.partition("error:")[2].strip() for line in lines if line.startswith("error:")]
    return one_line((errors or lines or [""])[-1])


class Child:
    """A command under way, its output going to the end of `log`.

    It is in a process group of its own: Ctrl-C in the terminal reaches the parent only, which then decides.
    """

    def __init__(self, words: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.words, self.log = list(words), log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._from = log.stat().st_size if log.exists() else 0
        self.started = time.monotonic()
        self._asked: float | None = None
        with log.open("ab") as file:
            try:
                self.process = subprocess.Popen(
                    self.words,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                    process_group=0 if os.name == "posix" else None,
                )
            except OSError as error:
                raise UserError(f"cannot start {words[0]}: {one_line(error)}") from error

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.monotonic() - self.started

    def ended(self) -> Ending | None:
        """How it ended, or None while it runs. One that ignores a request to stop is killed after a while."""
        code = self.process.poll()
        if code is None:
            if self._asked is not None and time.monotonic() - self._asked > GRACE_SECONDS:
                self.process.kill()
            return None
        return ending(code, self._said())

    def stop(self) -> None:
        """Ask it to stop, once: it finishes its step, saves and returns 130."""
        if self._asked is None and self.process.poll() is None:
            self._asked = time.monotonic()
            self.process.terminate()

    def kill(self) -> None:
        """End it now, and wait for that."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _said(self) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._from, size - _TAIL))
            return file.read().decode("utf-8", "replace")


def python(*words: str) -> list[str]:
    """The command line for this interpreter: `python("-m", "pretraining.train")`."""
    return [sys.executable, *words]


def threads_env(at_a_time: int) -> dict[str, str]:
    """Cores shared out evenly between processes, unless the person has set the number of threads."""
    from utils.device import usable_cores

    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // at_a_time))}
