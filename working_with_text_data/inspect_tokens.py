"""Look at tokens: a row for each, colours in the terminal, a strip of boxes for a notebook or a report.

The idea: a token is a run of bytes, not of characters. So a row says where its bytes begin and end,
shows white space as signs, and shows raw bytes where a character is cut in two.

Left out: comparison of tokenizers and prices (a table of rows is all one needs for them).
"""

from __future__ import annotations

import html
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from working_with_text_data.tokenizer import Tokenizer

# Five quiet backgrounds: black text stays readable, and colour-blind eyes tell neighbours apart.
COLOURS = ("#cfe8f7", "#fbe3b3", "#d3efdc", "#f5d5e4", "#e5e0f7")
_ANSI = (153, 222, 157, 218, 189)  # the nearest of the 256 terminal colours
SIGNS = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x00": "␀", "\u00a0": "⍽"}


@dataclass(frozen=True)
class TokenRow:
    """One token of a text.

    `start` and `end` are byte offsets in the UTF-8 text, `text` is None where the token's bytes are
    no whole characters, `shown` is what to print.
    """

    index: int
    id: int
    start: int
    end: int
    bytes: bytes
    text: str | None
    shown: str
    special: bool


def token_table(
    text: str, tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"] = frozenset()
) -> list[TokenRow]:
    """A row for every token of `text`; specials are plain text unless allowed.

    >>> from working_with_text_data.byte_tokenizer import ByteTokenizer
    >>> [(row.start, row.shown) for row in token_table("a é", ByteTokenizer())]
    [(0, 'a'), (1, '·'), (2, '‹c3›'), (3, '‹a9›')]
    """
    if allowed_special:
        return rows_of_ids(tokenizer.encode(text, allowed_special), tokenizer)
    return rows_of_ids(tokenizer.encode_ordinary(text), tokenizer)


def rows_of_ids(ids: Sequence[int], tokenizer: Tokenizer) -> list[TokenRow]:
    """The same for ids, for example those that a model has generated."""
    special_ids = set(tokenizer.special_tokens.values())
    rows: list[TokenRow] = []
    start = 0
    for index, token_id in enumerate(ids):
        data = tokenizer.token_bytes(token_id)
        try:
            text: str | None = data.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        end = start + len(data)
        rows.append(TokenRow(index, token_id, start, end, data, text, visible(data), token_id in special_ids))
        start = end
    return rows


def visible(data: bytes) -> str:
    """Bytes as one printable line: space is ·, newline ⏎, tab ⇥, and half a character its bytes in hex.

    >>> visible(b" a\\n"), visible("é".encode()[:1] + b"x")
    ('·a⏎', '‹c3›x')
    """
    shown = []
    for character in data.decode("utf-8", "surrogateescape"):
        if character == " ":
            shown.append("·")
        elif character in SIGNS:
            shown.append(SIGNS[character])
        elif "\udc80" <= character <= "\udcff":  # a byte that is no character, as surrogateescape keeps it
            shown.append(f"‹{ord(character) - 0xDC00:02x}›")
        elif not character.isprintable():
            shown.append(f"‹U+{ord(character):04X}›")
        else:
            shown.append(character)
    return "".join(shown)


def coloured(
    text: str, tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"] = frozenset()
) -> str:
    """`text` with each token on its own background, in ANSI colours for a terminal of 256 colours.

    A newline is shown as ⏎ and then made. Special tokens are bold.
    """
    parts = []
    for row in token_table(text, tokenizer, allowed_special):
        colour = f"\x1b[{'1;' if row.special else ''}30;48;5;{_ANSI[row.index % len(_ANSI)]}m"
        # The colour ends before a line break, or the terminal fills the rest of the line with it.
        parts.append("\n".join(f"{colour}{line}\x1b[0m" if line else "" for line in _lines(row)))
    return "".join(parts)


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
        lines = [f"{opening}{html.escape(line)}</span>" if line else "" for line in _lines(row)]
        boxes.append("<br>".join(lines))
    font = "font-family:ui-monospace,Menlo,Consolas,monospace;line-height:1.7"
    return f'<div class="token-strip" style="{font}">{"<wbr>".join(boxes)}</div>'


def _lines(row: TokenRow) -> list[str]:
    """What is shown of a token, cut after each newline in it (UTF-8 has the byte 10 nowhere else)."""
    *ended, rest = row.bytes.split(b"\n")
    return [*(visible(line + b"\n") for line in ended), visible(rest)]
