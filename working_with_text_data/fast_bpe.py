"""Train BPE in pure Python as fast as the compiled trainers: the merges of `bpe`, found incrementally.

The idea in four lines:
1. Count the words first (`pretokens`): a text of a million words has a few ten thousand different ones.
2. Write a word as a Python string whose *characters are token ids*: then a merge is one `str.split`
   and one `join`, both in C, and a pair is a string of two characters, the cheapest dict key.
3. After a merge only the pairs beside it change, and only in words that hold it: keep pair → words.
4. Counts only ever fall, so pairs wait in buckets by count, and the full bucket is looked at first.

Papers: as in `bpe`. The law LT2 keeps this file equal to the readable one; NUMBERS has the race.
Left out: workers for counting (they cost more than they save up to about 10 MB).
"""

from __future__ import annotations

import gc
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from working_with_text_data.bpe import check_vocab_size
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.pretokens import count_pretokens
from working_with_text_data.tie_breaks import SortKey, sort_key


def train_bpe(
    texts: str | Iterable[str],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: str = "bytes",
) -> BPETokenizer:
    """Learn a byte-level BPE tokenizer with `vocab_size` ids: 256 bytes + merges + special tokens.

    Args:
        texts: one text or several (documents); pairs never cross from one to the next.
        vocab_size: ids in all.
        pattern: a name of `patterns.SPLIT_PATTERNS` or a regular expression.
        special_tokens: control words; they get the last ids and are never learned from.
        tie_break: which of several equally frequent pairs is merged (see `tie_breaks`).

    Returns:
        The tokenizer. If the text runs out of pairs, training stops there: its `vocab_size` is then
        smaller than its `requested_vocab_size`.

    Raises:
        UserError: `vocab_size` has no room for the bytes and special tokens; unknown names.

    >>> tokenizer = train_bpe("low low lower lowest", 259)
    >>> [tokenizer.token_bytes(i) for i in range(256, 259)]
    [b'ow', b'low', b' low']
    """
    check_vocab_size(vocab_size, special_tokens)
    counts = count_pretokens(texts, pattern, special_tokens)
    return train_from_counts(counts, vocab_size, pattern, special_tokens, tie_break)


def train_from_counts(
    pretokens: Mapping[str, int],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: str = "bytes",
) -> BPETokenizer:
    """The same from counted pre-tokens, for a corpus that was counted in pieces."""
    check_vocab_size(vocab_size, special_tokens)
    with garbage_collector_off():
        merges = learn_merges(pretokens, vocab_size - 256 - len(special_tokens), tie_break)
    return BPETokenizer(
        merges,
        pattern=pattern,
        special_tokens=special_tokens,
        requested_vocab_size=vocab_size,
        training={
            "tie_break": tie_break,
            "pretokens": sum(pretokens.values()),
            "different_pretokens": len(pretokens),
        },
    )


def learn_merges(
    pretokens: Mapping[str, int], n_merges: int, tie_break: str = "bytes"
) -> list[tuple[int, int]]:
    """The first `n_merges` merges (fewer if the words run out of pairs); merge i makes id 256 + i."""
    tokens = [bytes([i]) for i in range(256)]
    key = sort_key(tie_break, tokens)
    # Character i of a word is token id i: Latin-1 maps byte b to character b.
    words = [word.encode("utf-8").decode("latin-1") for word in pretokens]
    counts = list(pretokens.values())

    # pair -> the words that hold it, once for each place; entries may be out of date later, never missing
    where: defaultdict[str, list[int]] = defaultdict(list)
    for i, word in enumerate(words):
        for pair in map(str.__add__, word, word[1:]):
            where[pair].append(i)
    pair_count = {pair: sum(map(counts.__getitem__, places)) for pair, places in where.items()}

    merges: list[tuple[int, int]] = []
    queue = _Buckets(pair_count, key)
    while len(merges) < n_merges:
        best = queue.pop()
        if best is None:
            break
        merges.append((ord(best[0]), ord(best[1])))
        tokens.append(tokens[ord(best[0])] + tokens[ord(best[1])])
        made = _merge_everywhere(best, chr(255 + len(merges)), words, counts, pair_count, where)
        queue.add(made)
    return merges


def _merge_everywhere(
    pair: str,
    new: str,
    words: list[str],
    counts: list[int],
    pair_count: dict[str, int],
    where: defaultdict[str, list[int]],
) -> Iterable[str]:
    """Write `new` for `pair` in all words, keep the counts true, and return the pairs that came to be.

    Where `pair` = "ab" becomes "N" in "xaby", the pairs "xa" and "by" vanish as often as "xN" and
    "Ny" appear. So the words are only noted by their neighbour, and counted at the end.
    """
    first, second = pair[0], pair[1]
    left: defaultdict[str, list[int]] = defaultdict(list)  # neighbour before the merge -> words
    right: defaultdict[str, list[int]] = defaultdict(list)  # neighbour after it -> words
    made: defaultdict[str, int] = defaultdict(int)
    for i in where.pop(pair):
        parts = words[i].split(pair)
        if len(parts) == 2:  # nearly always: one occurrence
            before, after = parts
            words[i] = before + new + after
            if before:
                left[before[-1]].append(i)
            if after:
                right[after[0]].append(i)
        elif len(parts) > 2:  # several occurrences may touch each other: count the whole word anew
            n = counts[i]
            old = words[i]
            word = words[i] = new.join(parts)
            for x in map(str.__add__, old, old[1:]):
                pair_count[x] -= n
            for x in map(str.__add__, word, word[1:]):
                if new in x:
                    made[x] += n
                    where[x].append(i)
                else:
                    pair_count[x] += n
        # else: an earlier merge has broken the pair in this word already
    weight = counts.__getitem__
    for x, places in left.items():
        n = sum(map(weight, places))
        pair_count[x + first] -= n
        made[x + new] += n
        where[x + new] += places
    for x, places in right.items():
        n = sum(map(weight, places))
        pair_count[second + x] -= n
        made[new + x] += n
        where[new + x] += places
    del pair_count[pair]
    pair_count.update(made)
    return made


class _Buckets:
    """Pairs by count, the largest count first; ties by `key`, the smallest key first.

    Lazy: when a count falls nobody tells the bucket. A pair that is found in a bucket too high for
    it moves down then. A new pair never counts more than the merge that made it, so the height of
    the current bucket only falls. Only the current bucket is ordered, as a heap.
    """

    def __init__(self, pair_count: dict[str, int], key: SortKey) -> None:
        self._pair_count = pair_count
        self._key = key
        self._buckets: defaultdict[int, list[str]] = defaultdict(list)
        self._levels: list[int] = []  # heap of −count for the buckets that are not empty
        self._level = 0  # count of the current bucket
        self._heap: list[tuple[tuple, str]] = []
        self.add(pair_count)

    def add(self, pairs: Iterable[str]) -> None:
        """Take in pairs that are new."""
        for pair in pairs:
            self._put(pair, self._pair_count[pair])

    def _put(self, pair: str, count: int) -> None:
        if count == self._level:
            heapq.heappush(self._heap, (self._key(ord(pair[0]), ord(pair[1])), pair))
            return
        bucket = self._buckets[count]
        if not bucket:
            heapq.heappush(self._levels, -count)
        bucket.append(pair)

    def pop(self) -> str | None:
        """The pair to merge next, or None if no pair is left."""
        pair_count, key = self._pair_count, self._key
        while True:
            while self._heap:
                pair = heapq.heappop(self._heap)[1]
                count = pair_count.get(pair, 0)
                if count == self._level:
                    return pair
                if count:
                    self._put(pair, count)
            if not self._levels:
                return None
            self._level = -heapq.heappop(self._levels)
            for pair in self._buckets.pop(self._level):
                count = pair_count.get(pair, 0)
                if count == self._level:
                    self._heap.append((key(ord(pair[0]), ord(pair[1])), pair))
                elif count:
                    self._put(pair, count)
            heapq.heapify(self._heap)


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Training makes millions of small objects and no cycles, so looking for cycles is time lost."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
