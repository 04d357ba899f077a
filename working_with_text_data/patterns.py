r"""How text is cut before byte pairs are merged, by name.

The idea: BPE must not glue "dog" and "dog." into unrelated tokens, so a regular expression first
cuts the text into words, numbers, punctuation and white space, and merges never cross a cut.
GPT-2 (Radford et al. 2019) began it; cl100k (GPT-4) limits numbers to three digits and reads
contractions in any case; o200k (GPT-4o) also cuts where lower case turns into upper case.

Each pattern stands here twice. The exact one needs `\p{L}` (any letter of any script), which only
the `regex` package knows. The other says the same for ASCII text with Python's own `re`, which is
about twice as fast; `Splitter` takes it wherever a block of text is ASCII. A law keeps them equal.

Sources: the patterns of tiktoken's public encodings, in the form of release 0.14.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

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

# White space as Unicode (and tiktoken's regex) sees it. Python's `\s` also takes U+001C–U+001F.
_SPACE_BEYOND_ASCII = r"\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE = r"\t-\r " + _SPACE_BEYOND_ASCII

BLOCK_CHARS = 1 << 18


class Splitter:
    """Cuts text into the pieces that BPE may merge inside of. Make one with `splitter(name)`.

    Attributes:
        name: a name of `SPLIT_PATTERNS`, or the regular expression itself.
        pattern: the exact regular expression, in the syntax of the `regex` package.
    """

    def __init__(self, name: str) -> None:
        name = ALIASES.get(name, name)
        self.name = name
        self.named = name in SPLIT_PATTERNS
        # A home-made pattern may leave characters uncovered; the last alternative catches them one by one.
        self.pattern = SPLIT_PATTERNS[name] if self.named else f"{name}|(?s:.)"
        self._exact: Callable[[str], list[str]] | None = None
        self._ascii: Callable[[str], list[str]] | None = None
        if self.named:
            self._ascii = re.compile(_ASCII[name], re.ASCII).findall
        else:
            self._compile_exact()  # a wrong pattern is reported now, not in the middle of a corpus

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

        Such a place lies before a space that follows a non-space, or before a newline that follows
        a letter or digit: no alternative of any named pattern holds these two in a row, and none
        looks back. (Before a newline after punctuation cl100k does not cut: "!\\n" is one piece.)
        """
        if not self.named:
            return None
        while True:
            cut = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            if cut <= start:
                return None
            before = text[cut - 1]
            if before.isalnum() or (text[cut] == " " and not before.isspace()):
                return cut
            end = cut


# One coarse piece is a word with everything that clings to it and the white space before it.
# In GPT-2's pattern a step from non-space to space is always a cut, so fine pieces never cross coarse ones.
COARSE_ASCII = re.compile(r"\s*\S+|\s+", re.ASCII).findall
COARSE = re.compile(f"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+").findall

_UNTIDY = ("  ", " \n", "\n ", "\n\n\n", "\t", "\r", "\v", "\f")
_odd_space = re.compile(f"[{_SPACE_BEYOND_ASCII}]").search
SMALL_BLOCK = 1 << 15  # characters; small enough that one table or poem slows down little else


def tidy_words(block: str) -> tuple[str, list[str]] | None:
    """The coarse pieces of a block by `str.split`, four times faster than by any regular expression.

    That works where all white space is single spaces, single newlines and single empty lines; elsewhere
    the answer is None. Returns what stands before the first white space, and the words after it
    without their leading space (`spaced` puts it back).

    >>> tidy_words("one two\\n\\nthree")
    ('one', ['two', '\\n\\nthree'])
    >>> tidy_words("one  two") is None
    True
    """
    if any(untidy in block for untidy in _UNTIDY) or not (block.isascii() or _odd_space(block) is None):
        return None
    # Write every newline with a space before it, so that one split cuts at both; an empty line stays whole.
    first, *words = block.replace("\n", " \n").replace("\n \n", "\n\n").split(" ")
    return first, words


def spaced(word: str) -> str:
    """A word of `tidy_words` with the white space before it: its own newlines, or else one space."""
    return word if word.startswith("\n") else " " + word


@lru_cache(maxsize=32)
def splitter(name: str) -> Splitter:
    """The splitter for a pattern name (`gpt2`, `cl100k`, `gpt4`, `o200k`) or a regular expression."""
    return Splitter(name)
