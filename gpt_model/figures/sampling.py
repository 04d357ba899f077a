"""The pictures of notebook 04: distributions with what a rule keeps, a draw, a tree of texts, texts against texts.

They take plain numbers and names and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Bars with numbers and lines are those of the chapter before. Left out: style
(`utils.plotting`).
Notebook: `04_sampling.ipynb`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attention_mechanisms.figures.latent import draw_counts, draw_lines, draw_shares
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_bars",
    "draw_counts",
    "draw_grids",
    "draw_interval",
    "draw_lines",
    "draw_shares",
    "draw_surprise",
    "draw_texts",
    "draw_tree",
]

BLUE, ORANGE = PALETTE[0], PALETTE[1]
CUT, QUIET = "#e3e3e3", "#555555"
MARKS = ("o", "s", "^", "D", "v", "X", "P")  # readable without colours as well


def draw_bars(
    panels: Mapping[str, Mapping[str, float]],
    kept: Mapping[str, Collection[str]] | None = None,
    *,
    columns: int = 4,
    ylabel: str = "probability",
) -> Figure:
    """For each name the probabilities of some tokens as bars; grey are those that are not among its `kept`."""
    import matplotlib.pyplot as plt

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(shares) for shares in panels.values())
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(min(10.5, columns * (1.1 + 0.24 * most)), 2.9 * rows),
        squeeze=False,
        sharey=True,
    )
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (name, shares) in zip(axes.flat, panels.items(), strict=False):
        stay = shares if kept is None or name not in kept else kept[name]
        colours = [BLUE if token in stay else CUT for token in shares]
        edges = [BLUE if token in stay else QUIET for token in shares]
        ax.bar(list(shares), list(shares.values()), color=colours, edgecolor=edges, linewidth=0.8)
        ax.set_title(name, fontsize=10, loc="left")
        ax.tick_params(axis="x", labelsize=9)
        if max(map(len, shares)) * len(shares) > 24:  # words that would not fit side by side
            plt.setp(ax.get_xticklabels(), rotation=60, ha="right", rotation_mode="anchor")
        ax.grid(axis="x", visible=False)
    for row in axes:
        row[0].set_ylabel(ylabel)
    return fig


def draw_interval(shares: Mapping[str, float], uniforms: Sequence[float]) -> Figure:
    """Probabilities laid end to end from 0 to 1, with an arrow where each uniform number falls."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8.0, 1.5))
    left = 0.0
    for i, (token, share) in enumerate(shares.items()):
        ax.barh(0, share, left=left, color=PALETTE[i % len(PALETTE)], alpha=0.45, edgecolor="white")
        ax.text(left + share / 2, 0, token, ha="center", va="center", fontsize=10)
        left += share
    for u in uniforms:
        ax.annotate(
            f"u = {u:g}", (u, 0.4), (u, 0.85), ha="center", fontsize=9, arrowprops={"arrowstyle": "->"}
        )
    ax.set(xlim=(0, left), ylim=(-0.42, 1.15), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    return fig


def draw_grids(panels: Mapping[str, Any], xlabel: str, ylabel: str, names: Sequence[str]) -> Figure:
    """For each name a grid of whole numbers, each number a colour of its own, called as `names` say."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    colours = ListedColormap(PALETTE[: len(names)])
    fig, axes = plt.subplots(1, len(panels), figsize=(10.0, 2.9), squeeze=False, sharey=True)
    for ax, (name, grid) in zip(axes[0], panels.items(), strict=True):
        ax.imshow(
            grid, cmap=colours, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest", aspect="auto"
        )
        ax.set(xlabel=xlabel)
        ax.set_title(name, fontsize=10, loc="left")
        ax.grid(False)
    axes[0][0].set_ylabel(ylabel)
    handles = [Patch(color=PALETTE[i], label=name) for i, name in enumerate(names)]
    fig.legend(handles=handles, ncols=len(names), loc="outside lower center", fontsize=9)
    return fig


def draw_tree(
    first: Mapping[str, float],
    second: Mapping[str, Mapping[str, float]],
    paths: Mapping[str, tuple[str, str]],
) -> Figure:
    """Texts of two words as a tree: probabilities on its edges, each text's own at its end; `paths` are coloured."""
    import matplotlib.pyplot as plt

    leaves = [(a, b) for a in first for b in second[a]]
    fig, ax = plt.subplots(figsize=(6.6, 0.5 + 0.24 * len(leaves)))
    heights = {leaf: -float(i) for i, leaf in enumerate(leaves)}
    middle = {a: sum(heights[a, b] for b in second[a]) / len(second[a]) for a in first}
    root = sum(middle.values()) / len(middle)
    colour = {path: PALETTE[i + 1] for i, path in enumerate(paths.values())}
    called = {path: name for name, path in paths.items()}
    for a, share in first.items():
        on = next((colour[path] for path in colour if path[0] == a), CUT)
        ax.plot([0, 1], [root, middle[a]], color=on, lw=1 + 6 * share, zorder=1)
        ax.text(1.04, middle[a], f"{a}  {share:g}", va="center", fontsize=10, bbox=_paper())
        for b, follows in second[a].items():
            on, y = colour.get((a, b), CUT), heights[a, b]
            ax.plot([1.45, 2.3], [middle[a], y], color=on, lw=1 + 6 * share * follows, zorder=1)
            words = f"{b}  {follows:g}   → {share * follows:.3g}  {called.get((a, b), '')}"
            ax.text(2.34, y, words, va="center", fontsize=9, color=on if on != CUT else QUIET)
    ax.set(xlim=(-0.05, 3.7), ylim=(-len(leaves) + 0.3, 0.7))
    ax.axis("off")
    return fig


def draw_texts(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    *,
    errors: Mapping[str, Sequence[float]] | None = None,
    joined: Collection[str] = (),
    labels: Mapping[str, Sequence[str]] | None = None,
    log: str = "",
) -> Figure:
    """Texts, or ways to write them, as points: (xs, ys) for each group; a line through those that are `joined`.

    `errors` are half-widths of a vertical bar at each point; `labels` are written beside the points, those of the
    first group at their left; `log` names the logarithmic axes ("x", "y", "xy").
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.8, 4.4))
    for i, (name, (xs, ys)) in enumerate(groups.items()):
        ax.errorbar(
            list(xs), list(ys), yerr=(errors or {}).get(name), fmt=MARKS[i % len(MARKS)], ms=6, label=name,
            color=PALETTE[i % len(PALETTE)], ls="-" if name in joined else "none", lw=1, elinewidth=0.8,
        )  # fmt: skip
        for place, (x, y, words) in enumerate(zip(xs, ys, (labels or {}).get(name, ()), strict=False)):
            side, up = ("right", -6) if i == 0 else ("left", 6), 4 if i == 0 or place % 2 == 0 else -10
            ax.annotate(
                words, (x, y), (side[1], up), textcoords="offset points", ha=side[0], fontsize=8, color=QUIET
            )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.legend(fontsize=9)
    return fig


def draw_surprise(texts: Mapping[str, Sequence[float]]) -> Figure:
    """The surprise of every token in nats, a panel for each text, one below the other and on one scale."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        len(texts), 1, figsize=(8.4, 1.5 * len(texts) + 0.4), sharex=True, sharey=True, squeeze=False
    )
    for i, (ax, (name, surprises)) in enumerate(zip(axes[:, 0], texts.items(), strict=True)):
        ax.fill_between(range(len(surprises)), list(surprises), step="mid", color=PALETTE[i], alpha=0.35)
        ax.step(range(len(surprises)), list(surprises), where="mid", color=PALETTE[i], lw=1)
        ax.set_title(f"{name}: {sum(surprises) / len(surprises):.2f} nats a token", fontsize=10, loc="left")
    axes[-1, 0].set_xlabel("token")
    fig.supylabel("surprise in nats", fontsize=10)
    return fig


def _paper() -> dict[str, Any]:
    return {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none"}
