"""What a tokenizer makes of a text, in numbers that are defined.

The idea: "compression", "coverage" and "fertility" mean something else in every paper. Here each number says
what is divided by what, counts are kept beside the ratios, and bits make vocabularies of different
size comparable: with a larger vocabulary there are fewer tokens, but each id costs more.

Left out: statistics of whole corpora (`tokenizer_report`, `text_statistics`). Notebook: 03 of this chapter.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

from working_with_text_data.token_rows import TokenRow, token_table
from working_with_text_data.tokenizer import Tokenizer, valid_unicode

_word = re.compile(r"\w+")


@dataclass(frozen=True)
class TokenStatistics:
    """Counts of one text and one tokenizer; every ratio is 0.0 where there is nothing to divide by.

    Attributes:
        tokens: ids that the text becomes.
        bytes: bytes of the text in UTF-8.
        characters: Unicode code points (an emoji may be several).
        words: longest runs of letters, digits and underscores (`\\w+`); punctuation is in none.
        whole_words: words all of whose bytes lie in one token, which may hold white space or punctuation too.
        whole_characters: characters all of whose bytes lie in one token.
        unknown_tokens: tokens that stand for text the tokenizer does not know; always 0 for bytes and BPE.
        unique_tokens: different ids among them.
        vocab_size: ids that the tokenizer has.
        entropy_bits: what the ids cost with the best code for their own frequencies in this text: the sum of
            −log2(share of the id) over all tokens.
    """

    tokens: int
    bytes: int
    characters: int
    words: int
    whole_words: int
    whole_characters: int
    unknown_tokens: int
    unique_tokens: int
    vocab_size: int
    entropy_bits: float

    @property
    def bytes_per_token(self) -> float:
        """Compression: bytes of text divided by tokens."""
        return _ratio(self.bytes, self.tokens)

    @property
    def characters_per_token(self) -> float:
        return _ratio(self.characters, self.tokens)

    @property
    def tokens_per_word(self) -> float:
        """Fertility: all tokens, those of punctuation and white space too, divided by words."""
        return _ratio(self.tokens, self.words)

    @property
    def word_coverage(self) -> float:
        """Share of the words that are whole in one token, counted by occurrence."""
        return _ratio(self.whole_words, self.words)

    @property
    def character_coverage(self) -> float:
        """Share of the characters that no token boundary cuts in two (and that are known)."""
        return _ratio(self.whole_characters, self.characters)

    @property
    def unknown_rate(self) -> float:
        """Share of the tokens that are the unknown token."""
        return _ratio(self.unknown_tokens, self.tokens)

    @property
    def vocabulary_share(self) -> float:
        """Share of the vocabulary that occurs in this text."""
        return _ratio(self.unique_tokens, self.vocab_size)

    @property
    def fixed_bits(self) -> float:
        """What the ids cost if each takes log2(vocab_size) bits."""
        return self.tokens * math.log2(self.vocab_size) if self.vocab_size > 1 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts and ratios as JSON values."""
        return asdict(self) | {name: getattr(self, name) for name in RATIOS}


RATIOS = (
    "bytes_per_token",
    "characters_per_token",
    "tokens_per_word",
    "word_coverage",
    "character_coverage",
    "unknown_rate",
    "vocabulary_share",
    "fixed_bits",
)


def statistics_of(
    text: str, tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"] = frozenset()
) -> TokenStatistics:
    """Count what `tokenizer` makes of `text`; specials are plain text unless allowed.

    >>> from working_with_text_data.bpe_tokenizer import BPETokenizer
    >>> numbers = statistics_of("hé hey", BPETokenizer([(104, 101), (256, 121)]))  # "he", "hey"
    >>> numbers.tokens, numbers.bytes, numbers.words, numbers.whole_words, numbers.whole_characters
    (5, 7, 2, 1, 5)
    """
    return statistics_of_rows(text, token_table(text, tokenizer, allowed_special), tokenizer)


def statistics_of_rows(text: str, rows: Sequence[TokenRow], tokenizer: Tokenizer) -> TokenStatistics:
    """The same from rows that are there already (`token_table` of the same text)."""
    text = valid_unicode(text)
    byte_at = [0, *accumulate(len(character.encode("utf-8")) for character in text)]
    owner = _owners(rows, byte_at[-1])

    def whole(start: int, end: int) -> bool:
        token = owner[start]
        return token >= 0 and owner[start:end].count(token) == end - start

    counts = Counter(row.id for row in rows)
    words = [match.span() for match in _word.finditer(text)]
    return TokenStatistics(
        tokens=len(rows),
        bytes=byte_at[-1],
        characters=len(text),
        words=len(words),
        whole_words=sum(whole(byte_at[start], byte_at[end]) for start, end in words),
        whole_characters=sum(whole(byte_at[i], byte_at[i + 1]) for i in range(len(text))),
        unknown_tokens=sum(row.unknown for row in rows),
        unique_tokens=len(counts),
        vocab_size=tokenizer.vocab_size,
        entropy_bits=math.fsum(n * math.log2(len(rows) / n) for n in counts.values()),
    )


_NOBODY, _SEVERAL = -1, -2


def _owners(rows: Sequence[TokenRow], n_bytes: int) -> list[int]:
    """For each byte of the text the one known token that holds it, or a negative number.

    A byte has no owner where a tokenizer drops text or does not know it, and several where tokens share a
    character (byte fallback gives each of them the span of the whole character).
    """
    owner = [_NOBODY] * n_bytes
    reached = 0
    for row in rows:
        start, end = row.start, min(row.end, n_bytes)
        if row.unknown or start >= end:
            continue
        shared = min(reached, end)
        if start < shared:
            owner[start:shared] = [_SEVERAL] * (shared - start)
        fresh = max(start, reached)
        if fresh < end:
            owner[fresh:end] = [row.index] * (end - fresh)
        reached = max(reached, end)
    return owner


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
