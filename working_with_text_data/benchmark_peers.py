"""The other BPE libraries behind one small protocol, each run as its own documentation shows it.

The idea: a trainer says how it can be fed (one string, lines, a file; with and without threads), trains, and
tells which token each merge made. `benchmark` chooses the fastest way of feeding by measuring, and compares the
tokens with ours under the trainer's own tie rule before it times anything.

A feed counts as "whole" if the library sees the text as one document, else line by line: pairs never cross from
one document to the next, so the two give slightly different merges, and ours is compared on the same feed.

Left out: the measuring (`benchmark_training`, `benchmark_encoding`).
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.fast_bpe import train_bpe
from working_with_text_data.patterns import splitter

OURS = "ours"
ENCODERS = ("tiktoken", "tokenizers")
Codec = tuple[Callable[[str], list[int]], Callable[[list[int]], str]]


@dataclass(frozen=True)
class Corpus:
    """A text to measure on, in memory and in a file."""

    name: str
    text: str
    path: Path

    @cached_property
    def n_bytes(self) -> int:
        """Size as UTF-8."""
        return len(self.text.encode("utf-8"))

    @cached_property
    def lines(self) -> list[str]:
        """Lines with their ends, cut at \\n alone as files are read."""
        pieces = self.text.split("\n")
        return [piece + "\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


@dataclass(frozen=True)
class Feed:
    """One way to give a text to a trainer: `train(vocab_size)` returns what the library trained."""

    train: Callable[[int], Any]
    whole: bool  # the text is one document, not line by line


class Trainer(Protocol):
    """What a trainer of byte-level BPE must offer to be measured."""

    name: str
    package: str

    @property
    def tie_break(self) -> str | None:
        """Under which ours learns the same; None if the library promises no rule."""
        ...

    def feeds(self, corpus: Corpus) -> Mapping[str, Feed]:
        """The ways its users feed it, by name."""
        ...

    def learned(self, trained: Any) -> list[bytes]:
        """The token that each merge made, in the order in which they were learned."""
        ...


def installed(package: str) -> bool:
    """Whether the package can be imported; it is not imported."""
    return importlib.util.find_spec(package) is not None


class Ours:
    """The trainer of this book: `fast_bpe.train_bpe`."""

    name, package, tie_break = OURS, "working_with_text_data", "bytes"

    def feeds(self, corpus: Corpus) -> dict[str, Feed]:
        return {"one string": Feed(lambda size: train_bpe(corpus.text, size), True)}

    def learned(self, trained: BPETokenizer) -> list[bytes]:
        return [trained.token_bytes(256 + i) for i in range(len(trained.merges))]


class HuggingFaceTrainer:
    """`tokenizers`, byte-level BPE; its threads count words and look for pairs."""

    name, package, tie_break = "tokenizers", "tokenizers", "huggingface"

    def feeds(self, corpus: Corpus) -> dict[str, Feed]:
        return {
            f"{feed}, {'threads' if threads else 'one thread'}": Feed(
                partial(self._train, texts, threads), feed == "one string"
            )
            for threads in (True, False)
            for feed, texts in (
                ("one string", [corpus.text]),
                ("lines", corpus.lines),
                ("file", str(corpus.path)),
            )
        }

    def _train(self, texts: list[str] | str, threads: bool, vocab_size: int) -> Any:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        with _environment("TOKENIZERS_PARALLELISM", "true" if threads else "false"):
            if isinstance(texts, str):
                tokenizer.train([texts], trainer)
            else:
                tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    def learned(self, trained: Any) -> list[bytes]:
        from working_with_text_data.byte_letters import unspell

        pairs = json.loads(trained.to_str())["model"]["merges"]
        return [unspell("".join(pair) if isinstance(pair, list) else pair.replace(" ", "")) for pair in pairs]


class RustBPE:
    """`rustbpe`, nanochat's trainer; its threads count words."""

    name, package, tie_break = "rustbpe", "rustbpe", "smallest_ids"

    def feeds(self, corpus: Corpus) -> dict[str, Feed]:
        return {
            "one string": Feed(partial(self._train, [corpus.text]), True),
            "lines": Feed(partial(self._train, corpus.lines), False),
        }

    def _train(self, texts: list[str], vocab_size: int) -> Any:
        import rustbpe

        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(iter(texts), vocab_size, pattern=splitter("gpt2").pattern)
        return tokenizer

    def learned(self, trained: Any) -> list[bytes]:
        ranks = sorted(trained.get_mergeable_ranks(), key=lambda row: row[1])
        return [bytes(token) for token, _ in ranks[256:]]


class BPEasy:
    """`bpeasy`; it promises no tie rule, so its vocabulary is only compared in part."""

    name, package = "bpeasy", "bpeasy"
    tie_break: str | None = None

    def feeds(self, corpus: Corpus) -> dict[str, Feed]:
        return {
            "one string": Feed(partial(self._train, [corpus.text]), True),
            "lines": Feed(partial(self._train, corpus.lines), False),
        }

    def _train(self, texts: list[str], vocab_size: int) -> dict[bytes, int]:
        import bpeasy

        longest = 128  # bytes in a token, as in its README; no token of a language is longer
        return bpeasy.train_bpe(iter(texts), splitter("gpt2").pattern, longest, vocab_size)

    def learned(self, trained: dict[bytes, int]) -> list[bytes]:
        return sorted(trained, key=trained.__getitem__)[256:]


TRAINERS: tuple[Trainer, ...] = (Ours(), HuggingFaceTrainer(), RustBPE(), BPEasy())


def trainer_named(name: str) -> Trainer:
    """The trainer with this name; KeyError if there is none."""
    return {trainer.name: trainer for trainer in TRAINERS}[name]


def missing_peers() -> list[str]:
    """A line for each library of the comparison that cannot be measured here, with the reason."""
    wanted = {trainer.package: trainer.package for trainer in TRAINERS[1:]} | {"tiktoken": "tiktoken"}
    lines = [f"{name} is not installed and not measured" for name in wanted if not installed(name)]
    return [*lines, _llms_from_scratch()]


def _llms_from_scratch() -> str:
    """The book "Build a Large Language Model (From Scratch)" has a BPE in a notebook; is it in the package?"""
    name = "llms-from-scratch"
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed and not measured"
    sources = [file for file in package.files or () if file.suffix == ".py" and "tests" not in file.parts]
    trainers = [str(file) for file in sources if "class BPE" in file.read_text(encoding="utf-8")]
    if trainers:
        return f"{name} {package.version} has a BPE in {trainers[0]}, which this benchmark cannot run yet"
    return f"{name} {package.version} installs no BPE: its chapters use tiktoken, which is measured"


def encoders(tokenizer: BPETokenizer, names: Iterable[str] = ENCODERS) -> dict[str, Codec]:
    """Name → (encode, decode) of each installed library with the ids of `tokenizer`, one thread each."""
    found: dict[str, Codec] = {}
    if "tiktoken" in names and installed("tiktoken"):
        from working_with_text_data.tiktoken_adapter import to_tiktoken

        encoding = to_tiktoken(tokenizer)
        found["tiktoken"] = (encoding.encode_ordinary, encoding.decode)
    if "tokenizers" in names and installed("tokenizers"):
        from working_with_text_data.huggingface_export import to_huggingface

        twin = to_huggingface(tokenizer)
        found["tokenizers"] = (partial(_huggingface_ids, twin), twin.decode)
    return found


def _huggingface_ids(twin: Any, text: str) -> list[int]:
    with _environment("TOKENIZERS_PARALLELISM", "false"):
        return twin.encode(text, add_special_tokens=False).ids


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """`tokenizers` reads its variable at each call."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
