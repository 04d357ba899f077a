"""/run/STAGE/ID: one run, live. Curves and log come as server-sent events of /api/v1/runs straight into the page.

The browser follows the two streams by itself and goes on where it stopped after a lost connection; this side draws
what changes rarely: status, samples, checkpoints, provenance. Left out: several runs in one plot (`compare`).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from nicegui import ui
from starlette.requests import Request

from chat_ui.api import runs as rest
from chat_ui.api.event_stream import RUNNING
from chat_ui.inspector import charts, parts
from chat_ui.inspector.frame import Asked, answered, card, frame, gone, raw

AGAIN = 2.0  # seconds between two looks at a run that goes on
LOG_LINES = 200
SAMPLES = 60
CURVES = (
    ("loss", "Loss", "nats"),
    ("lr", "Learning rate", ""),
    ("grad_norm", "Gradient norm", ""),
    ("tokens_per_second", "Throughput", "tokens/s"),
)
PATH = "/run/{stage}/{run_id}"


async def page(request: Request, stage: str, run_id: str) -> None:
    name = f"{stage}/{run_id}"
    with frame(name[:100], "/runs") as here:
        detail, problem = await answered(lambda: asyncio.to_thread(rest.run_detail, here, stage, run_id))
        if detail is None:
            gone(problem)
            raw("<p>" + parts.link("/runs", "All runs") + "</p>")
            return
        await Page(here, stage, run_id, detail).show()


class Page:
    """What is shown of a run."""

    def __init__(self, here: Any, stage: str, run_id: str, detail: Any) -> None:
        self.here, self.stage, self.run_id, self.detail = here, stage, run_id, detail
        self.address = f"/api/v1/runs/{quote(stage, safe='')}/{quote(run_id, safe='')}"

    async def show(self) -> None:
        self.top = raw("")
        self._top()
        with ui.element("div").classes("grid"):
            drawn = []
            for field, title, unit in CURVES:
                with card(title):
                    chart = charts.chart(
                        charts.lines({}, "step", unit, legend=field == "loss"), f"{title} by step"
                    )
                    drawn.append({"id": chart.id, "field": field})
        with card("Log", f"The last lines, {LOG_LINES} at most."):
            log = raw("", "pre").classes("log").props('tabindex="0" role="log"')
        with card("Samples", "What it wrote while it learned, newest first."):
            self.samples = raw("")
        with ui.element("div").classes("grid"):
            with card("Checkpoints"):
                self.checkpoints = raw("")
            with card("Configuration"):
                raw(parts.command(" ".join(self.detail.command)) if self.detail.command else "")
                settings = {key: _told(value) for key, value in flat(self.detail.config).items()}
                raw(parts.pairs(settings)).classes("scroll").props('tabindex="0"')
        with card("Provenance", "Code, machine and files, each file by its SHA-256."):
            self.asked = Asked()
            self.provenance = raw("")
            ui.button("Check the files now", on_click=lambda: self._provenance(True)).props("outline no-caps")
        await self._rest()
        await self._provenance(False)
        ui.run_javascript(f"scratchbook.followRun({json.dumps(self.address)}, {json.dumps(drawn)}, {log.id})")
        if self.detail.status == RUNNING:
            self.timer = ui.timer(AGAIN, self.refresh)

    async def refresh(self) -> None:
        """Look again at a run that goes on."""
        detail, problem = await answered(
            lambda: asyncio.to_thread(rest.run_detail, self.here, self.stage, self.run_id)
        )
        if detail is None:
            self.top.set_content(parts.note(problem, bad=True))
            return
        self.detail = detail
        self._top()
        await self._rest()
        if detail.status != RUNNING:
            self.timer.cancel()

    def _top(self) -> None:
        detail, newest = self.detail, self.detail.latest
        train, val = newest.get("train", {}), newest.get("val", {})
        values = {
            "step": parts.number(train.get("step")),
            "training loss": parts.number(train.get("loss")),
            "validation loss": parts.number(val.get("loss")),
            "tokens/s": parts.number(train.get("tokens_per_second")),
        }
        line = f"began {parts.moment(detail.start)}" + (
            f", ended {parts.moment(detail.end)}" if detail.end else ""
        )
        look = (
            parts.link(parts.address("/look", model=detail.id), "look inside") if detail.checkpoints else ""
        )
        beside = parts.link(parts.address("/compare", runs=[detail.id]), "compare")
        self.top.set_content(
            f'<p class="state">{parts.badge(detail.status)} <span>{parts.text(line)}</span> {look} {beside}</p>'
            + (parts.note(detail.error, bad=True) if detail.error else "")
            + parts.figures({key: value for key, value in values.items() if value != "–"})
        )

    async def _rest(self) -> None:
        rows, problem = await answered(
            lambda: asyncio.to_thread(_last_samples, self.here, self.stage, self.run_id)
        )
        _put(self.samples, parts.note(problem, bad=True) if problem else samples_of(rows or []))
        found, problem = await answered(
            lambda: asyncio.to_thread(rest.checkpoints, self.here, self.stage, self.run_id)
        )
        _put(self.checkpoints, parts.note(problem, bad=True) if found is None else checkpoints_of(found))

    async def _provenance(self, verify: bool) -> None:
        found = await self.asked(lambda: rest.provenance(self.here, self.stage, self.run_id, verify))
        if found is not None:
            self.provenance.set_content(provenance_of(found))


def _put(place: ui.html, content: str) -> None:
    """Draw it if it is new: what is drawn again loses its place."""
    if place.content != content:
        place.set_content(content)


def _last_samples(here: Any, stage: str, run_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after, more = 0, True
    while more:  # a run keeps few of them
        found = rest.samples(here, stage, run_id, after, 1000)
        rows, after, more = (rows + found.rows)[-SAMPLES:], found.next, found.more and found.next > after
    return rows[::-1]


def samples_of(rows: list[dict[str, Any]]) -> str:
    """Samples under each other, the prompt told apart from what came out."""
    if not rows:
        return parts.note("no samples were written")
    return '<div class="samples">' + "".join(
        f"<figure><figcaption>step {parts.text(parts.number(row.get('step')))}</figcaption><p>"
        f"<b>{parts.text(row.get('prompt') or '')}</b>{parts.text(row.get('text') or '')}</p></figure>"
        for row in rows
    ) + "</div>"  # fmt: skip


def checkpoints_of(found: Any) -> str:
    """Checkpoints, newest first."""
    note = parts.note("one more is being written") if found.being_written else ""
    if not found.checkpoints:
        return note or parts.note("no checkpoint was saved")
    rows = (
        (f"{line.step:,}", parts.size(line.bytes), parts.number(line.score),
         ", ".join(name for name, yes in (("last", line.last), ("best", line.best)) if yes))
        for line in reversed(found.checkpoints)
    )  # fmt: skip
    return note + parts.table(("step", "size", "validation loss", ""), rows)


def provenance_of(found: Any) -> str:
    """Commit, machine, versions and the files with their sums."""
    commit = found.git_sha or "not in git"
    if found.git_dirty:
        commit += ", with changes that were not committed"
    machine = found.hardware.get("gpu") or found.hardware.get("cpu") or "unknown"
    values = {"commit": commit, "machine": machine}
    values |= {name: version for name, version in found.versions.items() if name in ("python", "torch")}
    if found.resumed:
        values["resumed"] = ", ".join(parts.moment(time) for time in found.resumed)
    rows = []
    for kind, files in (("read", found.inputs), ("made", found.outputs)):
        for file in files:
            if file.path is None:  # no file: a number or a name that was noted beside them
                more = {"": file.value} if not isinstance(file.value, dict) else flat(file.value)
                values |= {
                    f"{kind}: {file.name}{key and '.'}{key}": _told(value) for key, value in more.items()
                }
                continue
            where = (
                parts.link(parts.run_address(file.from_run), file.path)
                if file.from_run and file.from_run != found.id
                else parts.text(file.path)
            )
            sum_ = f"<code>{parts.text(file.sha256[:16])}…</code>" if file.sha256 else ""
            rows.append(
                (kind, parts.text(file.name), where, sum_, parts.size(file.bytes), parts.text(file.now))
            )
    listed = parts.table(("", "name", "file", "sha256", "size", "now"), rows, raw=True) if rows else ""
    return f'{parts.pairs(values)}<div class="files">{listed or parts.note("no files were noted")}</div>'


def flat(values: Any, before: str = "") -> dict[str, Any]:
    """Nested settings by dotted names.

    >>> flat({"model": {"n_layer": 2}, "seed": 1})
    {'model.n_layer': 2, 'seed': 1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[before + key] = value
    return found


def _told(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value)
    return shown if len(shown) <= 300 else shown[:299] + "…"
