"""Count the words of a corpus before training: the first and longest step of fast BPE.

The idea: BPE only needs to know each different pre-token and how often it occurs. The corpus is
read in blocks that end where the split pattern cuts anyway, so memory stays small and the counts
do not depend on how the text arrives (file order, read size).

For GPT-2's pattern the counting has two levels: whole words with their punctuation by a simple
expression, then the different ones among them by the exact pattern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from working_with_text_data.patterns import (
    COARSE,
    COARSE_ASCII,
    SMALL_BLOCK,
    Splitter,
    spaced,
    splitter,
    tidy_words,
)
from working_with_text_data.tokenizer import SpecialTokens, valid_unicode


def count_pretokens(
    texts: str | Iterable[str], pattern: str = "gpt2", special_tokens: Sequence[str] = ()
) -> Counter[str]:
    """How often each pre-token occurs in `texts`; special tokens cut the text and are not counted.

    >>> count_pretokens("a b a b<|x|>a", special_tokens=["<|x|>"])
    Counter({'a': 2, ' b': 2, ' a': 1})
    """
    cut = splitter(pattern)
    special = SpecialTokens({word: i for i, word in enumerate(special_tokens)})
    pretokens: Counter[str] = Counter()
    words: Counter[str] = Counter()  # coarse pieces, for GPT-2's pattern only
    unspaced: Counter[str] = Counter()  # the same without their leading space, from tidy text
    for text in [texts] if isinstance(texts, str) else texts:
        for piece, special_id in special.split(valid_unicode(text), "all"):
            if special_id is not None:
                continue
            if cut.name == "gpt2":
                _count_words(piece, cut, words, unspaced)
            else:
                for block in cut.blocks(piece):
                    pretokens.update(cut.findall(block))
    for word, count in chain(words.items(), zip(map(spaced, unspaced), unspaced.values())):
        for pretoken in cut.findall(word):
            pretokens[pretoken] += count
    return pretokens


def _count_words(text: str, cut: Splitter, words: Counter[str], unspaced: Counter[str]) -> None:
    for block in cut.blocks(text, SMALL_BLOCK):
        tidy = tidy_words(block)
        if tidy is None:
            words.update((COARSE_ASCII if block.isascii() else COARSE)(block))
        else:
            unspaced.update(tidy[1])
            if tidy[0]:
                words[tidy[0]] += 1


def read_blocks(
    path: str | Path,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    chunk_chars: int = 1 << 20,
) -> Iterator[str]:
    """Yield the text of a UTF-8 file in blocks cut only where the pattern always cuts.

    The pre-tokens of the blocks are those of the whole file, whatever `chunk_chars` is. A special
    token is never cut in two: where one holds white space, or the pattern is home-made, the file is
    read in one piece. Bytes that are not UTF-8 become U+FFFD.
    """
    cut = splitter(pattern)
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
