"""A file that grows, as server-sent events: every line once, over any number of lost connections.

The idea: the id of an event is the byte offset behind its line. A browser whose connection broke asks again by itself
with the id of the last event it saw (`Last-Event-ID`), and that number is all there is to remember: nothing is kept
on the server. Events: `message` a record, `replaced` the file is another one and is read from its beginning, `skipped`
a line that is no record, `end` with the status when the run is over, `gone` when it was deleted.

The order of two questions matters: the status is asked *before* the file is read. Asked after it, a run that writes
its last line and ends between the two would lose that line.

HTML Living Standard, section 9.2. Left out: several files in one stream.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

from chat_ui import limits
from chat_ui.api.route import NotHere, NotWhole
from chat_ui.api.run_files import Lines, Replaced
from chat_ui.service import Busy
from utils.errors import UserError

POLL = 0.5  # seconds between two looks at a file
BEAT = 15.0  # seconds after which a silent stream shows that it lives
RUNNING = "running"

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events; the id of each is the offset behind its line",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "the run is over and there is nothing after this id: do not ask again"},
}


def start_of(last_event_id: str | None, otherwise: int) -> int:
    """The offset that a reconnecting reader has reached. Raises UserError for an id that is not ours."""
    if last_event_id is None:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,18}", last_event_id):
        raise UserError(f"Last-Event-ID is {last_event_id!r}: send the id of an event of this stream")
    return int(last_event_id)


def frame(data: Any, *, event: str | None = None, id: int | None = None) -> bytes:
    """One event. JSON keeps line breaks out of it, which would end the field.

    >>> frame({"line": "a"}, id=7)
    b'id: 7\\ndata: {"line": "a"}\\n\\n'
    """
    lines = [f"id: {id}"] if id is not None else []
    lines += [f"event: {event}"] if event is not None else []
    return ("\n".join([*lines, f"data: {json.dumps(data, ensure_ascii=True)}"]) + "\n\n").encode()


def follow(
    here: Any,
    read: Callable[[int], Lines],
    status: Callable[[], str],
    parse: Callable[[bytes], Any],
    after: int,
    *,
    resumed: bool = False,
) -> Response:
    """The stream of a file: `read(offset)` gives whole lines, `status()` the run's, or raises NotHere.

    A reader that comes back to a finished run with nothing left gets a 204, which ends its asking. `here.streams`
    counts the followers. Raises `Busy` when there are too many.
    """
    if here.streams >= limits.STREAMS:
        raise Busy(
            f"{here.streams} streams are open already: close one, or ask for the records without /stream"
        )
    if resumed and status() != RUNNING and _nothing_after(read, after):
        return Response(status_code=204)

    async def events() -> AsyncIterator[bytes]:
        here.streams += 1
        try:
            async for part in _events(read, status, parse, after):
                yield part
        finally:
            here.streams -= 1

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _nothing_after(read: Callable[[int], Lines], after: int) -> bool:
    try:
        return not read(after).lines
    except Replaced:
        return False


async def _events(
    read: Callable[[int], Lines], status: Callable[[], str], parse: Callable[[bytes], Any], after: int
) -> AsyncIterator[bytes]:
    spoke = time.monotonic()
    yield b"retry: 2000\n\n"
    while True:
        try:
            now = await asyncio.to_thread(status)  # before the file: see above
            found = await asyncio.to_thread(read, after)
        except Replaced as error:
            yield frame({"why": str(error)}, event="replaced", id=0)
            after = 0
            continue
        except NotHere:
            yield frame({}, event="gone")
            return
        except NotWhole:  # run.json is being replaced, or the folder is being deleted: the next look tells
            await asyncio.sleep(POLL)
            continue
        if found.lines:
            yield b"".join(_frame(parse, end, line) for end, line in found.lines)
            after, spoke = found.after, time.monotonic()
            if found.more:
                continue
        if now != RUNNING and not found.more and not found.lines:
            yield frame({"status": now}, event="end", id=after)
            return
        if not found.lines:
            if time.monotonic() - spoke > BEAT:
                yield b": still here\n\n"
                spoke = time.monotonic()
            await asyncio.sleep(POLL)


def _frame(parse: Callable[[bytes], Any], end: int, line: bytes | None) -> bytes:
    value = None if line is None else parse(line)
    if value is None:
        return frame({"why": "no record, or a line too long to send"}, event="skipped", id=end)
    return frame(value, id=end)
