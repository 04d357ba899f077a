"""Train BPE in pure Python as fast as the compiled trainers: the merges of `bpe`, found incrementally.

The idea in four lines:
1. Count the words first (`pretokens`): a text of a million words has a few ten thousand different ones.
2. Write a word as a Python string whose *characters are token ids*: then a merge is one `str.split`
   and one `join`, both in C, and a pair is a string of two characters, the cheapest dict key.
3. After a merge only the pairs beside it change, and only in words that hold it: keep pair → words.
4. Counts only ever fall, so pairs wait in buckets by count, and the full bucket is looked at first.

Papers: as in `bpe`. The law LT2 keeps this file equal to the readable one; NUMBERS has the race.
Left out: merges by several processes; only the counting of words can be shared out (`workers`).
"""

from __future__ import annotations

import gc
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from working_with_text_data.bpe import check_min_frequency, check_vocab_size
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.pretokens import count_pretokens
from working_with_text_data.tie_breaks import first_seen_key, sort_text

FEW_PLACES = 32  # of a pair; up to here noting words by their neighbour costs more than it saves


def train_bpe(
    texts: str | Iterable[str],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: str = "bytes",
    *,
    min_frequency: int = 1,
    split_digits: int | bool = False,
    prefix_space: bool = False,
    workers: int = 0,
    on_merge: Callable[[int], None] | None = None,
) -> BPETokenizer:
    """Learn a byte-level BPE tokenizer with `vocab_size` ids: 256 bytes + merges + special tokens.

    Args:
        texts: one text or several (documents); pairs never cross from one to the next.
        vocab_size: ids in all.
        pattern: a name of `patterns.SPLIT_PATTERNS` or a regular expression.
        special_tokens: control words; they get the last ids and are never learned from.
        tie_break: which of several equally frequent pairs is merged (see `tie_breaks`).
        min_frequency: a pair seen fewer times is never merged.
        split_digits: True makes each digit its own piece, n cuts numbers into groups of at most n.
        prefix_space: a text that does not begin with a space gets one, here and when encoding.
        workers: processes that count the words; the result is the same for every number (0: none).
        on_merge: called after each merge with the number of merges made, to show progress.

    Returns:
        The tokenizer. Its `training["stopped"]` is a key of `bpe.STOPPED`. If the text runs out of pairs,
        training stops there: `vocab_size` is then smaller than `requested_vocab_size`.

    Raises:
        UserError: `vocab_size` has no room for the bytes and special tokens; unknown names or options.
        RunFailure: a worker process died.

    >>> tokenizer = train_bpe("low low lower lowest", 259)
    >>> [tokenizer.token_bytes(i) for i in range(256, 259)]
    [b'ow', b'low', b' low']
    """
    check_vocab_size(vocab_size, special_tokens)
    check_min_frequency(min_frequency)
    counts = count_pretokens(
        texts, pattern, special_tokens, split_digits=split_digits, prefix_space=prefix_space, workers=workers
    )
    return train_from_counts(
        counts,
        vocab_size,
        pattern,
        special_tokens,
        tie_break,
        min_frequency=min_frequency,
        split_digits=split_digits,
        prefix_space=prefix_space,
        on_merge=on_merge,
    )


def train_from_counts(
    pretokens: Mapping[str, int],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: str = "bytes",
    *,
    min_frequency: int = 1,
    split_digits: int | bool = False,
    prefix_space: bool = False,
    on_merge: Callable[[int], None] | None = None,
) -> BPETokenizer:
    """The same from counted pre-tokens, for a corpus that was counted in pieces.

    `pretokens` were counted with the same pattern and options, in order of first appearance where
    `tie_break` is "first_seen".
    """
    check_vocab_size(vocab_size, special_tokens)
    check_min_frequency(min_frequency)
    n_merges = vocab_size - 256 - len(special_tokens)
    with garbage_collector_off():
        merges = learn_merges(pretokens, n_merges, tie_break, min_frequency=min_frequency, on_merge=on_merge)
    tokenizer = BPETokenizer(
        merges,
        pattern=pattern,
        special_tokens=special_tokens,
        split_digits=split_digits,
        prefix_space=prefix_space,
        requested_vocab_size=vocab_size,
        training={
            "tie_break": tie_break,
            "min_frequency": min_frequency,
            "pretokens": sum(pretokens.values()),
            "different_pretokens": len(pretokens),
        },
    )
    tokenizer.training["stopped"] = why_stopped(tokenizer, pretokens)
    return tokenizer


def why_stopped(tokenizer: BPETokenizer, pretokens: Iterable[str]) -> str:
    """Why training ended, a key of `bpe.STOPPED`: a word of several tokens still holds a pair, but a rare one."""
    if tokenizer.vocab_size >= tokenizer.requested_vocab_size:
        return "vocab_size"
    ranks = tokenizer.ranks
    pair_left = any(word.encode("utf-8") not in ranks for word in pretokens)
    return "min_frequency" if pair_left else "no_pairs"


def learn_merges(
    pretokens: Mapping[str, int],
    n_merges: int,
    tie_break: str = "bytes",
    *,
    min_frequency: int = 1,
    on_merge: Callable[[int], None] | None = None,
) -> list[tuple[int, int]]:
    """The first `n_merges` merges (fewer if the words run out of pairs); merge i makes id 256 + i.

    A pair seen fewer than `min_frequency` times is not merged. `on_merge` hears the number of merges made.
    """
    tokens = [bytes([i]) for i in range(256)]
    # Character i of a word is token id i: Latin-1 maps byte b to character b.
    words = [word.encode("utf-8").decode("latin-1") for word in pretokens]
    counts = list(pretokens.values())

    # pair -> the words that hold it, once for each place; entries may be out of date later, never missing
    where: defaultdict[str, list[int]] = defaultdict(list)
    for i, word in enumerate(words):
        for pair in map(str.__add__, word, word[1:]):
            where[pair].append(i)
    pair_count = {pair: sum(map(counts.__getitem__, places)) for pair, places in where.items()}
    if tie_break == "first_seen":
        text = first_seen_text(words, where, tokens)
    else:
        text = sort_text(tie_break, tokens)

    merges: list[tuple[int, int]] = []
    queue = _Buckets(pair_count, text)
    while len(merges) < n_merges:
        best = queue.pop()
        if best is None or pair_count[best] < min_frequency:
            break
        merges.append((ord(best[0]), ord(best[1])))
        tokens.append(tokens[ord(best[0])] + tokens[ord(best[1])])
        made = _merge_everywhere(best, chr(255 + len(merges)), words, counts, pair_count, where)
        queue.add(made)
        if on_merge is not None:
            on_merge(len(merges))
    return merges


def first_seen_text(
    words: list[str], where: Mapping[str, list[int]], tokens: list[bytes]
) -> Callable[[str], str]:
    """`first_seen_key` as text: both numbers with leading zeros, so that they sort as numbers do."""
    key = first_seen_key(words, where, tokens)
    return lambda pair: "{:012}{:012}".format(*key(ord(pair[0]), ord(pair[1])))


def _merge_everywhere(
    pair: str,
    new: str,
    words: list[str],
    counts: list[int],
    pair_count: dict[str, int],
    where: defaultdict[str, list[int]],
) -> Mapping[str, int]:
    """Write `new` for `pair` in all words, keep the counts true, and return the pairs that came to be, counted.

    Where `pair` = "ab" becomes "N" in "xaby", the pairs "xa" and "by" vanish as often as "xN" and
    "Ny" appear. A pair with few places counts that at once; for one with many the words are only noted by
    their neighbour, and counted at the end: most of them share a few neighbours.
    """
    first, second = pair[0], pair[1]
    places = where.pop(pair)
    made: defaultdict[str, int] = defaultdict(int)
    if len(places) <= FEW_PLACES:
        for i in places:
            parts = words[i].split(pair)
            if len(parts) == 2:  # nearly always: one occurrence
                before, after = parts
                words[i] = before + new + after
                n = counts[i]
                if before:
                    x = before[-1]
                    pair_count[x + first] -= n
                    y = x + new
                    made[y] += n
                    where[y].append(i)
                if after:
                    x = after[0]
                    pair_count[second + x] -= n
                    y = new + x
                    made[y] += n
                    where[y].append(i)
            elif len(parts) > 2:
                _merge_in_word(i, parts, new, words, counts, pair_count, where, made)
    else:
        left: defaultdict[str, list[int]] = defaultdict(list)  # neighbour before the merge -> words
        right: defaultdict[str, list[int]] = defaultdict(list)  # neighbour after it -> words
        for i in places:
            parts = words[i].split(pair)
            if len(parts) == 2:
                before, after = parts
                words[i] = before + new + after
                if before:
                    left[before[-1]].append(i)
                if after:
                    right[after[0]].append(i)
            elif len(parts) > 2:
                _merge_in_word(i, parts, new, words, counts, pair_count, where, made)
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


def _merge_in_word(
    i: int,
    parts: list[str],
    new: str,
    words: list[str],
    counts: list[int],
    pair_count: dict[str, int],
    where: defaultdict[str, list[int]],
    made: defaultdict[str, int],
) -> None:
    """Several occurrences in one word may touch each other: count the whole word anew."""
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


class _Buckets:
    """Pairs by count, the largest count first; ties by `text`, the smallest first.

    Lazy: when a count falls nobody tells the bucket. A pair that is found in a bucket too high for
    it moves down then. A new pair never counts more than the merge that made it, so the height of
    the current bucket only falls. Only the current bucket is ordered, as a heap of strings: the text
    that says the order, then the pair itself.
    """

    def __init__(self, pair_count: dict[str, int], text: Callable[[str], str]) -> None:
        self._pair_count = pair_count
        self._text = text
        self._buckets: defaultdict[int, list[str]] = defaultdict(list)
        self._levels: list[int] = []  # heap of −count for the buckets that are not empty
        self._level = 0  # count of the current bucket
        self._heap: list[str] = []
        self.add(pair_count)

    def add(self, pair_count: Mapping[str, int]) -> None:
        """Take in pairs that are new, with their counts."""
        buckets, level, text = self._buckets, self._level, self._text
        for pair, count in pair_count.items():
            if count == level:
                heapq.heappush(self._heap, text(pair) + pair)
                continue
            bucket = buckets[count]
            if not bucket:
                heapq.heappush(self._levels, -count)
            bucket.append(pair)

    def pop(self) -> str | None:
        """The pair to merge next, or None if no pair is left."""
        count_of, text, heap = self._pair_count.get, self._text, self._heap
        while True:
            moved: dict[str, int] = {}  # pairs whose count has fallen since they were put where they are
            while heap:
                pair = heapq.heappop(heap)[-2:]
                count = count_of(pair, 0)
                if count == self._level:
                    if moved:
                        self.add(moved)
                    return pair
                if count:
                    moved[pair] = count
            self.add(moved)
            if not self._levels:
                return None
            self._level = -heapq.heappop(self._levels)
            moved = {}
            for pair in self._buckets.pop(self._level):
                count = count_of(pair, 0)
                if count == self._level:
                    heap.append(text(pair) + pair)
                elif count:
                    moved[pair] = count
            heapq.heapify(heap)
            self.add(moved)


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
