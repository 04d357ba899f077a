"""The pictures of notebook 04: choices and rewards, a small world, a model before and after, how far it went.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`). Notebook: `04_preferences_dpo.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.race_of_the_variants import draw_missing
from utils.plotting import DIVERGING, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_bars", "draw_curves", "draw_distances", "draw_missing", "draw_strip", "draw_tuning"]

QUIET = "#555555"
Curve = tuple[Sequence[float], Sequence[float]]  # x, y


def draw_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    xlabel: str,
    ylabels: Sequence[str],
    *,
    at: Mapping[str, float] | None = None,
) -> Figure:
    """Panels side by side, each with its title and named lines; `at` names horizontal lines in the first panel."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(4.0 * len(panels), 3.3), squeeze=False)
    for ax, (title, curves), ylabel in zip(axes[0], panels.items(), ylabels, strict=True):
        for i, (name, (x, y)) in enumerate(curves.items()):
            ax.plot(x, y, color=PALETTE[i % len(PALETTE)], label=name)
        ax.set(title=title, ylabel=ylabel)
        if len(curves) > 1:
            ax.legend(fontsize=9)
    fig.supxlabel(xlabel, fontsize=11)
    for name, height in (at or {}).items():
        ax = axes[0][0]
        ax.axhline(height, color=QUIET, lw=1, ls="--")
        ax.annotate(name, (ax.get_xlim()[1], height), ha="right", va="bottom", fontsize=9, color=QUIET)
    return fig


def draw_strip(rows: Mapping[str, tuple[Sequence[str], Sequence[float | None]]], unit: str) -> Figure:
    """Rows of tokens as boxes, coloured by a number each; None is grey: a token that is not judged.

    Colours are around 0, the same scale for all rows.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import Normalize

    largest = max((abs(v) for _, values in rows.values() for v in values if v is not None), default=0.0)
    scale, colours = Normalize(-largest or -1, largest or 1), plt.get_cmap(DIVERGING)
    fig, ax = plt.subplots(figsize=(8.6, 0.9 + 0.55 * len(rows)))
    longest = 0.0
    for y, (tokens, values) in enumerate(rows.values()):
        x = 0.0
        for token, value in zip(tokens, values, strict=True):
            shown = token.replace("\n", "⏎").replace(" ", "·")
            shown = shown.replace("<|endoftext|>", "[end]").replace("<|", "[").replace("|>", "]")
            width = 0.55 + 0.32 * len(shown)
            face = "#e6e6e6" if value is None else colours(scale(value))
            dark = value is not None and abs(value) > 0.6 * largest > 0
            ax.add_patch(plt.Rectangle((x, y - 0.38), width - 0.08, 0.76, facecolor=face, edgecolor="white"))
            ax.text(
                *(x + width / 2 - 0.04, y, shown), ha="center", va="center", fontsize=8, family="monospace",
                color="white" if dark else "black",
            )  # fmt: skip
            x += width
        longest = max(longest, x)
    ax.set(xlim=(0, longest), ylim=(len(rows) - 0.5, -0.5), xticks=[])
    ax.set_yticks(range(len(rows)), list(rows))
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    if largest:
        fig.colorbar(plt.cm.ScalarMappable(scale, colours), ax=ax, shrink=0.9, label=unit)
    return fig


def draw_bars(groups: Mapping[str, Sequence[float]], names: Sequence[str], ylabel: str) -> Figure:
    """Bars beside each other: for every name one of each group."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.3))
    width = 0.8 / len(groups)
    for i, (group, values) in enumerate(groups.items()):
        places = [n + (i - (len(groups) - 1) / 2) * width for n in range(len(names))]
        ax.bar(places, values, 0.92 * width, color=PALETTE[i], label=group)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel=ylabel)
    ax.grid(axis="x", visible=False)
    ax.legend(fontsize=9)
    return fig


def draw_tuning(
    steps: Sequence[int],
    margin: Sequence[float],
    accuracy: Sequence[float],
    chosen: Sequence[float],
    rejected: Sequence[float],
) -> Figure:
    """Held-out pairs while tuning: margin, share in order, and the change of both log-probabilities since the start."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.1))
    axes[0].plot(steps, margin, "o-", ms=4, color=PALETTE[0])
    axes[0].set(title="margin of the rewards", ylabel="β · nats")
    axes[1].plot(steps, [100 * a for a in accuracy], "o-", ms=4, color=PALETTE[2])
    axes[1].set(title="pairs in order", ylabel="% of held-out pairs", ylim=(-3, 103))
    for name, values, colour in (("chosen", chosen, PALETTE[0]), ("rejected", rejected, PALETTE[1])):
        axes[2].plot(steps, [v - values[0] for v in values], "o-", ms=4, color=colour, label=name)
    axes[2].axhline(0, color=QUIET, lw=1, ls="--")
    axes[2].set(title="log π since the start", ylabel="nats an answer")
    axes[2].legend(fontsize=9)
    for ax in axes:
        ax.set(xlabel="step")
    return fig


def draw_distances(
    points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str, *, joined: bool = True
) -> Figure:
    """Named points: what was gained against how far one went for it; `joined` where their order means something."""
    import matplotlib.pyplot as plt

    if not points:
        return draw_missing("not measured")
    fig, ax = plt.subplots(figsize=(5.8, 3.5))
    if joined:
        ax.plot(*zip(*points.values(), strict=True), color="#bbbbbb", lw=1, zorder=1)
    for i, (name, (x, y)) in enumerate(points.items()):
        ax.plot(x, y, "o", ms=8, color=PALETTE[i % len(PALETTE)], zorder=2)
        ax.annotate(name, (x, y), xytext=(8, -3), textcoords="offset points", fontsize=10)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(0.18)
    return fig
