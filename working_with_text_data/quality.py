"""Quality rules: is this running text, or a menu, a table, a list of tags? Five rules of Gopher's.

Rae et al., "Scaling Language Models: … Gopher" (2021, arXiv:2112.11446, table A1) keep a document when

    word_count   it has 50 to 100,000 words
    word_length  its words have 3 to 10 characters on average
    symbols      it has at most one `#` and one ellipsis (`…` or `...`) to ten words
    letters      at least 80 % of its words hold a letter
    stop_words   it holds at least two of: the, be, to, of, and, that, have, with

The rules are tried in this order and the first that fails is the reason. A word is what stands between
white space, so languages that write none fail `word_count`; `stop_words` asks for English.

One pass over the words serves all five; what is costly to find out (a letter in `it's`, `The,` as a stop
word) is looked at only where the cheap answer is no.

Left out: Gopher's rules on bullet and ellipsis lines, its removal of repetition, and any learnt judge.
Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utils.errors import UserError

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
RULES = ("word_count", "word_length", "symbols", "letters", "stop_words")
_MARKS = ".,;:!?\"'()[]{}<>*_-–—…“”‘’«»"


@dataclass(frozen=True)
class QualityRules:
    """The limits; both ends are allowed. The defaults are the paper's."""

    min_words: int = 50
    max_words: int = 100_000
    min_word_length: float = 3.0
    max_word_length: float = 10.0
    max_symbol_ratio: float = 0.1
    min_letter_share: float = 0.8
    min_stop_words: int = 2
    stop_words: tuple[str, ...] = STOP_WORDS

    def __post_init__(self) -> None:
        for low, high, what in (
            (self.min_words, self.max_words, "words"),
            (self.min_word_length, self.max_word_length, "word_length"),
        ):
            if not 0 <= low <= high:
                raise UserError(f"quality: min_{what} is {low} and max_{what} {high}: give 0 ≤ min ≤ max")
        if not 0 <= self.min_letter_share <= 1:
            raise UserError(f"quality: min_letter_share is {self.min_letter_share}: give a share from 0 to 1")
        if self.min_stop_words > len(set(self.stop_words)):
            raise UserError(
                f"quality: min_stop_words is {self.min_stop_words} of {len(set(self.stop_words))} stop words: "
                "no text could pass; give more words or a smaller number"
            )


def failed_rule(text: str, rules: QualityRules | None = None) -> str | None:
    """The name of the first rule that `text` breaks, or None. An empty text breaks `word_count`.

    >>> failed_rule("too short")
    'word_count'
    >>> failed_rule("the story of that house " * 20)
    """
    rules = rules or _GOPHER
    words = text.split()
    n = len(words)
    if not max(1, rules.min_words) <= n <= rules.max_words:
        return "word_count" if n or rules.min_words else None
    # Each word once, and its length from the whole: the white space is the rest.
    if not rules.min_word_length * n <= sum(map(len, words)) <= rules.max_word_length * n:
        return "word_length"
    most = rules.max_symbol_ratio * n
    if text.count("#") > most or text.count("…") + text.count("...") > most:
        return "symbols"
    wanted = rules.min_letter_share * n
    pure = sum(map(str.isalpha, words))  # letters and nothing else; most words, and quick to see
    if pure < wanted and not _enough_letters(words, pure, wanted):
        return "letters"
    if not _enough_stop_words(words, frozenset(rules.stop_words), rules.min_stop_words):
        return "stop_words"
    return None


_GOPHER = QualityRules()


def _enough_letters(words: Sequence[str], pure: int, wanted: float) -> bool:
    for word in words:
        if not word.isalpha() and any(map(str.isalpha, word)):
            pure += 1
            if pure >= wanted:
                return True
    return pure >= wanted


def _enough_stop_words(words: Sequence[str], stop_words: frozenset[str], wanted: int) -> bool:
    different = set(words)
    if len(stop_words & different) >= wanted:
        return True
    return len(stop_words & {word.strip(_MARKS).lower() for word in different}) >= wanted
