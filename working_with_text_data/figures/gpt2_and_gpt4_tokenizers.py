"""The pictures of notebook 03: how patterns cut, how long pieces are, digits, the byte map, control words, equality.

They take plain strings, numbers and token rows and return a matplotlib figure; what is drawn is computed in the
notebook, never here. Scripts are named in English because not every machine has a font for them.
matplotlib is imported on use. Left out: style (`utils.plotting`); strips of a tokenizer's tokens, which the
tour's pictures have. Notebook: `03_gpt2_and_gpt4_tokenizers.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from working_with_text_data.figures.tour import ASKED, KNOWN, QUIET
from working_with_text_data.inspect_tokens import COLOURS, TokenRow, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = (*COLOURS, "#dddddd", "#f7cdb9")  # backgrounds that black text stays readable on
LOOKS = ("-", "--", ":", "-.")
LETTER = 0.125  # inches that a letter of a strip needs


def draw_alternatives(pieces: Sequence[tuple[str, int]], names: Sequence[str]) -> Figure:
    """A text cut into pieces, each (piece, number) in the colour of the alternative that made it."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    width = sum(len(piece) for piece, _ in pieces)
    fig, ax = plt.subplots(figsize=(0.16 * width + 0.4, 1.3))
    left = 0
    for piece, number in pieces:
        _box(ax, 0, left, len(piece), visible(piece.encode()), PAPER[number % len(PAPER)])
        left += len(piece)
    patches = [Patch(color=PAPER[i % len(PAPER)], label=name) for i, name in enumerate(names)]
    ax.legend(handles=patches, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.05), fontsize=9.5)
    ax.set(xlim=(0, width), ylim=(-0.45, 0.45))
    ax.axis("off")
    return fig


def draw_piece_strips(texts: Mapping[str, Mapping[str, Sequence[str]]]) -> Figure:
    """For each text (a panel with its title) a strip a pattern: the pieces as boxes, and how many there are."""
    import matplotlib.pyplot as plt

    longest = max(sum(map(len, pieces)) for strips in texts.values() for pieces in strips.values())
    rows = [len(strips) for strips in texts.values()]
    fig, axes = plt.subplots(
        len(texts),
        squeeze=False,
        figsize=(LETTER * longest + 2.2, sum(0.32 * n + 0.42 for n in rows)),
        height_ratios=rows,
    )
    for ax, (title, strips) in zip(axes[:, 0], texts.items(), strict=True):
        for row, (name, pieces) in enumerate(strips.items()):
            left = 0
            for i, piece in enumerate(pieces):
                shown = visible(piece.encode())
                _box(ax, -row, left, len(piece), shown, COLOURS[i % len(COLOURS)])
                left += len(piece)
            ax.text(-0.6, -row, name, ha="right", va="center", fontsize=9.5)
            ax.text(left + 0.6, -row, str(len(pieces)), va="center", fontsize=9.5, color=QUIET)
        ax.set(xlim=(-8, longest + 3), ylim=(0.5 - len(strips), 0.5))
        ax.set_title(title, fontsize=10.5)
        ax.axis("off")
    return fig


def draw_bars(numbers: Mapping[str, Mapping[str, float]], title: str, form: str = "{:g}") -> Figure:
    """For each row a bar in each series, with its number written by `form`."""
    import matplotlib.pyplot as plt

    rows, series = list(numbers), list(next(iter(numbers.values())))
    fig, ax = plt.subplots(figsize=(7.8, 0.9 + 0.56 * len(rows)))
    height = 0.84 / len(series)
    for i, name in enumerate(series):
        middle = [row + (i - (len(series) - 1) / 2) * height for row in range(len(rows))]
        bars = ax.barh(middle, [numbers[row][name] for row in rows], height=0.9 * height, label=name)
        ax.bar_label(bars, [form.format(numbers[row][name]) for row in rows], padding=3, fontsize=8.5)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xticks=[], title=title)
    ax.grid(False)
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def draw_piece_lengths(counts: Mapping[str, Mapping[int, int]], longest: int = 16) -> Figure:
    """Which share of the pieces has which length in characters, a line a pattern; longer ones in the last step."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.4, 3.5))
    places = range(1, longest + 1)
    for (name, of_length), look in zip(counts.items(), LOOKS, strict=False):
        total = sum(of_length.values())
        held = [of_length.get(n, 0) for n in places]
        held[-1] = total - sum(held[:-1])
        ax.plot(places, [100 * n / total for n in held], look, drawstyle="steps-mid",
                label=f"{name}: {total:,} pieces")  # fmt: skip
    ax.set_xticks([*range(1, longest, 2), longest], [*map(str, range(1, longest, 2)), f"{longest}+"])
    ax.set(xlabel="characters in a piece", ylabel="% of the pieces", ylim=(0, None))
    ax.legend()
    return fig


def draw_digit_groups(rows: Sequence[str], columns: Mapping[str, Sequence[Sequence[str]]]) -> Figure:
    """Numbers cut in several ways, one way a column: a box a group, the ones right below the ones.

    `columns[name][i]` are the groups of `rows[i]`. The last three digits' group, if it is one, is orange.
    """
    import matplotlib.pyplot as plt

    longest = max(map(len, rows))
    fig, axes = plt.subplots(
        1, len(columns), squeeze=False, figsize=(3.3 * len(columns), 0.4 + 0.34 * len(rows))
    )
    for ax, (name, cut) in zip(axes[0], columns.items(), strict=True):
        for row, groups in enumerate(cut):
            end = sum(map(len, groups))
            left = longest - end
            for group in groups:
                end -= len(group)  # digits to the right of this group
                ends_with_thousands = end % 3 == 0
                _box(ax, -row, left, len(group), group, KNOWN if ends_with_thousands else ASKED, size=11)
                left += len(group)
        ax.set(xlim=(-0.2, longest + 0.2), ylim=(0.5 - len(rows), 0.5), title=name)
        ax.axis("off")
    return fig


def draw_shapes(shapes: Mapping[str, Mapping[str, int]]) -> Figure:
    """Rows of stacked bars: how many numbers are cut in which shape, as per cent of the row."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    weight: dict[str, int] = {}
    for row in shapes.values():
        for shape, count in row.items():
            weight[shape] = weight.get(shape, 0) + count
    order = sorted(weight, key=lambda shape: -weight[shape])
    colour = {shape: PAPER[i % len(PAPER)] for i, shape in enumerate(order)}
    fig, ax = plt.subplots(figsize=(8.6, 0.9 + 0.5 * len(shapes)))
    for i, row in enumerate(shapes.values()):
        left, total = 0.0, sum(row.values())
        for shape in order:
            share = 100 * row.get(shape, 0) / total
            ax.barh(i, share, left=left, color=colour[shape], edgecolor="white")
            if share >= 5:
                ax.text(left + share / 2, i, f"{share:.0f}", ha="center", va="center", fontsize=10)
            left += share
    ax.set_yticks(range(len(shapes)), list(shapes))
    ax.set(xlabel="% of the numbers 1000 to 9999", xlim=(0, 100))
    ax.invert_yaxis()
    ax.grid(False)
    patches = [Patch(color=colour[shape], label=shape) for shape in order]
    ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1.0, 0.5), title="digits a token")
    return fig


def draw_byte_map(letters: Mapping[int, str]) -> Figure:
    """The 256 bytes as a 16 × 16 grid of the letters they are written with; those that moved are orange."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.6, 5.4))
    for byte in range(256):
        row, column = divmod(byte, 16)
        moved = letters[byte] != chr(byte)
        ax.barh(-row, 0.94, left=column - 0.47, height=0.9, color=ASKED if moved else KNOWN)
        ax.text(column, -row, letters[byte], ha="center", va="center", fontsize=10.5)
    ax.set_xticks(range(16), [f"_{i:X}" for i in range(16)], fontsize=9)
    ax.set_yticks([-i for i in range(16)], [f"{i:X}_" for i in range(16)], fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set(xlim=(-0.6, 15.6), ylim=(-15.6, 0.6))
    return fig


def draw_control_words(strips: Mapping[str, Sequence[TokenRow]], per_line: int = 92) -> Figure:
    """Tokens as boxes, a panel a strip: special tokens are orange and bold, text is quiet; lines are wrapped."""
    import matplotlib.pyplot as plt

    lines = {name: _wrapped(rows, per_line) for name, rows in strips.items()}
    fig, axes = plt.subplots(
        len(lines),
        squeeze=False,
        figsize=(0.1 * per_line, sum(0.34 * len(held) + 0.42 for held in lines.values())),
        height_ratios=[len(held) for held in lines.values()],
    )
    for ax, (name, held) in zip(axes[:, 0], lines.items(), strict=True):
        for number, line in enumerate(held):
            left = 0
            for row in line:
                _box(ax, -number, left, len(row.shown), row.shown, ASKED if row.special else "#eef1f4",
                     size=8.5, bold=row.special)  # fmt: skip
                left += len(row.shown)
        n_special = sum(row.special for row in strips[name])
        ax.set_title(f"{name}: {len(strips[name])} ids, {n_special} special", fontsize=10.5)
        ax.set(xlim=(0, per_line), ylim=(0.5 - len(held), 0.5))
        ax.axis("off")
    return fig


def draw_equality(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """A square of shares from 0 to 1: rows are who learned the merges, columns with which pattern they are used."""
    import matplotlib.pyplot as plt

    rows, columns = list(shares), list(next(iter(shares.values())))
    grid = [[shares[row][column] for column in columns] for row in rows]
    fig, ax = plt.subplots(figsize=(5.6, 3.4))
    image = ax.imshow(grid, vmin=0.5, vmax=1)
    for i, row in enumerate(grid):
        for j, share in enumerate(row):
            colour = "black" if share > 0.75 else "white"
            ax.text(j, i, f"{100 * share:.1f} %", ha="center", va="center", color=colour)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="… used with the pattern of", ylabel="merges learned with …")
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="strings with the same ids")
    return fig


def _wrapped(rows: Sequence[TokenRow], per_line: int) -> list[list[TokenRow]]:
    lines: list[list[TokenRow]] = [[]]
    used = 0
    for row in rows:
        if used + len(row.shown) > per_line and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append(row)
        used += len(row.shown)
    return lines


def _box(  # type: ignore[no-untyped-def]
    ax, y: float, left: float, width: float, text: str, colour: str, *, size: float = 9.0, bold: bool = False
) -> None:
    """One piece of a strip (matplotlib is not imported for a type)."""
    ax.barh(y, width, left=left, height=0.8, color=colour, edgecolor="white", linewidth=1.5)
    weight = "bold" if bold else "normal"
    ax.text(
        left + width / 2, y, text, ha="center", va="center", family="monospace", fontsize=size, weight=weight
    )
