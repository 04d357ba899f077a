"""The pictures of notebook 01: losses as a ladder, curves over steps, weights of tokens, directions, a dashboard.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Bars with numbers and lines are those of an earlier chapter. Left out: style
(`utils.plotting`).
Notebook: `01_a_loop_you_can_trust.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts, draw_lines
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_arrows", "draw_counts", "draw_curves", "draw_dashboard", "draw_lines", "draw_token_weights"]

LOOKS = ("-", "--", "-.", ":")  # readable without colours as well
QUIET = "#555555"
Curve = tuple[Sequence[float], Sequence[float]]


def _level(ax, words: str, y: float) -> None:
    """A horizontal line with its words at the right end, inside the axes."""
    ax.axhline(y, color=QUIET, lw=1, ls=":")
    ax.annotate(
        words, (1, y), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", fontsize=9,
        color=QUIET,
    )  # fmt: skip


def draw_curves(
    curves: Mapping[str, Curve],
    ylabel: str,
    *,
    levels: Mapping[str, float] | None = None,
    xlabel: str = "step",
    log: bool = False,
) -> Figure:
    """A line for each (steps, values), and a dotted level for each of `levels`."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    for i, (name, (xs, ys)) in enumerate(curves.items()):
        ax.plot(list(xs), list(ys), LOOKS[i % 4], lw=1.6, color=PALETTE[i % len(PALETTE)], label=name)
    for words, y in (levels or {}).items():
        _level(ax, words, y)
    if log:
        ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(curves) > 1:
        ax.legend(loc="best")
    return fig


def draw_token_weights(panels: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """For each name, micro-batches as rows and their labelled tokens as bars as high as a token's weight."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(3.9 * len(panels), 2.8), sharey=True, squeeze=False)
    for ax, (name, rows) in zip(axes[0], panels.items(), strict=True):
        at = 0
        for i, weights in enumerate(rows):
            places = range(at, at + len(weights))
            ax.bar(
                places,
                list(weights),
                width=1.0,
                color=PALETTE[i % len(PALETTE)],
                label=f"micro-batch {i + 1}",
            )
            at += len(weights) + 2
        ax.set_title(name, fontsize=10, loc="left")
        ax.set(xticks=[], xlabel="labelled tokens")
        ax.grid(axis="x", visible=False)
    axes[0][0].set_ylabel("weight of a token")
    axes[0][-1].legend()
    return fig


def draw_arrows(arrows: Mapping[str, tuple[float, float]], limit: float) -> Figure:
    """Gradients of two parameters as arrows from the origin, and the circle of norm `limit`."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(4.6, 3.6))
    ax.add_patch(plt.Circle((0, 0), limit, fill=False, color=QUIET, ls=":"))
    for i, (name, (x, y)) in enumerate(arrows.items()):
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": PALETTE[i], "lw": 2})
        ax.plot([], [], LOOKS[i % 4], color=PALETTE[i], label=name)
    far = 1.12 * max(limit, *(abs(v) for arrow in arrows.values() for v in arrow))
    ax.set(
        xlim=(-0.08 * far, far), ylim=(-0.08 * far, far), xlabel="one tensor's gradient", ylabel="another's"
    )
    ax.set_aspect("equal")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return fig


def draw_dashboard(panels: Mapping[str, Mapping[str, Curve]], *, log: Sequence[str] = ()) -> Figure:
    """A panel for each name with its curves over steps; those in `log` have a logarithmic axis."""
    import matplotlib.pyplot as plt

    rows = -(-len(panels) // 2)
    fig, axes = plt.subplots(rows, 2, figsize=(9.6, 2.7 * rows), sharex=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        for i, (name, (xs, ys)) in enumerate(curves.items()):
            ax.plot(list(xs), list(ys), LOOKS[i % 4], lw=1.5, color=PALETTE[i % len(PALETTE)], label=name)
        ax.set_title(title, fontsize=10, loc="left")
        if title in log:
            ax.set_yscale("log")
        if len(curves) > 1:
            ax.legend(fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("step")
    return fig
