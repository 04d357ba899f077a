"""The first page: what is here, the newest runs, the models, and the way on. With no model: how to make one."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from chat_ui.api import runs as rest
from chat_ui.inspector import parts
from chat_ui.inspector.frame import answered, card, frame, raw
from chat_ui.models import NO_MODEL

WAYS = (
    ("/runs", "Runs", "What was trained, how it went, how it goes right now."),
    (
        "/tokens",
        "Tokens",
        "Type a text and see how it is cut, with two tokenizers side by side, and what it costs.",
    ),
    (
        "/calculator",
        "Calculator",
        "Parameters, memory and key-value cache of a model that nobody has built yet.",
    ),
    ("/look", "Look inside", "The next token, where each head looks, what each layer would have said."),
    ("/data", "Data", "The documents a model learns from, in numbers and one by one."),
    ("/chat", "Chat", "Talk to a model."),
    ("/docs", "API", "The same answers for programs."),
)
PATH = "/"


async def page() -> None:
    with frame("") as here:
        raw('<h1 class="hero">A language model you can train yourself</h1>'
            '<p class="about">Look at what this book makes. Nothing leaves this machine.</p>')  # fmt: skip
        there = {
            str(getattr(route, "path", "")) for route in ui.context.client.request.scope["inspector"].routes
        }
        raw('<ul class="ways">' + "".join(
            f'<li><a href="{to}"><b>{label}</b><span>{about}</span></a></li>'
            for to, label, about in WAYS if to != "/chat" or to in there
        ) + "</ul>")  # fmt: skip
        with ui.element("div").classes("grid"):
            await _models(here)
            await _runs(here)


async def _models(here: Any) -> None:
    names = await here.service.ids()
    with card("Models"):
        if names:
            rows = (
                (parts.text(name), parts.link(parts.address("/look", model=name), "look inside"))
                for name in list(names)[:20]
            )
            raw(parts.table(("model", ""), rows, raw=True))
        else:
            raw(parts.note(NO_MODEL) + parts.command("scratchbook demo"))


async def _runs(here: Any) -> None:
    found, problem = await answered(lambda: asyncio.to_thread(rest.runs, here, None, None, 0, 6))
    with card("Newest runs"):
        if problem or found is None:
            raw(parts.note(problem, bad=True))
        elif found.runs:
            rows = (
                (
                    parts.link(parts.run_address(line.id), line.id),
                    parts.badge(line.status),
                    f'<span class="when">{parts.text(parts.moment(line.start)[5:16])}</span>',
                )
                for line in found.runs
            )
            raw(parts.table(("run", "status", "began"), rows, raw=True)).classes("runs-newest")
        else:
            raw(parts.note("nothing was trained yet") + parts.command("scratchbook demo"))
