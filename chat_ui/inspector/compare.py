"""/compare: several runs in one plot, and the settings in which they differ.

    /compare?runs=pretrain/a&runs=pretrain/b&value=loss&split=val&x=tokens

Curves are drawn from the records themselves, thinned to what a screen can show; the numbers below are the latest of
each run. Left out: whether a difference is more than chance (`python -m attention_mechanisms.benchmark` and the
notebook on scaling ask that).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from nicegui import ui
from starlette.requests import Request

from chat_ui import limits
from chat_ui.api import runs as rest
from chat_ui.inspector import charts, parts
from chat_ui.inspector.frame import Asked, answered, card, frame, keep, raw, said
from chat_ui.inspector.run import flat

POINTS = 2_000  # of one curve
RECORDS = 200_000  # read of one run
AXES = {"step": "step", "tokens": "tokens", "elapsed": "seconds"}
NO_VALUES = {"step", "epoch", "elapsed", "tokens", "progress"}
PATH = "/compare"


async def page(request: Request) -> None:
    with frame(
        "Compare runs", "/runs", "Their curves in one plot, and the settings in which they differ."
    ) as here:
        await Page(here, request).show()


class Page:
    """Runs, the figure that is drawn, and over what."""

    def __init__(self, here: Any, request: Request) -> None:
        self.here = here
        named = [name[: 2 * limits.NAME_CHARACTERS] for name in request.query_params.getlist("runs")]
        self.runs = list(dict.fromkeys(named))[: len(charts.PALETTE)]
        self.value, self.split = said(request, "value", "loss", 100), said(request, "split", "", 100)
        self.x = said(request, "x", "step", 20) if said(request, "x", "step", 20) in AXES else "step"
        self.log = said(request, "log") == "1"
        self.records: dict[str, list[dict[str, Any]]] = {}

    async def show(self) -> None:
        names = {
            line.id: line.id
            for line in (await asyncio.to_thread(rest.runs, self.here, None, None, 0, 200)).runs
        }
        names |= {name: name for name in self.runs}
        with ui.element("div").classes("controls"):
            ui.select(
                names, value=self.runs, multiple=True, label="Runs", with_input=True, on_change=self._choose
            ).props("dense outlined use-chips").classes("grow")
            self.values = ui.select([self.value], value=self.value, label="Metric").props("dense outlined")
            self.splits = ui.select({"": "every split"}, value="", label="Split").props("dense outlined")
            ui.select(AXES, value=self.x, label="Over", on_change=self._set("x")).props("dense outlined")
            ui.switch("Logarithmic", value=self.log, on_change=self._set("log"))
        self.asked = Asked()
        with card():
            self.title = raw("")
            self.place = ui.element("div").style("width:100%")
        with card("Latest values"):
            self.newest = raw("")
        with card("Settings that differ"):
            self.settings = raw("")
        await self._read()
        self.values.on_value_change(self._set("value"))
        self.splits.on_value_change(self._set("split"))

    def _set(self, name: str) -> Any:
        def changed(event: Any) -> None:
            setattr(self, name, event.value if event.value is not None else "")
            self._draw()

        return changed

    async def _choose(self, event: Any) -> None:
        self.runs = list(event.value)[: len(charts.PALETTE)]
        await self._read()

    async def _read(self) -> None:
        """Read the chosen runs that were not read yet."""
        problems = []
        details = {}
        for name in self.runs:
            found, problem = await answered(partial(asyncio.to_thread, _records, self.here, name))
            if found is None:
                problems.append(problem)
            else:
                details[name], self.records[name] = found
        self.asked.line.set_content("".join(parts.note(line, bad=True) for line in problems))
        rows = [row for name in details for row in self.records[name]]
        values = sorted({key for row in rows for key, value in row.items() if _is_number(value)} - NO_VALUES)
        splits = sorted({str(row.get("split", "train")) for row in rows})
        if self.value not in values and values:
            self.value = "loss" if "loss" in values else values[0]
        self.split = self.split if self.split in splits else ""
        self.values.set_options(values or [self.value], value=self.value)
        self.splits.set_options({"": "every split", **{name: name for name in splits}}, value=self.split)
        self.newest.set_content(_newest(details))
        self.settings.set_content(_differences(details))
        self._draw()

    def _draw(self) -> None:
        keep(
            "/compare",
            runs=self.runs,
            value=self.value,
            split=self.split,
            x=self.x,
            log="1" if self.log else "",
        )
        self.title.set_content(
            f"<h2>{parts.text(self.value)} by {AXES[self.x]}</h2>"
            + ('<p class="about">A colour for each run; validation is dashed.</p>' if not self.split else "")
        )
        series: dict[str, list[list[float]]] = {}
        looks: dict[str, tuple[int, bool]] = {}
        for place, name in enumerate(self.runs):
            for row in self.records.get(name, ()):
                split = str(row.get("split", "train"))
                if (
                    (self.split in ("", split))
                    and _is_number(row.get(self.value))
                    and _is_number(row.get(self.x))
                ):
                    label = name if self.split else f"{name} · {split}"
                    series.setdefault(label, []).append([row[self.x], row[self.value]])
                    looks[label] = (place, not self.split and split != "train")
        self.place.clear()
        with self.place:
            if not series:
                raw(
                    parts.note(
                        "none of these runs recorded this metric" if self.runs else "choose runs above"
                    )
                )
                return
            thinned = {label: _thinned(points) for label, points in series.items()}
            options = charts.lines(thinned, AXES[self.x], "", log=bool(self.log), looks=looks)
            charts.chart(options, f"{self.value} of {len(self.runs)} runs").classes("tall")


def _records(here: Any, name: str) -> tuple[Any, list[dict[str, Any]]]:
    stage, _, run_id = name.partition("/")
    detail = rest.run_detail(here, stage, run_id)
    rows: list[dict[str, Any]] = []
    after, more = 0, True
    while more and len(rows) < RECORDS:
        found = rest.metrics(here, stage, run_id, after, limits.ROWS_OF_A_FILE)
        rows += found.rows
        after, more = found.next, found.more and found.next > after
    return detail, rows


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """At most `POINTS` of them, the last one kept."""
    every = -(-len(points) // POINTS)
    return points if every <= 1 else points[:-1:every] + points[-1:]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _newest(details: dict[str, Any]) -> str:
    if not details:
        return parts.note("no run is chosen")
    rows = []
    for name, detail in details.items():
        train, val = detail.latest.get("train", {}), detail.latest.get("val", {})
        cells = [parts.link(parts.run_address(name), name), parts.badge(detail.status)]
        cells += [parts.text(parts.number(train.get(key))) for key in ("step", "loss", "tokens_per_second")]
        rows.append([*cells, parts.text(parts.number(val.get("loss")))])
    return parts.table(
        ("run", "status", "step", "training loss", "tokens/s", "validation loss"), rows, raw=True
    )


def _differences(details: dict[str, Any]) -> str:
    settings = {name: flat(detail.config) for name, detail in details.items()}
    keys = sorted({key for values in settings.values() for key in values})
    rows = []
    for key in keys:
        told = [str(values.get(key, "–")) for values in settings.values()]
        if len(set(told)) > 1:
            rows.append([key, *(value[:80] for value in told)])
    if len(details) < 2:
        return parts.note("choose two runs or more")
    return (
        parts.table(("setting", *details), rows) if rows else parts.note("nothing: all settings are the same")
    )
