"""Was the question in the training data? N-grams that a held-out text shares with what was trained on.

A score on questions that were trained on measures memory. Whole texts are compared by their words, which catches
copies; n-grams (runs of n words) catch what was copied in part. GPT-3 (arXiv 2005.14165, appendix C) used 13 words
and found, too, what one must know to read the number: a common phrase is no leak. Generated requests share their
wording by construction, so beside "shares an n-gram" stands *how much* of a text is covered, and the accuracy on the
texts that share nothing is reported beside the accuracy on all.

The index is made of the held-out texts, so the training data is a stream and its size does not matter.
Left out: paraphrases, translations, and whatever a vendor trained on and does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+")
DEFAULT_N = 8


@dataclass(frozen=True)
class Contamination:
    """What held-out texts share with training texts. Lists have one value for each held-out text, in order."""

    n: int
    exact: list[bool]  # the same words, from the first to the last
    covered: list[float]  # share of its words that lie in a shared n-gram
    read: int  # training texts that were looked at

    @property
    def shared(self) -> list[bool]:
        """Whether a text shares any n-gram."""
        return [share > 0 for share in self.covered]

    def to_dict(self) -> dict[str, Any]:
        """The counts, JSON-safe."""
        total = len(self.exact)
        return {
            "n": self.n,
            "held_out": total,
            "training_texts": self.read,
            "exact": sum(self.exact),
            "shared": sum(self.shared),
            "mean_covered": sum(self.covered) / total if total else 0.0,
        }


def words_of(text: str) -> list[str]:
    """The words that are compared: case and punctuation do not count.

    >>> words_of("Count the things: kite, Drum.")
    ['count', 'the', 'things', 'kite', 'drum']
    """
    return _WORD.findall(text.casefold())


def contamination(train: Iterable[str], held_out: Sequence[str], *, n: int = DEFAULT_N) -> Contamination:
    """Compare each held-out text with every training text.

    A held-out text shorter than n words is one n-gram of its own length. A text without words shares nothing.
    Raises ValueError for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}: an n-gram has at least one word")
    texts = [words_of(text) for text in held_out]
    places: dict[tuple[str, ...], list[tuple[int, int]]] = {}  # n-gram → (text, first word)
    whole: dict[tuple[str, ...], list[int]] = {}
    for number, words in enumerate(texts):
        if words:
            whole.setdefault(tuple(words), []).append(number)
        for at, gram in _grams(words, min(n, len(words))):
            places.setdefault(gram, []).append((number, at))
    lengths = sorted({len(gram) for gram in places})
    exact = [False] * len(texts)
    hit = [[False] * len(words) for words in texts]
    found: set[tuple[str, ...]] = set()
    read = 0
    for text in train:
        read += 1
        words = words_of(text)
        for number in whole.get(tuple(words), ()):
            exact[number] = True
        for length in lengths:
            for _, gram in _grams(words, length):
                if gram in places and gram not in found:
                    found.add(gram)
                    for number, at in places[gram]:
                        hit[number][at : at + length] = [True] * length
    covered = [sum(row) / len(row) if row else 0.0 for row in hit]
    return Contamination(n, exact, covered, read)


def _grams(words: Sequence[str], n: int) -> Iterable[tuple[int, tuple[str, ...]]]:
    if n < 1:
        return ()
    return ((at, tuple(words[at : at + n])) for at in range(len(words) - n + 1))
