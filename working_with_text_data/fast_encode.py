"""From one piece of text to its ids, quickly: merging by rank, and two caches that make it rare.

The idea: language repeats itself. A dict whose `__missing__` does the work turns the second sight
of a word into one lookup made by C code, and `chain.from_iterable(map(cache.__getitem__, pieces))`
keeps the whole loop in C. Only a word that was never seen before is merged, always the adjacent
pair with the lowest rank first (Sennrich et al., arXiv 1508.07909; byte-level in GPT-2).

Left out: training (`fast_bpe`), special tokens (`tokenizer`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from itertools import chain

from working_with_text_data.patterns import COARSE, COARSE_ASCII, SMALL_BLOCK, Splitter, spaced, tidy_words

NO_RANK = 1 << 62
LONG_PIECE = 128  # bytes; above it the quadratic list loses to the heap
CACHED_CHARS = 64  # longer pieces hardly ever come again
CACHE_ENTRIES = 1 << 18  # about 60 MB at worst; then the cache starts anew


def merge_piece(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Ids of one piece: repeat "merge the adjacent pair whose union has the lowest rank, leftmost first".

    `ranks` maps the bytes of a token to its id, and the id is the rank. Quadratic, but in C:
    finding the minimum and closing the gap are list methods.

    >>> ranks = {bytes([i]): i for i in range(256)} | {b"ab": 256, b"abc": 257}
    >>> merge_piece(b"abcab", ranks)
    [257, 256]
    """
    get = ranks.get
    parts = [piece[i : i + 1] for i in range(len(piece))]
    # pair_ranks[i] is the rank of parts[i] + parts[i + 1]
    pair_ranks = [get(piece[i : i + 2], NO_RANK) for i in range(len(piece) - 1)]
    while pair_ranks:
        lowest = min(pair_ranks)
        if lowest == NO_RANK:
            break
        i = pair_ranks.index(lowest)
        merged = parts[i] + parts[i + 1]
        parts[i] = merged
        del parts[i + 1]
        del pair_ranks[i]
        if i:
            pair_ranks[i - 1] = get(parts[i - 1] + merged, NO_RANK)
        if i < len(pair_ranks):
            pair_ranks[i] = get(merged + parts[i + 1], NO_RANK)
    return [ranks[part] for part in parts]


def merge_long_piece(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """The same ids as `merge_piece` in O(n log n): a heap of (rank, place) over a linked list.

    Without it a line of 100,000 equal characters would take minutes. A heap entry is one integer,
    rank × 2n + place, so comparing two entries is one machine comparison; an entry whose pair has
    changed meanwhile is recognised by its rank and dropped.
    """
    get = ranks.get
    n = len(piece)
    parts: list[bytes] = [piece[i : i + 1] for i in range(n)]  # b"" once swallowed by the part to the left
    after = list(range(1, n + 1))
    before = list(range(-1, n - 1))
    rank_at = [get(piece[i : i + 2], NO_RANK) for i in range(n)]
    rank_at[n - 1] = NO_RANK
    heap = [rank * n + i for i, rank in enumerate(rank_at) if rank != NO_RANK]
    heapq.heapify(heap)
    push, pop = heapq.heappush, heapq.heappop
    while heap:
        rank, i = divmod(pop(heap), n)
        if rank_at[i] != rank:
            continue
        j = after[i]
        merged = parts[i] = parts[i] + parts[j]
        parts[j] = b""
        rank_at[j] = NO_RANK
        k = after[i] = after[j]
        if k < n:
            before[k] = i
            rank = rank_at[i] = get(merged + parts[k], NO_RANK)
            if rank != NO_RANK:
                push(heap, rank * n + i)
        else:
            rank_at[i] = NO_RANK
        h = before[i]
        if h >= 0:
            rank = get(parts[h] + merged, NO_RANK)
            if rank != rank_at[h]:
                rank_at[h] = rank
                if rank != NO_RANK:
                    push(heap, rank * n + h)
    return [ranks[part] for part in parts if part]


class PieceCache(dict[str, list[int]]):
    """piece → ids, filled on first sight and emptied when it holds `limit` entries."""

    def __init__(self, encode: Callable[[str], list[int]], limit: int = CACHE_ENTRIES) -> None:
        super().__init__()
        self._encode = encode
        self.limit = limit

    def __missing__(self, piece: str) -> list[int]:
        ids = self._encode(piece)
        if len(piece) <= CACHED_CHARS:
            if len(self) >= self.limit:
                self.clear()
            self[piece] = ids
        return ids


class FastEncoder:
    """Text → ids for one table of ranks and one split pattern, with bounded caches.

    Three caches for GPT-2's pattern, one for the others:
    - `pieces`: the exact pieces of the pattern.
    - `words`: a word with all that clings to it and the white space before it. In GPT-2's pattern a
      step from non-space to space is always a cut, so a word is a run of whole pieces; words are
      fewer than pieces and found by a simpler expression.
    - `spaced`: the same words without their leading space, as `str.split(" ")` gives them in a
      block of tidy text, four times faster than any regular expression.
    """

    def __init__(
        self, ranks: Mapping[bytes, int], splitter: Splitter, cache_entries: int = CACHE_ENTRIES
    ) -> None:
        self._ranks = ranks
        self._splitter = splitter
        self._coarse = splitter.name == "gpt2"
        self._pieces = PieceCache(self._encode_piece, cache_entries)
        self._words = PieceCache(self._encode_word, cache_entries)
        self._spaced = PieceCache(self._encode_spaced, cache_entries)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, which must be encodable as UTF-8 (UnicodeEncodeError otherwise)."""
        ids: list[int] = []
        for block in self._splitter.blocks(text, SMALL_BLOCK):
            if not self._coarse:
                pieces, cache = self._splitter.findall(block), self._pieces
            elif (split := tidy_words(block)) is not None:
                first, pieces = split
                cache = self._spaced
                if first:
                    ids += self._words[first]
            else:
                pieces, cache = (COARSE_ASCII if block.isascii() else COARSE)(block), self._words
            ids.extend(chain.from_iterable(map(cache.__getitem__, pieces)))
        return ids

    def _encode_spaced(self, word: str) -> list[int]:
        if word.isalpha():  # ` ?\p{L}+` takes a space and letters as one piece: no need to look
            return self._pieces[" " + word]
        return self._encode_word(spaced(word))

    def _encode_word(self, word: str) -> list[int]:
        pieces = self._splitter.findall(word)
        if len(pieces) == 1:
            return self._pieces[word]
        return list(chain.from_iterable(map(self._pieces.__getitem__, pieces)))

    def _encode_piece(self, piece: str) -> list[int]:
        data = piece.encode("utf-8")
        token = self._ranks.get(data)
        if token is not None:  # most pieces of common text are one token
            return [token]
        if len(data) > LONG_PIECE:
            return merge_long_piece(data, self._ranks)
        return merge_piece(data, self._ranks)

    def clear_cache(self) -> None:
        """Forget every piece, for example to measure how fast cold encoding is."""
        for cache in (self._pieces, self._words, self._spaced):
            cache.clear()
