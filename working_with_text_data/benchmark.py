"""How fast the tokenizer is beside the compiled ones, measured in turn in one process.

    python -m working_with_text_data.benchmark inputs=[book.txt] vocab_sizes=[5000]

Four parts, each of which can be left out with `parts=[…]`:
- training: seconds of ours and of `tokenizers`, `rustbpe` and `bpeasy`, each at the best of its settings;
- memory: the peak of each trainer above reading the file, in a process of its own;
- encoding: ours cold and warm, tiktoken, `tokenizers`; and decoding;
- readable: how many times faster than the readable trainer of this book.

Candidates run in turn (A B A B …), medians and spread over rounds. Before anything is timed, merges and ids are
compared: equal or no figure. Writes the table to the terminal, `results/bpe.json` and two plots beside it. A part that
is measured alone replaces that part of the file, if the texts are the same; `measured_by` says which command did.
Left out: threads of our own, GPUs. What was tried and did not help: `LOG.md`.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.timing import Timer, write_result
from working_with_text_data.benchmark_encoding import measure_encoding, vocabularies
from working_with_text_data.benchmark_peers import ENCODERS, OURS, Corpus, missing_peers
from working_with_text_data.benchmark_tables import (
    encoding_table,
    memory_table,
    readable_line,
    training_table,
)
from working_with_text_data.benchmark_training import measure_memory, measure_readable, measure_training
from working_with_text_data.documents import load_documents
from working_with_text_data.fast_bpe import train_bpe

PARTS = ("training", "memory", "encoding", "readable")


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure, and on what."""

    inputs: tuple[str, ...] = field(
        default=("storyland:1000000", "storyland:11000000", "pydoc"),
        metadata={"help": "corpora, files or folders; name:bytes gives a generated corpus its size"},
    )
    n_bytes: int | None = field(default=None, metadata={"help": "use only the beginning of each text"})
    vocab_sizes: tuple[int, ...] = (1000, 5000, 10000, 32000)
    parts: tuple[str, ...] = field(default=PARTS, metadata={"help": "which of the four parts to measure"})
    ranks: str | None = field(
        default=None,
        metadata={"help": "folder with gpt2.tiktoken; without it our own merges are encoded with"},
    )
    rounds: int = 5
    readable_input: str = field(default="pydoc", metadata={"help": "what the readable trainer reads"})
    readable_bytes: int = field(default=400_000, metadata={"help": "how much of it: it takes minutes"})
    readable_vocab_size: int = 5000
    out: str = field(
        default=str(Path(__file__).with_name("results") / "bpe.json"), metadata={"help": "results file"}
    )

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or not self.parts:
            raise UserError(f"parts={list(self.parts)} must name some of {list(PARTS)}")
        for name in ("inputs", "vocab_sizes"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty: give at least one")
        if self.rounds < 1:
            raise UserError(f"rounds is {self.rounds}: at least one is needed")


def load_corpus(name: str, n_bytes: int | None, folder: Path) -> Corpus:
    """The documents of `name` as one text, at most `n_bytes` of it, also written to a file in `folder`."""
    source, _, wanted = name.rpartition(":")
    options: dict[str, Any] = {}
    if source and wanted.isdigit():
        options["n_bytes"] = min(int(wanted), n_bytes or int(wanted))
    else:
        source = name
    text = "\n".join(document.text for document in load_documents(source, **options))
    if n_bytes is not None:
        text = text.encode("utf-8")[:n_bytes].decode("utf-8", "ignore")
    if not text.strip():
        raise UserError(f"{name} holds no text to measure on: choose another input")
    data = text.encode("utf-8")
    size = f"{len(data) / 1e6:.1f} MB" if len(data) >= 100_000 else f"{len(data) / 1e3:.0f} kB"
    label = f"{Path(source).name} {size}"
    path = folder / f"{len(list(folder.iterdir()))}.txt"
    path.write_bytes(data)
    return Corpus(label, text, path)


def estimate_minutes(config: BenchmarkConfig, corpora: list[Corpus]) -> float:
    """About how long the parts take on two quiet cores of a server; twice that is no surprise."""
    megabytes = sum(corpus.n_bytes for corpus in corpora) / 1e6
    sizes = len(config.vocab_sizes)
    merging = sum(config.vocab_sizes) / 1e4  # seconds of all trainers and texts together, once
    seconds = 0.0
    if "training" in config.parts:
        seconds += (config.rounds * 0.9 + 3.0) * (megabytes * sizes + len(corpora) * merging)
    if "memory" in config.parts:
        seconds += 5 * (0.5 * len(corpora) + megabytes * 0.5 + merging)
    if "encoding" in config.parts:
        timed = sum(min(corpus.n_bytes, 2_000_000) for corpus in corpora) / 1e6
        seconds += (config.rounds + 2) * timed * (4 if config.ranks else 2) + 2 * megabytes
    if "readable" in config.parts:
        seconds += config.readable_bytes * config.readable_vocab_size * 8e-8
    return seconds / 60


def measure(config: BenchmarkConfig, corpora: list[Corpus], readable: Corpus | None) -> dict[str, Any]:
    """All parts of the configuration, printed as they come."""
    figures: dict[str, Any] = {"corpora": {}}
    for corpus in corpora:
        own: dict[str, Any] = {"bytes": corpus.n_bytes, "ascii": corpus.text.isascii()}
        figures["corpora"][corpus.name] = own
        if "training" in config.parts:
            own["training"] = {}
        for vocab_size in config.vocab_sizes if "training" in config.parts else ():
            trained = measure_training(corpus, vocab_size, config.rounds)
            own["training"][str(vocab_size)] = trained
            _show(training_table(corpus, vocab_size, trained))
            if trained["reached"] < vocab_size:
                _show(
                    f"  the text runs out of pairs at {trained['reached']:,}: larger vocabularies are the same\n"
                )
                break
        if "memory" in config.parts:
            feeds = _feeds_for_memory(own.get("training", {}))
            own["memory"] = measure_memory(corpus, max(config.vocab_sizes), feeds)
            _show(memory_table(corpus, own["memory"]))
        if "encoding" in config.parts:
            own["encoding"] = {}
            for name in vocabularies(config.ranks) if config.ranks else ["our merges"]:
                encoded = in_a_fresh_process(measure_vocabulary, corpus, name, config)
                own["encoding"][name] = encoded
                _show(encoding_table(corpus, name, encoded))
    if readable is not None:
        figures["readable"] = measure_readable(readable, config.readable_vocab_size, config.rounds)
        _show(readable_line(figures["readable"]))
    # The first text under short names, for the sentences of a README.
    first = figures["corpora"][corpora[0].name]
    figures["bytes"] = first["bytes"]
    if "training" in first:
        figures["training"] = first["training"]
    if "encoding" in first:
        vocabulary, encoded = next(iter(first["encoding"].items()))
        figures["encoding"] = {"vocabulary": vocabulary, **encoded}
    return figures


def measure_vocabulary(corpus: Corpus, name: str, config: BenchmarkConfig) -> dict[str, Any]:
    """Encoding with one vocabulary: one of the published ones, or our own merges."""
    if config.ranks:
        tokenizer = vocabularies(config.ranks)[name]
    else:
        tokenizer = train_bpe(corpus.text, max(config.vocab_sizes))
    peers = ENCODERS if name in ("gpt2", "our merges") else ENCODERS[:1]
    return measure_encoding(corpus, tokenizer, config.rounds, peers)


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a new Python, as a person would run it.

    The texts, counts and ids that earlier parts leave behind are millions of objects. Python's collector walks them
    again and again while ours encodes, and not while a compiled library does: see LOG.md.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def with_other_parts(path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """`figures`, and from an older file at `path` what was measured of the same texts in other parts."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))["figures"]
        texts = old["corpora"]
    except (OSError, ValueError, KeyError, TypeError):
        return figures
    if list(texts) != list(figures["corpora"]):
        return figures
    corpora = {name: {**texts[name], **own} for name, own in figures["corpora"].items()}
    measured_by = {**old.get("measured_by", {}), **figures.get("measured_by", {})}
    return {**old, **figures, "corpora": corpora, "measured_by": measured_by}


def _feeds_for_memory(training: dict[str, Any]) -> dict[str, str]:
    """Each trainer fed as it was fastest; by default as its documentation does."""
    from working_with_text_data.benchmark_peers import TRAINERS, installed

    feeds = {t.name: "file, threads" if t.name == "tokenizers" else "one string" for t in TRAINERS}
    for result in training.values():
        feeds |= {name: peer["best"] for name, peer in result["peers"].items()}
    packages = {t.name: t.package for t in TRAINERS}
    return {name: feed for name, feed in feeds.items() if name == OURS or installed(packages[name])}


def _show(text: str) -> None:
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        BenchmarkConfig,
        prog="python -m working_with_text_data.benchmark",
        description="Time BPE training, encoding and decoding beside tokenizers, tiktoken, rustbpe and bpeasy.",
        aliases={"--out": "out", "--rounds": "rounds", "--ranks": "ranks"},
    )
    with tempfile.TemporaryDirectory() as folder, Timer() as timer:
        corpora = [load_corpus(name, config.n_bytes, Path(folder)) for name in config.inputs]
        readable = None
        if "readable" in config.parts:
            limit = min(config.readable_bytes, config.n_bytes or config.readable_bytes)
            readable = load_corpus(config.readable_input, limit, Path(folder))
        for line in missing_peers():
            _show(line)
        minutes = estimate_minutes(config, corpora)
        _show(f"{config.rounds} rounds; about {max(1, round(minutes))} min on a quiet machine of two cores\n")
        figures = measure(config, corpora, readable)
    command = " ".join(["python -m working_with_text_data.benchmark", *command_words(config)])
    figures["measured_by"] = dict.fromkeys(config.parts, command)
    path = write_result(
        Path(config.out),
        name="bpe",
        figures=with_other_parts(Path(config.out), figures),
        command=command,
        notes=(
            "Merges and ids were compared before timing. A peer is taken at the fastest of its settings. Cold: the "
            "tokenizer is built and its caches are empty; warm: the same text again. Memory: peak above a process "
            "that only reads the file, the library's own import included."
        ),
    )
    print(f"wrote {path} after {timer.seconds / 60:.1f} min")
    from working_with_text_data.benchmark_plot import plot_file

    for plot in plot_file(path):
        print(f"wrote {plot}")
    print("next: python -m utils.readme --write puts the figures into the READMEs", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
