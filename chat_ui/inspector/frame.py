"""The frame of every page: head, way to the other pages, light or dark, and one place for what went wrong.

    async def show(request: Request) -> None:
        with frame("Tokens", "/tokens", "How a text is cut.") as here:
            ...

Left out: what a page shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from nicegui import ui
from pydantic import ValidationError

from chat_ui.api.route import describe
from chat_ui.inspector import context_of_app, parts
from chat_ui.inspector.theme import head
from utils.errors import RunFailure, UserError, one_line

T = TypeVar("T")
SECONDS = 60.0  # for building a page: a machine may be busy training
PAGES = {
    "/runs": "Runs",
    "/tokens": "Tokens",
    "/calculator": "Calculator",
    "/look": "Look inside",
    "/data": "Data",
}
ELSEWHERE = {"/chat": "Chat", "/docs": "API"}
BOOK = (
    '<svg viewBox="0 0 72 72" aria-hidden="true"><g fill="none" stroke="currentColor" stroke-width="5" '
    'stroke-linejoin="round" stroke-linecap="round"><path d="M36 20 C28 13 17 12 8 14 V56 C17 54 28 55 36 62 '
    'C44 55 55 54 64 56 V14 C55 12 44 13 36 20 Z"/><path d="M36 20 V62"/><path d="M16 29 h11 M16 41 h9 M45 29 '
    'h11"/></g><rect x="46" y="37" width="7" height="10" fill="currentColor"/></svg>'
)


@contextmanager
def frame(title: str, path: str = "", about: str = "") -> Iterator[Any]:
    """The page around what is drawn in the block; gives the server's `api.context.Context`."""
    scope = ui.context.client.request.scope
    app = scope["inspector"]
    ui.page_title(f"{title} · LLM Scratchbook" if title else "LLM Scratchbook")
    ui.add_head_html(head())
    raw('<a class="skip" href="#main">To the content</a>')
    raw(_bar(path, {str(getattr(route, "path", "")) for route in app.routes}), "header").classes("top")
    with ui.element("div").props('id="main" tabindex="-1"'):  # the page around it is <main> already
        if title:
            raw(
                f"<h1>{parts.text(title)}</h1>"
                + (f'<p class="about">{parts.text(about)}</p>' if about else "")
            )
        yield context_of_app(app)


def _bar(path: str, there: set[str]) -> str:
    links = dict(PAGES)
    links |= {target: label for target, label in ELSEWHERE.items() if target in there}
    items = "".join(
        f'<a href="{target}"{" aria-current=page" if target == path else ""}>{label}</a>'
        for target, label in links.items()
    )
    theme = (
        '<button class="theme" type="button" onclick="scratchbook.nextTheme()" aria-label="Colours"></button>'
    )
    name = f'<a class="name" href="/">{BOOK}<span>LLM Scratchbook</span></a>'
    return f'{name}<nav aria-label="Pages">{items}</nav>{theme}'


def raw(content: str, tag: str = "div") -> ui.html:
    """HTML of ours, in which everything foreign is escaped already (`parts`)."""
    return ui.html(content, sanitize=False, tag=tag)


def card(title: str = "", about: str = "") -> ui.element:
    """A box with a heading, to draw into."""
    box = ui.element("section").classes("card")
    with box:
        if title:
            more = f'<p class="about">{parts.text(about)}</p>' if about else ""
            raw(f"<h2>{parts.text(title)}</h2>{more}")
    return box


def said(request: Any, name: str, otherwise: str = "", longest: int = 4000) -> str:
    """A value of the page's address."""
    return str(request.query_params.get(name, otherwise))[:longest]


def said_number(request: Any, name: str, otherwise: float, low: float, high: float) -> float:
    """A number of the page's address, brought between its limits; what is no number is the default."""
    try:
        value = float(request.query_params.get(name, otherwise))
    except ValueError:
        return otherwise
    return min(high, max(low, value)) if value == value else otherwise


def keep(path: str, **values: Any) -> None:
    """Let the address say what the page shows, so that it can be sent and reloaded."""
    ui.navigate.history.replace(parts.address(path, **values))


class Asked:
    """Questions of one place of a page: only the newest one's answer counts, and a mistake becomes a line.

    `await asked(question)` gives the answer, or None where it is too old or there is none.
    """

    def __init__(self) -> None:
        self.line = raw("")
        self._newest = 0

    async def __call__(self, question: Callable[[], Awaitable[T]]) -> T | None:
        self._newest += 1
        mine = self._newest
        answer, problem = await answered(question)
        if mine != self._newest:
            return None
        self.line.set_content(parts.note(problem, bad=True) if problem else "")
        return answer


async def answered(question: Callable[[], Awaitable[T]]) -> tuple[T | None, str]:
    """The answer of a route's function, or the line that the route would have sent."""
    try:
        return await question(), ""
    except ValidationError as error:
        return None, describe(RequestValidationError(error.errors()))
    except (UserError, RunFailure) as error:
        return None, one_line(error)
    except OSError as error:
        return None, f"a file cannot be read now ({error.strerror or error}): try again"


def gone(line: str) -> None:
    """Say that the page's thing is not there, in its status too."""
    ui.context.client.request.scope["inspector.status"] = 404
    raw(parts.note(line, bad=True))
