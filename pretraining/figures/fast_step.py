"""The pictures of notebook 02: where the time of a step goes, sums that stand still, blocks under a diagonal, a ladder.

They take plain numbers and return a matplotlib figure; what is drawn is computed or read in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `02_faster_measure_then_change.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attention_mechanisms.figures.latent import draw_counts, draw_lines
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from gpt_model.figures.generation_engine import draw_roofline
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_blocks",
    "draw_counts",
    "draw_ladder",
    "draw_lines",
    "draw_roofline",
    "draw_shares",
    "draw_table_walks",
]

QUIET = "#555555"


def draw_shares(rows: Mapping[str, Mapping[str, float]], unit: str = "share of the step") -> Figure:
    """A bar for each name, cut into its parts, each scaled so that the parts of the first one add up to 1."""
    import matplotlib.pyplot as plt

    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    whole = sum(next(iter(rows.values())).values())
    fig, ax = plt.subplots(figsize=(7.6, 1.2 + 0.45 * len(rows)))
    for i, row in enumerate(rows.values()):
        left = 0.0
        for part, colour in zip(parts, (*PALETTE[:6], "#d0d0d0", "#a8a8a8"), strict=False):
            width = row.get(part, 0.0) / whole
            ax.barh(i, width, left=left, color=colour, label=part if i == 0 else None, ec="white", alpha=0.8)
            if width > 0.055:
                ax.text(left + width / 2, i, f"{width:.0%}", ha="center", va="center", fontsize=9)
            left += width
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=unit, ylim=(len(rows) - 0.5, -0.5))
    ax.grid(False)
    ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=9)
    return fig


def draw_blocks(length: int, block: int) -> Figure:
    """The table of scores of `length` tokens: needed, computed for nothing, and never computed with blocks of rows."""
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    row, column = np.mgrid[0:length, 0:length]
    end = np.minimum((row // block + 1) * block, length)
    kinds = np.where(column <= row, 2, np.where(column < end, 1, 0))
    colours = ("#f2f2f2", "#fbe3b3", PALETTE[0])
    words = ("never computed", "computed, then masked", "needed")
    fig, ax = plt.subplots(figsize=(5.6, 3.4))
    ax.imshow(kinds, cmap=ListedColormap(list(colours)), vmin=0, vmax=2, interpolation="nearest")
    for edge in range(block, length, block):
        ax.axhline(edge - 0.5, color="white", lw=1.5)
    shares = [float((kinds == kind).mean()) for kind in (0, 1, 2)]
    handles = [Patch(color=c, label=f"{w}: {s:.0%}") for c, w, s in zip(colours, words, shares, strict=True)]
    ax.legend(handles=handles[::-1], loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9)
    ax.set(xlabel="key", ylabel="query")
    ax.grid(False)
    return fig


def draw_table_walks(ways: Mapping[str, Sequence[tuple[str, float]]], unit: str = "bytes a logit") -> Figure:
    """For each way its walks over a table, each as wide as its bytes: named ones write it (orange), others read it."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8.4, 1.3 + 0.6 * len(ways)))
    for i, steps in enumerate(ways.values()):
        left = 0.0
        for step, width in steps:
            ax.barh(i, width, left=left, color=PALETTE[1 if step else 0], ec="white", alpha=0.55)
            ax.text(left + width / 2, i - 0.5, step, ha="center", va="center", fontsize=8)
            left += width
        ax.text(left, i, f"  {left:g}", va="center", fontsize=10)
    ax.set_yticks(range(len(ways)), list(ways))
    ax.set(xlabel=f"{unit}: written (orange) and read (blue)", ylim=(len(ways) - 0.4, -0.8))
    ax.margins(x=0.08)
    ax.grid(False)
    return fig


def draw_ladder(
    rungs: Mapping[str, tuple[float, float, float]],
    goals: Mapping[str, float] | None = None,
    ceiling: float | None = None,
) -> Figure:
    """Times the first rung's speed, with ranges; goals as orange marks, `ceiling` as a line. Says so when empty."""
    import matplotlib.pyplot as plt

    if not rungs:
        return draw_missing("not measured")
    fig, ax = plt.subplots(figsize=(7.6, 1.2 + 0.36 * len(rungs)))
    for i, (name, (middle, low, high)) in enumerate(rungs.items()):
        ax.barh(i, middle, color=PALETTE[0], alpha=0.75, height=0.6)
        ax.plot([low, high], [i, i], color=QUIET, lw=1.5)
        ax.annotate(
            f"{middle:.2f}",
            (max(middle, high), i),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
        goal = (goals or {}).get(name)
        if goal is not None:
            ax.plot([goal, goal], [i - 0.4, i + 0.4], color=PALETTE[1], lw=3)
    if ceiling is not None:
        ax.axvline(ceiling, color=QUIET, ls=":", lw=1.2)
        ax.annotate(
            "products alone", (ceiling, -0.6), (4, 0), textcoords="offset points", fontsize=9, color=QUIET
        )
    ax.set_yticks(range(len(rungs)), list(rungs))
    ax.set(xlabel="times as fast as the plain loop (orange: the goal)", ylim=(len(rungs) - 0.4, -1.0))
    ax.margins(x=0.1)
    ax.grid(axis="y", visible=False)
    return fig


def group_operations(
    times: Mapping[str, float], groups: Mapping[str, Sequence[str]], rest: str = "the rest"
) -> dict[str, Any]:
    """Seconds of operations by name, added up by group: the first group with a word that is in the name takes it.

    >>> group_operations({"aten::mm": 2.0, "aten::add": 1.0}, {"products": ["mm"]})
    {'products': 2.0, 'the rest': 1.0}
    """
    found = {**dict.fromkeys(groups, 0.0), rest: 0.0}
    for name, seconds in times.items():
        group = next((g for g, words in groups.items() if any(word in name for word in words)), rest)
        found[group] += seconds
    return found
