"""Tokens as HTML: a strip for a notebook, a report of one tokenizer, several side by side.

The idea: a piece of HTML that needs nothing else. No script, nothing from another place, all text escaped,
colours for light and for dark, and a page (`html_page`) forbids scripts besides, so a text that holds HTML
stays text. Hovering over a token shows its id and bytes. Each report stays below about 300 kB: what
does not fit is left out of the picture, said so, and counted all the same.

Left out: interaction, which the chat's pages add. Notebook: 03 of this chapter.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Literal

from working_with_text_data.inspect_compare import Comparison, Stretch, compare_tokenizers
from working_with_text_data.inspect_statistics import TokenStatistics
from working_with_text_data.token_prices import Price
from working_with_text_data.token_rows import TokenRow, token_table, visible_lines
from working_with_text_data.tokenizer import Tokenizer

# Five quiet backgrounds: black text stays readable, and colour-blind eyes tell neighbours apart.
COLOURS = ("#cfe8f7", "#fbe3b3", "#d3efdc", "#f5d5e4", "#e5e0f7")
_DARK = ("#1d4a66", "#5c4512", "#1f4d33", "#5e2746", "#403575")
SHOWN_BYTES = 270_000  # of HTML for the tokens; the rest of a report is small
TABLE_ROWS = 100
BLOCK_BYTES = 240  # of text in one row of a comparison, unless a line ends first

_STYLE = """<style>
.sb-tokens { --paper: #fff; --ink: #1a1a1a; --quiet: #595959; --line: #d0d0d0; LIGHT
  background: var(--paper); color: var(--ink); padding: .8em 1em; border-radius: 6px;
  font: 15px/1.5 system-ui, sans-serif }
@media (prefers-color-scheme: dark) {
  .sb-tokens { --paper: #16181c; --ink: #ececec; --quiet: #a8adb5; --line: #3c4149; DARK }
}
.sb-tokens p { margin: .5em 0; color: var(--quiet) }
.sb-tokens table { border-collapse: collapse; margin: .6em 0; color: var(--ink); background: none }
.sb-tokens th, .sb-tokens td { padding: .2em 1.4em .2em 0; border: 0; border-bottom: 1px solid var(--line);
  text-align: right; vertical-align: top; background: none; font-variant-numeric: tabular-nums }
.sb-tokens th { font-weight: 600 }
.sb-tokens th:first-child, .sb-tokens td:first-child, .sb-tokens .l { text-align: left }
.sb-tokens .l, .sb-tokens .t { overflow-wrap: anywhere; text-align: left }
.sb-tokens td.l, .sb-tokens .t { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.sb-tokens .t { font-size: .93em; line-height: 1.75 }
.sb-tokens i { font-style: normal; border-radius: 3px; padding: 1px 0; margin-right: 1px; unicode-bidi: isolate;
  white-space: pre-wrap; box-decoration-break: clone; -webkit-box-decoration-break: clone }
BACKGROUNDS
.sb-tokens i.s { font-weight: 700; outline: 1px solid var(--quiet) }
.sb-tokens i.d { border-bottom: 2px solid #d9731a }
.sb-tokens i.u { text-decoration: underline wavy; text-decoration-skip-ink: none }
.sb-tokens .g { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); column-gap: 1.2em }
.sb-tokens .g > div { border-bottom: 1px solid var(--line); padding: .25em 0 }
.sb-tokens .g > .h { font: 600 15px/1.5 system-ui, sans-serif }
</style>"""


def _style() -> str:
    def colours(values: Sequence[str]) -> str:
        return " ".join(f"--c{i}: {value};" for i, value in enumerate(values))

    backgrounds = "\n".join(
        f".sb-tokens i:nth-of-type(5n+{i + 1}) {{ background: var(--c{i}) }}" for i in range(len(COLOURS))
    )
    filled = _STYLE.replace("LIGHT", colours(COLOURS)).replace("DARK", colours(_DARK))
    return filled.replace("BACKGROUNDS", backgrounds)


def token_strip_html(
    text: str, tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"] = frozenset()
) -> str:
    """A self-contained piece of HTML: a box for each token, its id, bytes and offsets on hovering.

    No script, no style sheet, nothing from outside; all text is escaped.
    """
    boxes = []
    for row in token_table(text, tokenizer, allowed_special):
        style = f"background:{COLOURS[row.index % len(COLOURS)]};color:#111;border-radius:2px;padding:1px 0"
        if row.special:
            style += ";font-weight:bold;outline:1px solid #555"
        title = f"token {row.index} · id {row.id} · bytes {row.start}–{row.end}: {row.bytes.hex(' ')}"
        opening = f'<span style="{style}" title="{html.escape(title)}">'
        lines = [f"{opening}{html.escape(line)}</span>" if line else "" for line in visible_lines(row)]
        boxes.append("<br>".join(lines))
    font = "font-family:ui-monospace,Menlo,Consolas,monospace;line-height:1.7"
    return f'<div class="token-strip" style="{font}">{"<wbr>".join(boxes)}</div>'


def token_report_html(
    text: str,
    tokenizer: Tokenizer,
    allowed_special: Set[str] | Literal["all"] = frozenset(),
    *,
    name: str = "tokenizer",
    prices: Mapping[str, Price] | None = None,
) -> str:
    """What one tokenizer makes of a text: the text in boxes, the numbers, prices, and a table of the tokens."""
    comparison = compare_tokenizers(text, {name: tokenizer}, allowed_special)
    rows = comparison.rows[name]
    boxes = _Budget(SHOWN_BYTES)
    strip = _without_last_break("".join(boxes.take(rows)))
    parts = [_style(), _numbers(comparison.statistics), _prices({name: prices} if prices else {})]
    parts += [_note(boxes.shown, len(rows)), f'<div class="t">{strip}</div>', _table(rows)]
    return f'<div class="sb-tokens">{"".join(parts)}</div>'


def comparison_html(comparison: Comparison, prices: Mapping[str, Mapping[str, Price]] | None = None) -> str:
    """Tokenizers side by side: the numbers, prices (tokenizer → what `estimate_price` gives), then the text,
    each line of the picture the same bytes for all. Where they cut differently, tokens are underlined.
    """
    names = list(comparison.rows)
    cuts = (
        f"{len(comparison.shared_cuts):,} cuts are shared, {len(comparison.disputed_cuts):,} are made by some "
        f"only (underlined below): agreement {comparison.agreement:.1%}."
    )
    boxes = _Budget(SHOWN_BYTES)
    cells = [f'<div class="h">{html.escape(name)}</div>' for name in names]
    for block in _blocks(comparison.stretches):
        if boxes.full:
            break
        for name in names:
            shown = "".join(
                "".join(boxes.take(stretch.rows[name], disputed=not stretch.alike)) for stretch in block
            )
            cells.append(f"<div>{_without_last_break(shown)}</div>")
    total = sum(len(rows) for rows in comparison.rows.values())
    parts = [_style(), _numbers(comparison.statistics), f"<p>{cuts}</p>", _prices(prices or {})]
    parts += [_note(boxes.shown, total), f'<div class="g t" style="--n:{len(names)}">{"".join(cells)}</div>']
    return f'<div class="sb-tokens">{"".join(parts)}</div>'


def html_page(body: str, title: str) -> str:
    """A whole page around one of the pieces above. Its policy allows style and nothing else, no script at all."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        "<style>:root{color-scheme:light dark}body{margin:0;background:#fff}"
        "@media(prefers-color-scheme:dark){body{background:#16181c}}"
        ".sb-tokens{max-width:75em;margin:0 auto}</style>"
        f"</head><body>{body}</body></html>\n"
    )


class _Budget:
    """Boxes for tokens until so many bytes of HTML are used."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self.shown = 0
        self.full = False

    def take(self, rows: Sequence[TokenRow], disputed: bool = False) -> Iterator[str]:
        for row in rows:
            if self.full:
                return
            box = _box(row, disputed)
            self._left -= len(box.encode("utf-8"))
            if self._left < 0:
                self.full = True
                return
            self.shown += 1
            yield box


def _box(row: TokenRow, disputed: bool) -> str:
    kinds = "u" if row.unknown else "s" if row.special else ""
    kinds += " d" if disputed else ""
    kind = f' class="{kinds.strip()}"' if kinds else ""
    title = f"id {row.id} · bytes {row.start}–{row.end}"
    *ended, rest = (html.escape(line) for line in visible_lines(row))
    shown = "".join(f"{line}\n" for line in ended) + rest
    return f'<i{kind} title="{title}">{shown}</i><wbr>'


def _without_last_break(boxes: str) -> str:
    """The box of ⏎ at the end of a cell without the break itself, which would show as an empty line."""
    return boxes.removesuffix("\n</i><wbr>") + "</i>" if boxes.endswith("\n</i><wbr>") else boxes


def _blocks(stretches: Sequence[Stretch]) -> Iterator[list[Stretch]]:
    """Stretches in rows of the picture: up to the end of a line, or some hundred bytes."""
    block: list[Stretch] = []
    for stretch in stretches:
        block.append(stretch)
        rows = [rows[-1] for rows in stretch.rows.values() if rows]
        ended = any(row.bytes.endswith(b"\n") for row in rows)
        if ended or stretch.end - block[0].start >= BLOCK_BYTES:
            yield block
            block = []
    if block:
        yield block


def _note(shown: int, total: int) -> str:
    if shown == total:
        return ""
    return f"<p>The picture shows the first {shown:,} of {total:,} tokens; the numbers are those of all.</p>"


_NUMBERS = {
    "tokens": ("tokens", "{:,}"),
    "bytes per token": ("bytes_per_token", "{:.2f}"),
    "characters per token": ("characters_per_token", "{:.2f}"),
    "tokens per word": ("tokens_per_word", "{:.2f}"),
    "words whole in one token": ("word_coverage", "{:.1%}"),
    "characters whole in one token": ("character_coverage", "{:.1%}"),
    "unknown tokens": ("unknown_rate", "{:.1%}"),
    "different tokens": ("unique_tokens", "{:,}"),
    "… share of the vocabulary": ("vocabulary_share", "{:.2%}"),
    "bits, every id alike": ("fixed_bits", "{:,.0f}"),
    "bits, best code for these ids": ("entropy_bits", "{:,.0f}"),
}


def statistics_lines(statistics: Mapping[str, TokenStatistics]) -> Iterator[tuple[str, list[str]]]:
    """(what, its value for each tokenizer) in the order in which they are read."""
    for label, (attribute, form) in _NUMBERS.items():
        yield label, [form.format(getattr(numbers, attribute)) for numbers in statistics.values()]


def _numbers(statistics: Mapping[str, TokenStatistics]) -> str:
    first = next(iter(statistics.values()))
    about = f"{first.bytes:,} bytes, {first.characters:,} characters, {first.words:,} words"
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in statistics)
    lines = [
        f"<tr><td>{label}</td>{''.join(f'<td>{value}</td>' for value in values)}</tr>"
        for label, values in statistics_lines(statistics)
    ]
    return f"<table><tr><th>{about}</th>{heads}</tr>{''.join(lines)}</table>"


def _prices(prices: Mapping[str, Mapping[str, Price]]) -> str:
    if not prices:
        return ""
    names = dict.fromkeys(name for table in prices.values() for name in table)
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in prices)
    lines = [
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{html.escape(str(table[name]))}</td>" for table in prices.values())
        + "</tr>"
        for name in names
    ]
    return f"<table><tr><th>price, from your table</th>{heads}</tr>{''.join(lines)}</table>"


def _table(rows: Sequence[TokenRow]) -> str:
    lines = [
        f"<tr><td>{row.index}</td><td>{row.id}</td><td>{row.start}–{row.end}</td>"
        f'<td class="l">{html.escape(row.shown)}</td><td class="l">{row.bytes.hex(" ")}</td></tr>'
        for row in rows[:TABLE_ROWS]
    ]
    more = f", the first {TABLE_ROWS} of {len(rows):,}" if len(rows) > TABLE_ROWS else ""
    heads = '<th>token</th><th>id</th><th>bytes</th><th class="l">shown</th><th class="l">hex</th>'
    return f"<details><summary>Every token{more}</summary><table><tr>{heads}</tr>{''.join(lines)}</table></details>"
