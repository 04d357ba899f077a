"""The pictures of notebook 05: padded prompts, who writes when, bytes that wait for their character, a roofline.

They take plain numbers and words and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Lines, bars and histograms are those of the chapter before. Left out: style
(`utils.plotting`).
Notebook: `05_generation_engine.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.kv_cache import draw_errors
from attention_mechanisms.figures.latent import draw_counts, draw_lines
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_counts",
    "draw_errors",
    "draw_lines",
    "draw_missing",
    "draw_padding",
    "draw_roofline",
    "draw_schedule",
    "draw_speedups",
    "draw_stream",
    "draw_trade",
]

BLUE, ORANGE = PALETTE[0], PALETTE[1]
QUIET, EMPTY = "#555555", "#f2f2f2"
REAL, ASKED = "#cfe8f7", "#fbe3b3"  # backgrounds that black text stays readable on
WAITS, READS, WRITES = "#d9d9d9", ORANGE, BLUE


def draw_padding(panels: Mapping[str, tuple[Sequence[Sequence[str]], Sequence[Sequence[int]]]]) -> Figure:
    """For each name a table of words and its mask: real ones blue, padding grey, the last place framed."""
    import matplotlib.pyplot as plt

    deepest = max(len(words) for words, _ in panels.values())
    size = (5.0 * len(panels), 0.9 + 0.45 * deepest)
    fig, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
    for ax, (name, (words, mask)) in zip(axes[0], panels.items(), strict=True):
        width = len(words[0])
        for i, (row, real) in enumerate(zip(words, mask, strict=True)):
            for j, (word, is_real) in enumerate(zip(row, real, strict=True)):
                ax.add_patch(plt.Rectangle((j, i), 0.94, 0.9, color=REAL if is_real else EMPTY))
                ax.text(j + 0.47, i + 0.45, word, ha="center", va="center", fontsize=9)
        frame = plt.Rectangle((width - 1.03, -0.06), 1.0, len(words) + 0.02, fill=False, ec=ORANGE, lw=2)
        ax.add_patch(frame)
        ax.set(xlim=(0, width + 0.1), ylim=(len(words) + 0.1, -0.2), title=name)
        ax.axis("off")
    return fig


def draw_schedule(panels: Mapping[str, Sequence[Sequence[int]]], places: int) -> Figure:
    """For each name a table (requests, steps): 0 nothing, 1 waits, 2 its prompt is read, 3 a token is written.

    Beneath the title's steps: the share of all places (`places` a step) in which something was written or read.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    colours = {0: "white", 1: WAITS, 2: READS, 3: WRITES}
    names = {1: "waits", 2: "its prompt is read", 3: "a token is written"}
    steps = max(len(grid[0]) for grid in panels.values())
    deepest = max(len(grid) for grid in panels.values())
    size = (8.6, (0.9 + 0.24 * deepest) * len(panels) + 0.3)
    fig, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False)
    for ax, (name, grid) in zip(axes[:, 0], panels.items(), strict=True):
        for i, row in enumerate(grid):
            for j, state in enumerate(row):
                if state:
                    ax.add_patch(plt.Rectangle((j, i), 0.9, 0.84, color=colours[int(state)]))
        used = sum(state >= 2 for row in grid for state in row)
        share = used / (places * len(grid[0]))
        ax.set(
            xlim=(0, steps),
            ylim=(len(grid), 0),
            title=f"{name}: {len(grid[0])} steps, {share:.0%} of the places",
        )
        ax.set_yticks(
            [i + 0.42 for i in range(len(grid))], [str(i + 1) for i in range(len(grid))], fontsize=9
        )
        ax.set_ylabel("request")
        ax.grid(False)
    axes[-1][0].set_xlabel("step")
    seen = sorted({int(s) for grid in panels.values() for row in grid for s in row} - {0})
    handles = [Patch(color=colours[state], label=names[state]) for state in seen]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return fig


def draw_stream(columns: Sequence[tuple[str, str, str]]) -> Figure:
    """For each piece its bytes, what decoding it alone gives, and what is shown; the last is blue when it is there."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(max(6.0, 0.62 * len(columns) + 1.6), 1.9))
    for j, column in enumerate(columns):
        for i, words in enumerate(column):
            fill = REAL if i == 2 and words else EMPTY if i != 1 else "#ffffff"
            ax.add_patch(plt.Rectangle((j, i), 0.94, 0.86, color=fill))
            ax.text(j + 0.47, i + 0.43, words, ha="center", va="center", fontsize=10)
    ax.set(xlim=(0, len(columns)), ylim=(3, 0), xticks=[])
    ax.set_yticks([0.43, 1.43, 2.43], ["bytes", "alone", "streamed"])
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.grid(False)
    return fig


def draw_roofline(bandwidth: float, peak: float, points: Mapping[str, tuple[float, float]]) -> Figure:
    """What a machine can do (FLOP/s) against FLOPs a byte; `points` are (FLOPs a byte, FLOP/s reached)."""
    import matplotlib.pyplot as plt

    ridge = peak / bandwidth
    xs = [x for x, _ in points.values()] + [ridge]
    low, high = min(xs) / 2, max(xs) * 4
    fig, ax = plt.subplots(figsize=(7.2, 4.0))
    ax.plot([low, ridge, high], [low * bandwidth, peak, peak], "-", color=QUIET, lw=2)
    ax.fill_between([low, ridge], [low * bandwidth, peak], peak / 1e6, color=REAL, lw=0, alpha=0.6)
    ax.fill_between([ridge, high], peak, peak / 1e6, color=ASKED, lw=0, alpha=0.6)
    marks = ("o", "s", "^", "D", "v", "P", "X", "*")
    for i, (name, (x, y)) in enumerate(points.items()):
        ax.plot([x], [y], marks[i % len(marks)], color=PALETTE[(i + 1) % len(PALETTE)], ms=7, label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    lowest = min([low * bandwidth, *(y for _, y in points.values())]) / 2
    ax.set(xlim=(low, high), ylim=(lowest, peak * 3), xlabel="FLOPs for each byte read", ylabel="FLOP/s")
    ax.text(ridge, peak * 1.3, f"ridge: {ridge:,.0f} FLOPs a byte", fontsize=9, ha="center", color=QUIET)
    ax.legend(loc="lower right", fontsize=9)
    return fig


def draw_trade(points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str) -> Figure:
    """A named point for each (x, y): what is paid against what is saved."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.4))
    for (name, (x, y)), colour, mark in zip(points.items(), PALETTE * 2, "os^DvPX*" * 2, strict=False):
        ax.plot([x], [y], mark, color=colour, ms=8)
        ax.annotate(name, (x, y), (6, 6), textcoords="offset points", fontsize=9)
    ax.margins(x=0.18, y=0.2)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return fig


def draw_speedups(rows: Mapping[str, tuple[float, float, float]], missing: str = "not measured") -> Figure:
    """For each name how many times faster, and its range over rounds; those whose range has 1 in it are grey."""
    import matplotlib.pyplot as plt

    if not rows:
        return draw_missing(missing)
    fig, ax = plt.subplots(figsize=(7.6, 0.9 + 0.34 * len(rows)))
    for i, (middle, low, high) in enumerate(rows.values()):
        colour = QUIET if low <= 1 <= high else BLUE if middle > 1 else ORANGE
        ax.plot([low, high], [i, i], "-", color=colour)
        ax.plot([middle], [i], "D", color=colour, ms=5)
        ax.annotate(f"{middle:.2f} ×", (high, i), (6, 0), textcoords="offset points", va="center", fontsize=9)
    ax.axvline(1, color=QUIET, lw=1, ls=":")
    ax.set_yticks(range(len(rows)), list(rows), fontsize=9)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.margins(x=0.2)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="times as fast as what it is compared with")
    return fig
