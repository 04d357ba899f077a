"""From text to token shards in one command: load, split by document, tokenise, write.

    python -m working_with_text_data.preprocess input=books/ tokenizer=tokenizer.json out=data/books

The folder `out` gets `train_*.bin`, `val_*.bin`, `meta.json` (counts, bytes, hashes, leak rate) and a copy
of the tokenizer. Every text ends in `<|endoftext|>` where the tokenizer has it. Text is never parsed for
special tokens: a document that spells one out gets the plain ids of its letters.

Documents stream through in constant memory: a shard a side, the chunks that the workers hold, and the longest
document (one of 100 MB takes some 1.5 GB while it is tokenised, for it is encoded in one piece). Up to 64 MB
are held to be split exactly and looked through for near-duplicates; what is longer is split by the hash of
each text (`split_stream`). `workers=N` tokenises in N processes, with the same bytes as a result. Done twice,
it writes once; killed at any moment, it goes on after the last whole shard (`write_splits`).

Left out: cleaning, which `pipeline` does first.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args, to_dict
from utils.errors import UserError

from .content_cache import as_records, content_of, file_digests
from .documents import Document, Problems, iter_documents, text_files
from .shards import SHARD_TOKENS, read_meta
from .split_stream import HOLD_BYTES, SplitStream
from .tokenizer import load_tokenizer
from .write_splits import OnDocument, Written, write_splits

Preprocessed = Written  # the folder, its meta, and whether anything had to be written


@dataclass(frozen=True)
class PreprocessConfig:
    """What to tokenise, with what, and where the shards go."""

    input: str = field(metadata={"help": "a corpus (storyland, pydoc), a file, a folder or a glob"})
    tokenizer: str = field(metadata={"help": "a tokenizer's JSON file, or byte, gpt2, …"})
    out: str = field(metadata={"help": "the folder for the shards"})
    val_fraction: float = field(default=0.05, metadata={"help": "share of the documents held out"})
    test_fraction: float = field(default=0.0, metadata={"help": "share kept for a test split"})
    split_method: Literal["auto", "documents", "spans", "threshold"] = field(
        default="auto", metadata={"help": "auto: exact shares of up to 64 MB, by threshold above"}
    )
    seed: int = 0
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    text_field: str = field(default="text", metadata={"help": "the field of a .jsonl line"})
    errors: Literal["strict", "replace"] = field(
        default="strict", metadata={"help": "bytes that are not UTF-8: stop, or replace and count"}
    )
    on_bad_line: Literal["stop", "skip"] = field(
        default="stop", metadata={"help": "a .jsonl line that cannot be used: stop, or skip and count"}
    )
    shard_tokens: int = SHARD_TOKENS
    workers: int = field(default=0, metadata={"help": "processes that tokenise; 0 is this one alone"})


def preprocess(config: PreprocessConfig, *, on_document: OnDocument | None = None) -> Preprocessed:
    """Do what the module's docstring says. `on_document(split, n_bytes)` is called after each text.

    Raises:
        UserError: bad input, a tokenizer that cannot be loaded, or a folder of something else at `out`.
        OSError: the disk is full or read-only. Shards written so far stay, for the next attempt.
        RunFailure: a worker that died.
    """
    out = Path(config.out).expanduser()
    tokenizer = load_tokenizer(config.tokenizer)
    paths = input_files(config.input)
    digests = None if paths is None else file_digests(paths, _remembered(out))
    extra: dict[str, Any] = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}
    problems = Problems()

    def documents() -> Iterator[Document]:
        found = False
        problems.counts.clear()  # documents may be read twice
        for document in iter_documents(
            config.input,
            max_documents=config.max_documents,
            seed=config.seed,
            text_field=config.text_field,
            errors=config.errors,
            on_bad_line=config.on_bad_line,
            problems=problems,
            **extra,
        ):
            found = True
            yield document
        if not found:
            raise UserError(f"{config.input}: no text in it: give a file or a folder that holds some text")

    def sided() -> SplitStream:
        return SplitStream(
            documents(),
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
            seed=config.seed,
            method=config.split_method,
            hold_bytes=HOLD_BYTES,
        )

    # Everything that decides which documents there are and where they go; not where they lie.
    elsewhere = ("input", "tokenizer", "out", "shard_tokens", "workers")
    options = {name: value for name, value in to_dict(config).items() if name not in elsewhere}
    options |= {"hold_bytes": HOLD_BYTES, "corpus": config.input if paths is None else None}
    return write_splits(
        out,
        sided,
        tokenizer,
        options=options,
        source=None if digests is None else content_of(digests),
        # `problems` is counted while the documents are read, and looked at when they have been.
        about={
            "config": to_dict(config),
            "inputs": as_records(digests or []),
            "reading": problems.counts,
        },
        shard_tokens=config.shard_tokens,
        workers=config.workers,
        on_document=on_document,
    )


def input_files(name_or_path: str) -> list[Path] | None:
    """The files that an input stands for, or None for a named corpus. UserError if there is no such thing."""
    from .corpora import CORPORA

    return None if name_or_path in CORPORA else text_files(name_or_path)


def _remembered(out: Path) -> list[Any]:
    """The sums of files that an earlier run into `out` took."""
    with contextlib.suppress(UserError, OSError):
        inputs = read_meta(out).get("inputs", [])
        return inputs if isinstance(inputs, list) else []
    return []


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        PreprocessConfig,
        prog="python -m working_with_text_data.preprocess",
        description="Tokenise documents into shards for training, split by document.",
        aliases={"--input": "input", "--tokenizer": "tokenizer", "--out": "out", "--seed": "seed"},
    )
    started = time.monotonic()
    try:
        with tokenising_bar(_expected_bytes(config.input)) as on_document:
            result = preprocess(config, on_document=on_document)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on after the last whole shard", file=sys.stderr)
        raise
    seconds = time.monotonic() - started
    print(f"{'wrote' if result.written else 'unchanged'}: {result.path}")
    total = 0
    for name, split in result.meta["splits"].items():
        tokens, size = split["tokens"], split["text_bytes"]
        total += size
        ratio = f", {size / tokens:.2f} bytes a token" if tokens else ""
        print(f"  {name:<5}  {split['documents']:,} documents, {size:,} bytes, {tokens:,} tokens{ratio}")
    print(f"  {_about_split(result.meta['split'])}")
    if reading := {kind: count for kind, count in result.meta["reading"].items() if count}:
        print(f"  reading: {', '.join(f'{count:,} {kind}' for kind, count in reading.items())}")
    if result.written:
        print(f"  {total / 1e6 / max(seconds, 1e-9):.1f} MB/s, reading and splitting included")
    for name, split in result.meta["splits"].items():
        if not split["documents"] and config.val_fraction:
            print(f"  note: {name} is empty: give more documents, or split_method=documents for exact shares")
    return 0


def _about_split(report: dict[str, Any]) -> str:
    if report["leak_rate"] is None:
        return f"split by {report['method']}; a stream is not looked through for copies: clean it first"
    leaks, copies = report["leak_rate"], report["duplicates"]
    return f"split by {report['method']}; leak rate {leaks:.1%}; {copies:,} copies"


def _expected_bytes(name: str) -> int | None:
    """About how much text will come: the size of the files, unless they are packed."""
    with contextlib.suppress(UserError, OSError):
        paths = input_files(name)
        if paths and not any(p.suffix.lower() in (".gz", ".parquet") for p in paths):
            return sum(path.stat().st_size for path in paths)
    return None


@contextlib.contextmanager
def tokenising_bar(expected_bytes: int | None) -> Iterator[Callable[[str, int], None] | None]:
    """A bar on a terminal (MB/s, documents, time left where the size is known), nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("tokenising"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[documents]:,} documents"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("tokenising", total=expected_bytes, documents=0)
        documents = 0

        def on_document(split: str, n_bytes: int) -> None:
            nonlocal documents
            documents += 1
            bar.update(task, advance=n_bytes, documents=documents)

        yield on_document


if __name__ == "__main__":
    raise SystemExit(run_main(main))
