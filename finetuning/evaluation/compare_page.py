"""The comparison as a page, a text and a few lines: one file each, no script, no address outside.

The forest plot is drawn by hand as SVG: a row for each kind, a point for each arm and a line for its interval. What was
not measured says so. Left out: computing anything (`compare`).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

COLOURS = {"base": "#777777", "prompted": "#ee7733", "tuned": "#0077bb"}
OTHERS = ("#009988", "#cc3311", "#33bbee")
Figures = Mapping[str, Any]


def summary_lines(figures: Figures) -> list[str]:
    """What a terminal shows."""
    lines = []
    for name, arm in figures["arms"].items():
        lines.append(f"{name:>9}: {share_words(arm['overall'])}")
    for name, pair in figures["over"].items():
        lines.append(f"over {name}: {difference_words(pair['difference'])}; {win_words(pair['win_rate'])}")
    lines.append(forgetting_words(figures["forgetting"]))
    lines += [contamination_words(name, part) for name, part in figures["contamination"].items()]
    return lines


def share_words(share: Figures) -> str:
    """`84 % (285 of 340, 95 % interval 80 % to 87 %)`."""
    return (
        f"{100 * share['value']:.0f} % ({share['hits']} of {share['total']}, "
        f"95 % interval {100 * share['low']:.0f} % to {100 * share['high']:.0f} %)"
    )


def difference_words(gap: Figures) -> str:
    """`+ 83 points (79 to 87)`."""
    return f"{100 * gap['value']:+.0f} points ({100 * gap['low']:+.0f} to {100 * gap['high']:+.0f})"


def win_words(win: Figures) -> str:
    """Wins, ties, losses and the rate."""
    rate = win["rate"]
    return (
        f"{win['wins']} won, {win['ties']} tied, {win['losses']} lost: win rate {100 * rate['value']:.0f} % "
        f"({100 * rate['low']:.0f} to {100 * rate['high']:.0f}), p = {win['p_value']:.1g}"
    )


def forgetting_words(found: Figures) -> str:
    """Perplexity before and after."""
    if "not_measured" in found:
        return f"forgetting: not measured ({found['not_measured']})"
    return (
        f"forgetting: perplexity on {found['text']} {found['perplexity_before']:.2f} before, "
        f"{found['perplexity_after']:.2f} after ({found['tokens']:,} tokens; bits per byte × {found['bits_ratio']:.2f})"
    )


def contamination_words(name: str, part: Figures) -> str:
    """How much of the questions was in the training text."""
    if "not_measured" in part:
        return f"shared with {name}: not measured ({part['not_measured']})"
    clean = part["clean"]
    right = (
        f"{clean['hits']} of the {clean['total']} that share nothing are right"
        if clean["total"]
        else "all share"
    )
    return (
        f"shared with {name}: {part['exact']} of {part['held_out']} word for word, {part['shared']} with an n-gram of "
        f"{part['n']} words among {part['training_texts']:,} texts; {right}"
    )


# ---------------------------------------------------------------- Markdown


def markdown(figures: Figures) -> str:
    """The report as Markdown."""
    arms = figures["arms"]
    lines = [
        "# Did it get better?",
        "",
        f"`{figures['tuned']}` against `{figures['base']}`, {figures['asked']} held-out questions "
        f"({figures['questions']}).",
        "",
        _row(["asked of", *arms]),
        _row(["---"] * (len(arms) + 1)),
        _row(["**all**", *(share_words(arm["overall"]) for arm in arms.values())]),
    ]
    for kind in _kinds(figures):
        lines.append(_row([kind, *(_short(arm["by_kind"][kind]) for arm in arms.values())]))
    lines += ["", *(f"- {line}" for line in summary_lines(figures)[len(arms) :]), ""]
    if figures["samples"]:
        lines += ["## Side by side", ""]
        for sample in figures["samples"]:
            lines += [f"**{_plain(sample['prompt'])}** ({sample['kind']})", ""]
            for name, said in sample["answers"].items():
                lines.append(
                    f"- {name} {'✓' if said['correct'] else '✗'} {_plain(said['answer']) or '(nothing)'}"
                )
            lines.append("")
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """One line that Markdown takes as words."""
    return "".join("\\" + c if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))


def _short(share: Figures) -> str:
    return f"{100 * share['value']:.0f} % ({share['hits']}/{share['total']})"


def _kinds(figures: Figures) -> list[str]:
    last = list(figures["arms"].values())[-1]["by_kind"]
    return sorted(last, key=lambda kind: (last[kind]["value"], kind))


# ---------------------------------------------------------------- HTML


def html_page(figures: Figures, command: str) -> str:
    """The report as one HTML file."""
    from finetuning.demo.report import STYLE

    parts = [
        "<h1>Did it get better?</h1>",
        f"<p class=lead><b>{_text(figures['tuned'])}</b> against <b>{_text(figures['base'])}</b>: "
        f"{figures['asked']} held-out questions ({_text(figures['questions'])}), greedy answers, exact verifiers.</p>",
        _numbers(figures),
        "<h2>By kind</h2><p>The share of right answers with its 95 % interval (Wilson). The kinds that the tuned model "
        "finds hardest stand first.</p>",
        f"<div class=figure>{forest_svg(figures)}</div>",
        "<h2>Is the difference real?</h2>",
        _pairs(figures),
        "<h2>What it cost, and what it may have known</h2><ul>",
        f"<li>{_text(forgetting_words(figures['forgetting']))}</li>",
        *(f"<li>{_text(contamination_words(n, p))}</li>" for n, p in figures["contamination"].items()),
        "</ul>",
        _samples(figures["samples"]),
        f"<h2>Again</h2><pre>{_text(command)}</pre>",
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Did it get better?</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body>\n"
    )
    return head + "\n".join(parts) + "\n</body></html>\n"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _numbers(figures: Figures) -> str:
    cells = [
        (f"{100 * arm['overall']['value']:.0f} %", f"{name}, right") for name, arm in figures["arms"].items()
    ]
    forgot = figures["forgetting"]
    if "not_measured" not in forgot:
        cells.append((f"× {forgot['bits_ratio']:.2f}", "bits per byte on the pretraining text"))
    boxes = "".join(f"<div class=number><b>{_text(a)}</b><span>{_text(b)}</span></div>" for a, b in cells)
    return f"<div class=numbers>{boxes}</div>"


def _pairs(figures: Figures) -> str:
    last = list(figures["arms"])[-1]
    rows = "".join(
        f"<tr><td>{_text(last)} over {_text(name)}</td><td class=n>{_text(difference_words(pair['difference']))}</td>"
        f"<td>{_text(win_words(pair['win_rate']))}</td></tr>"
        for name, pair in figures["over"].items()
    )
    return (
        "<table><tr><th>same requests</th><th class=n>difference</th><th>request by request</th></tr>"
        f"{rows}</table><p>Intervals by the paired bootstrap, p by the exact sign test.</p>"
    )


def _samples(samples: Sequence[Figures]) -> str:
    if not samples:
        return ""
    rows = []
    for sample in samples:
        said = "".join(
            f"<div><span class={'ok' if a['correct'] else 'no'}>{'✓' if a['correct'] else '✗'} {_text(name)}</span> "
            f"{_text(a['answer']) or '<i>nothing</i>'}</div>"
            for name, a in sample["answers"].items()
        )
        rows.append(
            f"<tr><td>{_text(sample['kind'])}</td><td>{_text(sample['prompt'])}</td><td>{said}</td></tr>"
        )
    return f"<h2>Side by side</h2><table><tr><th>kind</th><th>request</th><th>answers</th></tr>{''.join(rows)}</table>"


def forest_svg(figures: Figures, width: int = 780) -> str:
    """Points and intervals of every arm, a group of rows for each kind and one for all together."""
    arms = figures["arms"]
    groups = [*_kinds(figures), "all"]
    step, gap, left, top = 9, 8, 120, 34
    height = top + len(groups) * (step * len(arms) + gap) + 26
    colours = {name: COLOURS.get(name, OTHERS[i % len(OTHERS)]) for i, name in enumerate(arms)}

    def x(share: float) -> float:
        return left + share * (width - left - 24)

    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" xmlns="http://www.w3.org/2000/svg" '
        'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Share of right answers by kind">'
    ]
    for i, name in enumerate(arms):
        at = left + 110 * i
        parts.append(f'<circle cx="{at}" cy="12" r="4" fill="{colours[name]}"/>')
        parts.append(f'<text x="{at + 9}" y="16" fill="#333">{_text(name)}</text>')
    for tick in range(0, 101, 20):
        place = x(tick / 100)
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{top - 6}" y2="{height - 20}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{place:.1f}" y="{height - 6}" text-anchor="middle" fill="#555">{tick} %</text>'
        )
    y = float(top)
    for kind in groups:
        middle = y + step * (len(arms) - 1) / 2 + 4
        weight = ' font-weight="bold"' if kind == "all" else ""
        parts.append(
            f'<text x="{left - 12}" y="{middle:.1f}" text-anchor="end" fill="#333"{weight}>{_text(kind)}</text>'
        )
        for name, arm in arms.items():
            share = arm["overall"] if kind == "all" else arm["by_kind"][kind]
            parts.append(
                f'<line x1="{x(share["low"]):.1f}" x2="{x(share["high"]):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{colours[name]}" stroke-width="1.6"/>'
                f'<circle cx="{x(share["value"]):.1f}" cy="{y:.1f}" r="3.4" fill="{colours[name]}"/>'
            )
            y += step
        y += gap
    parts.append("</svg>")
    return "".join(parts)
