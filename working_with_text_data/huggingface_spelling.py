"""What bytes a token of a `tokenizer.json` stands for, read from the decoder that the file names.

The idea: the library stores a token as a word in some spelling, and its decoder says which: letters for bytes
(GPT-2, Llama 3, Qwen), "▁" for a space with "<0xE4>" for a byte (SentencePiece: Llama 2, Gemma), "##" for a
token that continues a word (BERT), "</w>" for one that ends it (CLIP). Undone token by token, the bytes of
a text are the bytes of its tokens joined, which is what streaming needs.

Source: `decoders` of `tokenizers` 0.2x. Left out: what a decoder does to the whole text (the first space of
SentencePiece taken away, spaces before punctuation), and CTC, which is for speech. Notebook: 03.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from working_with_text_data.byte_letters import BYTE_OF_LETTER, unspell

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def speller(data: dict[str, Any]) -> Callable[[str], bytes]:
    """A function from a token's word in the vocabulary to its bytes, for a `tokenizer.json` as JSON values.

    >>> wordpiece = speller({"decoder": {"type": "WordPiece", "prefix": "##"}})
    >>> wordpiece("play"), wordpiece("##ing")
    (b' play', b'ing')
    >>> sentencepiece = {"type": "Sequence", "decoders": [{"type": "Metaspace"}, {"type": "ByteFallback"}]}
    >>> speller({"decoder": sentencepiece})("▁the"), speller({"decoder": sentencepiece})("<0xE4>")
    (b' the', b'\\xe4')
    """
    steps = list(_parts(data.get("decoder"), "decoders"))
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return _of_letters
    if not steps:  # the library puts a space between the tokens
        return lambda word: b" " + word.encode("utf-8")
    swaps: list[tuple[str, str]] = []
    for step in steps:
        if step["type"] == "Metaspace":
            swaps.append((step.get("replacement", "▁"), " "))
        elif step["type"] == "Replace" and "String" in step["pattern"]:
            swaps.append((step["pattern"]["String"], step["content"]))
        elif step["type"] == "BPEDecoder":
            swaps.append((step.get("suffix", "</w>"), " "))
    prefix = next((step.get("prefix", "##") for step in steps if step["type"] == "WordPiece"), None)

    def spelled(word: str) -> bytes:
        if "ByteFallback" in kinds and (byte := _BYTE_FALLBACK.fullmatch(word)):
            return bytes([int(byte[1], 16)])
        if prefix is not None:
            word = word[len(prefix) :] if word.startswith(prefix) else " " + word
        for old, new in swaps:
            word = word.replace(old, new)
        return word.encode("utf-8")

    return spelled


def is_lossless(data: dict[str, Any]) -> bool:
    """Whether every text comes back from its ids, as far as the file tells: bytes in letters, all 256 in the
    vocabulary, nothing that changes text before, and no space put in front.
    """
    vocabulary = data["model"].get("vocab", {})
    words = vocabulary if isinstance(vocabulary, dict) else {word for word, _ in vocabulary}
    before = list(_parts(data.get("pre_tokenizer"), "pretokenizers"))
    letters = [step for step in before if step["type"] == "ByteLevel"]
    return (
        any(step["type"] == "ByteLevel" for step in _parts(data.get("decoder"), "decoders"))
        and not list(_parts(data.get("normalizer"), "normalizers"))
        and len(letters) == 1
        and not letters[0].get("add_prefix_space", False)
        and all(step["type"] == "ByteLevel" or _keeps_all(step) for step in before)
        and data["model"].get("type", "BPE") in ("BPE", "Unigram")
        and all(letter in words for letter in BYTE_OF_LETTER)
        and not any(added.get("lstrip") or added.get("rstrip") for added in data.get("added_tokens", []))
    )


def _keeps_all(step: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer only cuts."""
    return step["type"] in ("Digits", "UnicodeScripts") or (
        step["type"] in ("Split", "Punctuation") and step.get("behavior") != "Removed"
    )


def _parts(step: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    """The steps of a normaliser, pre-tokenizer or decoder, a Sequence taken apart."""
    if step is None:
        return
    if step.get("type") == "Sequence":
        for part in step[inner]:
            yield from _parts(part, inner)
    else:
        yield step


def _of_letters(word: str) -> bytes:
    try:
        return unspell(word)
    except KeyError:  # a word that was put into the vocabulary by hand, in plain characters
        return word.encode("utf-8")
