"""The pictures of notebook 02 that are drawn from answers of the server: curves, token strips, candidates, caches.

They take plain numbers and return a matplotlib figure; what is drawn comes from the routes, never from here. The
screenshots are `pictures/`, made by the browser test. matplotlib is imported on use. Left out: style
(`utils.plotting`). Notebook: `02_tour_of_the_app.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_curves(curves: Mapping[str, Sequence[tuple[float, float]]], ylabel: str) -> Figure:
    """One line a name, through its (x, y)."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    for number, (name, points) in enumerate(curves.items()):
        ax.plot(*zip(*points, strict=True), marker="o", markersize=3, color=PALETTE[number], label=name)
    ax.set(xlabel="step", ylabel=ylabel)
    ax.legend(frameon=False)
    return fig


def draw_strips(strips: Mapping[str, Sequence[str]]) -> Figure:
    """One row a tokenizer, a box for each token, as wide as its text."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 0.5 + 0.55 * len(strips)))
    for y, tokens in enumerate(strips.values()):
        left = 0.0
        for number, token in enumerate(tokens):
            ax.barh(y, len(token) - 0.08, left=left, height=0.75, align="center", alpha=0.35,
                    color=PALETTE[number % 5])  # fmt: skip
            ax.text(left + len(token) / 2, y, token, ha="center", va="center", fontsize=8, family="monospace")
            left += len(token)
    ax.set(yticks=range(len(strips)), xticks=[], ylim=(len(strips) - 0.5, -0.5))
    ax.set_yticklabels(list(strips))
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(False)
    return fig


def draw_candidates(names: Sequence[str], own: Sequence[float], drawn: Sequence[float]) -> Figure:
    """Two bars a token: the model's own probability, and that with which it is drawn."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 0.8 + 0.3 * len(names)))
    places = range(len(names))
    ax.barh([y - 0.19 for y in places], drawn, height=0.36, color=PALETTE[0], label="drawn with")
    ax.barh([y + 0.19 for y in places], own, height=0.36, color=PALETTE[1], label="the model's own")
    ax.set(xlabel="probability", yticks=list(places))
    ax.set_yticklabels(list(names), family="monospace")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False)
    return fig


def draw_sizes(sizes: Mapping[str, float], unit: str) -> Figure:
    """One bar a name, its size written behind it."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 0.8 + 0.34 * len(sizes)))
    for y, (name, value) in enumerate(sizes.items()):
        ax.barh(y, value, height=0.6, color=PALETTE[0])
        ax.text(value, y, f" {value:,.3g}", va="center", fontsize=9)
        ax.text(0, y, f"{name} ", va="center", ha="right", fontsize=9)
    ax.set(xlabel=unit, yticks=[], ylim=(len(sizes) - 0.5, -0.5), xlim=(0, 1.15 * max(sizes.values())))
    ax.grid(axis="y", visible=False)
    return fig
