"""How fast text becomes ids and ids become text, beside the libraries, with one vocabulary in one thread.

The idea: all encoders hold the same vocabulary, so their ids must be equal on the whole text, or nothing is
timed. Ours is timed twice: *cold*, the tokenizer built and its caches emptied before each round, so every word is
met for the first time; and *warm*, the same text again. The libraries keep no cache between texts (tiktoken)
or keep theirs (`tokenizers`).
Left out: batches and threads; the libraries themselves (`benchmark_peers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from utils.errors import RunFailure
from utils.timing import compare
from working_with_text_data.benchmark_peers import ENCODERS, Corpus, encoders
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.tiktoken_ranks import ENCODINGS, load_tiktoken

COLD, WARM = "ours, cold", "ours, warm"
SLOW_CHARS = 2_000_000  # of a longer text only the beginning is timed; ids are compared on all of it


def vocabularies(folder: str) -> dict[str, BPETokenizer]:
    """The published vocabularies whose rank files are in `folder`, by name."""
    return {
        name: load_tiktoken(name, folder)
        for name, encoding in ENCODINGS.items()
        if name == "gpt2" or (Path(folder) / encoding.file).is_file()
    }


def measure_encoding(
    corpus: Corpus, tokenizer: BPETokenizer, rounds: int, peers: Iterable[str] = ENCODERS
) -> dict[str, Any]:
    """Seconds to encode and to decode the text of `corpus`, by the libraries named in `peers` and by ours.

    Raises:
        RunFailure: a library gives other ids or another text than ours; nothing is timed then.
    """
    expected = tokenizer.encode_ordinary(corpus.text)
    codecs = encoders(tokenizer, peers)
    for name, (encode, decode) in codecs.items():
        if encode(corpus.text) != expected:
            raise RunFailure(f"{name} gives other ids than ours on {corpus.name}: nothing is timed")
        if decode(expected) != corpus.text:
            raise RunFailure(f"{name} does not give {corpus.name} back from its ids: nothing is timed")
    if tokenizer.decode(expected) != corpus.text:
        raise RunFailure(f"our own decoder does not give {corpus.name} back from its ids")

    text = corpus.text[:SLOW_CHARS]

    def cold() -> list[int]:
        tokenizer.clear_cache()
        return tokenizer.encode_ordinary(text)

    ids = cold()
    if tokenizer.encode_ordinary(text) != ids:
        raise RunFailure(f"ours gives other ids from its cache than at first sight on {corpus.name}")
    encoding: dict[str, Callable[[], Any]] = {COLD: cold, WARM: lambda: tokenizer.encode_ordinary(text)}
    decoding: dict[str, Callable[[], Any]] = {"ours": lambda: tokenizer.decode(ids)}
    for name, (encode, decode) in codecs.items():
        encoding[name] = lambda encode=encode: encode(text)  # type: ignore[misc]
        decoding[name] = lambda decode=decode: decode(ids)  # type: ignore[misc]
    result = compare(encoding, rounds=rounds)
    result |= {
        "bytes": len(text.encode("utf-8")),
        "tokens": len(ids),
        "compared_tokens": len(expected),
        "decoding": compare(decoding, rounds=rounds),
        "times": {name: _times(result["candidates"], name) for name in codecs},
    }
    for figures in (result["candidates"], result["decoding"]["candidates"]):
        for row in figures.values():
            row["tokens_per_second"] = len(ids) / row["median_s"]
    return result


def _times(figures: dict[str, Any], peer: str) -> dict[str, Any]:
    """How many times as fast as `peer` ours is: of the medians, and the least and most of the rounds."""
    times: dict[str, Any] = {}
    for key, own in (("cold", COLD), ("warm", WARM)):
        rounds = [a / b for a, b in zip(figures[peer]["seconds"], figures[own]["seconds"], strict=True)]
        times[key] = figures[peer]["median_s"] / figures[own]["median_s"]
        times[f"{key}_min"], times[f"{key}_max"] = min(rounds), max(rounds)
    return times
