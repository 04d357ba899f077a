"""What differs between two texts: lengths, vocabulary, the mix of words, scripts and languages.

Is the validation side like training? Has cleaning changed what the text is about, and not only its size?
Does the text to tune on speak the language of the text to train on? Four numbers between 0 (alike) and 1:

* Jensen–Shannon divergence of the word frequencies, in bits (Lin 1991): how well one word tells from which
  of the two texts it was drawn, before anything else is known. 0: not at all; 1: no word in common.
* the largest gap between the two curves "share of documents shorter than …" (Kolmogorov–Smirnov);
* half the summed differences of the shares of scripts, and of languages (total variation).

Two samples of the *same* text also differ, the more the smaller they are, because rare words are seen in
only one: compare with two halves of one text before believing in a small difference.

Left out: tests of significance. Computed from two results of `text_statistics.describe`; the counts of words
beyond its bounds are estimates, and `exact` says so. Shown in notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .text_statistics import TextStatistics


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences between text a and text b. Shares and distances are between 0 and 1."""

    a: str
    b: str
    word_divergence: float  # Jensen–Shannon, bits
    length_distance: float  # Kolmogorov–Smirnov, of document lengths in characters
    script_distance: float  # total variation
    language_distance: float | None  # None where a side was not asked
    shared_vocabulary: float  # words of both / words of either (Jaccard)
    b_covered_by_a: float  # share of b's running words that a knows
    a_covered_by_b: float
    typical_of_a: tuple[str, ...]  # the words that contribute most to the divergence
    typical_of_b: tuple[str, ...]
    exact: bool  # False: words or lengths beyond the bounds were forgotten

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def compare_statistics(a: TextStatistics, b: TextStatistics, *, n_typical: int = 12) -> Comparison:
    """Compare two results of `describe`. A text without a word has divergence 0 from everything."""
    words_a, words_b = a.word_counts, b.word_counts
    both = words_a.keys() & words_b.keys()
    either = len(words_a) + len(words_b) - len(both)
    shares = _divergences(words_a, words_b)
    ordered = sorted(shares, key=lambda word: (-abs(shares[word]), word))
    asked = a.languages is not None and b.languages is not None
    lengths = a.lengths["characters"], b.lengths["characters"]
    return Comparison(
        a=a.name,
        b=b.name,
        word_divergence=math.fsum(abs(share) for share in shares.values()),
        length_distance=largest_gap(lengths[0].sample, lengths[1].sample),
        script_distance=total_variation(a.scripts, b.scripts),
        language_distance=total_variation(a.languages or {}, b.languages or {}) if asked else None,
        shared_vocabulary=len(both) / either if either else 1.0,
        b_covered_by_a=_share(words_b, both),
        a_covered_by_b=_share(words_a, both),
        typical_of_a=tuple([word for word in ordered if shares[word] > 0][:n_typical]),
        typical_of_b=tuple([word for word in ordered if shares[word] < 0][:n_typical]),
        exact=not (a.undercount or b.undercount) and all(length.exact for length in lengths),
    )


def _divergences(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, float]:
    """word → its part of the Jensen–Shannon divergence in bits, negative where b uses it more."""
    total_a, total_b = sum(a.values()), sum(b.values())
    if not total_a or not total_b:
        return {}
    parts = {}
    for word in a.keys() | b.keys():
        p, q = a.get(word, 0) / total_a, b.get(word, 0) / total_b
        mean = (p + q) / 2
        part = sum(x / 2 * math.log2(x / mean) for x in (p, q) if x)
        parts[word] = part if p > q else -part
    return parts


def _share(words: Mapping[str, int], known: set[str]) -> float:
    total = sum(words.values())
    return sum(words[word] for word in known) / total if total else 1.0


def largest_gap(a: Sequence[float], b: Sequence[float]) -> float:
    """Kolmogorov–Smirnov: the largest difference between two shares "at most x"; both sorted, not empty.

    >>> largest_gap([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    return max(abs(bisect_right(a, x) / len(a) - bisect_right(b, x) / len(b)) for x in {*a, *b})


def total_variation(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Half the summed differences of two sets of shares: what would have to move to make them equal."""
    return sum(abs(a.get(name, 0.0) - b.get(name, 0.0)) for name in a.keys() | b.keys()) / 2
