"""The pictures of notebook 01: bits and roles of bytes, scripts side by side, Zipf, what a vocabulary trades.

They take plain numbers and strings and return a matplotlib figure; what is drawn is counted in the notebook,
never here. Scripts and signs are named in English because not every machine has a font for them.
matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `01_bytes_characters_words.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from utils.plotting import PALETTE
from working_with_text_data.figures.tour import ASKED, BLUE, KNOWN, QUIET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]  # (x, y)
LOOKS = ("o-", "s--", "^:", "D-.", "v-", "x--", "+:")  # readable without colours as well


def marker_bits(byte: int) -> int:
    """How many leading bits of a UTF-8 byte are a marker: 0…, 10…, 110…, 1110… or 11110….

    >>> [marker_bits(byte) for byte in (0x41, 0x82, 0xC3, 0xE2, 0xF0)]
    [1, 2, 3, 4, 5]
    """
    return 1 + next((i for i in range(8) if not byte >> (7 - i) & 1), 7)


def draw_bits(characters: Mapping[str, bytes]) -> Figure:
    """Each character's UTF-8 bytes as bits, a row each: markers orange, the bits of the code point blue."""
    import matplotlib.pyplot as plt

    longest = max(map(len, characters.values()))
    fig, ax = plt.subplots(figsize=(1.6 + 1.75 * longest, 0.4 + 0.62 * len(characters)))
    for row, (name, data) in enumerate(characters.items()):
        ax.text(-0.6, -row, name, ha="right", va="center", fontsize=10)
        for i, byte in enumerate(data):
            ax.text(
                9 * i + 3.5, -row - 0.46, f"{byte:02X}", ha="center", va="center", fontsize=8, color=QUIET
            )
            for bit in range(8):
                box = {"fc": ASKED if bit < marker_bits(byte) else KNOWN, "ec": "none", "pad": 2.2}
                place, value = (9 * i + bit, -row), str(byte >> (7 - bit) & 1)
                ax.text(*place, value, ha="center", va="center", family="monospace", fontsize=10, bbox=box)
    title = "Orange: the marker. Blue: the code point, highest bits first"
    ax.set(xlim=(-11, 9 * longest - 1), ylim=(0.35 - len(characters), 0.6), title=title)
    ax.axis("off")
    return fig


def draw_byte_roles(roles: Sequence[str], order: Sequence[str]) -> Figure:
    """The 256 bytes as a 16 × 16 map in the colour of their role: roles[i] is byte i's, `order` the legend's."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    names, colours = list(order), (KNOWN, ASKED, "#8fc3e3", "#4a90c2", "#1f5f8f", "#3a3a3a")[: len(order)]
    grid = [[names.index(roles[16 * row + column]) for column in range(16)] for row in range(16)]
    fig, ax = plt.subplots(figsize=(7.2, 4.3))
    ax.imshow(grid, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(names) - 0.5)
    ax.set_xticks(range(16), [f"_{i:X}" for i in range(16)], fontsize=9)
    ax.set_yticks(range(16), [f"{i:X}_" for i in range(16)], fontsize=9)
    ax.set_xticks([i + 0.5 for i in range(15)], minor=True)
    ax.set_yticks([i + 0.5 for i in range(15)], minor=True)
    ax.grid(False)
    ax.grid(True, which="minor", color="white", linewidth=1.2)
    ax.tick_params(which="both", length=0)
    patches = [
        Patch(color=colour, label=f"{name} ({roles.count(name)})")
        for name, colour in zip(names, colours, strict=True)
    ]
    ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=10)
    ax.set_title("What each byte is for in UTF-8")
    return fig


def draw_signs(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """For each sign (a row) its size in several units: a bar for each, with the number."""
    import matplotlib.pyplot as plt

    rows, units = list(counts), list(next(iter(counts.values())))
    fig, ax = plt.subplots(figsize=(7.6, 0.8 + 0.62 * len(rows)))
    height = 0.82 / len(units)
    for i, unit in enumerate(units):
        middle = [row + (i - (len(units) - 1) / 2) * height for row in range(len(rows))]
        bars = ax.barh(middle, [counts[row][unit] for row in rows], height=0.9 * height, label=unit)
        ax.bar_label(bars, padding=3, fontsize=9)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xticks=[], title="One sign for the eye; how many for the machine?")
    ax.grid(False)
    ax.invert_yaxis()
    ax.legend(loc="upper right")
    return fig


def draw_scripts(bytes_per_character: Mapping[str, float], cost: Mapping[str, Mapping[str, float]]) -> Figure:
    """Left: bytes per character of each language. Right: what the sentence costs, in multiples of English.

    `cost` maps the name of a unit (bytes, tokens) to a number for each language.
    """
    import matplotlib.pyplot as plt

    rows = list(bytes_per_character)
    fig, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(9.2, 0.9 + 0.36 * len(rows)))
    bars = left.barh(rows, list(bytes_per_character.values()), color=BLUE)
    left.bar_label(bars, [f"{value:.2f}" for value in bytes_per_character.values()], padding=3, fontsize=9)
    left.set(title="Bytes per character", xlim=(0, 1.18 * max(bytes_per_character.values())))
    height = 0.8 / len(cost)
    for i, (unit, values) in enumerate(cost.items()):
        middle = [row + (i - (len(cost) - 1) / 2) * height for row in range(len(rows))]
        colour = PALETTE[(2, 1, 3, 4)[i % 4]]
        right.barh(middle, [values[row] for row in rows], height=0.9 * height, label=unit, color=colour)
    right.axvline(1, color=QUIET, lw=1)
    right.set(title="The same sentence, English = 1")
    right.legend(loc="upper right")
    left.invert_yaxis()
    return fig


def draw_zipf(counts: Mapping[str, Sequence[int]]) -> Figure:
    """How often the most frequent word occurs, the second, …, both axes logarithmic, with the law 1 / rank."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.9))
    for (name, values), look in zip(counts.items(), ("-", "--", "-."), strict=False):
        ordered = sorted(values, reverse=True)
        ax.loglog(range(1, len(ordered) + 1), ordered, look, label=name)
    top, last = max(map(max, counts.values())), max(map(len, counts.values()))
    ax.loglog([1, last], [top, top / last], color=QUIET, lw=1, label="proportional to 1 / rank (Zipf)")
    ax.set(xlabel="rank of the word", ylabel="how often it occurs", ylim=(0.7, 2 * top))
    ax.legend(loc="lower left")
    return fig


def draw_trade(
    tokens_per_word: Mapping[str, Points], unknown: Mapping[str, Points], marks: Mapping[str, float]
) -> Figure:
    """Left: tokens per word against the vocabulary. Right: per cent of words that a list of words lacks.

    `marks` are named horizontal lines on the left.
    """
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.7))
    _lines(left, tokens_per_word)
    for name, level in marks.items():
        left.axhline(level, color=QUIET, ls=":", lw=1.2)
        left.annotate(name, (1, level), (-2, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=9, color=QUIET)  # fmt: skip
    left.set(title="Pieces (BPE): tokens per word", xlabel="vocabulary (ids)", ylim=(0, None))
    _lines(right, unknown)
    right.set(title="Words: unknown in new text (%)", xlabel="vocabulary (words)", ylim=(-2, None))
    for ax in (left, right):
        ax.legend()
    return fig


def draw_two_losses(per_token: Points, per_byte: Points) -> Figure:
    """The same models twice, against the size of their vocabulary: nats per token, and bits per byte."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.2))
    for ax, points, title in ((left, per_token, "Nats per token"), (right, per_byte, "Bits per byte")):
        _lines(ax, {title: points})
        for x, y in points:
            ax.annotate(f"{y:.2f}", (x, y), (0, 7), textcoords="offset points", ha="center", fontsize=9)
        ax.set(title=title, xlabel="vocabulary (ids)", ylim=(0, 1.15 * max(y for _, y in points)))
        ax.margins(x=0.08)
    return fig


def _lines(ax, series: Mapping[str, Points]) -> None:  # type: ignore[no-untyped-def]
    """Named lines over a logarithmic axis of sizes (matplotlib is not imported for a type)."""
    for (name, points), look in zip(series.items(), LOOKS, strict=False):
        ax.plot(*zip(*points, strict=True), look, label=name)
    ax.set_xscale("log", base=2)
    sizes = sorted({x for points in series.values() for x, _ in points})
    step = 1 if sizes[-1] <= 16 * sizes[0] else 2
    ticks = [2**i for i in range(4, 22, step) if sizes[0] <= 2**i <= sizes[-1]]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
