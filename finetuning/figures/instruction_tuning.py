"""The pictures of notebook 02: tokens in the colours of who wrote them, batches as tables with holes, shares.

They take plain numbers and words and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Bars are those of a neighbour. Left out: style (`utils.plotting`).
Notebook: `02_instruction_tuning.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attention_mechanisms.figures.causal_multi_head import draw_masks
from attention_mechanisms.figures.latent import draw_counts
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_batches", "draw_counts", "draw_masks", "draw_shares", "draw_strips", "draw_two_losses"]

KINDS = {"template": "#c8c8c8", "said": PALETTE[5], "trained": PALETTE[1]}
LEGEND = {"template": "a special token", "said": "read, not asked for", "trained": "trained"}


def draw_strips(rows: Mapping[str, Sequence[tuple[str, str]]], width: int = 86) -> Figure:
    """For each name its tokens as boxes, as wide as they are long, coloured by kind: template, said, trained."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch, Rectangle

    lines: list[tuple[str, list[tuple[str, str]]]] = []
    for name, tokens in rows.items():
        lines.append((name, []))
        used = 0.0
        for text, kind in tokens:
            shown = text.replace("\n", "⏎").replace(" ", "·")
            if used + len(shown) + 1 > width:
                lines.append(("", []))
                used = 0.0
            lines[-1][1].append((shown, kind))
            used += len(shown) + 1
    fig, ax = plt.subplots(figsize=(8.6, 0.7 + 0.3 * len(lines)))
    for y, (name, tokens) in enumerate(lines):
        at = 0.0
        for shown, kind in tokens:
            size = len(shown) + 0.8
            ax.add_patch(Rectangle((at, y + 0.08), size, 0.84, color=KINDS[kind], lw=0))
            dark = "white" if kind == "trained" else "black"
            ax.text(
                at + size / 2,
                y + 0.5,
                shown,
                ha="center",
                va="center",
                fontsize=7.5,
                family="monospace",
                color=dark,
            )
            at += size + 0.2
        ax.text(-1, y + 0.5, name, ha="right", va="center", fontsize=9)
    ax.set(xlim=(0, width + 2), ylim=(len(lines), 0))
    ax.axis("off")
    kinds = [k for k in KINDS if any(kind == k for _, tokens in lines for _, kind in tokens)]
    fig.legend(
        [Patch(color=KINDS[k]) for k in kinds],
        [LEGEND[k] for k in kinds],
        loc="outside upper right",
        ncols=3,
        fontsize=9,
    )
    return fig


def draw_batches(panels: Mapping[str, Any]) -> Figure:
    """For each way a table (rows, places) of document numbers, 0 for padding: neighbours in two tones, holes white."""
    import matplotlib.pyplot as plt
    import numpy as np

    tones = np.array([[1.0, 1.0, 1.0], [0.0, 0.45, 0.70], [0.34, 0.71, 0.91], [0.0, 0.62, 0.45]])
    heights = [max(1.0, 0.13 * len(table)) for table in panels.values()]
    fig, axes = plt.subplots(
        len(panels),
        1,
        figsize=(7.6, 0.75 * len(panels) + sum(heights)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
    )
    for (name, table), ax in zip(panels.items(), axes[:, 0], strict=True):
        table = np.asarray(table)
        full = float((table > 0).mean())
        ax.imshow(tones[np.where(table > 0, 1 + (table - 1) % 3, 0)], aspect="auto", interpolation="nearest")
        ax.set_title(
            f"{name}: {table.shape[0]} rows of {table.shape[1]} places, {full:.0%} of them tokens",
            fontsize=10,
        )
        ax.set_yticks([])
        ax.grid(False)
    axes[-1, 0].set_xlabel("place in the row (white: padding)")
    return fig


def draw_two_losses(rows: Mapping[str, Mapping[str, float]], ylabel: str) -> Figure:
    """Groups of bars, one group a name, one bar a part, with their values above."""
    import matplotlib.pyplot as plt

    parts = list(next(iter(rows.values())))
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    size = 0.8 / len(parts)
    for i, part in enumerate(parts):
        places = [x + (i - (len(parts) - 1) / 2) * size for x in range(len(rows))]
        values = [row[part] for row in rows.values()]
        ax.bar(places, values, size * 0.92, color=PALETTE[i], label=part)
        for x, value in zip(places, values, strict=True):
            ax.text(x, value, f"{value:.2f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(len(rows)), list(rows))
    ax.set_ylabel(ylabel)
    fig.legend(loc="outside upper right", ncols=len(parts))
    return fig


def draw_shares(rows: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]]) -> Figure:
    """For each model (a line) and question set (a colour) a share as a point, with its interval as a line."""
    import matplotlib.pyplot as plt

    sets = list(next(iter(rows.values())))
    fig, ax = plt.subplots(figsize=(7.0, 0.9 + 0.5 * len(rows)))
    for i, name in enumerate(sets):
        for y, row in enumerate(rows.values()):
            share, (low, high) = row[name]
            at = y + 0.16 * (i - (len(sets) - 1) / 2)
            ax.plot([low, high], [at, at], color=PALETTE[i], lw=2.5)
            ax.plot([share], [at], "o", color=PALETTE[i], ms=7, label=name if y == 0 else None)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(
        xlim=(-0.03, 1.03),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="share of exact answers, with its 95 % interval",
    )
    fig.legend(loc="outside upper right", ncols=len(sets))
    return fig
