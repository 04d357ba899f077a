"""Batches made ready in the background, with the state of what was given out and not of what was fetched.

While the model computes, a thread asks the loader for the next few batches. That is worth it where a batch
costs real time (text tokenised on the fly, a slow disk); memory-mapped windows cost a fraction of a percent
of a step and do not need it (`results/loader.json`).

The classic bug sits in `state_dict`: asked while three batches lie ready, the loader's own state is three
batches too far, and a resumed run never sees them. So each batch travels with the loader's state after it,
and the state of a `Prefetcher` is that of the last batch it gave out.

Left out: processes, and copying to a GPU.
"""

from __future__ import annotations

import copy
import queue
import threading
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

from utils.errors import UserError


class Loader(Protocol):
    """What can be prefetched: `BatchLoader`, `ExampleBatches`, `PackedBatches`, `StreamingLoader`, …"""

    def __next__(self) -> Any:
        """The next batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go there."""
        ...


class Prefetcher:
    """`loader`'s batches and its interface, with up to `depth` of them made ready by a thread.

    The thread starts with the first `next` and owns the loader until `close` (also at the end of a `with`
    block, and when the prefetcher is forgotten). An exception in the loader, StopIteration included, comes
    out of `next` at its place among the batches, and again if `next` is called again. Attributes that are
    not here (`tokens_per_epoch`, …) are the loader's.

    Raises UserError for a depth below 1.
    """

    def __init__(self, loader: Loader, depth: int = 2) -> None:
        if depth < 1:
            raise UserError(f"depth is {depth}: it must be at least 1; for none, use the loader itself")
        self.loader, self.depth = loader, depth
        self._given_out = copy.deepcopy(loader.state_dict())
        self._failure: BaseException | None = None
        self._running: _Thread | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next batch, ready or waited for."""
        if self._failure is not None:
            raise self._failure
        if self._running is None:
            self._running = _Thread(self.loader, self.depth)
            # Also when the program ends: a thread that is torn off inside a library aborts the process.
            weakref.finalize(self, self._running.end)
        batch, state, failure = self._running.ready.get()
        if failure is not None:
            self._stop()
            self._failure = failure
            raise failure
        self._given_out = state
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The loader's state after the last batch that was given out."""
        return copy.deepcopy(self._given_out)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken; batches that lay ready are forgotten."""
        self._stop()
        self._failure = None
        self.loader.load_state_dict(state)
        self._given_out = copy.deepcopy(self.loader.state_dict())

    def close(self) -> None:
        """Stop the thread and put the loader back to where the last batch given out left it."""
        if self._running is not None:
            self._stop()
            self.loader.load_state_dict(copy.deepcopy(self._given_out))

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "loader":  # not there yet, or no business of others
            raise AttributeError(name)
        return getattr(self.loader, name)

    def _stop(self) -> None:
        if self._running is not None:
            self._running.end()
            self._running = None


class _Thread:
    """Fills `ready` with (batch, state after it, None), or at last (None, None, exception)."""

    def __init__(self, loader: Loader, depth: int) -> None:
        self.ready: queue.Queue[tuple[Any, Any, BaseException | None]] = queue.Queue(depth)
        self.stop = threading.Event()
        # A function of its own, not a method of the prefetcher: the thread must not keep that alive.
        self._thread = threading.Thread(
            target=_fetch, args=(loader, self.ready, self.stop), name="prefetch", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Ask the thread to stop, and wait until it has."""
        self.stop.set()
        if threading.current_thread() is not self._thread:  # the collector may call from there
            self._thread.join()


def _fetch(loader: Loader, ready: queue.Queue[Any], stop: threading.Event) -> None:
    failure: BaseException | None = None
    while failure is None and not stop.is_set():
        try:
            item: tuple[Any, Any, BaseException | None] = (
                next(loader),  # type: ignore[call-overload]
                copy.deepcopy(loader.state_dict()),
                None,
            )
        except BaseException as error:
            failure = error
            item = (None, None, error)
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.05)
                break
            except queue.Full:
                continue
