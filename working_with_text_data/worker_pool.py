"""Share work out to processes and get the results back in order.

The idea: the work is pure Python, and one process runs Python on one core. Counting the words of a block,
encoding a text and cleaning a document need nothing from their neighbours, so several processes do them at
once, and the results are taken in the order in which the work was given out: nobody can tell how many
processes there were.

At most a few pieces of work are on their way at any time, so a stream longer than the memory passes
through. The processes are spawned, not forked: each is a fresh Python, alike on every system and safe
beside threads. Left out: several machines. Notebook: 04 of this chapter.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Set
from typing import Any, Literal, TypeVar

from utils.errors import RunFailure, UserError
from working_with_text_data.tokenizer import Tokenizer

Work = TypeVar("Work")
Result = TypeVar("Result")
BATCH_CHARS = 1 << 18  # one piece of work: large beside the cost of sending it, small beside the memory
MOST_WORKERS = 256


def map_in_order(
    function: Callable[[Work], Result],
    items: Iterable[Work],
    workers: int,
    *,
    setup: Callable[..., None] | None = None,
    setup_args: tuple[Any, ...] = (),
) -> Generator[Result, None, None]:
    """`map(function, items)` by `workers` processes, results in the order of the items.

    Args:
        function: a function of a module (it is sent by its name).
        workers: how many processes; 0 does the work here.
        setup: called once in each process with `setup_args`, before any item.

    Raises:
        UserError: a number of workers that makes no sense; RunFailure: a process died;
        whatever `function` raises.

    >>> list(map_in_order(abs, [-1, 2, -3], workers=0))
    [1, 2, 3]
    """
    check_workers(workers)
    if not workers:
        if setup is not None:
            setup(*setup_args)
        yield from map(function, items)
        return
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(setup, setup_args),
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(waiting) >= 2 * workers:  # one at work and one ready for each process
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise RunFailure(
            "a worker process died (out of memory, or the program does not start its work under "
            '`if __name__ == "__main__":`): use fewer workers, or workers=0'
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_workers(workers: int) -> None:
    """UserError unless `workers` is a whole number from 0 to 256."""
    if not isinstance(workers, int) or isinstance(workers, bool) or not 0 <= workers <= MOST_WORKERS:
        raise UserError(
            f"workers is {workers!r}: give a number from 0 (no extra process) to {MOST_WORKERS}; "
            f"this machine has {os.cpu_count()} cores"
        )


def _begin(setup: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends the pool
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    if setup is not None:
        setup(*arguments)


def _leave_with_the_parent() -> None:
    """A parent that is killed cannot end its pool, and the pool's queues would keep the process waiting."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


# --- encoding -------------------------------------------------------------------------------------

_encode: Callable[[str], list[int]]  # of this process, set once by _set_tokenizer


def encode_in_processes(
    tokenizer: Tokenizer, texts: Iterable[str], allowed_special: Set[str] | Literal["all"], workers: int
) -> list[list[int]]:
    """`tokenizer.encode` of every text, in order, by processes that are sent the tokenizer once."""
    batches = map_in_order(
        _encode_texts, _batches(texts), workers, setup=_set_tokenizer, setup_args=(tokenizer, allowed_special)
    )
    return [ids.tolist() for batch in batches for ids in batch]


def _set_tokenizer(tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"]) -> None:
    global _encode

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, allowed_special)

    _encode = encode


def _encode_texts(texts: list[str]) -> list[array[int]]:
    return [array("I", _encode(text)) for text in texts]  # four bytes an id on the way back


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + 1
        if size >= BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
