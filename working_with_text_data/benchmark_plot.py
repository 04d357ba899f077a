"""Draw the figures of the BPE benchmark, time against size and how ours stands beside each library, and its tables.

    python -m working_with_text_data.benchmark_plot results/bpe.json

The idea: training time against the size of the text with both axes logarithmic, where a straight line of slope
one is "twice the text, twice the time"; and bars of ratios around the line at 1, where both are equally fast.
Makes `bpe_training.svg` and `bpe_encoding.svg` beside the results, and the tables of a README in them
(`benchmark_markdown`). Left out: measuring (`benchmark`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.errors import UserError
from utils.files import atomic_write_json, atomic_write_text
from utils.plotting import PALETTE, figure_to_svg, style
from working_with_text_data.benchmark_markdown import markdown_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip(("ours", "tokenizers", "rustbpe", "bpeasy", "tiktoken"), PALETTE))
RATIOS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20)


def plot_file(path: str | Path) -> list[Path]:
    """The plots of a results file, written beside it, and its tables, written into it; the plots' paths.

    Raises:
        UserError: the file is missing, or was not written by this benchmark.
    """
    path = Path(path)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        figures = result["figures"]
        corpora = figures["corpora"]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run python -m working_with_text_data.benchmark") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} holds no figures of the BPE benchmark: measure again") from None
    figures["tables"] = markdown_tables(figures)
    atomic_write_json(path, result)
    written = []
    trained = {name: own["training"] for name, own in corpora.items() if own.get("training")}
    if trained:
        sizes = {name: corpora[name]["bytes"] for name in trained}
        written.append(_save(training_figure(trained, sizes), path.with_name("bpe_training.svg")))
    encoded = {name: own["encoding"] for name, own in corpora.items() if own.get("encoding")}
    if any(row["times"] for rows in encoded.values() for row in rows.values()):
        written.append(_save(encoding_figure(encoded), path.with_name("bpe_encoding.svg")))
    return written


def _save(figure: Figure, path: Path) -> Path:
    import matplotlib.pyplot as plt

    atomic_write_text(path, figure_to_svg(figure))
    plt.close(figure)
    return path


def training_figure(trained: dict[str, dict[str, Any]], sizes: dict[str, int]) -> Figure:
    """Left: seconds against bytes at the largest vocabulary that all texts have. Right: ratios by vocabulary."""
    import matplotlib.pyplot as plt

    with style():
        n_rows = sum(len(by_vocabulary) for by_vocabulary in trained.values())
        size = (9.6, max(3.6, 1.2 + 0.3 * n_rows))
        figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained")
        _time_against_size(left, trained, sizes)
        labels: list[str] = []
        bars: dict[str, dict[int, float]] = {}
        for corpus, by_vocabulary in trained.items():
            for vocabulary, result in by_vocabulary.items():
                labels.append(f"{plain_name(corpus)}, {int(vocabulary):,}")
                for name, peer in result["peers"].items():
                    bars.setdefault(name, {})[len(labels) - 1] = peer["times_faster"]
        _bars(right, labels, bars, "ours: times as fast as …", _limits(bars))
    return figure


def _time_against_size(axes: Axes, trained: dict[str, dict[str, Any]], sizes: dict[str, int]) -> None:
    common = set.intersection(*(set(by_vocabulary) for by_vocabulary in trained.values()))
    vocabulary = max(common, key=int)
    lines: dict[str, list[tuple[int, float]]] = {}
    for corpus in sorted(trained, key=sizes.__getitem__):
        result = trained[corpus][vocabulary]
        figures = result["candidates"]
        lines.setdefault("ours", []).append((sizes[corpus], figures["ours"]["median_s"]))
        for name, peer in result["peers"].items():
            seconds = figures[f"{name}, {peer['best']}"]["median_s"]
            lines.setdefault(name, []).append((sizes[corpus], seconds))
    for name, points in lines.items():
        # Texts of one size (to a tenth of a megabyte) are one point of the line, at their mean.
        groups: dict[float, list[tuple[int, float]]] = {}
        for size, seconds in points:
            groups.setdefault(round(size / 1e6, 1), []).append((size, seconds))
        x, y = zip(*(tuple(map(fmean, zip(*group))) for group in groups.values()))
        axes.plot(x, y, marker="o", color=COLOURS.get(name), label=name)
    title = f"training BPE, vocabulary {int(vocabulary):,}"
    axes.set(xscale="log", yscale="log", xlabel="bytes of text", ylabel="seconds", title=title)
    axes.legend()


def encoding_figure(encoded: dict[str, dict[str, Any]]) -> Figure:
    """How many times as fast as each library ours encodes, cold and warm, by text and vocabulary."""
    import matplotlib.pyplot as plt

    rows = [
        (f"{plain_name(corpus)}, {name}", row["times"])
        for corpus, by_name in encoded.items()
        for name, row in by_name.items()
    ]
    panels: dict[str, dict[str, dict[int, float]]] = {"cold": {}, "warm": {}}
    for place, (_, times) in enumerate(rows):
        for peer, ratio in times.items():
            for key, bars in panels.items():
                bars.setdefault(peer, {})[place] = ratio[key]
    limits = _limits(*panels.values())
    with style():
        size = (9.6, max(2.4, 1.2 + 0.3 * len(rows)))
        figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
        for panel, (key, bars) in zip(axes, panels.items()):
            _bars(panel, [label for label, _ in rows], bars, f"encoding, {key}: times as fast as …", limits)
    return figure


def plain_name(corpus: str) -> str:
    """A corpus as a label: a pattern of files has no name of its own."""
    return corpus if "*" not in corpus else f"several files {corpus.split(maxsplit=1)[1]}"


def _limits(*panels: dict[str, dict[int, float]]) -> tuple[float, float]:
    """One scale for all panels, on which every bar is seen."""
    values = [1.0, *(ratio for bars in panels for ratios in bars.values() for ratio in ratios.values())]
    return 0.8 * min(values), 1.25 * max(values)


def _bars(
    axes: Axes,
    labels: list[str],
    bars: dict[str, dict[int, float]],
    title: str,
    limits: tuple[float, float],
) -> None:
    """Bars of ratios from the line at 1 on a logarithmic axis, one below the other by library."""
    height = 0.8 / max(1, len(bars))
    for number, (name, ratios) in enumerate(bars.items()):
        places = [place + (number - (len(bars) - 1) / 2) * height for place in ratios]
        lengths = [ratio - 1 for ratio in ratios.values()]
        axes.barh(places, lengths, height, left=1, color=COLOURS.get(name), label=name)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set(xscale="log", title=title)
    axes.set_xticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlim(*limits)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(bars), frameon=False)


def main(argv: list[str] | None = None) -> int:
    """Draw the plots of one results file; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if len(words) > 1 or words[:1] in (["-h"], ["--help"]):
        print("usage: python -m working_with_text_data.benchmark_plot [results/bpe.json]")
        return 0 if len(words) == 1 else 2
    for path in plot_file(words[0] if words else Path(__file__).with_name("results") / "bpe.json"):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
