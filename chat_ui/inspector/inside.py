"""/look: inside a loaded model. The next token with sliders, where each head looks, each layer's guess, surprise.

    /look?model=assets&view=next&text=Once+upon+a&temperature=0.8&top_k=50&top_p=0.95

Click a candidate and it is appended: writing by hand, one draw at a time. Attention (a grid of heads, one of them
large) and the logit lens are the viewers of their chapters, in a frame of their own. Left out: changing what flows
through the model. Notebooks: 03 of attention_mechanisms, 04 and 06 of gpt_model.
"""

from __future__ import annotations

import math
from typing import Any, cast

from nicegui import ui
from starlette.requests import Request

from chat_ui import limits
from chat_ui.api import insides as rest
from chat_ui.api.inside_schema import LensQuestion, NextQuestion
from chat_ui.inspector import parts
from chat_ui.inspector.frame import Asked, card, frame, keep, raw, said, said_number
from chat_ui.models import NO_MODEL

TEXT = "Once upon a time there was a"
LONGEST = 4_000  # characters, as the viewers' addresses take them
VIEWS = {"next": "Next token", "attention": "Attention", "lens": "Logit lens", "surprise": "Surprise"}
PAGES = {
    "attention": "/api/v1/transformer/visualize/attention/page",
    "lens": "/api/v1/transformer/logit-lens/page",
}
LISTED = 24  # candidates
PATH = "/look"


async def page(request: Request) -> None:
    with frame(
        "Look inside", "/look", "What a model makes of a text, from the first token to the next one."
    ) as here:
        names = list(await here.service.ids())
        if not names:
            raw(parts.note(NO_MODEL) + parts.command("scratchbook demo"))
            return
        await Page(here, request, names).show()


class Page:
    """A model, a text, and one of four ways to look."""

    def __init__(self, here: Any, request: Request, names: list[str]) -> None:
        self.here, self.request, self.names = here, request, names
        self.view = said(request, "view", "next")
        self.view = self.view if self.view in VIEWS else "next"

    async def show(self) -> None:
        request = self.request
        model = said(request, "model", self.names[0], limits.NAME_CHARACTERS) or self.names[0]
        options = list(
            dict.fromkeys([*self.names, model])
        )  # an unknown one stays, so that the line can say so
        self.area = ui.textarea("Text", value=said(request, "text", TEXT, LONGEST), on_change=self.refresh).props(
            f"outlined autogrow debounce=400 maxlength={LONGEST} input-style=max-height:12rem"
        ).style("width:100%")  # fmt: skip
        with ui.element("div").classes("controls"):
            self.model = (
                ui.select(options, value=model, label="Model", on_change=self.refresh)
                .props("dense outlined")
                .classes("grow")
            )
            tabs = ui.tabs(value=cast(Any, self.view), on_change=self._turn).props(
                "no-caps dense inline-label outside-arrows mobile-arrows"
            )
            with tabs:
                for name, label in VIEWS.items():
                    ui.tab(name, label)
        self.asked = Asked()
        self.working = raw("").props('role="status"')
        self.panels: dict[str, ui.element] = {}
        for name in VIEWS:
            self.panels[name] = ui.element("div").style("display:flex;flex-direction:column;gap:1.1rem")
        with self.panels["next"]:
            self._next_panel()
        self.frames = {}
        for name, target in PAGES.items():
            with self.panels[name]:
                self.frames[name] = (raw(""), target)
        with self.panels["surprise"]:
            self.surprise = card(
                "Surprise", "The warmer a token, the less the model expected it: −ln p, in nats."
            )
            with self.surprise:
                self.heat = raw("")
        self._open()
        # After the page is there: a model that is read for the first time takes a moment.
        ui.timer(0.05, self.refresh, once=True)

    def _next_panel(self) -> None:
        request = self.request
        self.temperature, self.top_k, self.top_p = 1.0, 0, 1.0
        with card("Sampling"), ui.element("div").classes("sliders"):
            for name, label, otherwise, low, high, step in (
                ("temperature", "Temperature", 1.0, 0.0, 2.0, 0.05),
                ("top_k", "Top-k (0: all)", 0, 0, 200, 1),
                ("top_p", "Top-p", 1.0, 0.05, 1.0, 0.01),
            ):
                value = said_number(request, name, otherwise, low, high)
                setattr(self, name, value)
                with ui.element("label").classes("slider"):
                    raw(label, "span")
                    shown = raw(parts.number(value), "b")
                    ui.slider(
                        min=low,
                        max=high,
                        step=step,
                        value=value,
                        on_change=lambda event, name=name, shown=shown: self._slide(name, shown, event.value),
                    ).props(f'aria-label="{label}"')
        with card(
            "Next token",
            "Teal: the probability after temperature, top-k and top-p. Orange: the model's own. "
            "Click a token to append it.",
        ):
            self.entropy = raw("")
            self.candidates = ui.element("div").classes("next")

    async def _slide(self, name: str, shown: ui.html, value: float) -> None:
        setattr(self, name, value)
        shown.set_content(parts.number(round(value, 2)))
        await self.refresh()

    async def _turn(self, event: Any) -> None:
        self.view = event.value
        self._open()
        await self.refresh()

    def _open(self) -> None:
        for name, panel in self.panels.items():
            panel.set_visibility(name == self.view)

    async def refresh(self, _: Any = None) -> None:
        """Look again, in the way that is open."""
        text, model = self.area.value or "", self.model.value
        settings = {
            "temperature": round(self.temperature, 2),
            "top_k": int(self.top_k),
            "top_p": round(self.top_p, 2),
        }
        told = {k: v for k, v in settings.items() if v != {"temperature": 1, "top_k": 0, "top_p": 1}[k]}
        keep(
            "/look",
            model=model,
            view=self.view if self.view != "next" else "",
            text=text if text != TEXT else "",
            **told,
        )
        if not text:
            self.asked.line.set_content(parts.note("type a text of at least one token", bad=True))
            return
        look = {"next": self._next, "surprise": self._surprise}.get(self.view, self._viewer)
        self.working.set_content(parts.note("looking …"))
        await look(text, model)
        self.working.set_content("")

    async def _next(self, text: str, model: str) -> None:
        found = await self.asked(lambda: rest.next_token(self.here, NextQuestion(
            model=model, text=text, temperature=round(self.temperature, 2), top_k=int(self.top_k) or None,
            top_p=round(self.top_p, 2) if self.top_p < 1 else None, top=LISTED)))  # fmt: skip
        if found is None:
            return
        self.entropy.set_content(parts.figures({
            "tokens read": f"{len(found.ids):,}",
            "entropy, nats": f"{found.entropy:.2f}",
            "perplexity": f"{math.exp(found.entropy):,.1f}",
            "tokens that can be drawn": f"{found.candidates:,}",
        }))  # fmt: skip
        self.candidates.clear()
        with self.candidates:
            largest = max((max(each.drawn, each.probability) for each in found.top), default=1.0) or 1.0
            for each in found.top:
                self._candidate(each, largest)

    def _candidate(self, each: Any, largest: float) -> None:
        """One line: the bars are shares of the largest in the list."""
        label = f"<small><b>{100 * each.drawn:.1f} %</b> · model {100 * each.probability:.1f} %</small>"
        bars = parts.bar(each.drawn / largest) + parts.bar(each.probability / largest, kind="other")
        button = ui.element("button").props(f'type="button" data-id="{each.id}"')
        button.classes("cut" if each.drawn == 0 else "")
        if each.text is None:
            button.props('disabled title="a part of a character: it cannot be appended as text"')
        else:
            button.on("click", lambda: self._append(each.text))
        with button:
            raw(f"<code>{parts.text(each.shown)}</code>", "span")
            raw(f"<span>{bars}</span>{label}", "span").classes("two")

    def _append(self, piece: str) -> None:
        self.area.set_value((self.area.value or "") + piece)  # which looks again

    async def _viewer(self, text: str, model: str) -> None:
        place, target = self.frames[self.view]
        # The same reading as the viewer's, so that a mistake is a line here and not a page of JSON in the frame.
        found = await self.asked(
            lambda: rest.next_token(self.here, NextQuestion(model=model, text=text, top=1))
        )
        if found is None:
            place.set_content("")
            return
        if len(found.ids) > limits.LOOK_TOKENS:
            self.asked.line.set_content(parts.note(
                f"the text has {len(found.ids)} tokens, and at most {limits.LOOK_TOKENS} can be looked at: shorten it",
                bad=True))  # fmt: skip
            return
        source = (
            parts.address(target, text=text, model=model) if len(text) <= parts.ADDRESS_CHARACTERS else ""
        )
        if not source:
            self.asked.line.set_content(
                parts.note("the text is too long for this view: shorten it", bad=True)
            )
            return
        content = (
            f'<iframe class="viewer" title="{VIEWS[self.view]}" src="{parts.text(source)}" '
            f'data-page="{parts.text(source)}" onload="scratchbook.fit(this)"></iframe>'
        )
        alone = f'<p class="quiet">{parts.link(source, "This view alone")}, to send or to keep.</p>'
        if place.content != content + alone:
            place.set_content(content + alone)

    async def _surprise(self, text: str, model: str) -> None:
        found = await self.asked(
            lambda: rest.logit_lens(self.here, LensQuestion(model=model, text=text, top=3))
        )
        if found is not None:
            self.heat.set_content(heat_of(found))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "<1 %".replace("<", "&lt;")


def heat_of(found: Any) -> str:
    """The text's tokens, each as dark as it was unexpected, and the numbers beside it."""
    values = [None, *found.surprise]
    output = found.layers[-1].opinions
    boxes, rows = [], []
    for place, (shown, value) in enumerate(zip(found.tokens, values, strict=True)):
        if value is None:
            boxes.append(
                f'<i style="--h:0" title="the first: nothing came before it">{parts.text(shown)}</i>'
            )
            continue
        title = f"{value:.2f} nats: 1 in {math.exp(min(value, 50)):,.0f}"
        boxes.append(f'<i style="--h:{min(0.85, value / 9):.2f}" title="{title}">{parts.text(shown)}</i>')
        guesses = "".join(
            f"<span><code>{parts.text(guess.shown)}</code> {_percent(guess.probability)}</span>"
            for guess in output[place - 1].guesses
        )
        rows.append(
            (f"<code>{parts.text(shown)}</code>", f"{value:.2f}", f'<div class="guesses">{guesses}</div>')
        )
    mean = sum(found.surprise) / len(found.surprise) if found.surprise else None
    told = {
        "nats per token": parts.number(mean),
        "perplexity": parts.number(math.exp(mean) if mean is not None else None),
    }
    return (
        parts.figures(told) + f'<div class="tokens heat" tabindex="0">{"".join(boxes)}</div>'
        + parts.table(("token", "nats", "most likely here"), rows, raw=True)
    )  # fmt: skip
