"""Byte-pair encoding as a person would explain it. Slow on purpose; `fast_bpe` does the same quickly.

The idea in three lines:
1. Cut the text into words and write each word as a list of byte ids.
2. Count all neighbouring pairs of ids; give the most frequent pair a new id and write it in place
   of the pair, everywhere.
3. Do 2 again until the vocabulary has the wanted size. The list of merges is the tokenizer.

To encode new text: cut it the same way, then apply the merges in the order they were learned.

Papers: Gage 1994 (the compression trick); Sennrich, Haddow, Birch, arXiv 1508.07909 (for words);
Radford et al. 2019, section 2.2 (on bytes). Left out: speed. Notebook: 01 of this chapter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from utils.errors import UserError
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.patterns import splitter
from working_with_text_data.tie_breaks import sort_key
from working_with_text_data.tokenizer import SpecialTokens, valid_unicode

Pair = tuple[int, int]


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


def split_into_words(
    texts: str | Iterable[str], pattern: str = "gpt2", special_tokens: Sequence[str] = ()
) -> Counter[bytes]:
    """Count the words of the texts. Special tokens are taken out first: they are never learned from."""
    cut = splitter(pattern)
    special = SpecialTokens({word: i for i, word in enumerate(special_tokens)})
    words: Counter[bytes] = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        for piece, special_id in special.split(valid_unicode(text), "all"):
            if special_id is None:
                words.update(word.encode("utf-8") for word in cut.findall(piece))
    return words


def train_bpe_readable(
    texts: str | Iterable[str],
    vocab_size: int,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: str = "bytes",
    verbose: bool = False,
    show: Callable[[str], None] = print,
) -> BPETokenizer:
    """Learn merges until there are `vocab_size` ids: 256 bytes + merges + special tokens.

    Args:
        texts: one text or several; pairs never cross from one to the next.
        tie_break: which of several equally frequent pairs is merged (see `tie_breaks`).
        verbose: show every merge as it is made, and how often its pair occurred.

    Returns:
        The tokenizer. If the text runs out of pairs, its `vocab_size` is smaller than its
        `requested_vocab_size`.

    Raises:
        UserError: `vocab_size` has no room for the bytes and special tokens; unknown names.

    >>> tokenizer = train_bpe_readable("low low lower lowest", 259, verbose=True)
    merge   1: b'o' + b'w' -> 256 b'ow' (4 times)
    merge   2: b'l' + b'ow' -> 257 b'low' (4 times)
    merge   3: b' ' + b'low' -> 258 b' low' (3 times)
    """
    check_vocab_size(vocab_size, special_tokens)
    # Equal words are merged alike, so each different word is kept once, with its count.
    word_counts = split_into_words(texts, pattern, special_tokens)
    words = [(list(word), count) for word, count in word_counts.items()]
    tokens = [bytes([i]) for i in range(256)]
    key = sort_key(tie_break, tokens)
    merges: list[Pair] = []

    while len(tokens) + len(special_tokens) < vocab_size:
        pair_counts: Counter[Pair] = Counter()
        for ids, count in words:
            for pair, times in count_pairs(ids).items():
                pair_counts[pair] += times * count
        if not pair_counts:
            break  # every word is one token: nothing is left to merge
        pair = min(pair_counts, key=lambda p: (-pair_counts[p], key(*p)))
        new_id = len(tokens)
        a, b = pair
        tokens.append(tokens[a] + tokens[b])
        merges.append(pair)
        words = [(merge(ids, pair, new_id), count) for ids, count in words]
        if verbose:
            show(
                f"merge {len(merges):3}: {tokens[a]!r} + {tokens[b]!r} -> {new_id} {tokens[new_id]!r} "
                f"({pair_counts[pair]} times)"
            )
    return BPETokenizer(
        merges,
        pattern=pattern,
        special_tokens=special_tokens,
        requested_vocab_size=vocab_size,
        training={"tie_break": tie_break},
    )


def encode_readable(text: str, tokenizer: BPETokenizer) -> list[int]:
    """The ids of plain text, found by applying the merges in the order they were learned."""
    rank = {pair: 256 + i for i, pair in enumerate(tokenizer.merges)}
    id_of_byte = {byte: i for i, byte in enumerate(tokenizer.byte_order)}
    ids: list[int] = []
    for word in splitter(tokenizer.pattern).findall(valid_unicode(text)):
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
