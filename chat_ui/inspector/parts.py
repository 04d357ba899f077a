"""Small pieces of HTML: numbers as a person reads them, tables, bars. All text is escaped here.

Left out: what NiceGUI draws (inputs, charts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

ADDRESS_CHARACTERS = 1_500  # of a text in an address; a longer one is not sent along


def text(value: object) -> str:
    """Any value as text between tags or inside a quoted attribute.

    >>> text("<b>")
    '&lt;b&gt;'
    """
    return escape(str(value), quote=True)


def number(value: Any) -> str:
    """A number in few characters; anything else as it is.

    >>> number(124439808), number(0.00123456), number(None), number(2.0)
    ('124,439,808', '0.001235', '–', '2')
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return "–"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e12):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def short(value: float) -> str:
    """A large count in three digits.

    >>> short(124439808), short(950), short(1.2e9)
    ('124 M', '950', '1.2 G')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def size(count: float | None) -> str:
    """Bytes.

    >>> size(36864), size(0), size(None)
    ('36 KiB', '0 B', '–')
    """
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:,.3g} TiB"


def moment(stamp: str | None) -> str:
    """A time of a run file, to the second.

    >>> moment("2026-11-20T12:14:43.378491Z")
    '2026-11-20 12:14:43'
    """
    return "–" if not stamp else stamp[:19].replace("T", " ")


def address(path: str, **values: Any) -> str:
    """A path with the values that differ from nothing; a text that is too long is left out."""
    given = {}
    for name, value in values.items():
        if value in (None, "", [], ()) or (isinstance(value, str) and len(value) > ADDRESS_CHARACTERS):
            continue
        given[name] = value
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def run_address(name: str) -> str:
    """The page of a run by `stage/id`."""
    return "/run/" + "/".join(quote(part, safe="") for part in name.split("/", 1))


def link(target: str, label: object) -> str:
    return f'<a href="{text(target)}">{text(label)}</a>'


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, raw: bool = False) -> str:
    """A table that scrolls sideways where it is too wide. Cells are text, or HTML where `raw`."""
    shown = (lambda cell: str(cell)) if raw else text
    top = "".join(f"<th scope=col>{text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def pairs(values: Mapping[str, object], *, raw: bool = False) -> str:
    """Names and values under each other."""
    shown = (lambda cell: str(cell)) if raw else text
    lines = "".join(f"<dt>{text(name)}</dt><dd>{shown(value)}</dd>" for name, value in values.items())
    return f'<dl class="pairs">{lines}</dl>'


def figures(values: Mapping[str, object]) -> str:
    """A few numbers that matter, large."""
    boxes = "".join(
        f"<div><b>{text(value)}</b><span>{text(name)}</span></div>" for name, value in values.items()
    )
    return f'<div class="figures">{boxes}</div>'


def bar(share: float, label: object = "", *, kind: str = "") -> str:
    """A bar of a share from 0 to 1, its label beside it."""
    width = 100 * min(1.0, max(0.0, share))
    drawn = f'<span class="bar {text(kind)}"><i style="width:{width:.1f}%"></i></span>'
    return drawn + (f'<span class="barlabel">{text(label)}</span>' if label else "")


def badge(status: str) -> str:
    """The status of a run."""
    kind = status.split(" ", 1)[0]
    kind = kind if kind in ("running", "complete", "failed", "stopped") else "other"
    return f'<span class="badge {kind}">{text(status)}</span>'


def note(line: str, *, bad: bool = False) -> str:
    """One line that says what is so, or what to change."""
    return f'<p class="note{" bad" if bad else ""}" role="{"alert" if bad else "status"}">{text(line)}</p>'


def command(*lines: str) -> str:
    """Commands to type."""
    return f'<pre class="command">{text(chr(10).join(lines))}</pre>'
