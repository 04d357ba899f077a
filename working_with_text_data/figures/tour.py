"""The pictures of this chapter's notebooks, one function each, so that a cell shows the idea and not its axes.

They take plain numbers and strings (tensors and arrays as well) and return a matplotlib figure; what is drawn
is computed in the notebook, never here. matplotlib is imported on use.
Left out: style (`utils.plotting`) and pictures that belong to one other chapter.
Notebook: `00_five_minute_tour.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plotting import PALETTE
from working_with_text_data.inspect_tokens import COLOURS, rows_of_ids, token_table
from working_with_text_data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = PALETTE[0], PALETTE[1]
QUIET = "#555555"
KNOWN, ASKED = "#cfe8f7", "#fbe3b3"  # backgrounds that black text stays readable on


def draw_stations(stations: Mapping[str, str], learning: tuple[str, str, str] | None = None) -> Figure:
    """Boxes from left to right with a note under each; `learning` is an arrow back: from, to, its words."""
    import matplotlib.pyplot as plt

    names = list(stations)
    fig, ax = plt.subplots(figsize=(1.5 * len(names), 1.9))
    for i, name in enumerate(names):
        box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": PALETTE[i % len(PALETTE)], "lw": 2}
        ax.text(i, 1, name, ha="center", bbox=box)
        ax.text(i, 0.62, stations[name], ha="center", va="top", fontsize=9, color=QUIET)
        if i + 1 < len(names):
            ax.annotate("", (i + 0.66, 1.05), (i + 0.36, 1.05), arrowprops={"arrowstyle": "->"})
    if learning is not None:
        start, end = names.index(learning[0]), names.index(learning[1])
        arrow = {"arrowstyle": "->", "connectionstyle": "arc3,rad=0.35", "ls": "--", "color": QUIET}
        ax.annotate("", (end + 0.1, 1.26), (start - 0.1, 1.26), arrowprops=arrow)
        ax.text((start + end) / 2, 1.62, learning[2], ha="center", fontsize=9, color=QUIET)
    ax.set(xlim=(-0.6, len(names) - 0.4), ylim=(0.05, 2.1))
    ax.axis("off")
    return fig


def draw_token_strips(text: str, tokenizers: Mapping[str, Tokenizer]) -> Figure:
    """`text` cut by each tokenizer, one strip each: a box is a token, as wide as its bytes; · is a space."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        len(tokenizers), squeeze=False, figsize=(0.12 * len(text.encode()), len(tokenizers))
    )
    for ax, (name, tokenizer) in zip(axes[:, 0], tokenizers.items(), strict=True):
        rows = token_table(text, tokenizer)
        for row in rows:
            width, colour = row.end - row.start, COLOURS[row.index % len(COLOURS)]
            ax.barh(0, width, left=row.start, color=colour, edgecolor="white")
            middle = (row.start + row.end) / 2
            ax.text(middle, 0, row.shown, ha="center", va="center", family="monospace", fontsize=8.5)
        ax.set(xlim=(0, len(text.encode())), title=f"{name}: {len(rows)} tokens")
        ax.axis("off")
    return fig


def draw_ladder(pieces: Sequence[str]) -> Figure:
    """The questions that a window asks: row i shows pieces 0 … i as known and piece i + 1 as asked for."""
    import matplotlib.pyplot as plt

    count = len(pieces)
    fig, ax = plt.subplots(figsize=(count, 0.36 * count))
    for i in range(1, count):
        for j, piece in enumerate(pieces[: i + 1]):
            box = {"fc": ASKED if j == i else KNOWN, "ec": "none"}
            ax.text(j, -i, piece, ha="center", va="center", family="monospace", bbox=box)
    title = f"{count - 1} questions in {count} tokens: given the blue, guess the orange"
    ax.set(xlim=(-0.6, count - 0.4), ylim=(0.4 - count, -0.4), title=title)
    ax.axis("off")
    return fig


def draw_counts(counts: Mapping[str, int], title: str) -> Figure:
    """A bar for each part with its number; parts that are 0 are left out."""
    import matplotlib.pyplot as plt

    shown = {name: count for name, count in counts.items() if count}
    fig, ax = plt.subplots(figsize=(7, 0.4 + 0.4 * len(shown)))
    bars = ax.barh(list(shown), list(shown.values()), color=BLUE)
    ax.bar_label(bars, [f" {count:,}" for count in shown.values()])
    ax.set(xlim=(0, 1.25 * max(shown.values())), xticks=[], title=title)
    ax.invert_yaxis()
    ax.grid(False)
    return fig


def draw_changes(changes: Mapping[str, Any], place: int) -> Figure:
    """How far each output moved when token `place` was changed: what moved before it is orange, a leak."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(changes), squeeze=False, figsize=(4.5 * len(changes), 2.6), sharey=True)
    for ax, (name, change) in zip(axes[0], changes.items(), strict=True):
        values = np.asarray(change, dtype=float)
        ax.bar(range(len(values)), values, color=[ORANGE if i < place else BLUE for i in range(len(values))])
        ax.axvline(place, color=QUIET, ls=":")
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.set(title=name, xlabel=f"place in the text (token {place} changed)", ylim=(0, None))
    axes[0, 0].set_ylabel("largest change of a logit")
    return fig


def draw_next_tokens(probabilities: Mapping[str, Any], tokenizer: Tokenizer, n: int = 12) -> Figure:
    """The `n` likeliest next tokens of each distribution (V,), with the line of "no opinion", 1 / V."""
    import matplotlib.pyplot as plt

    columns = len(probabilities)
    fig, axes = plt.subplots(1, columns, squeeze=False, figsize=(1.8 + 3.6 * columns, 0.5 + 0.23 * n))
    for ax, (title, given) in zip(axes[0], probabilities.items(), strict=True):
        p = np.asarray(given, dtype=float)
        top = np.argsort(-p, kind="stable")[:n]
        ax.barh(range(n), p[top], color=BLUE)
        ax.set_yticks(range(n), _shown(tokenizer, top), family="monospace", fontsize=9)
        ax.axvline(1 / len(p), color=ORANGE, ls="--", label=f"1 / {len(p):,}")
        ax.set(title=title, xlabel="probability")
        ax.locator_params(axis="x", nbins=5)
        ax.invert_yaxis()
        ax.legend(loc="lower right")
    return fig


def draw_temperatures(probabilities: Mapping[str, Any], tokenizer: Tokenizer, n: int = 8) -> Figure:
    """Distributions (V,) side by side, on the `n` tokens that are likeliest in the last of them."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.5, 2.8))
    top = np.argsort(-np.asarray(list(probabilities.values())[-1], dtype=float), kind="stable")[:n]
    width = 0.8 / len(probabilities)
    for i, (name, p) in enumerate(probabilities.items()):
        left = np.arange(n) + (i - (len(probabilities) - 1) / 2) * width
        ax.bar(left, np.asarray(p, dtype=float)[top], width=0.9 * width, label=name)
    ax.set_xticks(range(n), _shown(tokenizer, top), family="monospace", fontsize=9)
    ax.set(ylabel="probability")
    ax.legend()
    return fig


def draw_loss_curves(metrics: Sequence[Mapping[str, Any]], levels: Mapping[str, float]) -> Figure:
    """Training and held-out loss by step, from a trainer's metric records; `levels` are named dashed lines."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.5, 3.8))
    for split, name, look in (("train", "training batches", "-"), ("val", "held-out text", "o-")):
        points = [(m["step"], m["loss"]) for m in metrics if m["split"] == split]
        ax.plot(*zip(*points, strict=True), look, label=name)
    last, lowest = max(m["step"] for m in metrics), min(m["loss"] for m in metrics)
    for name, level in levels.items():
        ax.axhline(level, color=QUIET, ls="--", lw=1)
        ax.text(last, level + 0.08, name, ha="right", fontsize=9)
    ax.set(xlabel="step", ylabel="loss (nats per token)", ylim=(lowest - 0.4, max(levels.values()) + 0.6))
    ax.legend(loc="upper center")
    return fig


def draw_attention(heads: Any, pieces: Sequence[str]) -> Figure:
    """Attention maps (H, T, T): a row for each token, its weights on the tokens before it; dark is 0."""
    import matplotlib.pyplot as plt

    maps, count = np.asarray(heads, dtype=float), len(pieces)
    fig, axes = plt.subplots(1, len(maps), squeeze=False, figsize=(2.5 * len(maps), 3.1), sharey=True)
    for i, (ax, weights) in enumerate(zip(axes[0], maps, strict=True)):
        ax.imshow(weights, vmin=0, vmax=1)
        ax.grid(False)
        ax.set(title=f"head {i}")
        ax.set_xticks(range(count), pieces, rotation=90, fontsize=8)
    axes[0, 0].set_yticks(range(count), pieces, fontsize=8)
    return fig


def _shown(tokenizer: Tokenizer, ids: Any) -> list[str]:
    return [row.shown for row in rows_of_ids([int(i) for i in ids], tokenizer)]
