"""From a generator that computes to a coroutine that waits: text streamed out of a worker thread.

The engine is an ordinary generator: each `next()` keeps a core busy for one token. The web server is one
event loop that must answer everybody within milliseconds. So the generator runs in a thread, and each
piece of text is handed to the loop through a queue.

Stopping is the hard half. Cancelling an asyncio task ends the *waiting*, never the thread: it would go on
computing an answer that nobody reads. Therefore every stream owns a `threading.Event`. Leaving the
`background` block for any reason (end, error, Stop, a closed browser) sets it, the generator sees it before
its next token, and the block is left only when the thread is done and its cache is freed.

Left out: batching the tokens of several chats into one forward pass.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import cache

Start = Callable[[threading.Event], Iterator[str]]

# More threads than this gain nothing on a CPU, and each one that computes can hold the interpreter lock
# for 5 ms at a time, which is how long the event loop may have to wait for each of them.
MAX_STREAMS = 4


@cache
def workers() -> ThreadPoolExecutor:
    """The threads in which models compute; made at the first use, shared by every chat of this process."""
    return ThreadPoolExecutor(
        max_workers=MAX_STREAMS, thread_name_prefix="chat-stream", initializer=share_cores
    )


def share_cores() -> None:
    """Divide the cores among the streams: each forward pass may use its share and no more.

    Torch gives every thread all cores. The helpers of one pass then wait for a core that another stream's
    helpers hold: 500 tokens of a tiny model took 7 to 12 s instead of 0.2 to 0.5 s on two busy cores.
    """
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // MAX_STREAMS))


@asynccontextmanager
async def background(
    start: Start,
    *,
    stop: threading.Event | None = None,
    executor: Executor | None = None,
    every: float = 0.0,
) -> AsyncIterator[AsyncIterator[str]]:
    """Run the generator `start(stop)` in a worker thread and give its pieces as an async iterator.

    `stop` may be set by anyone at any time; the iterator then ends after at most one more token. An
    exception of the generator is raised where the pieces are read. After the `async with` block neither
    the thread nor the generator is running.

    Pieces that arrive within `every` seconds of the last one are joined, the first is given at once: a page
    redraws a whole message for each piece, which takes it longer than a small model takes for a token.
    """
    stop = stop or threading.Event()
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, BaseException | None] | None] = asyncio.Queue()

    def hand_over(item: tuple[str, BaseException | None] | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server is going down, nobody is listening
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def compute() -> None:
        try:
            if not stop.is_set():  # stopped while it waited for a free thread
                pieces = start(stop)
                try:
                    for piece in pieces:
                        hand_over((piece, None))
                        if stop.is_set():
                            break
                finally:
                    close = getattr(pieces, "close", None)  # frees the cache now, not at some collection
                    if close is not None:
                        close()
        except BaseException as error:  # every error belongs to the reader of the pieces
            hand_over(("", error))
        finally:
            hand_over(None)

    async def read() -> AsyncIterator[str]:
        due, item = 0.0, await queue.get()
        while item is not None:
            if loop.time() < due:
                await asyncio.sleep(due - loop.time())
            text, failure = "", None
            while item is not None:
                piece, failure = item
                text += piece
                if failure is not None or queue.empty():
                    break
                item = queue.get_nowait()
            if text:
                due = loop.time() + every
                yield text
            if failure is not None:
                raise failure  # after the text that came before it
            if item is not None:
                item = await queue.get()

    thread = loop.run_in_executor(executor or workers(), compute)
    try:
        yield read()
    finally:
        stop.set()
        # `shield`: a second cancellation may end this waiting, but it must not make the executor believe
        # that a thread which still computes is free.
        await asyncio.shield(thread)
