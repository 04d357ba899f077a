"""The smallest tokenizer: one id for each byte of the UTF-8 text.

The idea: every text is already a list of numbers from 0 to 255. No training, no unknown
characters, every text round-trips. The price: about four times as many tokens as BPE, so the
model sees a quarter of the text at once. Language models on bytes: ByT5 (arXiv 2105.13626).

Four control ids follow the bytes: pad 256, bos 257, eos 258, sep 259.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, Literal, Self

from utils.errors import UserError
from utils.files import atomic_write_text
from working_with_text_data.tokenizer import (
    SpecialTokens,
    join_bytes,
    read_tokenizer_json,
    valid_unicode,
)

CONTROL_TOKENS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|sep|>")


class ByteTokenizer:
    """UTF-8 bytes 0–255, then `<|pad|>` 256, `<|bos|>` 257, `<|eos|>` 258, `<|sep|>` 259, `extra_special`.

    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode("hé")
    [104, 195, 169]
    >>> tokenizer.decode([104, 195, 169, 258])
    'hé<|eos|>'
    """

    pad_id, bos_id, eos_id, sep_id = 256, 257, 258, 259

    def __init__(self, extra_special: Sequence[str] = ()) -> None:
        words = (*CONTROL_TOKENS, *extra_special)
        if len(set(words)) != len(words):
            raise UserError(f"special tokens must differ from each other: {list(words)}")
        self._special = SpecialTokens({word: 256 + i for i, word in enumerate(words)})
        self._bytes = {i: bytes([i]) for i in range(256)}
        self._bytes |= {token_id: word.encode("utf-8") for word, token_id in self._special.items()}

    @property
    def vocab_size(self) -> int:
        return 256 + len(self._special)

    @property
    def special_tokens(self) -> dict[str, int]:
        return dict(self._special)

    def encode(self, text: str, allowed_special: Set[str] | Literal["all"] = frozenset()) -> list[int]:
        """Ids of `text`; a special token that is not allowed raises UserError (a ValueError)."""
        ids: list[int] = []
        for piece, token_id in self._special.split(text, allowed_special):
            if token_id is None:
                ids += self.encode_ordinary(piece)
            else:
                ids.append(token_id)
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The UTF-8 bytes of `text`."""
        return list(valid_unicode(text).encode("utf-8"))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The exact bytes of `ids`."""
        return join_bytes(self._bytes, ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The one byte of an id below 256, or the spelling of a control token."""
        return join_bytes(self._bytes, [token_id])

    def to_dict(self) -> dict[str, Any]:
        return {"type": "byte", "version": 1, "special_tokens": self.special_tokens}

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON."""
        atomic_write_text(Path(path), json.dumps(self.to_dict(), indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; UserError if it is something else."""
        data = read_tokenizer_json(path, "byte")
        words = list(data.get("special_tokens") or {})
        tokenizer = cls(words[len(CONTROL_TOKENS) :])
        if tokenizer.special_tokens != data.get("special_tokens"):
            raise UserError(
                f"{path}: special tokens of a byte tokenizer start with {list(CONTROL_TOKENS)} at id 256"
            )
        return tokenizer
