"""The inspector: pages at / that show what this book makes. Runs, tokens, sizes, insides, data.

    app = create_app()      # calls attach(app), last of all

The idea: a page asks the same functions as the REST routes under /api/v1 and draws their answers, so that a number on a
page is the number that a program gets, under the same limits. What a page shows is in its address, which one can send.
Pages are NiceGUI's: Python on this side, one web socket, no build of a front end, every file from this machine.

NiceGUI's app is one for the whole process. It stands behind every other route of the server (`Door`): what nobody else
answers is a page, and a wrong address under /v1 or /api stays an error in JSON.

Left out: talking to a model (`app`), starting and stopping work. Notebook: 02 of this chapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from utils.errors import UserError

PUBLIC = Path(__file__).resolve().parents[1] / "public"
STATIC = Path(__file__).resolve().parent / "static"
NOT_PAGES = ("/v1", "/api", "/health", "/docs")  # addresses for programs: no page answers there
PATIENCE = 15.0  # seconds that a page whose connection broke is kept for it


def attach(app: Any) -> None:
    """Give a FastAPI its pages: they answer whatever no route of it does, and live as long as it runs.

    The app's state must hold the `service`. Raises UserError where NiceGUI is not installed.
    """
    door = Door(app, _pages())
    app.router.default = door
    whole = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(parent: Any) -> AsyncIterator[Any]:
        async with whole(parent) as state:
            try:
                yield state
            finally:
                await door.close()

    app.router.lifespan_context = lifespan


class Door:
    """ASGI: NiceGUI behind a server. Pages find the server they belong to under `scope["inspector"]`.

    NiceGUI is started by the first request for a page, so that a server whose pages nobody opens has no part in it.
    """

    def __init__(self, app: Any, pages: Any) -> None:
        self.app, self.pages = app, pages
        self._running: Any = None
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if any(path == start or path.startswith(start + "/") for start in NOT_PAGES):
            await self.app.router.not_found(scope, receive, send)
            return
        async with self._starting:
            if self._running is None:
                self._running = self.pages.router.lifespan_context(self.pages)
                await self._running.__aenter__()
        scope = {**scope, "inspector": self.app}

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start" and scope.get("inspector.status"):
                message = {**message, "status": scope["inspector.status"]}
            await send(message)

        await self.pages(scope, receive, sending)

    async def close(self) -> None:
        """Stop NiceGUI, if a page was ever opened."""
        running, self._running = self._running, None
        if running is not None:
            await running.__aexit__(None, None, None)


def context_of_app(app: Any) -> Any:
    """The same `api.context.Context` that the REST routes of this server use."""
    from chat_ui.api.context import context_of

    return context_of(SimpleNamespace(app=app))  # type: ignore[arg-type]


@cache
def _pages() -> Any:
    """NiceGUI's app with all pages, made ready once."""
    try:
        from nicegui import core, ui
    except ImportError:
        raise UserError("the pages need NiceGUI: pip install -c constraints.txt -e '.[serve]'") from None
    from fastapi import FastAPI

    from chat_ui.inspector import missing

    # A parent that is thrown away: `run_with` is the one way to configure NiceGUI inside somebody else's server.
    ui.run_with(
        FastAPI(),
        root=missing.page,
        title="LLM Scratchbook",
        favicon=PUBLIC / "favicon.svg",
        dark=None,
        reconnect_timeout=PATIENCE,
        show_welcome_message=False,
        tailwind=False,
    )
    core.app.add_static_files("/_inspector", STATIC)
    core.app.add_static_files("/_inspector/public", PUBLIC)
    from chat_ui.inspector import calculator, compare, data, home, inside, run, runs, tokens
    from chat_ui.inspector.frame import SECONDS

    for module in (home, runs, run, compare, tokens, calculator, inside, data):
        ui.page(module.PATH, response_timeout=SECONDS)(module.page)
    return core.app
