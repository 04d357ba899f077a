"""The pictures of notebook 02: a map of the parameters by area, and what grows with the context, in layers.

They take plain numbers and names and return a matplotlib figure; what is drawn is computed in the notebook, never
here. The treemap is squarified (Bruls, Huizing and van Wijk 2000, "Squarified Treemaps"): rectangles as near to squares
as a greedy choice makes them, because areas of long strips cannot be compared by eye. matplotlib is imported on use.
Bars, lines and chains of boxes are those of the chapter before. Left out: style (`utils.plotting`).
Notebook: `02_gpt2_and_its_size.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts, draw_flow, draw_lines
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_bars", "draw_counts", "draw_flow", "draw_layers", "draw_lines", "draw_treemap", "squarify"]

Rectangle = tuple[float, float, float, float]  # left, bottom, width, height
COLOURS = ("#fbe3b3", "#f5c9a8", "#a9d3ec", "#cfe8f7", "#9fd8c4", "#c9ebdf", "#dddddd", "#eeeeee")


def squarify(
    sizes: Sequence[float], left: float, bottom: float, width: float, height: float
) -> list[Rectangle]:
    """Rectangles with areas in proportion to `sizes` (largest first), which together fill the given one.

    >>> squarify([3, 1], 0, 0, 4, 1)
    [(0, 0, 3.0, 1.0), (3.0, 0, 1.0, 1.0)]
    """
    if not sizes:
        return []
    scale = width * height / sum(sizes)
    count = 1
    while count < len(sizes) and _worst(sizes[: count + 1], scale, min(width, height)) <= _worst(
        sizes[:count], scale, min(width, height)
    ):
        count += 1  # one more in this row or column, as long as the longest strip gets no longer
    area = sum(sizes[:count]) * scale
    placed: list[Rectangle] = []
    if width >= height:  # a column at the left
        strip, at = area / height, bottom
        for size in sizes[:count]:
            placed.append((left, at, strip, size * scale / strip))
            at += size * scale / strip
        return placed + squarify(sizes[count:], left + strip, bottom, width - strip, height)
    strip, at = area / width, left
    for size in sizes[:count]:
        placed.append((at, bottom, size * scale / strip, strip))
        at += size * scale / strip
    return placed + squarify(sizes[count:], left, bottom + strip, width, height - strip)


def _worst(sizes: Sequence[float], scale: float, side: float) -> float:
    """The most stretched rectangle (long side / short side) when `sizes` share a strip along `side`."""
    strip = sum(sizes) * scale / side
    sides = [size * scale / strip for size in sizes]
    return max(max(strip / length, length / strip) for length in sides)


def draw_treemap(groups: Mapping[str, Mapping[str, float]], unit: str = "parameters") -> Figure:
    """An area for each number: groups are framed, what is in them has a colour by its name, and the largest names."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    fig, ax = plt.subplots(figsize=(9.2, 5.2))
    kinds = list(dict.fromkeys(name for parts in groups.values() for name in parts))
    colours = dict(zip(kinds, COLOURS, strict=False))
    totals = {name: sum(parts.values()) for name, parts in groups.items()}
    order = sorted(groups, key=lambda name: -totals[name])
    whole = sum(totals.values())
    for group, outer in zip(order, squarify([totals[name] for name in order], 0, 0, 16, 9), strict=True):
        parts = sorted(groups[group].items(), key=lambda item: -item[1])
        for (name, _), (x, y, w, h) in zip(parts, squarify([n for _, n in parts], *outer), strict=True):
            ax.add_patch(plt.Rectangle((x, y), w, h, fc=colours[name], ec="white", lw=0.4))
        x, y, w, h = outer
        ax.add_patch(plt.Rectangle((x, y), w, h, fill=False, ec="black", lw=1.2))
        if totals[group] > 0.02 * whole:
            words = f"{group}\n{totals[group]:,.0f}"
            ax.text(x + w / 2, y + h / 2, words, ha="center", va="center", fontsize=9 if w > 3 else 7)
    ax.set(xlim=(-0.02, 16.02), ylim=(-0.02, 9.02), title=f"{whole:,.0f} {unit}")
    ax.axis("off")
    ax.legend(
        handles=[Patch(fc=colours[name], label=name) for name in kinds],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=4,
        fontsize=9,
    )
    return fig


def draw_layers(
    xs: Sequence[float],
    parts: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    *,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Areas on top of each other over a logarithmic x, one for each part; `marks` are vertical lines."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    ax.stackplot(
        list(xs), *[list(ys) for ys in parts.values()], labels=list(parts), colors=COLOURS, ec="white"
    )
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(xs[0], xs[-1]), ylim=(0, None))
    for words, x in (marks or {}).items():
        ax.axvline(x, color="black", lw=1, ls=":")
        ax.annotate(words, (x, 0.5), (-4, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                    fontsize=9, ha="right")  # fmt: skip
    handles, names = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1, 0.5)
    )  # in the order of the areas
    return fig


def draw_bars(rows: Mapping[str, Mapping[str, float]], unit: str, *, sums: bool = True) -> Figure:
    """A bar for each row, divided into its parts, with the sum written at its end unless `sums` is False."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8.2, 1.3 + 0.42 * len(rows)))
    kinds = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    starts = dict.fromkeys(rows, 0.0)
    for kind, colour in zip(kinds, PALETTE, strict=False):
        lengths = [parts.get(kind, 0.0) for parts in rows.values()]
        bars = ax.barh(list(rows), lengths, left=list(starts.values()), label=kind, color=colour)
        starts = {name: starts[name] + length for name, length in zip(rows, lengths, strict=True)}
    if sums:
        ax.bar_label(bars, [f"{total:,.3g}" for total in starts.values()], padding=3)
    ax.set(xlabel=unit, xlim=(0, 1.12 * max(starts.values())))
    ax.invert_yaxis()
    ax.grid(False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9)
    return fig
