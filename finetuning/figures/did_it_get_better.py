"""The pictures of notebook 05: forest plots, pairs as areas, draws beside each other.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`). Notebook: `05_did_it_get_better.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts, draw_lines
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_counts",
    "draw_draws",
    "draw_forest",
    "draw_lines",
    "draw_missing",
    "draw_pairs",
    "draw_sides",
]

QUIET = "#555555"
Interval = tuple[float, float, float]  # value, low, high


def draw_forest(
    arms: Mapping[str, Mapping[str, Interval]], xlabel: str, *, at: float | None = None, percent: bool = True
) -> Figure:
    """A row for each name with a point and its interval for each arm; a vertical line at `at`.

    Names come from all arms in the order in which they first appear, the first at the top.
    """
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for rows in arms.values() for name in rows))
    if not names:
        return draw_missing("not measured")
    scale = 100 if percent else 1
    fig, ax = plt.subplots(figsize=(7.2, 0.9 + 0.34 * len(names) + 0.08 * len(arms) * len(names)))
    for i, (arm, rows) in enumerate(arms.items()):
        shift = 0.0 if len(arms) == 1 else 0.5 * (i / (len(arms) - 1) - 0.5)
        for name, (value, low, high) in rows.items():
            y = names.index(name) + shift
            ax.plot([scale * low, scale * high], [y, y], color=PALETTE[i], lw=2, solid_capstyle="round")
            first = name == next(iter(rows))
            ax.plot(scale * value, y, "o", ms=6, color=PALETTE[i], label=arm if first else None)
    if at is not None:
        ax.axvline(scale * at, color=QUIET, lw=1, ls="--")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel=xlabel, ylim=(len(names) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)
    if len(arms) > 1:
        ax.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(arms))
    return fig


def draw_pairs(both: int, first: int, second: int, neither: int, names: tuple[str, str]) -> Figure:
    """The four outcomes of a pair as areas: two columns for the first model (right, wrong), each cut by the second."""
    import matplotlib.pyplot as plt

    total = both + first + second + neither
    fig, ax = plt.subplots(figsize=(5.6, 3.6))
    left = 0.0
    for column, (right, wrong) in enumerate(((both, first), (second, neither))):
        width = (right + wrong) / total
        if not width:
            continue
        for bottom, part, colour, words in (
            (0.0, right / (right + wrong), "#9fd8c4" if column == 0 else "#f5c9a8", right),
            (
                right / (right + wrong),
                wrong / (right + wrong),
                "#a9d3ec" if column == 0 else "#dddddd",
                wrong,
            ),
        ):
            ax.bar(left, part, width, bottom, align="edge", color=colour, ec="white", lw=2)
            if words:
                ax.text(
                    left + width / 2, bottom + part / 2, f"{words}", ha="center", va="center", fontsize=12
                )
        label = f"{names[0]} {'right' if column == 0 else 'wrong'}"
        ax.text(left + width / 2, -0.06, label, ha="center", va="top", fontsize=10)
        left += width
    ax.text(-0.03, 0.02, f"{names[1]} right", rotation=90, ha="right", va="bottom", fontsize=10)
    ax.text(-0.03, 0.98, f"{names[1]} wrong", rotation=90, ha="right", va="top", fontsize=10)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    ax.axis("off")
    return fig


def draw_draws(
    draws: Mapping[str, Sequence[float]],
    xlabel: str,
    marks: Mapping[str, float] | None = None,
    bins: int = 40,
) -> Figure:
    """Histograms of several sets of draws over one axis; `marks` are vertical lines with their names."""
    import matplotlib.pyplot as plt
    import numpy as np

    fig, ax = plt.subplots(figsize=(7.2, 3.4))
    every = np.concatenate([np.asarray(values, float) for values in draws.values()])
    edges = np.linspace(every.min(), every.max() + 1e-9, bins + 1).tolist()
    for (name, values), colour in zip(draws.items(), PALETTE, strict=False):
        ax.hist(np.asarray(values, float), edges, density=True, alpha=0.55, color=colour, label=name)
    for (name, place), look in zip((marks or {}).items(), ("--", ":", "-."), strict=False):
        ax.axvline(place, color="black", lw=1.2, ls=look, label=name)
    ax.set(xlabel=xlabel, yticks=[])
    ax.legend(fontsize=9)
    return fig


def draw_sides(rows: Mapping[str, Mapping[str, float]], xlabel: str) -> Figure:
    """For each name one bar for each measure, side by side; the measures are those of the first row."""
    import matplotlib.pyplot as plt

    if not rows:
        return draw_missing("not measured")
    measures = list(next(iter(rows.values())))
    fig, ax = plt.subplots(figsize=(7.2, 1.1 + 0.17 * len(rows) * (len(measures) + 0.6)))
    height = 0.8 / len(measures)
    for i, measure in enumerate(measures):
        places = [k + (i - (len(measures) - 1) / 2) * height for k in range(len(rows))]
        ax.barh(
            places, [own.get(measure, 0.0) for own in rows.values()], height, color=PALETTE[i], label=measure
        )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(measures))
    return fig
