"""/runs: every run in a table, to filter, to watch, and to choose some that are laid over each other.

    /runs?stage=pretrain&status=running&text=k3f9

Statuses and last losses are read again every two seconds; a line is drawn anew only where something in it changed, so
that what somebody has chosen stays chosen. Choosing is a form of the browser's own. Left out: one run (`run`), several
in one plot (`compare`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui
from starlette.requests import Request

from chat_ui import limits
from chat_ui.api import runs as rest
from chat_ui.inspector import parts
from chat_ui.inspector.frame import Asked, frame, keep, raw, said

STATUSES = ("", "running", "complete", "failed", "stopped")
SHOWN = 60  # lines; further ones are found by the filters
AGAIN = 2.0  # seconds between two looks
HEAD = ("", "run", "status", "began", "step", "training loss", "validation loss", "checkpoints")
PATH = "/runs"


async def page(request: Request) -> None:
    with frame("Runs", "/runs", "What was trained here, newest first.") as here:
        await Table(here, request).show()


class Table:
    """The table and its filters."""

    def __init__(self, here: Any, request: Request) -> None:
        self.here = here
        self.wish = {
            name: said(request, name, longest=limits.NAME_CHARACTERS) for name in ("stage", "status", "text")
        }
        self.rows: dict[str, list[ui.html]] = {}  # run -> the cells of its line

    async def show(self) -> None:
        with ui.element("div").classes("controls"):
            self.stage = ui.select({"": "every stage"}, value="", label="Stage").props("dense outlined")
            status = self.wish["status"] if self.wish["status"] in STATUSES else ""
            labels = {name: name or "every status" for name in STATUSES}
            ui.select(labels, value=status, label="Status", on_change=self._set("status")).props(
                "dense outlined"
            )
            ui.input("Find", value=self.wish["text"], on_change=self._set("text")).props(
                "dense outlined clearable debounce=250"
            )
        self.stage.on_value_change(self._set("stage"))
        self.asked = Asked()
        self.count = raw("").props('role="status"')
        with ui.element("form").props('action="/compare" method="get"'):
            with ui.element("div").classes("wide").props('tabindex="0"'), ui.element("table").classes("runs"):
                raw(
                    "<tr>" + "".join(f"<th scope=col>{parts.text(name)}</th>" for name in HEAD) + "</tr>",
                    "thead",
                )
                self.body = ui.element("tbody")
            self.nothing = raw("")
            raw('<p><button type="submit" class="plain">Compare the chosen runs</button></p>')
        await self.refresh()
        ui.timer(AGAIN, self.refresh)

    def _set(self, name: str) -> Any:
        async def changed(event: Any) -> None:
            self.wish[name] = event.value or ""
            keep("/runs", **self.wish)
            await self.refresh()

        return changed

    async def refresh(self) -> None:
        """Read the runs again and draw what has changed."""
        stage, status = self.wish["stage"] or None, self.wish["status"] or None
        most = limits.RUNS if self.wish["text"] else SHOWN
        found = await self.asked(lambda: asyncio.to_thread(rest.runs, self.here, stage, status, 0, most))
        if found is None:
            return
        stages = {"": "every stage", **{name: name for name in found.stages}}
        if self.stage.options != stages:
            known = self.wish["stage"] if self.wish["stage"] in stages else ""
            self.stage.set_options(stages, value=known)
        lines = [
            line
            for line in found.runs
            if self.wish["text"].lower() in f"{line.id} {line.error or ''}".lower()
        ]
        lines, total = lines[:SHOWN], len(lines) if self.wish["text"] else found.total
        self.count.set_content(f'<p class="quiet">{_counted(total, len(lines))}</p>')
        self._draw(lines)
        self.nothing.set_content("" if lines else _nothing(bool(any(self.wish.values()))))

    def _draw(self, lines: list[Any]) -> None:
        if list(self.rows) != [line.id for line in lines]:
            self.body.clear()
            with self.body:
                self.rows = {line.id: _add(line) for line in lines}
        for line in lines:
            for cell, now in zip(self.rows[line.id], cells_of(line), strict=True):
                if cell.content != now:
                    cell.set_content(now)


def _add(line: Any) -> list[ui.html]:
    name = parts.text(line.id)
    with ui.element("tr"):
        raw(f'<input type="checkbox" name="runs" value="{name}" aria-label="choose {name}">', "td")
        return [raw(cell, "td") for cell in cells_of(line)]


def cells_of(line: Any) -> tuple[str, ...]:
    """What a line of the table shows of a run."""
    train, val = line.latest.get("train", {}), line.latest.get("val", {})
    step = max(
        (row["step"] for row in line.latest.values() if isinstance(row.get("step"), int)), default=None
    )
    error = f'<span class="quiet"> {parts.text(line.error[:120])}</span>' if line.error else ""
    return (
        parts.link(parts.run_address(line.id), line.id),
        parts.badge(line.status) + error,
        parts.text(parts.moment(line.start)),
        parts.number(step),
        parts.text(parts.number(train.get("loss"))),
        parts.text(parts.number(val.get("loss"))),
        parts.number(line.checkpoints),
    )


def _counted(total: int, shown: int) -> str:
    runs = "1 run" if total == 1 else f"{total} runs"
    return runs if shown == total else f"{runs}, the newest {shown} of them here"


def _nothing(filtered: bool) -> str:
    if filtered:
        return parts.note("no run fits these filters")
    return parts.note("nothing was trained yet: make a first run") + parts.command("scratchbook demo")
