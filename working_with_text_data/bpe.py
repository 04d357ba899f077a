"""Byte-pair encoding as a person would explain it. Slow on purpose; `fast_bpe` does the same quickly.

The idea in three lines:
1. Write the text as a list of byte ids.
2. Count all neighbouring pairs of ids; give the most frequent pair a new id and write it in place
   of the pair, everywhere.
3. Do 2 again until the vocabulary has the wanted size. The list of merges is the tokenizer.

To encode new text: write its bytes, then apply the merges in the order they were learned.

The ladder has three rungs, each of them the one before and one thing more:
1. `train_on_bytes`: bytes only. The whole text is one long list, and merges run across words.
2. `train_on_words`: a regular expression cuts the text into words first, and no merge crosses a cut.
3. `train_bpe_readable`: special tokens are cut out before that, and get ids of their own.

Papers: Gage 1994 (the compression trick); Sennrich, Haddow, Birch, arXiv 1508.07909 (for words);
Radford et al. 2019, section 2.2 (on bytes, with a pattern). Left out: speed. Notebook: 02 of this chapter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from utils.errors import UserError
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.patterns import WHOLE_TEXT, splitter
from working_with_text_data.tie_breaks import sort_key
from working_with_text_data.tokenizer import SpecialTokens, valid_unicode

Pair = tuple[int, int]

# Why a training ended: the values of `tokenizer.training["stopped"]`, and what a person is told.
STOPPED = {
    "vocab_size": "the vocabulary has the size asked for",
    "no_pairs": "the text has no pair left to merge: every word is one token",
    "min_frequency": "every pair left is rarer than min_frequency",
}


def count_pairs(ids: Sequence[int]) -> Counter[Pair]:
    """How often each pair of neighbours occurs.

    >>> count_pairs([1, 2, 3, 1, 2])
    Counter({(1, 2): 2, (2, 3): 1, (3, 1): 1})
    """
    return Counter(pairwise(ids))


def merge(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Write `new_id` in place of every `pair`, from left to right.

    >>> merge([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2  # subtle: step over both, so that in "aaa" the second a is not used twice
        else:
            merged.append(ids[i])
            i += 1
    return merged


# --- rung 1: bytes ----------------------------------------------------------------------------------


def train_on_bytes(
    text: str, vocab_size: int, verbose: bool = False, show: Callable[[str], None] = print
) -> BPETokenizer:
    """Rung 1: merge the bytes of the whole text. Ties go to the pair that is greatest as bytes.

    >>> tokenizer = train_on_bytes("to be or not to be", 258, verbose=True)
    merge   1: b't' + b'o' -> 256 b'to' (2 times)
    merge   2: b'to' + b' ' -> 257 b'to ' (2 times)
    """
    check_vocab_size(vocab_size, ())
    ids = list(valid_unicode(text).encode("utf-8"))
    tokens = [bytes([i]) for i in range(256)]
    merges: list[Pair] = []
    while len(tokens) < vocab_size and len(ids) > 1:
        counts = count_pairs(ids)
        pair = max(counts, key=lambda p: (counts[p], tokens[p[0]], tokens[p[1]]))
        ids = merge(ids, pair, len(tokens))
        merges.append(pair)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        if verbose:
            show(_story(merges, tokens, counts[pair]))
    stopped = "vocab_size" if len(tokens) == vocab_size else "no_pairs"
    return BPETokenizer(
        merges,
        pattern=WHOLE_TEXT,
        requested_vocab_size=vocab_size,
        training={"tie_break": "bytes", "min_frequency": 1, "stopped": stopped},
    )


# --- rung 2: words ----------------------------------------------------------------------------------


def train_on_words(
    text: str,
    vocab_size: int,
    pattern: str = "gpt2",
    verbose: bool = False,
    show: Callable[[str], None] = print,
) -> BPETokenizer:
    """Rung 2: cut the text into words first; merges stay inside of them.

    >>> tokenizer = train_on_words("to be or not to be", 258, verbose=True)
    merge   1: b't' + b'o' -> 256 b'to' (2 times)
    merge   2: b'b' + b'e' -> 257 b'be' (2 times)
    """
    return train_bpe_readable(text, vocab_size, pattern, verbose=verbose, show=show)


def merge_words(
    words: Mapping[bytes, int],
    n_merges: int,
    tie_break: str = "bytes",
    min_frequency: int = 1,
    show: Callable[[str], None] | None = None,
) -> tuple[list[Pair], str]:
    """At most `n_merges` merges of counted words, and why there are no more: a key of `STOPPED`.

    Equal words are merged alike, so each different word is kept once, with its count.

    >>> merge_words({b"low": 3, b"lot": 1}, 9, min_frequency=2)
    ([(108, 111), (256, 119)], 'min_frequency')
    """
    split = [(list(word), count) for word, count in words.items()]
    tokens = [bytes([i]) for i in range(256)]
    key = sort_key(tie_break, tokens)
    merges: list[Pair] = []
    while len(merges) < n_merges:
        counts: Counter[Pair] = Counter()  # in the order in which the pairs are met: `first_seen` needs it
        for ids, times in split:
            for pair, inside in count_pairs(ids).items():
                counts[pair] += inside * times
        if not counts:
            return merges, "no_pairs"
        pair = min(counts, key=lambda p: (-counts[p], key(*p)))  # the first of the smallest
        if counts[pair] < min_frequency:
            return merges, "min_frequency"
        split = [(merge(ids, pair, len(tokens)), times) for ids, times in split]
        merges.append(pair)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        if show:
            show(_story(merges, tokens, counts[pair]))
    return merges, "vocab_size"


# --- rung 3: special tokens -------------------------------------------------------------------------


def split_into_words(
    texts: str | Iterable[str],
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    split_digits: int | bool = False,
    prefix_space: bool = False,
) -> Counter[bytes]:
    """Count the words of the texts. Special tokens are taken out first: they are never learned from."""
    cut = splitter(pattern, digits=split_digits, prefix_space=prefix_space)
    special = SpecialTokens({word: i for i, word in enumerate(special_tokens)})
    words: Counter[bytes] = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        for piece, special_id in special.split(valid_unicode(text), "all"):
            if special_id is None:
                words.update(word.encode("utf-8") for word in cut.findall(cut.prefixed(piece)))
    return words


def train_bpe_readable(
    texts: str | Iterable[str],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: str = "bytes",
    verbose: bool = False,
    show: Callable[[str], None] = print,
    *,
    min_frequency: int = 1,
    split_digits: int | bool = False,
    prefix_space: bool = False,
) -> BPETokenizer:
    """Rung 3: learn merges until there are `vocab_size` ids: 256 bytes + merges + special tokens.

    Args:
        texts: one text or several; pairs never cross from one to the next.
        tie_break: which of several equally frequent pairs is merged (see `tie_breaks`).
        verbose: show every merge as it is made, and how often its pair occurred.
        min_frequency: a pair seen fewer times is never merged.
        split_digits: True makes each digit its own piece, n cuts numbers into groups of at most n.
        prefix_space: a text that does not begin with a space gets one, here and when encoding.

    Returns:
        The tokenizer. Its `training["stopped"]` is a key of `STOPPED`; if the text ran out of pairs, its
        `vocab_size` is smaller than its `requested_vocab_size`.

    Raises:
        UserError: `vocab_size` has no room for the bytes and special tokens; unknown names or options.

    >>> tokenizer = train_bpe_readable("low low lower lowest", 259, verbose=True)
    merge   1: b'o' + b'w' -> 256 b'ow' (4 times)
    merge   2: b'l' + b'ow' -> 257 b'low' (4 times)
    merge   3: b' ' + b'low' -> 258 b' low' (3 times)
    """
    check_vocab_size(vocab_size, special_tokens)
    check_min_frequency(min_frequency)
    words = split_into_words(texts, pattern, special_tokens, split_digits, prefix_space)
    n_merges = vocab_size - 256 - len(special_tokens)
    merges, stopped = merge_words(words, n_merges, tie_break, min_frequency, show if verbose else None)
    return BPETokenizer(
        merges,
        pattern=pattern,
        special_tokens=special_tokens,
        split_digits=split_digits,
        prefix_space=prefix_space,
        requested_vocab_size=vocab_size,
        training={"tie_break": tie_break, "min_frequency": min_frequency, "stopped": stopped},
    )


def _story(merges: list[Pair], tokens: list[bytes], times: int) -> str:
    """The last merge as a line to read."""
    a, b = merges[-1]
    made = len(tokens) - 1
    return f"merge {len(merges):3}: {tokens[a]!r} + {tokens[b]!r} -> {made} {tokens[made]!r} ({times} times)"


# --- encoding ---------------------------------------------------------------------------------------


def encode_readable(text: str, tokenizer: BPETokenizer) -> list[int]:
    """The ids of plain text, found by applying the merges in the order they were learned.

    >>> encode_readable("lower", train_bpe_readable("low low lower lowest", 259))
    [257, 101, 114]
    """
    cut = tokenizer.splitter
    rank = {pair: 256 + i for i, pair in enumerate(tokenizer.merges)}
    id_of_byte = {byte: i for i, byte in enumerate(tokenizer.byte_order)}
    ids: list[int] = []
    for word in cut.findall(cut.prefixed(valid_unicode(text))):
        ids += merge_steps([id_of_byte[byte] for byte in word.encode("utf-8")], rank)[-1]
    return ids


def merge_steps(ids: list[int], rank: dict[Pair, int]) -> list[list[int]]:
    """All stages of encoding one word, from single bytes to the final ids.

    `rank` maps a pair to the id it makes; the smallest id is the merge that was learned first.

    >>> merge_steps([1, 2, 3], {(1, 2): 300, (300, 3): 301})
    [[1, 2, 3], [300, 3], [301]]
    """
    stages = [ids]
    while True:
        known = [pair for pair in pairwise(ids) if pair in rank]
        if not known:
            return stages
        pair = min(known, key=rank.__getitem__)
        ids = merge(ids, pair, rank[pair])
        stages.append(ids)


def explain_word(word: str, tokenizer: BPETokenizer) -> str:
    """How one word becomes tokens, a line for each merge, to read.

    >>> tokenizer = train_bpe_readable("low low lower lowest", 259)
    >>> print(explain_word("lower", tokenizer))
    l|o|w|e|r
    l|ow|e|r
    low|e|r
    """
    rank = {pair: 256 + i for i, pair in enumerate(tokenizer.merges)}
    id_of_byte = {byte: i for i, byte in enumerate(tokenizer.byte_order)}
    stages = merge_steps([id_of_byte[byte] for byte in word.encode("utf-8")], rank)
    return "\n".join(
        "|".join(tokenizer.token_bytes(i).decode("utf-8", "backslashreplace") for i in stage)
        for stage in stages
    )


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str]) -> None:
    """UserError unless there is room for the 256 bytes and the special tokens."""
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise UserError(
            f"vocab_size is {vocab_size}, but 256 bytes and {len(special_tokens)} special tokens "
            f"need at least {least}: ask for more"
        )


def check_min_frequency(min_frequency: int) -> None:
    """UserError unless `min_frequency` is a whole number of at least 1."""
    if not isinstance(min_frequency, int) or isinstance(min_frequency, bool) or min_frequency < 1:
        raise UserError(f"min_frequency is {min_frequency!r}: give a whole number from 1 (every pair) on")
