"""From pieces of an answer to what a page can show: at once, and then no faster than an eye reads.

The engine writes in its own thread and leaves every token in a queue (`service`). A page redraws a whole message
for each piece it is sent, which takes it longer than a small model takes for a token. So the first piece goes out
as soon as it is there, and what comes within `every` seconds after it waits and goes together.

Nothing here computes, so nothing here can hold up the event loop; and leaving the loop over the pieces, for
whatever reason, is all it takes to end the answer. Left out: tokens (`pieces`), threads (`engine_thread`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from chat_ui.pieces import Piece


async def paced(batches: AsyncIterator[list[Piece]], every: float) -> AsyncIterator[list[Piece]]:
    """The same pieces in the same order, in parts that are at least `every` seconds apart.

    `batches` gives all that is there each time it is asked (`service.Answer.batches`); the end is never held back.
    """
    async for pieces in batches:
        yield pieces
        if pieces[-1].finish_reason is None:
            await asyncio.sleep(every)
