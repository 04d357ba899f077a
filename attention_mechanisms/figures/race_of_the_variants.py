"""The pictures of notebook 08: what is equal and what is not, losses by seed, intervals, speeds, bytes, frontiers.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook or read from results
files (`race_results`), never here. Where nothing was measured, the picture says so. matplotlib is imported on use.
Left out: style (`utils.plotting`) and plain curves and bars (`figures.latent`).
Notebook: `08_race_of_the_variants.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import LOOKS, QUIET, draw_counts, draw_lines
from utils.plotting import DIVERGING, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_bytes",
    "draw_counts",
    "draw_frontiers",
    "draw_intervals",
    "draw_lines",
    "draw_missing",
    "draw_pairs",
    "draw_parts",
    "draw_ratios",
    "draw_speedups",
    "draw_turns",
]

Interval = tuple[float, float, float]  # middle, low, high


def draw_missing(words: str) -> Figure:
    """A picture that says that there is none."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 0.9))
    ax.text(0.5, 0.5, words, ha="center", va="center", fontsize=10, color=QUIET)
    ax.axis("off")
    return fig


def draw_parts(counts: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """A bar for each name, made of its parts from left to right, each with its number where it has room."""
    import matplotlib.pyplot as plt

    parts = list(next(iter(counts.values())))
    top = max(sum(own.values()) for own in counts.values())
    fig, ax = plt.subplots(figsize=(8.2, 1.0 + 0.42 * len(counts)))
    left = dict.fromkeys(counts, 0.0)
    for part, colour in zip(parts, ("#cfe8f7", "#fbe3b3", "#d5ecd9", "#e8e8e8"), strict=False):
        widths = [own[part] for own in counts.values()]
        ax.barh(list(counts), widths, left=list(left.values()), color=colour, label=part, ec="white")
        for row, (name, width) in enumerate(zip(counts, widths, strict=True)):
            if width > 0.06 * top:
                ax.text(left[name] + width / 2, row, f"{width:,.0f}", ha="center", va="center", fontsize=9)
            left[name] += width
    ax.set(xlabel=unit)
    ax.invert_yaxis()
    ax.grid(False)
    ax.legend(ncols=len(parts), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return fig


def draw_ratios(rows: Mapping[str, Mapping[str, float]], title: str = "") -> Figure:
    """A table of ratios: white is 1, orange to red above, blue below; each cell has its number."""
    import matplotlib.pyplot as plt

    names, columns = list(rows), list(next(iter(rows.values())))
    table = [[math.log(rows[name][column]) for column in columns] for name in names]
    most = max(0.1, max(abs(value) for row in table for value in row))
    fig, ax = plt.subplots(figsize=(1.6 + 1.35 * len(columns), 1.0 + 0.42 * len(names)))
    ax.imshow(table, cmap=DIVERGING, vmin=-1.6 * most, vmax=1.6 * most, aspect="auto")
    for i, name in enumerate(names):
        for j, column in enumerate(columns):
            ax.text(j, i, f"{rows[name][column]:.3g}", ha="center", va="center", fontsize=10)
    ax.set_xticks(range(len(columns)), columns, fontsize=9)
    ax.set_yticks(range(len(names)), names)
    ax.set(title=title)
    ax.grid(False)
    return fig


def draw_pairs(
    panels: Mapping[str, Mapping[str, Mapping[int, float]]], ylabel: str, missing: str = "not measured"
) -> Figure:
    """A panel for each race: every variant's loss for every seed; a line joins what had the same seed."""
    import matplotlib.pyplot as plt

    if not panels:
        return draw_missing(missing)
    fig, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.6 * len(panels), 3.6))
    for ax, (title, losses) in zip(axes[0], panels.items(), strict=True):
        names = list(losses)
        seeds = sorted({seed for own in losses.values() for seed in own})
        for seed, colour in zip(seeds, PALETTE * len(seeds)):
            xs = [i for i, name in enumerate(names) if seed in losses[name]]
            look = LOOKS[seed % len(LOOKS)]
            ax.plot(xs, [losses[names[i]][seed] for i in xs], look, color=colour, ms=5, label=f"seed {seed}")
        ax.set_xticks(range(len(names)), names)
        ax.set(title=title, xlim=(-0.4, len(names) - 0.6))
        ax.legend(fontsize=8)
    axes[0, 0].set_ylabel(ylabel)
    return fig


def draw_intervals(
    rows: Mapping[str, tuple[Interval, Sequence[float]]], xlabel: str, missing: str = "not measured"
) -> Figure:
    """For each name single numbers (dots), their mean (a diamond), its interval; one that leaves out 0 is orange."""
    import matplotlib.pyplot as plt

    shown = {name: row for name, row in rows.items() if all(map(math.isfinite, row[0]))}
    if not shown:
        return draw_missing(missing)
    fig, ax = plt.subplots(figsize=(7.2, 1.0 + 0.45 * len(shown)))
    for i, ((mean, low, high), values) in enumerate(shown.values()):
        colour = PALETTE[0] if low <= 0 <= high else PALETTE[1]
        ax.plot([low, high], [i, i], color=colour, lw=2.5)
        ax.plot(mean, i, "D", color=colour, ms=7)
        ax.plot(list(values), [i] * len(values), ".", color="black", ms=6)
    ax.axvline(0, color=QUIET, lw=1)
    ax.set_yticks(range(len(shown)), list(shown))
    ax.set(xlabel=xlabel, ylim=(len(shown) - 0.4, -0.6))
    return fig


def draw_speedups(
    levels: Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]], missing: str = "not measured"
) -> Figure:
    """A panel for each variant: × mha's speed against context, one line a level, bars for the range of rounds."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for by_name in levels.values() for name in by_name))
    if not names:
        return draw_missing(missing)
    fig, axes = plt.subplots(1, len(names), squeeze=False, sharey=True, figsize=(3.4 * len(names), 3.8))
    for ax, name in zip(axes[0], names, strict=True):
        for i, (level, by_name) in enumerate(levels.items()):
            points = sorted(by_name.get(name, {}).items())
            middle = [ratio["median"] for _, ratio in points]
            bars = [[max(0.0, r["median"] - r["min"]) for _, r in points],
                    [max(0.0, r["max"] - r["median"]) for _, r in points]]  # fmt: skip
            xs = [context for context, _ in points]
            ax.errorbar(xs, middle, bars, fmt=LOOKS[i], color=PALETTE[i], ms=5, capsize=3, label=level)
        ax.axhline(1, color=QUIET, lw=1)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.minorticks_off()
        contexts = sorted({c for by_name in levels.values() for c in by_name.get(name, {})})
        ax.set_xticks(contexts, [f"{c:,}" for c in contexts])
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set(title=name, xlabel="tokens in the cache")
    axes[0, 0].set_ylabel("times as fast as mha")
    axes[0, 0].legend(fontsize=8)
    return fig


def draw_turns(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """A panel for each order of measuring: for each candidate its calls (when, how long) and their mean as a line."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), squeeze=False, sharey=True, figsize=(4.2 * len(panels), 3.0))
    for ax, (title, candidates) in zip(axes[0], panels.items(), strict=True):
        for i, (name, (when, seconds)) in enumerate(candidates.items()):
            ax.plot(list(when), list(seconds), LOOKS[i][0], color=PALETTE[i], ms=5, label=name)
            ax.axhline(sum(seconds) / len(seconds), color=PALETTE[i], lw=1.2, ls="--")
        ax.set(title=title, xlabel="call")
        ax.legend(fontsize=9)
    axes[0, 0].set_ylabel("seconds")
    return fig


def draw_bytes(
    contexts: Mapping[str, Mapping[str, tuple[float, float, str]]], missing: str = "not measured"
) -> Figure:
    """A panel for each context: megabytes of weights and of cache that a step reads, and a word beside each bar."""
    import matplotlib.pyplot as plt

    if not contexts:
        return draw_missing(missing)
    fig, axes = plt.subplots(1, len(contexts), squeeze=False, sharex=True, figsize=(3.6 * len(contexts), 2.6))
    top = max(weights + cache for rows in contexts.values() for weights, cache, _ in rows.values())
    for ax, (title, rows) in zip(axes[0], contexts.items(), strict=True):
        weights = [row[0] for row in rows.values()]
        cache = [row[1] for row in rows.values()]
        ax.barh(list(rows), weights, color="#cfe8f7", label="weights")
        ax.barh(list(rows), cache, left=weights, color=PALETTE[1], label="cache")
        for i, (w, c, words) in enumerate(rows.values()):
            ax.text(w + c + 0.02 * top, i, words, va="center", fontsize=8)
        ax.set(title=title, xlabel="MB read by a step", xlim=(0, 1.35 * top))
        ax.invert_yaxis()
        ax.grid(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return fig


def draw_frontiers(
    panels: Mapping[str, Mapping[str, tuple[float, Interval]]],
    best: Mapping[str, Sequence[str]],
    ylabel: str,
    missing: str = "not measured",
) -> Figure:
    """For each x-axis the variants as points (x, (mean, low, high)); the names in `best` are full and joined."""
    import matplotlib.pyplot as plt

    if not panels:
        return draw_missing(missing)
    fig, axes = plt.subplots(1, len(panels), squeeze=False, sharey=True, figsize=(4.4 * len(panels), 3.8))
    for ax, (xlabel, points) in zip(axes[0], panels.items(), strict=True):
        line = [(points[name][0], points[name][1][0]) for name in best[xlabel]]
        ax.plot([x for x, _ in line], [y for _, y in line], color="#bbbbbb", zorder=1)
        for i, (name, (x, (mean, low, high))) in enumerate(points.items()):
            colour = PALETTE[i % len(PALETTE)]
            bars = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            solid = name in best[xlabel]
            ax.errorbar(
                x, mean, bars, fmt="o", capsize=4, color=colour, mfc=colour if solid else "white", ms=7
            )
            ax.annotate(
                name, (x, mean), textcoords="offset points", xytext=(7, -13 if i % 2 else 5), fontsize=9
            )
        ax.set(xlabel=xlabel)
        ax.set_xlim(0, 1.2 * max(x for x, _ in points.values()))
    axes[0, 0].set_ylabel(ylabel)
    return fig
