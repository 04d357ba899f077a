"""Near-duplicates: how many validation documents does training hold almost word for word?

Two documents that share most of their runs of eight words are copies with an edit. For each
validation document we ask how much of it one single training document holds:

    containment(v, t) = |shingles(v) ∩ shingles(t)| / |shingles(v)|      (a shingle: 8 words in a row)

and count it as a near-duplicate when some t reaches 0.8. Broder, "On the resemblance and containment
of documents" (1997). Two things make it cheap, and an estimate: only shingles whose hash falls in one
residue class of `KEEP_ONE_IN` are looked at, the same in every document (an unbiased sample of both
sets), and at most `MAX_CHECKED` validation documents are, the first by hash. A document of fewer than
eight words is one shingle.

Left out: which pairs, and removing them; that is cleaning, with MinHash-LSH.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHINGLE_WORDS = 8
KEEP_ONE_IN = 4
THRESHOLD = 0.8
MAX_CHECKED = 500
_BLOCK_CHARS, _BLOCK_TEXTS = 200_000, 1_000  # some tens of MB of arrays at most
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """`count` of the `checked` validation documents are held by one training document to ≥ 80 %."""

    checked: int = 0
    count: int = 0

    @property
    def rate(self) -> float:
        """The estimated share, 0 when nothing was checked."""
        return self.count / self.checked if self.checked else 0.0


def count_near_duplicates(
    train: Sequence[str],
    val: Sequence[str],
    *,
    keep_one_in: int = KEEP_ONE_IN,
    threshold: float = THRESHOLD,
    max_checked: int = MAX_CHECKED,
) -> NearDuplicates:
    """Estimate how many texts of `val` are held almost whole by one text of `train`.

    Exact copies count too. `keep_one_in=1` looks at every shingle and gives the exact containment.
    The standard error of one document's containment c is √(c(1−c)/n) for n shingles looked at.
    """
    if len(val) > max_checked:
        val = sorted(val, key=lambda text: hashlib.blake2b(text.encode("utf-8")).digest())[:max_checked]
    val_hash, val_doc = _sketches(val, keep_one_in)
    # A short document may have no shingle in the sample; then all of them are looked at.
    bare = np.setdiff1d(np.arange(len(val)), val_doc)
    if len(bare):
        return _plus(
            count_near_duplicates(
                train,
                [val[i] for i in np.setdiff1d(np.arange(len(val)), bare)],
                keep_one_in=keep_one_in,
                threshold=threshold,
                max_checked=max_checked,
            ),
            count_near_duplicates(
                train, [val[i] for i in bare], keep_one_in=1, threshold=threshold, max_checked=max_checked
            ),
        )
    if not len(val):
        return NearDuplicates()

    sizes = np.bincount(val_doc, minlength=len(val))
    found = np.zeros(len(val), dtype=bool)
    index = _Index(val_hash, val_doc)
    for block in _blocks(train):
        shared = index.shared(*_sketches(block, keep_one_in), len(block), len(val))
        fresh = ~found & (shared.max(axis=0) >= threshold * sizes)
        if fresh.any():  # what is found need not be looked for again: alike texts cost one look, not many
            found |= fresh
            wanted = ~found[val_doc]
            index = _Index(val_hash[wanted], val_doc[wanted])
    return NearDuplicates(checked=len(val), count=int(found.sum()))


class _Index:
    """From a shingle to the validation documents that hold it (compressed rows)."""

    def __init__(self, hashes: NDArray[np.uint64], documents: NDArray[np.int64]) -> None:
        order = np.argsort(hashes, kind="stable")
        self.documents = documents[order]
        self.shingles, self.first, self.spread = np.unique(
            hashes[order], return_index=True, return_counts=True
        )

    def shared(
        self, hashes: NDArray[np.uint64], owners: NDArray[np.int64], n_owners: int, n_documents: int
    ) -> NDArray[np.int64]:
        """How many shingles each owner shares with each validation document: (n_owners, n_documents)."""
        if not len(self.shingles):
            return np.zeros((n_owners, n_documents), dtype=np.int64)
        slot = np.minimum(np.searchsorted(self.shingles, hashes), len(self.shingles) - 1)
        hit = self.shingles[slot] == hashes
        slot, owners = slot[hit], owners[hit]
        repeats = self.spread[slot]
        steps = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        holders = self.documents[np.repeat(self.first[slot], repeats) + steps]
        cells = np.repeat(owners, repeats) * n_documents + holders
        return np.bincount(cells, minlength=n_owners * n_documents).reshape(n_owners, n_documents)


def _plus(a: NearDuplicates, b: NearDuplicates) -> NearDuplicates:
    return NearDuplicates(a.checked + b.checked, a.count + b.count)


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Group texts so that one block's arrays stay small, whatever the corpus holds."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK_CHARS or len(block) == _BLOCK_TEXTS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _sketches(texts: Sequence[str], keep_one_in: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(shingle hash, number of the text), each pair once, of the shingles that the sample keeps."""
    words_of = [text.lower().split() or [""] for text in texts]
    lengths = np.array([len(words) for words in words_of], dtype=np.int64)
    if not len(lengths):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    number: dict[str, int] = {}  # crc32 is the same in every process, unlike hash()
    codes = np.fromiter(
        (
            number[word] if word in number else number.setdefault(word, zlib.crc32(word.encode("utf-8")))
            for words in words_of
            for word in words
        ),
        dtype=np.uint64,
        count=int(lengths.sum()),
    )
    documents = np.repeat(np.arange(len(texts)), lengths)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    room = np.repeat(lengths, lengths) - place  # words from here to the end of the document
    hashes = np.zeros(len(codes), dtype=np.uint64)
    behind = np.concatenate([_mix(codes + np.uint64(1)), np.zeros(SHINGLE_WORDS, np.uint64)])
    for step in range(SHINGLE_WORDS):
        ahead = behind[step : step + len(codes)]
        hashes = hashes * _MULTIPLIER + np.where(step < room, ahead, np.uint64(0))
    # Whole shingles, or the only one of a text that is shorter than a shingle.
    whole = (room >= SHINGLE_WORDS) | (place == 0)
    hashes, documents = _mix(hashes[whole]), documents[whole]
    kept = hashes % np.uint64(keep_one_in) == 0
    hashes, documents = hashes[kept], documents[kept]
    order = np.lexsort((hashes, documents))
    hashes, documents = hashes[order], documents[order]
    fresh = np.ones(len(hashes), dtype=bool)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (documents[1:] != documents[:-1])
    return hashes[fresh], documents[fresh]


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input moves about half of the output's bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
