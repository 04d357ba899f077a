"""When two pairs are equally frequent, which is merged first? The rules, by name.

The idea: ties are common (thousands of pairs occur exactly twice), so two trainers give the same
vocabulary only if they break ties alike. The rule must not depend on chance, such as the order of
a dict, the order of the files or the number of workers.

- `bytes` (default): the pair that is greatest when compared as (bytes of left, bytes of right).
- `first_seen`: the pair that is met first when the text is read from its beginning. Precisely: take the
  different pre-tokens in the order in which each first appears in the text, every one written with the
  merges made so far; read them in that order and each from left to right; of the equally frequent
  pairs the one met first is merged. It depends on the order of the documents, as its name says, and
  on nothing else: not on the read size, the hash seed or the number of workers.
- `smallest_ids`: the pair with the smallest (id of left, id of right), the rule of `rustbpe`.
- `huggingface`: smallest ids too, with the single bytes numbered as GPT-2 does, which is how the
  byte-level trainer of `tokenizers` numbers its alphabet.

Left out: ties broken by length or by chance. Notebook: 02 of this chapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from utils.errors import UserError

SortKey = Callable[[int, int], Any]  # of a pair of ids; the keys of one rule can be compared


def gpt2_byte_order() -> bytes:
    """GPT-2's numbering of the bytes: the 188 printable ones of Latin-1 first, then the other 68.

    >>> order = gpt2_byte_order()
    >>> order[0], order[187], order[188], order[220]
    (33, 255, 0, 32)
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return bytes(printable + [b for b in range(256) if b not in printable])


def sort_key(tie_break: str, tokens: Sequence[bytes]) -> SortKey:
    """A function of a pair of ids; among equally frequent pairs the one with the *smallest* key is merged.

    `tokens[i]` is the bytes of id i; the list may grow after this call. Under `first_seen` every pair has
    the same key: that is for a trainer that counts all pairs anew, reading the words in order, and takes
    the first of the smallest. A trainer that keeps its counts needs `first_seen_key`.

    Raises:
        UserError: no such rule.
    """
    if tie_break == "bytes":
        return lambda a, b: (_backwards(tokens[a]), _backwards(tokens[b]))
    if tie_break == "first_seen":
        return lambda a, b: ()
    if tie_break == "smallest_ids":
        return lambda a, b: (a, b)
    if tie_break == "huggingface":
        place = {byte: i for i, byte in enumerate(gpt2_byte_order())}
        return lambda a, b: (place.get(a, a), place.get(b, b))
    raise UserError(f"tie_break {tie_break!r} is not known: use one of {list(TIE_BREAKS)}")


def sort_text(tie_break: str, tokens: Sequence[bytes]) -> Callable[[str], str]:
    """`sort_key` for a trainer in a hurry: of a pair of id characters, a text that sorts as the key does.

    Texts are compared by C code, and joining two is cheap. Two texts in a row order like the two one after the
    other, if no text is the beginning of another: single characters are not, and `_backwards` ends each with a sign
    that stands nowhere else.

    >>> sort_text("smallest_ids", [])("ab") < sort_text("smallest_ids", [])("b0")
    True
    """
    if tie_break == "bytes":
        texts: dict[str, str] = {}

        def text(pair: str) -> str:
            first, second = pair[0], pair[1]
            if second not in texts or first not in texts:
                texts.update({c: _backwards(tokens[ord(c)]) for c in pair})
            return texts[first] + texts[second]

        return text
    if tie_break == "smallest_ids":
        return str  # a pair is its ids
    if tie_break == "huggingface":
        place = {byte: chr(i) for i, byte in enumerate(gpt2_byte_order())}
        return lambda pair: pair.translate(place)
    raise UserError(f"tie_break {tie_break!r} is not known: use one of {list(TIE_BREAKS)}")


def first_seen_key(
    words: Sequence[str], where: Mapping[str, Sequence[int]], tokens: Sequence[bytes]
) -> SortKey:
    """The key of `first_seen` for a trainer that keeps its counts: (number of the word, byte in the word).

    Args:
        words: the different pre-tokens in order of first appearance, each a string whose characters are
            the ids of its tokens now; the list changes as merges are made.
        where: pair (two such characters) → numbers of words that hold it; it may name a word that no longer
            does, in any order, but never misses one that does.
        tokens: the bytes of each id, to turn a place among tokens into a place among bytes.

    Merges that leave a pair's count alone leave its first occurrence alone, and its place among the bytes
    too. So a key worked out once stays right for as long as the count does.
    """

    def key(a: int, b: int) -> tuple[int, int]:
        pair = chr(a) + chr(b)
        first = min(i for i in where[pair] if pair in words[i])
        word = words[first]
        return first, sum(len(tokens[ord(token)]) for token in word[: word.index(pair)])

    return key


def _backwards(token: bytes) -> str:
    """A string that sorts in the opposite order of `token`.

    Byte b becomes character 255 − b; the end becomes a character larger than all, so that "ab",
    greater than its beginning "a", comes first here.
    """
    return token.translate(_FLIP).decode("latin-1") + "\u0100"


_FLIP = bytes(255 - b for b in range(256))
TIE_BREAKS = ("bytes", "first_seen", "smallest_ids", "huggingface")
