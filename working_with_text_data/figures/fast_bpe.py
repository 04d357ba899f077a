"""The pictures of notebook 04: work per merge, growth of words, times against size, libraries, cache hits.

They take plain numbers and return a matplotlib figure; what is drawn is computed or measured in the notebook.
The one exception are the races against other libraries, which a notebook cannot measure in seconds:
`races` reads them from a results file of `benchmark`, and what is not in the file is drawn as "not measured".
Notebook: `04_fast_bpe.ipynb`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError
from working_with_text_data.figures.tour import BLUE, ORANGE, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]
LOOKS = ("o-", "s-", "^-", "d-", "v-")
OLD, NOW = "#9db8cc", BLUE


def exponent(points: Points) -> float:
    """The slope of the straight line through log–log points (least squares): y grows as x to this power.

    Raises `UserError` for fewer than two points, or a number that has no logarithm.

    >>> round(exponent([(1, 5), (10, 500), (100, 50_000)]), 6)
    2.0
    """
    if len(points) < 2 or any(x <= 0 or y <= 0 for x, y in points):
        raise UserError(f"an exponent needs two or more points above 0, but these are {list(points)[:5]}")
    xs, ys = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - mean_x) ** 2 for x in xs
    )


def draw_work(series: Mapping[str, Sequence[float]], what: str) -> Figure:
    """Numbers for each merge, on a logarithmic scale; a merge for which a number is 0 has no point."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.4))
    for name, values in series.items():
        shown = [value if value > 0 else math.nan for value in values]
        ax.plot(range(1, len(shown) + 1), shown, ".-", ms=3, lw=0.9, label=name)
    ax.set_yscale("log")
    ax.set(xlabel="merge", ylabel=what)
    ax.legend(ncols=len(series), loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return fig


def draw_growth(curves: Mapping[str, Points], xlabel: str, ylabel: str) -> Figure:
    """Curves on logarithmic axes, with the line "all are different" above them."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    for (name, points), look in zip(curves.items(), LOOKS, strict=False):
        ax.plot(*zip(*points, strict=True), look, ms=4, label=name)
    xs = sorted({x for points in curves.values() for x, _ in points})
    ax.plot(xs, xs, ls="--", color=QUIET, lw=1, label="if all were different")
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return fig


def draw_changed_counts(before: Mapping[str, int], after: Mapping[str, int]) -> Figure:
    """Two bars for each pair, its count before and after a merge; the names of those that changed are orange."""
    import matplotlib.pyplot as plt

    names = sorted(
        dict.fromkeys([*before, *after]), key=lambda n: (before.get(n, 0) == after.get(n, 0), n not in before)
    )
    fig, ax = plt.subplots(figsize=(7.6, 3.0))
    for shift, counts, colour, label in ((-0.2, before, OLD, "before"), (0.2, after, NOW, "after")):
        values = [counts.get(name, 0) for name in names]
        bars = ax.bar([i + shift for i in range(len(names))], values, 0.4, color=colour, label=label)
        ax.bar_label(bars, [str(value) for value in values], fontsize=8, color=QUIET)
    ax.set_xticks(range(len(names)), names, family="monospace")
    for written, name in zip(ax.get_xticklabels(), names, strict=True):
        changed = before.get(name, 0) != after.get(name, 0)
        written.set(color=ORANGE if changed else "black", fontweight="bold" if changed else "normal")
    ax.set(ylabel="how often", title="names in orange: the count has changed")
    ax.grid(False, axis="x")
    ax.legend(loc="upper right")
    return fig


def draw_times(seconds: Mapping[str, float], title: str) -> Figure:
    """A bar for each way of doing the same, in seconds on a logarithmic scale, and how many times the last one."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 0.8 + 0.45 * len(seconds)))
    quickest = list(seconds.values())[-1]
    bars = ax.barh(list(seconds), list(seconds.values()), color=[OLD] * (len(seconds) - 1) + [NOW])
    ax.bar_label(bars, [f" {s:.3g} s, {s / quickest:,.0f} ×" for s in seconds.values()], fontsize=10)
    low, high = min(seconds.values()), max(seconds.values())
    ax.set(xscale="log", xlim=(low / 2, high * (high / low) ** 0.4 * 2), xlabel="seconds", title=title)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    return fig


def draw_scaling(panels: Mapping[str, Mapping[str, Points]], ylabel: str = "seconds") -> Figure:
    """A log–log panel for each x-axis; the legend gives each curve's exponent."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.4 * len(panels), 3.9), sharey=True)
    for ax, (xlabel, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, points), look in zip(curves.items(), LOOKS, strict=False):
            ax.plot(*zip(*points, strict=True), look, ms=4, label=f"{name}: {exponent(points):.2f}")
        ax.set(xscale="log", yscale="log", xlabel=xlabel)
        low, high = ax.get_xlim()
        ticks = [n * 10.0**k for k in range(8) for n in (1, 2, 5) if low <= n * 10**k <= high]
        ticks = ticks if high / low < 100 else [t for t in ticks if f"{t:.0f}"[0] == "1"]
        ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        ax.minorticks_off()
        ax.legend(
            title="name: exponent",
            fontsize=9,
            title_fontsize=9,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
        )
    axes[0, 0].set_ylabel(ylabel)
    return fig


def draw_hit_rates(curves: Mapping[str, Points], xlabel: str) -> Figure:
    """Shares between 0 and 1 against how much has been read."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.4))
    for (name, points), look in zip(curves.items(), LOOKS, strict=False):
        ax.plot(*zip(*points, strict=True), look, ms=4, label=name)
    ax.set(xscale="log", ylim=(0, 1.03), xlabel=xlabel, ylabel="share found in the cache")
    ax.legend(loc="lower right")
    return fig


# --- the races against other libraries --------------------------------------------------------------


def races(path: str | Path, kind: str) -> dict[str, dict[str, float]]:
    """A race a corpus, of a kind ("training", "encoding"), in `benchmark`'s results: race → runner → median seconds.

    Read is figures.corpora.<corpus>.<kind>.<vocabulary>.candidates.<runner>.median_s, for the vocabulary with the
    largest number, or the first if they have names; what is not there is left out, so that a file without the
    part, or no file, gives {}. Of several settings of one library the fastest counts; ours stay apart, because
    cold and warm are different things.

    Raises `UserError` for a file that is no results file.
    """
    found: dict[str, dict[str, float]] = {}
    for corpus, parts in _figures(path).get("corpora", {}).items():
        by_vocabulary = parts.get(kind) or {}
        vocabulary = max(by_vocabulary, key=lambda name: int(name) if name.isdigit() else 0, default=None)
        if vocabulary is None:
            continue
        best: dict[str, float] = {}
        for name, row in by_vocabulary[vocabulary]["candidates"].items():
            runner = name if name.startswith("ours") else name.split(",")[0]
            best[runner] = min(best.get(runner, math.inf), float(row["median_s"]))
        if len(best) > 1:
            size = f"{int(vocabulary):,} ids" if vocabulary.isdigit() else vocabulary
            found[f"{corpus}, {size}"] = best
    return found


def against_the_readable(path: str | Path) -> str:
    """One sentence from figures.readable of the results: how many times as fast as the readable trainer."""
    row = _figures(path).get("readable")
    if row is None:
        return "against the readable trainer: not measured"
    return (
        f"against the readable trainer, {row['reached']:,} ids from {row['corpus']}: {row['readable_s']:,.0f} s and "
        f"{row['ours']['median_s']:.2f} s, {row['times_faster']:,.0f} times as fast"
    )


def _figures(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["figures"])
    except (ValueError, KeyError, TypeError) as error:
        kind = type(error).__name__
        raise UserError(f"{path} is not a results file ({kind}): run the benchmark again") from None


def draw_races(kinds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """A panel for each kind of race: the speed of each runner if ours is 1; the first of ours that is named.

    A kind without a race is drawn as "not measured".
    """
    import matplotlib.pyplot as plt

    heights = [max(0.5, 0.26 * sum(len(r) + 1 for r in group.values())) for group in kinds.values()]
    fig, axes = plt.subplots(
        len(kinds), 1, squeeze=False, figsize=(7.6, 0.9 * len(kinds) + sum(heights)), height_ratios=heights
    )
    for ax, (kind, group) in zip(axes[:, 0], kinds.items(), strict=True):
        ax.set_title(kind)
        if group:
            _draw_group(ax, group)
        else:
            ax.text(0.5, 0.5, "not measured", ha="center", va="center", color=QUIET, transform=ax.transAxes)
            ax.axis("off")
    return fig


def _draw_group(ax: Axes, group: Mapping[str, Mapping[str, float]]) -> None:
    labels: list[str] = []
    places: list[int] = []
    for number, (race, runners) in enumerate(group.items()):
        unit = next((s for runner, s in runners.items() if runner.startswith("ours")), min(runners.values()))
        for runner, seconds in sorted(runners.items(), key=lambda item: item[1]):
            places.append(len(labels) + number)  # a gap between two races
            labels.append(f"{race}: {runner}")
            speed = unit / seconds
            ax.barh(places[-1], speed, color=NOW if runner.startswith("ours") else OLD)
            ax.text(speed, places[-1], f" {speed:,.2f}", va="center", fontsize=9)
    ax.set_yticks(places, labels, fontsize=9)
    ax.axvline(1, color=QUIET, lw=1, ls=":")
    ax.set(xlabel="speed, if ours is 1")
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(False, axis="y")
