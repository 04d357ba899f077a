"""The tokens of a text as a table: a row for each, with its id, its bytes and where they stand.

The idea: a token is a run of bytes, not of characters. So a row says where its bytes begin and end, shows white
space as signs, and shows raw bytes where a character is cut in two. A tokenizer that changes text (WordPiece
folds case, drops white space) is asked for the bytes of the text that each token stands for.

Left out: colours (`inspect_terminal`, `inspect_html`) and counts (`inspect_statistics`). Notebook: 03.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from working_with_text_data.tokenizer import Tokenizer, valid_unicode

SIGNS = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x00": "␀", "\u00a0": "⍽"}


@dataclass(frozen=True)
class TokenRow:
    """One token of a text.

    `start` and `end` are byte offsets in the UTF-8 text, `bytes` what the token stands for, `text` the same as
    characters or None where the bytes are no whole characters, `shown` is what to print. `unknown`: the
    tokenizer has no token for this part of the text.
    """

    index: int
    id: int
    start: int
    end: int
    bytes: bytes
    text: str | None
    shown: str
    special: bool
    unknown: bool = False


def token_table(
    text: str, tokenizer: Tokenizer, allowed_special: Set[str] | Literal["all"] = frozenset()
) -> list[TokenRow]:
    """A row for every token of `text`; specials are plain text unless allowed.

    >>> from working_with_text_data.byte_tokenizer import ByteTokenizer
    >>> [(row.start, row.shown) for row in token_table("a é", ByteTokenizer())]
    [(0, 'a'), (1, '·'), (2, '‹c3›'), (3, '‹a9›')]
    """
    lossy: Any = tokenizer
    if not getattr(tokenizer, "lossless", True):  # its tokens' bytes are not those of the text
        return _rows(lossy.encode_with_spans(text, allowed_special or None), tokenizer)
    ids = tokenizer.encode(text, allowed_special) if allowed_special else tokenizer.encode_ordinary(text)
    if getattr(getattr(tokenizer, "splitter", None), "prefix_space", False):
        return _rows(_spans_without_prefix(valid_unicode(text), ids, tokenizer), tokenizer)
    return rows_of_ids(ids, tokenizer)


def rows_of_ids(ids: Sequence[int], tokenizer: Tokenizer) -> list[TokenRow]:
    """The same for ids, for example those that a model has generated; offsets in the text that they make."""
    spans: list[tuple[int, int, int]] = []
    start = 0
    for token_id in ids:
        end = start + len(tokenizer.token_bytes(token_id))
        spans.append((token_id, start, end))
        start = end
    return _rows(spans, tokenizer)


def _spans_without_prefix(
    text: str, ids: Sequence[int], tokenizer: Tokenizer
) -> Iterator[tuple[int, int, int]]:
    """Offsets where a space is put before each piece of plain text: that space is not in the text."""
    data = text.encode("utf-8")
    special_ids = set(tokenizer.special_tokens.values())
    start, begins = 0, True
    for token_id in ids:
        token = tokenizer.token_bytes(token_id)
        added = begins and token.startswith(b" ") and data[start : start + 1] != b" "
        end = start + len(token) - added
        yield token_id, start, end
        start, begins = end, token_id in special_ids


def _rows(spans: Iterable[tuple[int, int, int]], tokenizer: Tokenizer) -> list[TokenRow]:
    special_ids = set(tokenizer.special_tokens.values())
    unknown_id = getattr(tokenizer, "unknown_id", None)
    rows: list[TokenRow] = []
    for index, (token_id, start, end) in enumerate(spans):
        data = tokenizer.token_bytes(token_id)
        try:
            text: str | None = data.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        unknown = unknown_id is not None and token_id == unknown_id
        special = token_id in special_ids
        rows.append(TokenRow(index, token_id, start, end, data, text, visible(data), special, unknown))
    return rows


def visible(data: bytes) -> str:
    """Bytes as one printable line: space is ·, newline ⏎, tab ⇥, and half a character its bytes in hex.

    >>> visible(b" a\\n"), visible("é".encode()[:1] + b"x")
    ('·a⏎', '‹c3›x')
    """
    shown = []
    for character in data.decode("utf-8", "surrogateescape"):
        if character == " ":
            shown.append("·")
        elif character in SIGNS:
            shown.append(SIGNS[character])
        elif "\udc80" <= character <= "\udcff":  # a byte that is no character, as surrogateescape keeps it
            shown.append(f"‹{ord(character) - 0xDC00:02x}›")
        elif not character.isprintable():
            shown.append(f"‹U+{ord(character):04X}›")
        else:
            shown.append(character)
    return "".join(shown)


def visible_lines(row: TokenRow) -> list[str]:
    """What is shown of a token, cut after each newline in it (UTF-8 has the byte 10 nowhere else).

    The last item is what follows the last newline, often nothing.
    """
    *ended, rest = row.bytes.split(b"\n")
    return [*(visible(line + b"\n") for line in ended), visible(rest)]
