"""MinHash: how alike are two texts, from a few numbers each. The readable form, which teaches.

Jaccard's likeness of two sets is |A ∩ B| / |A ∪ B|. Shuffle the union: the chance that the first element
lies in both sets is exactly that share. A hash function is a shuffle, the smallest hash is the first
element, so one hash function is one toss of that coin and k of them estimate J with the standard error
√(J(1−J)/k). Broder, "On the resemblance and containment of documents" (1997).

Locality-sensitive hashing finds the alike without comparing all pairs: cut the k numbers into b bands of r;
two texts are compared only if a whole band is equal, which happens with probability

    s(J) = 1 − (1 − Jʳ)ᵇ        an S-curve with its step near (1/b)^(1/r)

Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3. Here everything is plain Python,
about two milliseconds for a short story; `near_duplicate_filter.py` puts the library rensa behind the same
function for real work. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence

from utils.errors import UserError

PRIME = (1 << 61) - 1  # a Mersenne prime: a·x + b modulo it is a permutation of the numbers below it


def shingles(text: str, n_words: int = 5) -> set[str]:
    """All runs of `n_words` words, lower case; one shorter run for a shorter text, none for no words.

    >>> sorted(shingles("A rose is a rose", 3))
    ['a rose is', 'is a rose', 'rose is a']
    """
    words = text.lower().split()
    if len(words) <= n_words:
        return {" ".join(words)} if words else set()
    return set(map(" ".join, zip(*(words[start:] for start in range(n_words)), strict=False)))


def permutations(k: int, seed: int = 0) -> list[tuple[int, int]]:
    """k independent functions x → (a·x + b) mod PRIME, as pairs (a, b)."""
    rng = random.Random(seed)
    return [(rng.randrange(1, PRIME), rng.randrange(PRIME)) for _ in range(k)]


def signature(items: Iterable[str], functions: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """For each function the smallest value that it gives to any item; empty for no items."""
    numbers = [
        int.from_bytes(hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        for item in items
    ]
    if not numbers:
        return ()
    return tuple(min((a * x + b) % PRIME for x in numbers) for a, b in functions)


def estimate(left: Sequence[int], right: Sequence[int]) -> float:
    """The share of places at which two signatures agree: an unbiased estimate of Jaccard's likeness."""
    return sum(map(int.__eq__, left, right)) / len(left)


def jaccard(left: set[str], right: set[str]) -> float:
    """Exactly |A ∩ B| / |A ∪ B|; 0 for two empty sets, which are like nothing.

    >>> jaccard({"a", "b"}, {"b", "c"})
    0.3333333333333333
    """
    union = left | right
    return len(left & right) / len(union) if union else 0.0


def s_curve(likeness: float, bands: int, rows: int) -> float:
    """The probability that two texts of this likeness share at least one whole band.

    >>> round(s_curve(0.8, bands=16, rows=8), 3), round(s_curve(0.4, bands=16, rows=8), 3)
    (0.947, 0.01)
    """
    return 1.0 - (1.0 - likeness**rows) ** bands


def choose_bands(threshold: float, k: int, recall: float = 0.9) -> tuple[int, int]:
    """(b, r) with b·r = k: the longest bands that still catch `recall` of the pairs at the threshold.

    Long bands make few false candidates, short ones miss few true ones.

    >>> choose_bands(0.8, 128)
    (16, 8)
    """
    if not 0.0 < threshold <= 1.0:
        raise UserError(f"threshold is {threshold}: give a likeness above 0 and at most 1, such as 0.8")
    if k < 1:
        raise UserError(f"{k} permutations: give at least 1, such as 128")
    fitting = [r for r in range(1, k + 1) if k % r == 0 and s_curve(threshold, k // r, r) >= recall]
    rows = max(fitting, default=1)
    return k // rows, rows


class BandIndex:
    """Signatures by their bands. `add` keeps the first of each cluster of alike texts.

    A candidate shares a band; it counts as alike when the estimate reaches the threshold.
    """

    def __init__(self, threshold: float, k: int) -> None:
        self.threshold = threshold
        self.bands, self.rows = choose_bands(threshold, k)
        self._signatures: dict[int, tuple[int, ...]] = {}
        self._tables: list[dict[tuple[int, ...], list[int]]] = [{} for _ in range(self.bands)]

    def _parts(self, one: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [one[band * self.rows : (band + 1) * self.rows] for band in range(self.bands)]

    def alike(self, one: tuple[int, ...]) -> list[int]:
        """The keys of the texts in the index that are alike, the earliest first."""
        parts = zip(self._tables, self._parts(one), strict=True)
        candidates = {key for table, part in parts for key in table.get(part, ())}
        return sorted(k for k in candidates if estimate(one, self._signatures[k]) >= self.threshold)

    def add(self, key: int, one: tuple[int, ...]) -> bool:
        """True when nothing in the index is alike; it is then remembered under `key`."""
        if self.alike(one):
            return False
        self._signatures[key] = one
        for table, part in zip(self._tables, self._parts(one), strict=True):
            table.setdefault(part, []).append(key)
        return True

    def remove(self, key: int) -> None:
        """Forget a text."""
        for table, part in zip(self._tables, self._parts(self._signatures.pop(key)), strict=True):
            table[part].remove(key)
            if not table[part]:
                del table[part]
