"""How fast the tokenizer is beside the compiled ones, measured in turn in one process.

    python -m working_with_text_data.benchmark input=book.txt

Training: ours against Hugging Face's `tokenizers`, fed in the three ways its users feed it (one
string, lines, a file), with and without its threads; the fastest of them is the peer.
Encoding: ours (warm, and cold after its cache was emptied) against tiktoken and `tokenizers`, with
the same merges. Before anything is timed, merges and ids are compared: equal or no figure.

Writes the table to the terminal and `results/bpe.json`. Left out: memory, other trainers.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import RunFailure, UserError
from utils.timing import compare, write_result
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.documents import load_documents
from working_with_text_data.fast_bpe import train_bpe
from working_with_text_data.tie_breaks import gpt2_byte_order
from working_with_text_data.tiktoken_ranks import load_tiktoken, to_tiktoken

PEERS = ("tokenizers", "tiktoken")


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure on."""

    input: str = field(default="storyland", metadata={"help": "a corpus, a file or a folder"})
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    vocab_sizes: tuple[int, ...] = (1000, 5000)
    ranks: str | None = field(
        default=None,
        metadata={"help": "folder with gpt2.tiktoken; without it our own merges are encoded with"},
    )
    rounds: int = 5
    out: str = field(
        default=str(Path(__file__).with_name("results") / "bpe.json"), metadata={"help": "results file"}
    )


def measure_training(text: str, vocab_size: int, rounds: int) -> dict[str, Any]:
    """Seconds to train on `text`, ours and Hugging Face's, and how many times faster ours is."""
    candidates: dict[str, Callable[[], Any]] = {"ours": lambda: train_bpe(text, vocab_size)}
    with tempfile.TemporaryDirectory() as folder:
        if _installed("tokenizers"):
            path = Path(folder) / "corpus.txt"
            path.write_bytes(text.encode("utf-8"))
            ours = train_bpe(text, vocab_size, tie_break="huggingface")
            if _merges_of(_train_huggingface([text], vocab_size)) != _spelled_merges(ours):
                raise RunFailure(
                    f"our merges differ from those of `tokenizers` at {vocab_size}: nothing is timed"
                )
            lines = text.splitlines(keepends=True)
            feeds: dict[str, list[str] | str] = {"one string": [text], "lines": lines, "file": str(path)}
            for threads in ("threads", "one thread"):
                for feed, texts in feeds.items():
                    parallel = threads == "threads"
                    candidates[f"tokenizers, {feed}, {threads}"] = partial(
                        _train_huggingface, texts, vocab_size, parallel
                    )
        result = compare(candidates, rounds=rounds, warmup=1)
    return _against_the_best(result, "ours")


def measure_encoding(text: str, tokenizer: BPETokenizer, rounds: int) -> dict[str, Any]:
    """Seconds to encode `text` in one thread, by the peers and by ours."""
    expected = tokenizer.encode_ordinary(text)

    def cold() -> list[int]:
        tokenizer.clear_cache()
        return tokenizer.encode_ordinary(text)

    candidates: dict[str, Callable[[], Any]] = {
        "ours, cold": cold,
        "ours, warm": lambda: tokenizer.encode_ordinary(text),
    }
    if _installed("tiktoken"):
        encoding = to_tiktoken(tokenizer)
        candidates["tiktoken"] = lambda: encoding.encode_ordinary(text)
    if _installed("tokenizers"):
        twin = _huggingface_twin(tokenizer)
        candidates["tokenizers"] = lambda: twin.encode(text).ids
    for name, encode in candidates.items():
        if encode() != expected:
            raise RunFailure(f"{name} gives other ids than ours on this text: nothing is timed")
    return compare(candidates, rounds=rounds, warmup=1)


def _against_the_best(result: dict[str, Any], own: str) -> dict[str, Any]:
    """Add the fastest peer and how many times faster `own` is, round by round."""
    figures = result["candidates"]
    peers = [name for name in figures if name != own]
    if peers:
        best = min(peers, key=lambda name: figures[name]["median_s"])
        ratios = [peer / mine for peer, mine in zip(figures[best]["seconds"], figures[own]["seconds"])]
        result["best_peer"] = best
        result["times_faster"] = figures[best]["median_s"] / figures[own]["median_s"]
        result["times_faster_by_round"] = ratios
    return result


# --- the peers ----------------------------------------------------------------------------------


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@contextmanager
def _threads(parallel: bool) -> Iterator[None]:
    """`tokenizers` reads this variable at each call."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if parallel else "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _train_huggingface(texts: list[str] | str, vocab_size: int, parallel: bool = True) -> Any:
    """Byte-level BPE as its documentation shows it; a string is the path of a file."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    with _threads(parallel):
        if isinstance(texts, str):
            tokenizer.train([texts], trainer)
        else:
            tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _merges_of(tokenizer: Any) -> list[tuple[str, str]]:
    import json

    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in pairs]


def _speller() -> Callable[[bytes], str]:
    """How GPT-2 and `tokenizers` write bytes as printable characters."""
    character = {
        byte: chr(byte) if place < 188 else chr(256 + place - 188)
        for place, byte in enumerate(gpt2_byte_order())
    }
    return lambda token: "".join(character[byte] for byte in token)


def _spelled_merges(tokenizer: BPETokenizer) -> list[tuple[str, str]]:
    spell = _speller()
    return [(spell(tokenizer.token_bytes(a)), spell(tokenizer.token_bytes(b))) for a, b in tokenizer.merges]


def _huggingface_twin(tokenizer: BPETokenizer) -> Any:
    """The same vocabulary and merges in `tokenizers`."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    spell = _speller()
    vocabulary = {spell(token): token_id for token, token_id in tokenizer.ranks.items()}
    twin = Tokenizer(models.BPE(vocabulary, _spelled_merges(tokenizer)))
    twin.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return twin


# --- the command line ---------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        BenchmarkConfig,
        prog="python -m working_with_text_data.benchmark",
        description="Time BPE training and encoding beside tokenizers and tiktoken.",
        aliases={"--input": "input", "--out": "out", "--rounds": "rounds"},
    )
    if not config.vocab_sizes:
        raise UserError("vocab_sizes is empty: give at least one, such as vocab_sizes=[5000]")
    options: dict[str, Any] = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}
    text = "\n".join(document.text for document in load_documents(config.input, **options))
    for peer in PEERS:
        if not _installed(peer):
            print(f"{peer} is not installed and not measured")
    size = len(text.encode("utf-8"))
    print(f"{config.input}: {size:,} bytes; median of {config.rounds} rounds in turn")

    figures: dict[str, Any] = {"bytes": size, "training": {}, "encoding": {}}
    for vocab_size in config.vocab_sizes:
        measured = measure_training(text, vocab_size, config.rounds)
        figures["training"][str(vocab_size)] = measured
        _print_table(f"training, vocabulary {vocab_size:,}", measured, size)
        if "times_faster" in measured:
            print(f"  ours is {measured['times_faster']:.2f} × as fast as the best of the others")
    if config.ranks is not None:
        name, tokenizer = "GPT-2 ranks", load_tiktoken("gpt2", config.ranks)
    else:
        name, tokenizer = "our merges", train_bpe(text, max(config.vocab_sizes))
    measured = measure_encoding(text, tokenizer, config.rounds)
    figures["encoding"] = {"vocabulary": name, **measured}
    _print_table(f"encoding, {name}, one thread", measured, size)

    words = [f"{key}={value}" for key, value in _given(config).items()]
    path = write_result(
        Path(config.out),
        name="bpe",
        figures=figures,
        command=" ".join(["python -m working_with_text_data.benchmark", *words]),
        notes="Merges and ids were compared before timing. The peer in training is the fastest of its settings.",
    )
    print(f"wrote {path}")
    return 0


def _given(config: BenchmarkConfig) -> dict[str, Any]:
    """The settings that differ from their defaults, as one would type them."""
    default = BenchmarkConfig()
    given = {
        key: value for key, value in vars(config).items() if value != getattr(default, key) and key != "out"
    }
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def _print_table(title: str, result: dict[str, Any], size: int) -> None:
    print(title)
    for name, row in result["candidates"].items():
        print(
            f"  {name:<34} {row['median_s']:8.3f} s  ({row['min_s']:.3f}–{row['max_s']:.3f})"
            f"  {size / row['median_s'] / 1e6:7.2f} MB/s"
        )


if __name__ == "__main__":
    raise SystemExit(run_main(main))
