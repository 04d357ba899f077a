"""From text to token shards in one command: load, split by document, tokenise, write.

    python -m working_with_text_data.preprocess input=books/ tokenizer=tokenizer.json out=data/books

The folder `out` gets `train_*.bin`, `val_*.bin`, `meta.json` (counts, bytes, hashes, leak rate) and a copy
of the tokenizer. Every text ends in `<|endoftext|>` where the tokenizer has it. Text is never parsed for
special tokens: a document that spells one out gets the plain ids of its letters.

Done twice, it writes once: `meta.json` holds a key, the hash of all texts in order, the tokenizer and the
options that matter, and equal keys mean equal shards. Killed at any moment, it goes on after the last
whole shard (`progress.json`), and `meta.json`, without which no shard is opened, is written last.

Left out: several processes, and streams longer than memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args, to_dict
from utils.errors import UserError
from utils.files import atomic_write_json

from .documents import SEPARATOR, Document, load_documents
from .shards import (
    META,
    SHARD_TOKENS,
    VERSION,
    Progress,
    ShardWriter,
    open_shard,
    open_shards,
    read_meta,
    record_splits,
)
from .splitting import Split, document_hash, split_documents
from .tokenizer import Tokenizer, load_tokenizer, tokenizer_hash

PROGRESS = "progress.json"


@dataclass(frozen=True)
class PreprocessConfig:
    """What to tokenise, with what, and where the shards go."""

    input: str = field(metadata={"help": "a corpus (storyland, pydoc), a file, a folder or a glob"})
    tokenizer: str = field(metadata={"help": "a tokenizer's JSON file, or byte, gpt2, …"})
    out: str = field(metadata={"help": "the folder for the shards"})
    val_fraction: float = field(default=0.05, metadata={"help": "share of the documents held out"})
    split_method: Literal["auto", "documents", "spans"] = "auto"
    seed: int = 0
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    text_field: str = field(default="text", metadata={"help": "the field of a .jsonl line"})
    shard_tokens: int = SHARD_TOKENS


@dataclass(frozen=True)
class Preprocessed:
    """The folder, its meta, and whether anything had to be written."""

    path: Path
    meta: dict[str, Any]
    written: bool


def preprocess(
    config: PreprocessConfig, *, on_document: Callable[[str, int], None] | None = None
) -> Preprocessed:
    """Do what the module's docstring says. `on_document(split, n_bytes)` is called after each text.

    Raises:
        UserError: bad input, a tokenizer that cannot be loaded, or a folder of something else at `out`.
        OSError: the disk is full or read-only. Shards written so far stay, for the next attempt.
    """
    out = Path(config.out).expanduser()
    tokenizer = load_tokenizer(config.tokenizer)
    options = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}
    documents = load_documents(
        config.input,
        max_documents=config.max_documents,
        seed=config.seed,
        text_field=config.text_field,
        **options,
    )
    split = split_documents(
        documents, val_fraction=config.val_fraction, seed=config.seed, method=config.split_method
    )
    sides = {"train": split.train, "val": split.val}
    sha = tokenizer_hash(tokenizer)
    key = content_key(sides, sha, config.shard_tokens)
    _refuse_foreign_folder(out)
    if (meta := _up_to_date(out, key)) is not None:
        return Preprocessed(out, meta, written=False)

    progress = _resumable(out, key, sha)
    if not progress:  # what is there belongs to something else: no longer name it, then replace it
        (out / META).unlink(missing_ok=True)
    finished = {}
    for name, texts in sides.items():
        mine = progress.setdefault(name, Progress())

        def save(_: Progress) -> None:
            atomic_write_json(
                out / PROGRESS, {"key": key, "splits": {k: asdict(v) for k, v in progress.items()}}
            )

        writer = ShardWriter(
            out,
            name,
            tokenizer_sha256=sha,
            vocab_size=tokenizer.vocab_size,
            shard_tokens=config.shard_tokens,
            progress=mine,
            on_shard=save,
        )
        for document, ids in _encoded(texts[mine.documents :], tokenizer):
            writer.add(ids)
            if on_document:
                on_document(name, len(document.text.encode("utf-8")))
        finished[name] = writer.close()
        save(mine)
    tokenizer.save(out / "tokenizer.json")
    meta = record_splits(
        out,
        finished,
        sha,
        tokenizer.vocab_size,
        extra=_text_sizes(split),
        about={
            "key": key,
            "end_of_text": tokenizer.special_tokens.get(SEPARATOR),
            "config": to_dict(config),
            "split": split.report.to_dict(),
        },
        keep_others=False,
    )
    (out / PROGRESS).unlink(missing_ok=True)
    for left_over in out.glob(".*.tmp"):  # of a writer that was killed between its bytes and its rename
        left_over.unlink(missing_ok=True)
    return Preprocessed(out, meta, written=True)


def content_key(sides: dict[str, list[Document]], tokenizer_sha256: str, shard_tokens: int) -> str:
    """sha256 of everything the shards depend on: the texts of each side in order, and the tokenizer."""
    parts = [f"{VERSION} {tokenizer_sha256} {shard_tokens}"]
    for name, documents in sides.items():
        parts += [name, *(document_hash(document.text) for document in documents)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _encoded(documents: list[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    end = tokenizer.special_tokens.get(SEPARATOR)
    tail = [] if end is None else [end]
    for document in documents:
        yield document, tokenizer.encode_ordinary(document.text) + tail


def _text_sizes(split: Split) -> dict[str, dict[str, int]]:
    """UTF-8 bytes of each side: what turns a loss per token into bits per byte."""
    return {
        "train": {"text_bytes": split.report.train_bytes},
        "val": {"text_bytes": split.report.val_bytes},
    }


def _refuse_foreign_folder(out: Path) -> None:
    """Shards are deleted and replaced in `out`: a folder of something else is not for that."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file where a folder for the shards is needed: choose another out=")
    if out.is_dir() and any(out.iterdir()):
        known = (META, PROGRESS, "tokenizer.json")
        names = [p.name for p in out.iterdir() if not p.name.startswith(".")]
        if names and not any(n in known or n.startswith(("train_", "val_")) for n in names):
            raise UserError(f"{out}: holds other files ({names[0]}, …): choose a new folder as out=")


def _up_to_date(out: Path, key: str) -> dict[str, Any] | None:
    """The meta of a folder that already holds exactly this, with every shard in one piece."""
    with contextlib.suppress(UserError):
        meta = read_meta(out)
        if meta.get("key") == key:
            for name in meta["splits"]:
                open_shards(out, name)
            return meta
    return None


def _resumable(out: Path, key: str, sha: str) -> dict[str, Progress]:
    """What an interrupted run for the same key left, if all of it is whole; else nothing."""
    try:
        saved = json.loads((out / PROGRESS).read_text(encoding="utf-8"))
        if saved["key"] != key:
            return {}
        splits = {name: Progress(**state) for name, state in saved["splits"].items()}
        for state in splits.values():
            for shard in state.shards:
                if len(open_shard(out / shard["file"], tokenizer_sha256=sha)) != shard["tokens"]:
                    return {}
        return splits
    except (OSError, ValueError, KeyError, TypeError):  # UserError is a ValueError
        return {}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        PreprocessConfig,
        prog="python -m working_with_text_data.preprocess",
        description="Tokenise documents into shards for training, split by document.",
        aliases={"--input": "input", "--tokenizer": "tokenizer", "--out": "out", "--seed": "seed"},
    )
    try:
        with _progress_line() as on_document:
            result = preprocess(config, on_document=on_document)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on after the last whole shard", file=sys.stderr)
        raise
    print(f"{'wrote' if result.written else 'unchanged'}: {result.path}")
    for name, split in result.meta["splits"].items():
        tokens, size = split["tokens"], split["text_bytes"]
        ratio = f", {size / tokens:.2f} bytes a token" if tokens else ""
        print(f"  {name:<5}  {split['documents']:,} documents, {size:,} bytes, {tokens:,} tokens{ratio}")
    report = result.meta["split"]
    print(
        f"  split by {report['method']}; leak rate {report['leak_rate']:.1%}; {report['duplicates']:,} copies"
    )
    return 0


@contextlib.contextmanager
def _progress_line() -> Iterator[Callable[[str, int], None] | None]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("tokenising {task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def on_document(split: str, n_bytes: int) -> None:
            if split not in tasks:
                tasks[split] = bar.add_task(split, total=None)
            bar.advance(tasks[split], n_bytes)

        yield on_document


if __name__ == "__main__":
    raise SystemExit(run_main(main))
