"""When two pairs are equally frequent, which is merged first? The rules, by name.

The idea: ties are common (thousands of pairs occur exactly twice), so two trainers give the same
vocabulary only if they break ties alike. The rule must not depend on chance, such as the order of
a dict, the order of the files or the number of workers.

- `bytes` (default): the pair that is greatest when compared as (bytes of left, bytes of right).
- `smallest_ids`: the pair with the smallest (id of left, id of right), the rule of `rustbpe`.
- `huggingface`: smallest ids too, with the single bytes numbered as GPT-2 does, which is how the
  byte-level trainer of `tokenizers` numbers its alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from utils.errors import UserError

SortKey = Callable[[int, int], tuple]


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

    `tokens[i]` is the bytes of id i; the list may grow after this call.

    Raises:
        UserError: no such rule.
    """
    if tie_break == "bytes":
        return lambda a, b: (_backwards(tokens[a]), _backwards(tokens[b]))
    if tie_break == "smallest_ids":
        return lambda a, b: (a, b)
    if tie_break == "huggingface":
        place = {byte: i for i, byte in enumerate(gpt2_byte_order())}
        return lambda a, b: (place.get(a, a), place.get(b, b))
    raise UserError(f"tie_break {tie_break!r} is not known: use one of {list(TIE_BREAKS)}")


def _backwards(token: bytes) -> str:
    """A string that sorts in the opposite order of `token`.

    Byte b becomes character 255 − b; the end becomes a character larger than all, so that "ab",
    greater than its beginning "a", comes first here.
    """
    return token.translate(_FLIP).decode("latin-1") + "\u0100"


_FLIP = bytes(255 - b for b in range(256))
TIE_BREAKS = ("bytes", "smallest_ids", "huggingface")
