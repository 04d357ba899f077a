"""Which service the chat asks: that of the server it is mounted in, else one of its own.

Chainlit's callbacks are functions of a module and are given no application, so this one thing belongs to the
process: whoever mounts the chat says `use(service)`. Under `chainlit run` or `scratchbook chat` nobody says
anything, and a service is made at the first question.
"""

from __future__ import annotations

from functools import cache

from chat_ui.service import Service

_given: list[Service] = []


def use(given: Service | None) -> None:
    """From now on the chat asks this service, which is closed by whoever made it; None: the chat's own."""
    _given[:] = [] if given is None else [given]


def service() -> Service:
    """The service that the chat asks."""
    return _given[0] if _given else _own()


async def close_own() -> None:
    """End the chat's own service, if it has made one."""
    if _own.cache_info().currsize:
        await _own().close()
        _own.cache_clear()


@cache
def _own() -> Service:
    return Service()
