"""The pictures of notebook 06: a text coloured by surprise, guesses, what each part adds to the stream and the answer.

They take plain numbers, names and tensors and return a matplotlib figure; what is drawn is computed in the notebook,
never here. matplotlib is imported on use. Maps, lines and the lens are those of the neighbours. Left out: style
(`utils.plotting`); the page that answers to the mouse (`lens_viewer`).
Notebook: `06_looking_inside.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_mechanisms.figures.latent import draw_lines
from gpt_model.figures.blocks import draw_curves, draw_maps
from gpt_model.figures.real_weights import draw_lens
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_against",
    "draw_bars",
    "draw_curves",
    "draw_guesses",
    "draw_lens",
    "draw_lines",
    "draw_maps",
    "draw_spread",
    "draw_strips",
    "draw_sum",
    "draw_writes",
]

BLUE, ORANGE = PALETTE[0], PALETTE[1]
QUIET = "#555555"


def _visible(word: str, longest: int = 10) -> str:
    """As a cell can hold it: long ones cut, and no dollar read as mathematics."""
    word = word if len(word) <= longest else word[: longest - 1] + "…"
    return word.replace("$", r"\$")


def draw_strips(
    rows: Mapping[str, tuple[Sequence[str], Sequence[float]]],
    *,
    top: float = 8.0,
    width: int = 92,
    marked: Mapping[str, Sequence[int]] | None = None,
    scale: str = "surprise, nats",
) -> Figure:
    """For each name its tokens as running text, the redder the larger the number; `marked` places get a frame.

    Lines hold about `width` letters; all rows share one scale from 0 to `top`, and what is above it is darkest.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = plt.get_cmap("Reds")
    places: list[tuple[float, float, str, float, bool]] = []  # x, line, word, value, framed
    titles, line = [], 0.0
    for name, (tokens, values) in rows.items():
        titles.append((line, name))
        x, line = 0.0, line + 1
        for i, (token, value) in enumerate(zip(tokens, values, strict=True)):
            word = token.replace("⏎", "¶")
            if x and x + len(word) > width:
                x, line = 0.0, line + 1
            places.append((x, line, word, value, i in (marked or {}).get(name, ())))
            x += len(word) + 0.25
        line += 1.35
    fig, ax = plt.subplots(figsize=(10.6, 0.5 + 0.27 * line))
    for x, y, word, value, framed in places:
        share = min(max(value / top, 0.0), 1.0)
        edge: Any = {"ec": "black", "lw": 1.4} if framed else {"ec": "none"}
        ax.add_patch(plt.Rectangle((x, y - 0.44), len(word) + 0.1, 0.88, fc=colours(0.85 * share), **edge))
        ax.text(
            x + len(word) / 2 + 0.05, y, word.replace("$", r"\$"), ha="center", va="center",
            fontsize=8.5, family="monospace", color="white" if share > 0.6 else "black",
        )  # fmt: skip
    for y, name in titles:
        ax.text(0, y, name, fontsize=10, fontweight="bold", va="center")
    ax.set(xlim=(-0.3, width + 8), ylim=(line - 0.7, -0.7))
    ax.axis("off")
    drawn = ScalarMappable(Normalize(0, top), ListedColormap(colours(np.linspace(0, 0.85, 64))))
    fig.colorbar(drawn, ax=ax, label=scale, pad=0.01, aspect=12)
    return fig


def draw_guesses(panels: Mapping[str, Sequence[tuple[str, float]]], came: Sequence[str]) -> Figure:
    """For each place its likeliest tokens as bars of probability; the one that came is orange, wherever it ranks."""
    import matplotlib.pyplot as plt

    deepest = max(len(bars) for bars in panels.values())
    fig, axes = plt.subplots(
        1, len(panels), figsize=(2.75 * len(panels), 0.9 + 0.28 * deepest), squeeze=False, sharex=True
    )
    for ax, (name, bars), word in zip(axes[0], panels.items(), came, strict=True):
        colours = [ORANGE if guess == word else BLUE for guess, _ in bars]
        drawn = ax.barh(range(len(bars)), [chance for _, chance in bars], color=colours)
        ax.bar_label(drawn, [f"{chance:.0%}" for _, chance in bars], padding=2, fontsize=8)
        ax.set_yticks(range(len(bars)), [_visible(guess, 14) for guess, _ in bars], fontsize=9)
        ax.set(xlim=(0, 1.25), xticks=(0, 0.5, 1), ylim=(deepest - 0.5, -0.5), xlabel="probability")
        ax.set_title(name, fontsize=9)
        ax.grid(False)
    return fig


def draw_writes(sizes: Mapping[str, Sequence[float]], shares: Mapping[str, float]) -> Figure:
    """Left the size of what each part writes, a point a token and a bar for the mean; right its share of the end.

    `shares` may be below zero: such a part points away from where the stream ends.
    """
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(9.6, 0.9 + 0.3 * len(sizes)))
    for y, values in enumerate(sizes.values()):
        left.barh(y, float(np.mean(values)), color=BLUE, alpha=0.35)
        left.plot(list(values), [y] * len(values), "|", color=BLUE, ms=7, alpha=0.5)
    bars = right.barh(range(len(shares)), list(shares.values()), color=BLUE)
    right.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3, fontsize=9)
    right.axvline(0, color=QUIET, lw=0.8)
    right.margins(x=0.15)
    left.set_yticks(range(len(sizes)), list(sizes))
    left.set(ylim=(len(sizes) - 0.5, -0.5), xlabel="length of what is written")
    right.set(xlabel="share of the final stream")
    for ax in (left, right):
        ax.grid(False, axis="y")
    return fig


def draw_spread(groups: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str) -> Figure:
    """For each group and name a line of points, moved apart a little, with a bar at the median."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    fig, ax = plt.subplots(figsize=(8.6, 0.8 + 0.8 * len(groups)))
    chance = np.random.default_rng(0)
    for y, group in enumerate(groups.values()):
        for name, values in group.items():
            i = names.index(name)
            at = y + (i - (len(names) - 1) / 2) * 0.36
            heights = at + chance.uniform(-0.1, 0.1, len(values))
            ax.plot(
                list(values), heights, "os^D"[i % 4], color=PALETTE[i], ms=3, alpha=0.35,
                label=name if y == 0 else None,
            )  # fmt: skip
            ax.plot([float(np.median(values))] * 2, [at - 0.16, at + 0.16], "-", color="black", lw=2.5)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set(ylim=(len(groups) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(False, axis="y")
    legend = fig.legend(loc="outside upper center", ncols=len(names), fontsize=9)
    for handle in legend.legend_handles:
        handle.set_alpha(1)  # type: ignore[union-attr]
    return fig


def draw_bars(bars: Mapping[str, float], xlabel: str, marked: Sequence[str] = ()) -> Figure:
    """Signed bars, one for each name, with their numbers; those `marked` are orange."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 0.8 + 0.3 * len(bars)))
    drawn = ax.barh(list(bars), list(bars.values()), color=[ORANGE if n in marked else BLUE for n in bars])
    ax.bar_label(drawn, [f"{value:.2f}" for value in bars.values()], padding=3, fontsize=9)
    ax.axvline(0, color=QUIET, lw=0.8)
    ax.margins(x=0.15)
    ax.invert_yaxis()
    ax.set(xlabel=xlabel)
    ax.grid(False, axis="y")
    return fig


def draw_sum(steps: Mapping[str, float], xlabel: str, total: str = "sum") -> Figure:
    """Signed bars, each beginning where the one before ended; the last, orange, goes from zero to their sum."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 1.0 + 0.3 * len(steps)))
    at = 0.0
    for y, value in enumerate(steps.values()):
        ax.barh(y, value, left=at, color=BLUE)
        ax.plot([at + value] * 2, [y, y + 1], color=QUIET, lw=0.7)
        ax.annotate(f"{value:+.2f}", (max(at, at + value), y), (4, 0), textcoords="offset points",
                    va="center", fontsize=9)  # fmt: skip
        at += value
    ax.barh(len(steps), at, color=ORANGE)
    ax.annotate(f"{at:+.2f}", (max(at, 0.0), len(steps)), (4, 0), textcoords="offset points", va="center",
                fontsize=9)  # fmt: skip
    ax.set_yticks(range(len(steps) + 1), [*steps, total])
    ends = np.cumsum([0.0, *steps.values()])
    room = 0.1 * (ends.max() - ends.min())
    ax.axvline(0, color=QUIET, lw=0.8)
    ax.set(xlim=(ends.min() - room / 2, ends.max() + room), ylim=(len(steps) + 0.5, -0.5), xlabel=xlabel)
    ax.grid(False, axis="y")
    return fig


def draw_against(
    points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str, named: Sequence[str] = ()
) -> Figure:
    """A point for each (x, y), those `named` in orange with their names; on the dotted line both are equal."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    low = min(min(point) for point in points.values())
    high = max(max(point) for point in points.values())
    ax.plot([low, high], [low, high], ":", color=QUIET, lw=1, label="equal")
    for name, (x, y) in points.items():
        ax.plot([x], [y], "D" if name in named else "o", color=ORANGE if name in named else BLUE, ms=6)
        if name in named:
            ax.annotate(name, (x, y), (8, 2), textcoords="offset points", fontsize=9)
    ax.margins(x=0.15, y=0.1)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="lower right")
    return fig
