r"""How text is cut before byte pairs are merged, by name.

The idea: BPE must not glue "dog" and "dog." into unrelated tokens, so a regular expression first
cuts the text into words, numbers, punctuation and white space, and merges never cross a cut.
GPT-2 (Radford et al. 2019) began it; cl100k (GPT-4) limits numbers to three digits and reads
contractions in any case; o200k (GPT-4o) also cuts where lower case turns into upper case.

Each pattern stands here twice. The exact one needs `\p{L}` (any letter of any script), which only
the `regex` package knows. The other says the same for ASCII text with Python's own `re`, which is
about twice as fast; `Splitter` takes it wherever a block of text is ASCII. A law keeps them equal.

Two options change how text is cut, and are part of a tokenizer's identity:
- `digits=n`: a number is cut into groups of at most n digits from the left, and no group holds anything
  else; `digits=1` makes each digit its own piece, as in Llama 2 (arXiv 2307.09288, section 2.2). A
  digit is any character of Unicode's category N, as it is in the patterns.
- `prefix_space`: a text that does not begin with a space gets one, so that its first word is the same
  token as in the middle of a sentence. GPT-2's tokenizers call it `add_prefix_space`.

Sources: the patterns of tiktoken's public encodings, in the form of release 0.14. Left out: counting
the pieces (`pretokens`). Notebook: 03 of this chapter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from utils.errors import UserError

SPLIT_PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}
ALIASES = {"gpt4": "cl100k", "cl100k_base": "cl100k", "o200k_base": "o200k"}
WHOLE_TEXT = r"(?s:.+)"  # a pattern that cuts nowhere: byte-pair encoding as it was before words
MOST_DIGITS = 99

# The same on ASCII text, with Python's own `re`. In ASCII, \p{L} is A-Za-z, \p{N} is 0-9, \p{Lu} is A-Z,
# \p{Ll} is a-z and the rest is empty. Words come first because most matches are words.
_ASCII = {
    "gpt2": r" ?[A-Za-z]+|'(?:[sdmt]|ll|ve|re)| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}"
        r"| ?[^\sA-Za-z0-9]++[\r\n]*|\s++(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": (
        r"[^\r\nA-Za-z0-9]?(?:[A-Z]*[a-z]+|[A-Z]+)(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[0-9]{1,3}| ?[^\sA-Za-z0-9]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}

# The alternative for numbers in each pattern and in its ASCII form: what the option `digits` replaces.
_NUMBERS = {
    "gpt2": (r"| ?\p{N}+|", "| ?[0-9]+|"),
    "cl100k": (r"|\p{N}{1,3}+|", "|[0-9]{1,3}|"),
    "o200k": (r"|\p{N}{1,3}|", "|[0-9]{1,3}|"),
}

BLOCK_CHARS = 1 << 18


class Splitter:
    """Cuts text into the pieces that BPE may merge inside of. Make one with `splitter(name)`.

    Attributes:
        name: a name of `SPLIT_PATTERNS`, or the regular expression itself.
        digits: the most digits in a piece, or None where the pattern decides.
        prefix_space: whether `prefixed` puts a space before a text.
        pattern: the exact regular expression with `digits` worked in, in the syntax of the `regex` package.
    """

    def __init__(self, name: str, digits: int | None = None, prefix_space: bool = False) -> None:
        name = ALIASES.get(name, name)
        self.name = name
        self.named = name in SPLIT_PATTERNS
        self.digits = digits
        self.prefix_space = prefix_space
        # A home-made pattern may leave characters uncovered; the last alternative catches them one by one.
        self.pattern = SPLIT_PATTERNS[name] if self.named else f"{name}|(?s:.)"
        self._exact: Callable[[str], list[str]] | None = None
        self._ascii: Callable[[str], list[str]] | None = None
        if digits is not None and not self.named:
            raise UserError(
                f"digits cannot be split in the home-made pattern {name!r}: leave split_digits out and write "
                rf"the rule into the pattern, such as \p{{N}}{{1,{digits}}}|[^\p{{N}}\s]+|\s+"
            )
        if self.named:
            ascii_pattern = _ASCII[name]
            if digits is not None:
                numbers, ascii_numbers = _NUMBERS[name]
                self.pattern = self.pattern.replace(numbers, rf"|\p{{N}}{{1,{digits}}}|", 1)
                ascii_pattern = ascii_pattern.replace(ascii_numbers, f"|[0-9]{{1,{digits}}}|", 1)
            self._ascii = re.compile(ascii_pattern, re.ASCII).findall
        else:
            self._compile_exact()  # a wrong pattern is reported now, not in the middle of a corpus

    @property
    def options(self) -> dict[str, Any]:
        """The options that are set, as a tokenizer's file holds them; empty for the plain pattern."""
        chosen = {"split_digits": self.digits, "prefix_space": self.prefix_space}
        return {name: value for name, value in chosen.items() if value}

    def prefixed(self, text: str) -> str:
        """`text` as it is cut: with `prefix_space`, a text that does not begin with a space gets one.

        >>> splitter("gpt2", prefix_space=True).prefixed("word"), splitter("gpt2").prefixed("word")
        (' word', 'word')
        """
        return " " + text if self.prefix_space and text and not text.startswith(" ") else text

    def _compile_exact(self) -> Callable[[str], list[str]]:
        import regex  # imported late: ASCII text never needs it, and start-up stays short

        try:
            compiled = regex.compile(self.pattern)
        except regex.error as error:
            raise UserError(
                f"split pattern {self.name!r} is neither one of {sorted([*SPLIT_PATTERNS, *ALIASES])} "
                f"nor a regular expression ({error})"
            ) from None
        if self.named:
            self._exact = compiled.findall
        else:
            if compiled.match("") is not None:
                raise UserError(f"split pattern {self.name!r} matches the empty string: use + instead of *")
            self._exact = lambda text: [match.group() for match in compiled.finditer(text)]
        return self._exact

    def findall(self, text: str) -> list[str]:
        """All pieces of `text`, in order; joined they give `text` again.

        >>> splitter("gpt2").findall("It's 2,048 tokens.")
        ['It', "'s", ' 2', ',', '048', ' tokens', '.']
        """
        if self._ascii is not None and text.isascii():
            return self._ascii(text)
        return (self._exact or self._compile_exact())(text)

    def blocks(self, text: str, size: int = BLOCK_CHARS) -> Iterator[str]:
        """Yield `text` in blocks of about `size` characters, cut only where the pattern always cuts.

        So the pieces of the blocks are the pieces of the text, while memory stays small and one
        non-ASCII character slows down its own block only.
        """
        start = 0
        while len(text) - start > size:
            cut = self.safe_cut(text, start, start + size)
            if cut is None:
                break
            yield text[start:cut]
            start = cut
        if start < len(text):
            yield text[start:]

    def safe_cut(self, text: str, start: int, end: int) -> int | None:
        """The last place in `text[start + 1 : end]` where every named pattern cuts, or None.

        With `prefix_space` only places before a space count: what follows begins with one already.

        Such a place lies before a space that follows a non-space, or before a newline that follows
        a letter or digit: no alternative of any named pattern holds these two in a row, and none
        looks back. (Before a newline after punctuation cl100k does not cut: "!\\n" is one piece.)
        """
        if not self.named:
            return None
        while True:
            cut = text.rfind(" ", start + 1, end)
            if not self.prefix_space:
                cut = max(cut, text.rfind("\n", start + 1, end))
            if cut <= start:
                return None
            before = text[cut - 1]
            if before.isalnum() or (text[cut] == " " and not before.isspace()):
                return cut
            end = cut


def splitter(name: str, *, digits: int | bool | None = None, prefix_space: bool = False) -> Splitter:
    """The splitter for a pattern name (`gpt2`, `cl100k`, `gpt4`, `o200k`) or a regular expression.

    Args:
        digits: at most so many digits in a piece (True is 1); None or False leaves it to the pattern.
        prefix_space: a text that does not begin with a space gets one (see `Splitter.prefixed`).

    Raises:
        UserError: a pattern that is none, or cannot take the options.

    >>> splitter("gpt2", digits=1).findall("in 1984"), splitter("cl100k", digits=2).findall("1984!")
    (['in', ' ', '1', '9', '8', '4'], ['19', '84', '!'])
    """
    return _splitter(name, most_digits(digits), bool(prefix_space))


@lru_cache(maxsize=32)
def _splitter(name: str, digits: int | None, prefix_space: bool) -> Splitter:
    return Splitter(name, digits, prefix_space)


def most_digits(split_digits: int | bool | None) -> int | None:
    """The option `split_digits` as a number: True is 1, False and None are None.

    Raises:
        UserError: not a whole number from 1 to 99.
    """
    if split_digits is None or split_digits is False:
        return None
    if not isinstance(split_digits, int) or not 1 <= split_digits <= MOST_DIGITS:
        raise UserError(
            f"split_digits is {split_digits!r}: give true (each digit its own piece), false, or the most "
            f"digits in a piece, from 1 to {MOST_DIGITS}"
        )
    return int(split_digits)
