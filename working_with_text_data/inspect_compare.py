"""Two tokenizers, or more, on the same text: where they cut alike, and what each makes of it.

The idea: a cut is a byte offset of the text, so cuts of different tokenizers can be compared although their ids
cannot. Where all of them cut, the text falls into *stretches* that can be laid side by side.

Left out: how it looks (`inspect_terminal`, `inspect_html`). Notebook: 03 of this chapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from utils.errors import UserError
from working_with_text_data.inspect_statistics import TokenStatistics, statistics_of_rows
from working_with_text_data.token_rows import TokenRow, token_table
from working_with_text_data.tokenizer import Tokenizer, valid_unicode


@dataclass(frozen=True)
class Stretch:
    """Bytes `start` to `end` of the text, between two neighbouring cuts that all tokenizers make."""

    start: int
    end: int
    rows: Mapping[str, Sequence[TokenRow]]

    @property
    def alike(self) -> bool:
        """Whether all tokenizers cut it in the same places."""
        first, *others = [[(row.start, row.end) for row in rows] for rows in self.rows.values()]
        return all(other == first for other in others)


@dataclass(frozen=True)
class Comparison:
    """What `compare_tokenizers` finds; the keys of `rows` and `statistics` are the tokenizers' names."""

    text: str
    rows: Mapping[str, list[TokenRow]]
    statistics: Mapping[str, TokenStatistics]

    @cached_property
    def cuts(self) -> dict[str, frozenset[int]]:
        """Where each cuts the text: byte offsets, its beginning and end left out."""
        size = len(self.text.encode("utf-8"))
        ends = {0, size}
        return {
            name: frozenset({row.start for row in rows} | {row.end for row in rows}) - ends
            for name, rows in self.rows.items()
        }

    @property
    def shared_cuts(self) -> frozenset[int]:
        """Where all of them cut."""
        return frozenset.intersection(*self.cuts.values())

    @property
    def disputed_cuts(self) -> frozenset[int]:
        """Where some cut and some do not."""
        return frozenset.union(*self.cuts.values()) - self.shared_cuts

    @property
    def agreement(self) -> float:
        """Shared cuts divided by all cuts (the Jaccard index); 1.0 if nobody cuts."""
        together = len(self.shared_cuts) + len(self.disputed_cuts)
        return len(self.shared_cuts) / together if together else 1.0

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The text between the shared cuts, in order, with the tokens of each tokenizer."""
        edges = [0, *sorted(self.shared_cuts), len(self.text.encode("utf-8"))]
        waiting = {name: list(reversed(rows)) for name, rows in self.rows.items()}
        stretches = []
        for start, end in pairwise(edges):
            held: dict[str, list[TokenRow]] = {name: [] for name in self.rows}
            for name, rows in waiting.items():
                # An empty token (start == end) at the end of the text belongs to the last stretch.
                while rows and (rows[-1].start < end or end == edges[-1]):
                    held[name].append(rows.pop())
            stretches.append(Stretch(start, end, held))
        return stretches

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON values; the text and its tokens are left out."""
        return {
            "statistics": {name: numbers.to_dict() for name, numbers in self.statistics.items()},
            "shared_cuts": len(self.shared_cuts),
            "disputed_cuts": len(self.disputed_cuts),
            "agreement": self.agreement,
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from working_with_text_data.inspect_html import comparison_html

        return comparison_html(self)


def compare_tokenizers(
    text: str,
    tokenizers: Mapping[str, Tokenizer],
    allowed_special: Set[str] | Literal["all"] = frozenset(),
) -> Comparison:
    """Encode `text` with each tokenizer and compare where they cut; specials are plain text unless allowed.

    >>> from working_with_text_data.byte_tokenizer import ByteTokenizer
    >>> from working_with_text_data.bpe_tokenizer import BPETokenizer
    >>> two = compare_tokenizers("abc", {"bytes": ByteTokenizer(), "bpe": BPETokenizer([(97, 98)])})
    >>> two.shared_cuts, two.disputed_cuts, two.agreement
    (frozenset({2}), frozenset({1}), 0.5)
    """
    if not tokenizers:
        raise UserError("no tokenizers to compare: give at least one")
    text = valid_unicode(text)
    rows = {name: token_table(text, tokenizer, allowed_special) for name, tokenizer in tokenizers.items()}
    numbers = {name: statistics_of_rows(text, rows[name], tokenizers[name]) for name in rows}
    return Comparison(text, rows, numbers)
