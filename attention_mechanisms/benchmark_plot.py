"""Draw what `attention_mechanisms.benchmark` measured: time against context, both axes logarithmic.

    python -m attention_mechanisms.benchmark_plot attention_mechanisms/results/kernels.json

The idea: on these axes a line of slope one is "twice the context, twice the time", and a flat line is a cost that
does not depend on the context at all. One figure for decoding, one for prefill. Left out: measuring.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.errors import UserError
from utils.files import atomic_write_text
from utils.plotting import PALETTE, figure_to_svg, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = dict(zip(("mha", "gqa", "mla", "swa", "full"), PALETTE))


def read_figures(path: str | Path) -> dict[str, Any]:
    """The figures of a results file. Raises UserError when it is missing or something else."""
    try:
        figures = json.loads(Path(path).read_text(encoding="utf-8"))["figures"]
        figures["bandwidth"]["copy_bytes_per_s"]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run python -m attention_mechanisms.benchmark") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} holds no figures of the attention benchmark: measure again") from None
    return figures


def plot_file(path: str | Path) -> list[Path]:
    """The plots of a results file, written beside it; their paths."""
    import matplotlib.pyplot as plt

    figures = read_figures(path)
    written = []
    for part in ("decode", "prefill"):
        if figures.get(part):
            figure = growth_figure(figures[part], part)
            target = Path(path).with_name(f"attention_{part}.svg")
            atomic_write_text(target, figure_to_svg(figure))
            plt.close(figure)
            written.append(target)
    return written


def growth_figure(levels: dict[str, Any], part: str) -> Figure:
    """Milliseconds against context, one panel a level, in the first dtype measured; peers are dashed."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(
            1, len(levels), figsize=(6 * len(levels), 3.8), squeeze=False, sharey=True
        )
        for axis, (level, by_dtype) in zip(axes[0], levels.items()):
            dtype, by_context = next(iter(by_dtype.items()))
            rows = {int(c): row["candidates"] for c, row in by_context.items() if c != "exponents"}
            for name in dict.fromkeys(name for row in rows.values() for name in row):
                points = {c: row[name]["median_s"] * 1e3 for c, row in rows.items() if name in row}
                ours = name in COLOURS
                axis.plot(
                    list(points),
                    list(points.values()),
                    marker="o",
                    linestyle="-" if ours else "--",
                    color=COLOURS.get(name.split("_")[0], PALETTE[-1]),
                    label=name.replace("_", ", "),
                )
            axis.set(xscale="log", yscale="log", xlabel="tokens", title=f"{part}, {level}, {dtype}")
            axis.set_xticks(list(rows), [f"{c:,}" for c in rows])
            axis.minorticks_off()
            axis.legend(
                fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)
            )  # beside the lines, not on them
        axes[0][0].set_ylabel("milliseconds")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Draw the plots of one results file."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1 or words[0].startswith("-"):
        print((__doc__ or "").split("\n\n")[1].strip())
        return 0 if words and words[0] in ("-h", "--help") else 2
    for path in plot_file(words[0]):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
