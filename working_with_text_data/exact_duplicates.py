"""Exact duplicates: the same words in the same order, seen before. The first one is kept.

A text is remembered by 16 bytes: blake2b of its words joined by single spaces, in NFC, so that a copy with
other line breaks or a trailing newline is still a copy (Lee et al., arXiv:2107.06499, on what copies cost).
Two different texts among n share a hash with probability about n²/2¹²⁹: 10⁻²¹ for a billion of them.

Memory: 16 bytes of hash are 120 to 160 bytes of Python a document (the object and its place in the table;
measured). `remember=n` forgets the oldest beyond n, which bounds it and misses copies further apart.
Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import hashlib
import unicodedata


def content_digest(text: str) -> bytes:
    """16 bytes that are equal for texts that differ in white space and Unicode spelling alone.

    Lone surrogates, which have no UTF-8 form, are hashed by their code units: nothing raises.

    >>> content_digest("one  two\\n") == content_digest("one two") != content_digest("one Two")
    True
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    words = " ".join(text.split())
    return hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class SeenBefore:
    """Remembers digests, at most `remember` of them (None: all)."""

    def __init__(self, remember: int | None = None) -> None:
        self.remember = remember
        self._digests: dict[bytes, None] = {}  # a dict keeps the order of arrival, for forgetting

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, digest: bytes) -> bool:
        """True when `digest` is new; it is then remembered."""
        if digest in self._digests:
            return False
        self._digests[digest] = None
        if self.remember is not None and len(self._digests) > self.remember:
            del self._digests[next(iter(self._digests))]
        return True
