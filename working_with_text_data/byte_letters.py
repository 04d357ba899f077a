"""Bytes written as printable letters, the way in which GPT-2 and Hugging Face's `tokenizers` store their tokens.

The idea: a token is a run of bytes, a JSON or text file holds characters. So each of the 256 bytes gets
one visible letter: the 188 bytes that print as themselves in Latin-1 keep their sign, the other 68 get the
letters from U+0100 on. A space becomes "Ġ", a newline "Ċ"; that is why such files are full of "Ġthe".

Source: the file `encoder.py` published with GPT-2 (Radford et al. 2019).
Left out: everything else about these files (`huggingface_adapter`, `tiktoken_ranks`). Notebook: 03 of this chapter.
"""

from __future__ import annotations

from working_with_text_data.tie_breaks import gpt2_byte_order

PRINTABLE = 188  # of the 256 bytes; they come first in GPT-2's numbering
LETTER_OF_BYTE: dict[int, str] = {
    byte: chr(byte) if place < PRINTABLE else chr(256 + place - PRINTABLE)
    for place, byte in enumerate(gpt2_byte_order())
}
BYTE_OF_LETTER: dict[str, int] = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}


def spell(token: bytes) -> str:
    """The letters of a token.

    >>> spell(b" the\\n"), spell("é".encode())
    ('ĠtheĊ', 'Ã©')
    """
    return "".join(map(LETTER_OF_BYTE.__getitem__, token))


def unspell(letters: str) -> bytes:
    """The bytes of a token in letters; a KeyError names a character that is no letter for a byte.

    >>> unspell("ĠtheĊ")
    b' the\\n'
    """
    return bytes(map(BYTE_OF_LETTER.__getitem__, letters))
