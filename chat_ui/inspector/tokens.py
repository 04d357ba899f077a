"""/tokens: a text in coloured tokens, two tokenizers side by side, and what it costs.

    /tokens?text=Once+upon+a+time&tokenizer=assets&beside=byte&input=0.15&output=0.6&answer=100

Left out: training a tokenizer (`python -m working_with_text_data.train_tokenizer`), how well it fits many texts
(/api/v1/tokenization/coverage).
"""

from __future__ import annotations

import math
from typing import Any

from nicegui import ui
from starlette.requests import Request

from chat_ui import limits
from chat_ui.api import tokenization as rest
from chat_ui.api.tokenization_schema import (
    EncodeQuestion,
    EstimateQuestion,
    PriceRow,
    SideBySideQuestion,
)
from chat_ui.inspector import parts
from chat_ui.inspector.frame import Asked, card, frame, keep, raw, said, said_number

TEXT = "The quick brown fox can't jump over 2,048 lazy dogs. Ἀρχὴ ἥμισυ παντός 🦊\n    return x + 1"
SHOWN = 3_000  # tokens drawn of one text
PATH = "/tokens"


async def page(request: Request) -> None:
    with frame(
        "Tokens",
        "/tokens",
        "How a text is split into what a model reads. Hover over a token for its id and bytes.",
    ) as here:
        await Page(here, request).show()


class Page:
    """A text, one or two tokenizers, a price."""

    def __init__(self, here: Any, request: Request) -> None:
        self.here, self.request = here, request
        self.text = said(request, "text", TEXT, limits.PROMPT_CHARACTERS)

    async def show(self) -> None:
        names = list(await self.here.compute(self.here.tokenizers))
        first = next((name for name in names if name != "byte"), "byte")
        # A name from the address that nobody has stays chosen, so that the line below can say so.
        chosen = said(self.request, "tokenizer", first, limits.NAME_CHARACTERS) or first
        beside = said(self.request, "beside", "byte" if chosen != "byte" else "", limits.NAME_CHARACTERS)
        options = list(dict.fromkeys([*names, chosen, *([beside] if beside else [])]))
        self.area = ui.textarea("Text", value=self.text, on_change=self.refresh).props(
            "outlined autogrow debounce=300 input-style=max-height:16rem"
        ).style("width:100%")  # fmt: skip
        with ui.element("div").classes("controls"):
            self.chosen = ui.select(options, value=chosen, label="Tokenizer", on_change=self.refresh).props(
                "dense outlined").classes("grow")  # fmt: skip
            self.beside = ui.select({"": "none", **{name: name for name in options}}, value=beside, label="Beside it",
                                    on_change=self.refresh).props("dense outlined").classes("grow")  # fmt: skip
        self.asked = Asked()
        self.strips = raw("").classes("grid")
        self.agreement = raw("")
        with card("What it costs", "At your prices for one million tokens; the book knows none."):
            with ui.element("div").classes("controls"):
                self.input = self._number("Input price, per million", "input", 0.0)
                self.output = self._number("Output price, per million", "output", 0.0)
                self.answer = self._number("Output tokens", "answer", 0.0)
            self.price = Asked()
            self.cost = raw("")
        await self.refresh()

    def _number(self, label: str, name: str, otherwise: float) -> ui.number:
        value = said_number(self.request, name, otherwise, 0, 1e9)
        return ui.number(label, value=value, min=0, on_change=self.refresh).props(
            "dense outlined debounce=300"
        )

    async def refresh(self, _: Any = None) -> None:
        """Cut the text again."""
        text, chosen, beside = self.area.value or "", self.chosen.value, self.beside.value
        names = [chosen] + ([beside] if beside and beside != chosen else [])
        prices = {"input": self.input.value, "output": self.output.value, "answer": self.answer.value}
        kept = {name: value or None for name, value in prices.items()}
        keep("/tokens", text=text if text != TEXT else "", tokenizer=chosen, beside=beside or None, **kept)
        found = await self.asked(lambda: self._cut(text, names))
        if found is None:
            return
        strips, together = found
        cuts = [{piece.end for piece in each.pieces} for each in strips]
        shared = set.intersection(*cuts)
        self.strips.set_content("".join(_strip(each, shared, len(strips) > 1) for each in strips))
        self.agreement.set_content(_agreement(together))
        await self._cost(text, names)

    async def _cut(self, text: str, names: list[str]) -> Any:
        strips = [
            await rest.encode(self.here, EncodeQuestion(text=text, tokenizer=name, rows=SHOWN))
            for name in names
        ]
        together = None
        if len(names) > 1:
            together = await rest.compare(
                self.here, SideBySideQuestion(text=text, tokenizers=names, stretches=0)
            )
        return strips, together

    async def _cost(self, text: str, names: list[str]) -> None:
        if not self.input.value and not self.output.value:
            self.cost.set_content(parts.note("give a price to see what this text would cost"))
            return
        prices = {"price": PriceRow(input=float(self.input.value or 0), output=float(self.output.value or 0))}
        found = await self.price(lambda: rest.estimate_cost(self.here, EstimateQuestion(
            text=text, tokenizers=names, prices=prices, output_tokens=int(self.answer.value or 0))))  # fmt: skip
        if found is not None:
            rows = ((one.tokenizer, f"{one.tokens:,}", *map(price, (one.input, one.output, one.total)))
                    for one in found.estimates)  # fmt: skip
            self.cost.set_content(parts.table(("tokenizer", "tokens", "input", "output", "total"), rows))


def price(value: float) -> str:
    """An amount of money, in full and with the four digits that matter.

    >>> price(0.00001155), price(2.5), price(0.0)
    ('0.00001155', '2.5', '0')
    """
    if not value:
        return "0"
    digits = max(2, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".")


def _strip(found: Any, shared: set[int], mark: bool) -> str:
    """One tokenizer's boxes and its numbers."""
    values = found.statistics
    told = {"tokens": f"{found.tokens:,}"}
    for key, label in (("bytes_per_token", "bytes per token"), ("tokens_per_word", "tokens per word")):
        if values.get(key) is not None:
            told[label] = f"{values[key]:.2f}"
    more = found.tokens - len(found.pieces)
    note = parts.note(f"and {more:,} tokens that are not drawn") if more > 0 else ""
    ids = " ".join(str(token) for token in found.ids[:400]) + (" …" if found.tokens > 400 else "")
    return (
        f'<section class="card"><h2>{parts.text(found.tokenizer)}</h2>{parts.figures(told)}'
        f'<div class="tokens" tabindex="0">{boxes(found.pieces, shared if mark else None)}</div>{note}'
        f"<details><summary>ids</summary><code>{parts.text(ids)}</code></details></section>"
    )


def boxes(pieces: list[Any], shared: set[int] | None = None) -> str:
    """A box for each token; one that ends where the other tokenizer does not cut is underlined."""
    drawn = []
    for place, piece in enumerate(pieces):
        kinds = [
            name
            for name, yes in (
                ("special", piece.special),
                ("apart", shared is not None and piece.end not in shared),
            )
            if yes
        ]
        about = f"token {place} · id {piece.id} · bytes {piece.start}–{piece.end}: {piece.hex}"
        lines = (piece.text if piece.text is not None else piece.shown).split("\n")
        shown = "⏎\n".join(parts.text(line) for line in lines)
        drawn.append(f'<i class="{" ".join(kinds)}" title="{about}">{shown}</i>')
    return "".join(drawn) or parts.note("there is no text")


def _agreement(found: Any) -> str:
    if found is None:
        return ""
    share = f"{100 * found.agreement:.0f} %"
    return parts.note(f"Both split at {found.shared_cuts:,} places, only one of them at {found.disputed_cuts:,}: they "
                      f"agree on {share}. Tokens that end where the other does not split are underlined.")  # fmt: skip
