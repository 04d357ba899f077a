"""The statistics of a text, or of two side by side, on one page: HTML with figures, Markdown, or JSON.

The HTML page is one file that asks for nothing: its figures are SVG within it, its style is ten lines, it
has no script. It can be mailed, kept beside a corpus, and read in ten years. Everything that comes from the
text is escaped.

Left out: the numbers themselves (`text_statistics.py`, `text_comparison.py`).
Shown in notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError
from utils.files import atomic_write_text

from .text_comparison import Comparison, compare_statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .text_statistics import Lengths, TextStatistics

SUFFIXES = (".html", ".md", ".json")
Row = tuple[str, ...]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem}
p.note{color:#555;margin:.3rem 0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
th,td{padding:.25rem .9rem .25rem 0;text-align:right;border-bottom:1px solid #e4e4e4;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{font-weight:600;border-bottom:2px solid #999}
td.words{white-space:normal}
figure{margin:1rem 0}figure svg{max-width:100%;height:auto}
"""


def write_report(path: str | os.PathLike[str], a: TextStatistics, b: TextStatistics | None = None) -> Path:
    """Write the page on `a`, or on `a` and `b` with what differs; returns its path.

    Raises:
        UserError: a suffix other than .html, .md or .json.
        OSError: the folder cannot be written to.
    """
    suffix = check_suffix(path)
    made = {".html": to_html, ".md": to_markdown, ".json": to_json}[suffix](a, b)
    return atomic_write_text(path, made)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix, or a UserError that lists those there are: before an hour of counting, not after."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{os.fspath(path)}: a report is .html, .md or .json: end out= in one of these")
    return suffix


def to_json(a: TextStatistics, b: TextStatistics | None = None) -> str:
    """Both results and the comparison, for another program."""
    plain: dict[str, Any] = {"version": 1, "statistics": [s.to_dict() for s in (a, b) if s is not None]}
    if b is not None:
        plain["comparison"] = compare_statistics(a, b).to_dict()
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def to_markdown(a: TextStatistics, b: TextStatistics | None = None) -> str:
    """Tables only: what a README or an issue can show."""
    parts = [f"# {_md(title(a, b))}", ""]
    for heading, note, table in sections(a, b):
        parts += [f"## {heading}", "", *([_md(note), ""] if note else [])]
        head, *rows = ([_md(cell) for cell in row] for row in table)
        parts += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        parts += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(parts)


def to_html(a: TextStatistics, b: TextStatistics | None = None) -> str:
    """The page with its figures; nothing is loaded from outside."""
    from utils.plotting import figure_to_svg, style

    name = html.escape(title(a, b))
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>{name}</h1>",
    ]
    with style():
        pictures = {"Lengths": draw_lengths(a, b), "Words": draw_zipf(a, b)}
        svgs = {heading: figure_to_svg(figure) for heading, figure in pictures.items()}
    for heading, note, table in sections(a, b):
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        parts += [f'<p class="note">{html.escape(note)}</p>'] if note else []
        if heading in svgs:
            parts.append(f"<figure>{svgs[heading]}</figure>")
        parts.append(_html_table(table))
    return "\n".join([*parts, "</body></html>", ""])


def title(a: TextStatistics, b: TextStatistics | None) -> str:
    return f"Text statistics: {a.name or 'text'}" + (f" and {b.name or 'text'}" if b is not None else "")


def sections(a: TextStatistics, b: TextStatistics | None) -> list[tuple[str, str, list[Row]]]:
    """(heading, a sentence on how to read it, table with its head) in the order of the page."""
    both = [a] if b is None else [a, b]
    names = tuple(_short(s.name) or "text" for s in both)
    found = [("Size", _exactness(both), [("", *names), *_sizes(both)])]
    found.append(("Lengths", "How long a document is.", _length_table(both)))
    note = "Frequency of the word of each rank, on two logarithmic axes. Natural language: a line of slope near −1."
    found.append(("Words", note, [("", *names), *_words(both)]))
    found.append(("Scripts and languages", "", [("share", *names), *_mixes(both)]))
    if b is not None:
        difference = compare_statistics(a, b)
        note = "0: alike, 1: nothing in common. Two halves of one text differ a little, too."
        found.append(("What differs", note, [("", "value"), *_differences(difference, *names)]))
    return found


def _exactness(both: Sequence[TextStatistics]) -> str:
    notes = []
    for s in both:
        name = _short(s.name) or "text"
        if s.vocabulary_error:
            notes.append(f"{name}: vocabulary ± {s.vocabulary_error:.1%}, words up to {s.undercount} too few")
        length = s.lengths["characters"]
        if not length.exact:
            notes.append(f"{name}: percentiles from {len(length.sample):,} documents")
        if not s.duplicates_exact:
            notes.append(f"{name}: copies estimated from a sample")
    return "Estimated. " + "; ".join(notes) + "." if notes else "Every number is an exact count."


def _sizes(both: Sequence[TextStatistics]) -> list[Row]:
    rows: list[Row] = []
    for what in ("documents", "bytes", "characters", "lines", "words", "vocabulary", "duplicates"):
        label = "duplicates (copies)" if what == "duplicates" else what
        rows.append((label, *(f"{getattr(s, what):,}" for s in both)))
    if any(s.tokens is not None for s in both):
        rows.append(("tokens", *(_number(s.tokens) for s in both)))
        rows.append(("tokenizer", *(_short(s.tokenizer or "none") for s in both)))
        used = (f"{s.tokens_used:,} of {s.vocab_size:,}" if s.tokens_used is not None else "–" for s in both)
        rows.append(("ids used", *used))
        rows.append(("bytes per token", *(_number(s.bytes_per_token) for s in both)))
        rows.append(("tokens per word", *(_number(s.tokens_per_word) for s in both)))
    return rows


def _length_table(both: Sequence[TextStatistics]) -> list[Row]:
    marks = list(both[0].lengths["characters"].percentiles)
    rows: list[Row] = [("", "mean", "shortest", *(f"p{p}" for p in marks), "longest")]
    for s in both:
        for unit, length in s.lengths.items():
            if unit == "bytes" and length.total == s.lengths["characters"].total:
                continue  # ASCII: the same row twice
            label = unit if len(both) == 1 else f"{_short(s.name)}: {unit}"
            rows.append((label, *_length_row(length)))
    return rows


def _length_row(length: Lengths) -> Iterable[str]:
    values = (length.mean, length.minimum, *length.percentiles.values(), length.maximum)
    return (f"{value:,.0f}" for value in values)


def _words(both: Sequence[TextStatistics]) -> list[Row]:
    slope = (_slope(s) for s in both)
    return [
        ("slope of the line", *slope),
        ("words that occur once", *("–" if s.once is None else f"{s.once:.1%}" for s in both)),
        ("most frequent", *(", ".join(word for word, _ in s.top_words[:12]) or "–" for s in both)),
    ]


def _mixes(both: Sequence[TextStatistics]) -> list[Row]:
    rows: list[Row] = []
    for what, mixes in (
        ("script", [s.scripts for s in both]),
        ("language", [s.languages or {} for s in both]),
    ):
        largest = sorted(
            {name for mix in mixes for name in mix}, key=lambda n: -max(m.get(n, 0) for m in mixes)
        )
        rows += [(f"{what} {name}", *(_share(mix.get(name, 0)) for mix in mixes)) for name in largest[:6]]
    if not any(s.languages for s in both):
        rows.append(("languages", *("not asked" for _ in both)))
    return rows


def _differences(found: Comparison, a: str, b: str) -> list[Row]:
    rows: list[Row] = [
        ("words (Jensen–Shannon, bits)", f"{found.word_divergence:.3f}"),
        ("document lengths (Kolmogorov–Smirnov)", f"{found.length_distance:.3f}"),
        ("scripts", f"{found.script_distance:.3f}"),
        ("languages", "not asked" if found.language_distance is None else f"{found.language_distance:.3f}"),
        ("vocabulary in common", f"{found.shared_vocabulary:.1%}"),
        (f"running words of {b} that {a} knows", f"{found.b_covered_by_a:.1%}"),
        (f"running words of {a} that {b} knows", f"{found.a_covered_by_b:.1%}"),
        (f"typical of {a}", ", ".join(found.typical_of_a) or "–"),
        (f"typical of {b}", ", ".join(found.typical_of_b) or "–"),
    ]
    return rows


def draw_lengths(a: TextStatistics, b: TextStatistics | None = None) -> Figure:
    """Share of the documents by length in characters, on a logarithmic axis."""
    import numpy as np
    from matplotlib.figure import Figure

    both = [s for s in (a, b) if s is not None]
    samples = [np.maximum(s.lengths["characters"].sample, 1) for s in both]
    low, high = min(map(min, samples)), max(map(max, samples))
    edges = np.geomspace(low / 1.1, high * 1.1, 41).tolist()
    fig = Figure(figsize=(7, 2.8))
    ax = fig.subplots()
    for s, sample in zip(both, samples, strict=True):
        weights = np.full(len(sample), 1 / len(sample))
        ax.hist(
            sample,
            bins=edges,
            weights=weights,
            label=_short(s.name) or "text",
            alpha=0.6,
            histtype="stepfilled",
        )
    ax.set(xscale="log", xlabel="characters in a document", ylabel="share of documents")
    if b is not None:
        ax.legend()
    return fig


def draw_zipf(a: TextStatistics, b: TextStatistics | None = None) -> Figure:
    """Frequency against rank, both logarithmic; a dashed line of slope −1 to compare with."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7, 3))
    ax = fig.subplots()
    highest = 0.0
    for s in (a, b):
        if s is not None and s.zipf is not None:
            shares = [count / s.words for count in s.zipf.counts]
            ax.plot(s.zipf.ranks, shares, ".-", label=f"{_short(s.name) or 'text'}: slope {_slope(s)}")
            highest = max(highest, shares[0])
            ax.plot(s.zipf.ranks, [shares[0] / rank for rank in s.zipf.ranks], "--", color="#777777", lw=1)
    ax.set(xscale="log", yscale="log", xlabel="rank of the word", ylabel="share of all words")
    if highest:
        ax.legend()
    return fig


def _slope(s: TextStatistics) -> str:
    return f"{s.zipf.slope:.2f}".replace("-", "−") if s.zipf else "–"


def _share(value: float) -> str:
    return "< 0.1%" if 0 < value < 0.0005 else f"{value:.1%}"


def _short(name: str, limit: int = 32) -> str:
    """A name that fits a column: the end of a path says most."""
    return name if len(name) <= limit else "…" + name[-limit + 1 :]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _md(text: str) -> str:
    """Text that Markdown shows as it is, also in a table cell."""
    escaped = html.escape(text, quote=False).replace("\\", "\\\\").replace("\n", " ")
    for sign in "|*_`[]":
        escaped = escaped.replace(sign, "\\" + sign)
    return escaped


def _html_table(table: list[Row]) -> str:
    head, *rows = table
    lines = ['<div class="wide"><table><thead><tr>']
    lines += [f"<th>{html.escape(cell)}</th>" for cell in head] + ["</tr></thead><tbody>"]
    for row in rows:
        cells = (f"<td{' class=words' if len(cell) > 40 else ''}>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "".join([*lines, "</tbody></table></div>"])
