"""Tokens in a terminal: each on its own background, and tokenizers side by side.

The idea: five quiet backgrounds in turn show where one token ends and the next begins; white space and raw bytes
are signs, so nothing in a text can move the cursor or change a colour.

Side by side, a line holds the same part of the text for every tokenizer; "≠" stands between the columns
where they cut it in different places. Needs a terminal of 256 colours.
Left out: pages in HTML (`inspect_html`). Notebook: 03 of this chapter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence, Set
from typing import Literal

from working_with_text_data.inspect_compare import Comparison, Stretch
from working_with_text_data.token_rows import TokenRow, token_table, visible_lines
from working_with_text_data.tokenizer import Tokenizer

_ANSI = (153, 222, 157, 218, 189)  # backgrounds that black text stays readable on
_END = "\x1b[0m"
LEAST_WIDTH = 8  # of a column


def coloured(
    text: str, tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"] = frozenset()
) -> str:
    """`text` with each token on its own background, in ANSI colours for a terminal of 256 colours.

    A newline is shown as ⏎ and then made. Special tokens are bold.
    """
    parts = []
    for row in token_table(text, tokenizer, allowed_special):
        # The colour ends before a line break, or the terminal fills the rest of the line with it.
        parts.append("\n".join(_paint(line, row) if line else "" for line in visible_lines(row)))
    return "".join(parts)


def side_by_side(comparison: Comparison, width: int = 100, colour: bool = True) -> str:
    """The tokenizers of a comparison in columns, `width` characters wide in all, without a last newline.

    Without `colour` a thin bar stands after each token, for a file or a pipe.
    """
    names = list(comparison.rows)
    column = max(LEAST_WIDTH, (width - 3 * (len(names) - 1)) // len(names))
    heads = [f"{name}: {comparison.statistics[name].tokens:,} tokens" for name in names]
    lines = [" │ ".join(_fit(head, column) for head in heads), "─┼─".join("─" * column for _ in names)]
    for group in _groups(comparison.stretches, column, colour):
        columns = [
            list(_wrap([row for stretch in group for row in stretch.rows[name]], column, colour))
            for name in names
        ]
        middle = " │ " if all(stretch.alike for stretch in group) else " ≠ "
        height = max(map(len, columns))
        for i in range(height):
            cells = [cells[i] if i < len(cells) else " " * column for cells in columns]
            lines.append(middle.join(cells).rstrip() if not colour else middle.join(cells))
    return "\n".join(lines)


def _groups(stretches: Sequence[Stretch], column: int, colour: bool) -> Iterator[list[Stretch]]:
    """Stretches that fit on one line in every column; those cut alike apart from those that are not."""
    group: list[Stretch] = []
    used: dict[str, int] = {}
    for stretch in stretches:
        sizes = {
            name: sum(_width(row.shown) + (not colour) for row in rows) for name, rows in stretch.rows.items()
        }
        full = any(used.get(name, 0) + size > column for name, size in sizes.items())
        if group and (full or group[-1].alike != stretch.alike or _ends_line(group[-1])):
            yield group
            group, used = [], {}
        group.append(stretch)
        used = {name: used.get(name, 0) + size for name, size in sizes.items()}
    if group:
        yield group


def _ends_line(stretch: Stretch) -> bool:
    return any(rows and rows[-1].bytes.endswith(b"\n") for rows in stretch.rows.values())


def _wrap(rows: Sequence[TokenRow], column: int, colour: bool) -> Iterator[str]:
    """Tokens as lines of exactly `column` cells; a token wider than that is broken."""
    line, used = "", 0
    for row in rows:
        rest = row.shown
        while rest:
            room = column - used - (not colour)
            piece = _cut(rest, room)
            if not piece or (used and _width(rest) > room and _width(rest) <= column - (not colour)):
                yield line + " " * (column - used)
                line, used = "", 0
                continue
            rest = rest[len(piece) :]
            line += _paint(piece, row) if colour else piece + ("" if rest else "|")
            used += _width(piece) + (not colour and not rest)
    yield line + " " * (column - used)


def _paint(shown: str, row: TokenRow) -> str:
    return f"\x1b[{'1;' if row.special else ''}30;48;5;{_ANSI[row.index % len(_ANSI)]}m{shown}{_END}"


def _width(shown: str) -> int:
    """Cells of a terminal: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown
    )


def _cut(shown: str, room: int) -> str:
    """The longest beginning of `shown` that is at most `room` cells wide."""
    end = used = 0
    while end < len(shown) and used + _width(shown[end]) <= room:
        used += _width(shown[end])
        end += 1
    return shown[:end]


def _fit(head: str, column: int) -> str:
    head = head if _width(head) <= column else _cut(head, column - 1) + "…"
    return head + " " * (column - _width(head))
