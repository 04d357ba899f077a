"""Count the words of a corpus before training: the first and longest step of fast BPE.

The idea: BPE only needs to know each different pre-token and how often it occurs. The corpus is
read in blocks that end where the split pattern cuts anyway, so memory stays small and the counts
do not depend on how the text arrives (file order, read size).

The counting has two levels: whole words with their punctuation (`coarse_words`), then the different ones
among them by the exact pattern. Several processes may share the work; blocks are counted anywhere and
added up in the order of the text.

Left out: the merges (`fast_bpe`). Notebook: 04 of this chapter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from working_with_text_data.coarse_words import SMALL_BLOCK, coarse_words
from working_with_text_data.patterns import Splitter, splitter
from working_with_text_data.tokenizer import SpecialTokens, valid_unicode
from working_with_text_data.worker_pool import map_in_order

BATCH_CHARS = 1 << 20  # of one share of the work: the words it finds are few beside the text that is sent


def count_pretokens(
    texts: str | Iterable[str],
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    *,
    split_digits: int | bool = False,
    prefix_space: bool = False,
    workers: int = 0,
) -> Counter[str]:
    """How often each pre-token occurs in `texts`; special tokens cut the text and are not counted.

    The pre-tokens come in the order in which each first appears in the text, whatever the number of
    `workers` (processes that share the counting; 0: none) and however the text is cut into blocks.

    Raises:
        UserError: a pattern or option that is none; RunFailure: a worker process died.

    >>> count_pretokens("a b a b<|x|>a", special_tokens=["<|x|>"])
    Counter({'a': 2, ' b': 2, ' a': 1})
    """
    cut = splitter(pattern, digits=split_digits, prefix_space=prefix_space)
    special = SpecialTokens({word: i for i, word in enumerate(special_tokens)})
    pieces = _plain_pieces([texts] if isinstance(texts, str) else texts, special, cut)
    if not workers:
        return _count(pieces, cut)
    options = (pattern, split_digits, prefix_space)
    batches = ((options, batch) for batch in _batches(pieces, cut))
    pretokens: Counter[str] = Counter()
    for counted in map_in_order(_count_batch, batches, workers):
        pretokens.update(counted)  # in the order of the text, so a new pre-token goes behind all earlier ones
    return pretokens


def _plain_pieces(texts: Iterable[str], special: SpecialTokens, cut: Splitter) -> Iterator[str]:
    """What stands between the special tokens, with the space before it that the tokenizer may ask for."""
    for text in texts:
        for piece, special_id in special.split(valid_unicode(text), "all"):
            if special_id is None:
                yield cut.prefixed(piece)


def _batches(pieces: Iterable[str], cut: Splitter) -> Iterator[list[str]]:
    """Pieces by the megabyte; a longer one is cut where the pattern cuts."""
    batch: list[str] = []
    size = 0
    for piece in pieces:
        for block in cut.blocks(piece, BATCH_CHARS):
            batch.append(block)
            size += len(block)
            if size >= BATCH_CHARS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _count_batch(work: tuple[tuple[str, int | bool, bool], list[str]]) -> Counter[str]:
    """The share of one process: the blocks are cut and prefixed already."""
    (pattern, split_digits, prefix_space), blocks = work
    return _count(blocks, splitter(pattern, digits=split_digits, prefix_space=prefix_space))


def _count(pieces: Iterable[str], cut: Splitter) -> Counter[str]:
    """The two levels: coarse words are counted first, and each different one is cut once.

    A word's first occurrence holds the first occurrence of any pre-token that no earlier word holds, so the
    pre-tokens come in order of first appearance if the words do. Where words do not pay, a block's
    pre-tokens are words too: none of them is cut any further.
    """
    words: Counter[str] = Counter()
    whole = not cut.named  # what a home-made pattern would make of one of its pieces alone is not known
    for piece in pieces:
        for block in cut.blocks(piece, SMALL_BLOCK):
            words.update(coarse_words(block, cut.name) or cut.findall(block))
    if whole:
        return words
    pretokens: Counter[str] = Counter()
    for word, count in words.items():
        for pretoken in cut.findall(word):
            pretokens[pretoken] += count
    return pretokens


def read_blocks(
    path: str | Path,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    chunk_chars: int = 1 << 20,
    *,
    prefix_space: bool = False,
) -> Iterator[str]:
    """Yield the text of a UTF-8 file in blocks cut only where the pattern always cuts.

    The pre-tokens of the blocks are those of the whole file, whatever `chunk_chars` is. A special
    token is never cut in two: where one holds white space, or the pattern is home-made, the file is
    read in one piece. Bytes that are not UTF-8 become U+FFFD. With `prefix_space` a block after the
    first always begins with a space, so that only the file's own beginning gets one more.
    """
    cut = splitter(pattern, prefix_space=prefix_space)
    whole = not cut.named or any(character.isspace() for word in special_tokens for character in word)
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        waiting = ""
        while chunk := file.read(-1 if whole else chunk_chars):
            waiting += chunk
            end = None if whole else cut.safe_cut(waiting, 0, len(waiting))
            if end is not None:
                yield waiting[:end]
                waiting = waiting[end:]
        if waiting:
            yield waiting
