"""The pictures of notebook 03: codes under a bell curve and how often each is used; the rest is borrowed.

They take plain numbers and tensors and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `03_lora_and_qlora.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts, draw_lines, draw_matrices
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from pretraining.figures.optimizers import draw_maps, draw_stacked
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_codes",
    "draw_counts",
    "draw_lines",
    "draw_maps",
    "draw_matrices",
    "draw_missing",
    "draw_stacked",
    "draw_usage",
]


def draw_codes(values: Sequence[float], tables: Mapping[str, Sequence[float]], xlabel: str) -> Figure:
    """A histogram of numbers in [-1, 1], a panel for each table of codes, with its codes as lines over it."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(tables), 1, figsize=(7.4, 1.75 * len(tables)), sharex=True, squeeze=False)
    for (name, codes), ax in zip(tables.items(), axes[:, 0], strict=True):
        ax.hist(list(values), bins=80, range=(-1, 1), color="#c8c8c8")
        top = ax.get_ylim()[1]
        ax.vlines(list(codes), 0, top, color=PALETTE[1], lw=1.2)
        ax.set_title(f"{name}: {len(codes)} values", fontsize=10, loc="left")
        ax.set_yticks([])
        ax.grid(False)
    axes[-1, 0].set_xlabel(xlabel)
    return fig


def draw_usage(rows: Mapping[str, Sequence[float]], ylabel: str) -> Figure:
    """For each name a line of bars, one for each code, side by side; the dashed line is what equal use would be."""
    import matplotlib.pyplot as plt

    count = len(next(iter(rows.values())))
    fig, ax = plt.subplots(figsize=(7.2, 2.8))
    width = 0.84 / len(rows)
    for i, (name, values) in enumerate(rows.items()):
        places = [code + (i - (len(rows) - 1) / 2) * width for code in range(count)]
        ax.bar(places, list(values), width, label=name, color=PALETTE[i])
    ax.axhline(1 / count, color="#555555", ls="--", lw=1)
    ax.set_xticks(range(count))
    ax.set(xlabel="code", ylabel=ylabel)
    ax.grid(axis="x", visible=False)
    ax.legend()
    return fig
