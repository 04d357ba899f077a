"""The pictures of notebook 04: pieces in a ring, who reads which row, a timeline of backward and its messages.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `04_many_processes.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts, draw_lines
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from pretraining.figures.optimizers import draw_stacked
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_counts",
    "draw_lines",
    "draw_missing",
    "draw_owners",
    "draw_pairs",
    "draw_ring",
    "draw_stacked",
    "draw_timeline",
]

QUIET = "#555555"


def draw_ring(states: Sequence[Sequence[Sequence[int]]], titles: Sequence[str]) -> Figure:
    """For each moment a panel: rows are ranks, columns pieces, the number how many ranks' values are in it."""
    import matplotlib.pyplot as plt

    ranks = len(states[0])
    fig, axes = plt.subplots(
        1, len(states), figsize=(1.55 * len(states) + 0.4, 2.3), sharey=True, squeeze=False
    )
    for ax, state, title in zip(axes[0], states, titles, strict=True):
        ax.imshow(state, cmap="Blues", vmin=0, vmax=1.25 * ranks, aspect="equal")
        for row, values in enumerate(state):
            for column, value in enumerate(values):
                done = value == ranks
                ax.text(
                    *(column, row, str(value)), ha="center", va="center", fontsize=9,
                    color="white" if done else "black", fontweight="bold" if done else "normal",
                )  # fmt: skip
        ax.set_title(title, fontsize=9)
        ax.set_xticks(range(len(state[0])), [chr(97 + i) for i in range(len(state[0]))])
        ax.set_yticks(range(ranks), [f"rank {r}" for r in range(ranks)])
        ax.grid(False)
    return fig


def draw_owners(owners: Mapping[str, Sequence[Sequence[int]]]) -> Figure:
    """For each name a map: rows of the batch (across) by step (down), coloured by the rank that reads them.

    −1 is a row that nobody reads.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    fig, axes = plt.subplots(1, len(owners), figsize=(3.9 * len(owners), 2.1), squeeze=False)
    most = max(max(row) for rows in owners.values() for row in rows)
    colours = ListedColormap(["#eeeeee", *PALETTE[: most + 1]])
    for ax, (name, rows) in zip(axes[0], owners.items(), strict=True):
        ax.imshow(rows, cmap=colours, vmin=-1, vmax=most, aspect="auto")
        for step, row in enumerate(rows):
            for place, rank in enumerate(row):
                ax.text(place, step, "–" if rank < 0 else rank, ha="center", va="center", fontsize=9,
                        color=QUIET if rank < 0 else "white")  # fmt: skip
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_xticks([])
        ax.set_yticks(range(len(rows)), [f"step {i + 1}" for i in range(len(rows))])
        ax.set_xlabel("rows of the global batch")
        ax.grid(False)
    return fig


def draw_timeline(lanes: Mapping[str, Sequence[tuple[float, float, str]]], unit: str = "ms") -> Figure:
    """One lane a name, one bar for each (start, end, label); messages are hatched, so no colour is needed."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 0.9 + 0.62 * len(lanes)))
    for i, (lane, bars) in enumerate(lanes.items()):
        message = "message" in lane
        for start, end, label in bars:
            ax.barh(
                *(i, end - start), left=start, height=0.62, color=PALETTE[1 if message else 0],
                alpha=0.75, edgecolor="white", hatch="///" if message else None,
            )  # fmt: skip
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5}
            ax.text((start + end) / 2, i, label, ha="center", va="center", fontsize=8, bbox=box)
    ax.set_yticks(range(len(lanes)), list(lanes))
    ax.invert_yaxis()
    ax.set_xlabel(unit)
    ax.grid(axis="y", visible=False)
    return fig


def draw_pairs(pairs: Mapping[str, tuple[float, float]], names: tuple[str, str], unit: str) -> Figure:
    """For each name two bars side by side, such as formula and measurement, with their numbers."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.1))
    for side in (0, 1):
        places = [i + (side - 0.5) * 0.38 for i in range(len(pairs))]
        values = [pair[side] for pair in pairs.values()]
        bars = ax.bar(places, values, 0.38, label=names[side], color=PALETTE[side], edgecolor="white")
        ax.bar_label(
            bars,
            [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values],
            fontsize=8,
            padding=2,
        )
    ax.set_xticks(range(len(pairs)), list(pairs))
    ax.set_ylabel(unit)
    ax.set_ylim(0, 1.25 * max(max(pair) for pair in pairs.values()))
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left", ncols=2)
    return fig
