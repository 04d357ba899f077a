"""Work shared out to processes, handed back in the order it came in, with a bounded amount under way.

`multiprocessing.Pool.imap` reads its whole input at once, which a stream does not survive. Here at most two
pieces of work a process are under way: memory stays that of a few pieces, whatever the stream holds. Workers
ignore Ctrl-C, so that only the parent decides; whoever stops listening stops them.

Processes are spawned, not forked: a fork copies locks that other threads hold. A script that uses workers
must keep its own work under `if __name__ == "__main__":`. Left out: retries, results out of order.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from utils.errors import RunFailure, UserError

T = TypeVar("T")
_function: Callable[[Any], Any]


def map_in_order(
    make_function: Callable[..., Callable[[T], Any]],
    arguments: tuple[Any, ...],
    items: Iterable[T],
    workers: int,
) -> Generator[tuple[T, Any], None, None]:
    """(item, function(item)) for each item in order, with function = make_function(*arguments).

    Args:
        make_function: importable by name; called once in each process.
        workers: processes; 0 does the work here, one item at a time.

    Raises:
        UserError: a negative number of workers.
        RunFailure: a process died, for instance for want of memory.
    """
    if workers < 0:
        raise UserError(f"workers is {workers}: give 0 for none, or the number of processes")
    if workers == 0:
        function = make_function(*arguments)
        return ((item, function(item)) for item in items)
    return _shared_out(make_function, arguments, items, workers)


def _shared_out(
    make_function: Callable[..., Callable[[T], Any]],
    arguments: tuple[Any, ...],
    items: Iterable[T],
    workers: int,
) -> Generator[tuple[T, Any], None, None]:
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(make_function, arguments),
    )
    under_way: deque[tuple[T, Future[Any]]] = deque()
    try:
        for item in items:
            under_way.append((item, pool.submit(_work, item)))
            if len(under_way) >= 2 * workers:
                first, result = under_way.popleft()
                yield first, result.result()
        while under_way:
            first, result = under_way.popleft()
            yield first, result.result()
    except BrokenProcessPool:
        raise RunFailure(
            "a worker process ended unexpectedly, for want of memory or because the script that started it has no "
            '`if __name__ == "__main__":`: use fewer workers, or workers=0'
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(make_function: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    global _function
    with contextlib.suppress(ValueError):  # not in a main thread: then no signal arrives either
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for library in ("OMP", "OPENBLAS", "MKL"):  # one process, one thread: the others have the other cores
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    _function = make_function(*arguments)


def _end_with_parent() -> None:
    """A parent that was killed cannot say goodbye: without it there is nobody to work for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(item: Any) -> Any:
    return _function(item)
