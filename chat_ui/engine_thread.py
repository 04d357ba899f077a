"""One engine in one thread: it steps while anything is to do, and tells each listener what it wrote.

The idea: reading the weights is what a token costs, so all chats of a model share one engine, and the engine takes
one step after the other in a thread of its own. Whoever asks (an event loop, a test) only leaves a request and is
called back from that thread, once for every event of its request, and at once.

An engine that fails says so to everyone who waits, and a new one takes its place: one broken step must not end the
server. Left out: text, stop strings and event loops (`service`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gpt_model.engine import Engine
from gpt_model.request import Event, Request
from utils.errors import RunFailure, one_line

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who asked. Both are called in the engine's thread and must return at once."""

    def hear(self, event: Event) -> None:
        """One event of the request."""
        ...

    def fail(self, error: RunFailure) -> None:
        """The request ends without an answer."""
        ...


@dataclass(frozen=True)
class EngineStats:
    """What an engine held after its newest step: requests that are not over, and bytes of all its caches."""

    requests: int
    cache_bytes: int


class EngineThread:
    """Serves requests over one model until `close`. The thread starts with the first request.

    make: makes the engine, and makes another after a failure. threads: how many cores a step may use.
    """

    def __init__(self, make: Callable[[], Engine], *, name: str = "engine", threads: int = 1) -> None:
        self.engine = make()
        self.stats = EngineStats(0, 0)
        self._make, self._threads = make, threads
        self._listeners: dict[int, tuple[Listener, int]] = {}  # number -> who, samples that are not over
        self._changed = threading.Condition()
        self._closing: str | None = None  # "when idle" or "now"
        self._thread = threading.Thread(target=self._run, name=f"scratchbook-{name}", daemon=True)

    def submit(self, request: Request, listener: Listener) -> int:
        """Put a request in the queue; raises UserError when it cannot be served."""
        with self._changed:  # nothing is told before the listener is known
            if self._closing:
                raise RunFailure("this model is being put away: ask again")
            number = self.engine.submit(request)
            self._listeners[number] = (listener, request.n)
            if not self._thread.is_alive():
                self._thread.start()
            self._changed.notify()
            return number

    def cancel(self, number: int, listener: Listener, sample: int | None = None) -> None:
        """End a listener's request, or one sample of it, within one token. What is over already is ignored."""
        with self._changed:  # a new engine may have given the number to someone else
            if self._listeners.get(number, (None, 0))[0] is listener:
                self.engine.cancel(number, sample)

    def close(self, *, when_idle: bool = False, timeout: float = 30.0) -> None:
        """Take no more requests; end the thread now, or without waiting for it when all is written."""
        with self._changed:
            self._closing = (
                self._closing if when_idle and self._closing else "when idle" if when_idle else "now"
            )
            self._changed.notify()
            started = self._thread.is_alive()
        if not started:
            self.engine.close()
        elif not when_idle and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def open(self) -> bool:
        """Whether it takes requests."""
        return self._closing is None

    # In the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        import torch

        torch.set_num_threads(self._threads)
        while self._has_work():
            try:
                events = self.engine.step()
            except Exception as error:
                log.exception("a step of the engine failed")
                self._start_again(RunFailure(one_line(f"the engine failed: {error or type(error).__name__}")))
                continue
            told = [(self._listener_of(event), event) for event in events]
            # Before anyone is told: who has left must find the places free.
            self.stats = EngineStats(len(self._listeners), self.engine.nbytes)
            for listener, event in told:
                if listener is not None:
                    self._tell(listener, event)
        self._fail_all(RunFailure("the server is stopping"))
        self.engine.close()
        self.stats = EngineStats(0, 0)

    def _has_work(self) -> bool:
        """Wait for something to do; False when it is time to end."""
        with self._changed:
            while not self._closing and not self.engine.busy:
                self._changed.wait()
            return self._closing != "now" and self.engine.busy

    def _listener_of(self, event: Event) -> Listener | None:
        """Who waits for an event; forgotten with the end of the request's last sample."""
        with self._changed:
            listener, left = self._listeners.get(event.request, (None, 0))
            if event.finish_reason is not None and listener is not None:
                if left == 1:
                    del self._listeners[event.request]
                else:
                    self._listeners[event.request] = (listener, left - 1)
            return listener

    def _tell(self, listener: Listener, event: Event) -> None:
        try:
            listener.hear(event)
        except Exception:  # a fault of the one who asked, e.g. its event loop was closed
            log.exception("nobody takes the answer of request %d", event.request)
            self.engine.cancel(event.request)

    def _start_again(self, error: RunFailure) -> None:
        with self._changed:
            broken, self.engine = self.engine, self._make()
            self._fail_all(error)
        broken.close()

    def _fail_all(self, error: RunFailure) -> None:
        with self._changed:
            waiting, self._listeners = list(self._listeners.values()), {}
        for listener, _ in waiting:
            try:
                listener.fail(error)
            except Exception:
                log.exception("nobody hears that the engine failed")
