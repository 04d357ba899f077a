"""From one piece of text to its ids, quickly: merging by rank, and two caches that make it rare.

The idea: language repeats itself. A text is cut into coarse words (`coarse_words`), and a dict turns the
second sight of a word into one lookup made by C code: `b"".join(map(cache.__getitem__, words))` keeps the
whole loop in C. The ids wait in the cache as the bytes of machine integers, so that they lie beside each
other in memory; one call makes numbers of them at the end. The first new word of a block has all new words
of the block worked out together, again mostly by loops in C. Only a piece that was never seen and is no
token itself is merged, always the adjacent pair with the lowest rank first (Sennrich et al.,
arXiv 1508.07909; byte-level in GPT-2).

"Cold" in a measurement means: the tokenizer is built, its caches are empty (`clear_cache`). Nothing is worked
out for the vocabulary in advance. What was tried and did not help stands in `LOG.md`.
Left out: training (`fast_bpe`), special tokens (`special_tokens`). Notebook: 04 of this chapter.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, repeat
from operator import add

from working_with_text_data.coarse_words import SMALL_BLOCK, coarse_words
from working_with_text_data.patterns import Splitter

NO_RANK = 1 << 62
LONG_PIECE = 128  # bytes; above it the quadratic list loses to the heap
CACHED_CHARS = 64  # longer pieces hardly ever come again
CACHE_ENTRIES = 1 << 18  # about 60 MB at worst; then the cache starts anew

_one_byte = [bytes([byte]) for byte in range(256)].__getitem__
_pack = struct.Struct("I").pack


def merge_piece(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Ids of one piece: repeat "merge the adjacent pair whose union has the lowest rank, leftmost first".

    `ranks` maps the bytes of a token to its id, and the id is the rank. Quadratic, but in C:
    finding the minimum and closing the gap are list methods.

    >>> ranks = {bytes([i]): i for i in range(256)} | {b"ab": 256, b"abc": 257}
    >>> merge_piece(b"abcab", ranks)
    [257, 256]
    """
    get = ranks.get
    parts = list(map(_one_byte, piece))
    # pair_ranks[i] is the rank of parts[i] + parts[i + 1]
    pair_ranks = list(map(get, map(add, parts, parts[1:]), repeat(NO_RANK)))
    while pair_ranks:
        lowest = min(pair_ranks)
        if lowest == NO_RANK:
            break
        i = pair_ranks.index(lowest)
        merged = parts[i] = parts[i] + parts.pop(i + 1)
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


class BlockCache(dict[str, bytes]):
    """Piece of text → its ids as bytes, filled a block at a time and emptied when it holds `limit` entries.

    Args:
        work_out: the ids of pieces, in their order.
        limit: the most entries it ever holds.
    """

    def __init__(self, work_out: Callable[[list[str]], Iterable[bytes]], limit: int = CACHE_ENTRIES) -> None:
        super().__init__()
        self._work_out = work_out
        self._coming: Iterable[str] = ()
        self.limit = limit

    def look_up(self, pieces: list[str]) -> bytes:
        """The ids of all `pieces`, one after the other."""
        self._coming = pieces
        ids = b"".join(map(self.__getitem__, pieces))
        self._coming = ()
        return ids

    def expect(self, pieces: Iterable[str]) -> None:
        """Tell which pieces are going to be asked for: the first that is missing brings the others."""
        self._coming = pieces

    def __missing__(self, piece: str) -> bytes:
        coming, self._coming = set(self._coming), ()
        new = [other for other in coming if other not in self and len(other) <= CACHED_CHARS]
        if len(self) + len(new) > self.limit:
            self.clear()
            new = new[: self.limit]
        self.update(zip(new, self._work_out(new)))
        ids = self.get(piece)
        if ids is None:  # too long to be kept, or crowded out
            (ids,) = self._work_out([piece])
        return ids


class FastEncoder:
    """Text → ids for one table of ranks and one split pattern, with two bounded caches.

    `words` holds coarse words, each a run of whole pieces; `pieces` holds the exact pieces of the pattern.
    Where words do not pay (see `coarse_words`) the text is cut into pieces at once. Threads may share an
    encoder: what one of them has announced and another takes away is then worked out one by one.
    """

    def __init__(
        self, ranks: Mapping[bytes, int], splitter: Splitter, cache_entries: int = CACHE_ENTRIES
    ) -> None:
        self._ranks = ranks
        self._splitter = splitter
        self._pieces = BlockCache(self._encode_pieces, cache_entries)
        self._words = BlockCache(self._encode_words, cache_entries)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, which must be encodable as UTF-8 (UnicodeEncodeError otherwise)."""
        return memoryview(self.encode_packed(text)).cast("I").tolist()

    def encode_packed(self, text: str) -> bytes:
        """The same as the bytes of machine integers: what `array("I")` and numpy's `frombuffer` take."""
        blocks: list[bytes] = []
        for block in self._splitter.blocks(text, SMALL_BLOCK):
            words = coarse_words(block, self._splitter.name)
            if words is not None:
                blocks.append(self._words.look_up(words))
            else:
                blocks.append(self._pieces.look_up(self._splitter.findall(block)))
        return b"".join(blocks)

    def _encode_words(self, words: list[str]) -> list[bytes]:
        cuts = list(map(self._splitter.findall, words))
        self._pieces.expect(chain.from_iterable(cuts))
        get = self._pieces.__getitem__
        return [get(cut[0]) if len(cut) == 1 else b"".join(map(get, cut)) for cut in cuts]

    def _encode_pieces(self, pieces: list[str]) -> list[bytes]:
        data = [piece.encode("utf-8") for piece in pieces]
        tokens = map(self._ranks.get, data)  # most pieces of common text are one token
        return [
            _pack(token) if token is not None else self._merged(piece) for piece, token in zip(data, tokens)
        ]

    def _merged(self, piece: bytes) -> bytes:
        merge = merge_piece if len(piece) <= LONG_PIECE else merge_long_piece
        return array("I", merge(piece, self._ranks)).tobytes()

    def clear_cache(self) -> None:
        """Forget every word and piece, for example to measure how fast cold encoding is."""
        self._words.clear()
        self._pieces.clear()
