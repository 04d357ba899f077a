"""What the stages of the pipeline do, each as a function from documents to files in a folder of its own.

    load        any input                    → load/part_*.jsonl
    clean       documents                    → clean/part_*.jsonl         (`cleaning`)
    split       documents                    → split/{train,val,test}/part_*.jsonl   (`split_stream`)
    statistics  the sides                    → statistics/report.html, statistics.json   (`text_statistics`)
    tokenizer   the training side            → tokenizer/tokenizer.json   (`fast_bpe`)
    tokenise    the sides and the tokenizer  → tokenise/*.bin, meta.json  (`write_splits`)

Each takes a stream and holds none of it. A stage knows nothing of caching, order or progress: that is
`pipeline`. What it counted is its return value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError

from .document_files import DocumentWriter, Meter, read_documents, text_bytes
from .documents import SEPARATOR, Document
from .split_stream import Sided, SplitStream
from .splitting import document_hash
from .tokenizer import Tokenizer

SIDES = ("train", "val", "test")
OnBytes = Callable[[int], None]


def load(documents: Iterable[Document], folder: Path) -> dict[str, Any]:
    """Write the documents of any source in the pipeline's own form."""
    with DocumentWriter(folder) as write:
        for document in documents:
            write(document)
    if not write.documents:
        raise UserError("the input holds no text: give a file or a folder that holds some")
    return {"documents": write.documents, "text_bytes": write.text_bytes}


def clean(documents: Iterable[Document], folder: Path, config: Any, workers: int) -> dict[str, Any]:
    """Write what `cleaning.clean_documents` keeps; the counters say what became of every document."""
    from .cleaning import Counters, clean_documents

    counters = Counters()
    with DocumentWriter(folder) as write:
        for document in clean_documents(documents, config, counters=counters, workers=workers):
            write(document)
    counters.check()
    if not write.documents:
        most = ", ".join(f"{n:,} {reason}" for reason, n in counters.dropped.most_common(3))
        raise UserError(
            f"cleaning left none of {counters.processed:,} documents ({most}): relax cleaning.… or clean=false"
        )
    return {"documents": write.documents, "text_bytes": write.text_bytes, "cleaning": counters.to_dict()}


def split(stream: SplitStream, folder: Path) -> dict[str, Any]:
    """Write each document to its side, whole."""
    with ExitStack() as stack:
        writers = {side: stack.enter_context(DocumentWriter(folder / side)) for side in stream.sides}
        for side, document, _ in stream:
            writers[side](document)
    return {
        "documents": sum(write.documents for write in writers.values()),
        "text_bytes": sum(write.text_bytes for write in writers.values()),
        "split": stream.report,
    }


def statistics(sides: Mapping[str, Iterable[Document]], folder: Path) -> dict[str, Any]:
    """Describe the training side, compare validation with it, write a page and its numbers."""
    from .statistics_report import write_report
    from .text_statistics import describe

    described = {}
    for side, documents in sides.items():
        first = next(documents := iter(documents), None)
        if first is not None:  # a side may be empty
            described[side] = describe(_again(first, documents), name=side)
    both = [described[side] for side in ("train", "val") if side in described]
    folder.mkdir(parents=True, exist_ok=True)
    write_report(folder / "report.html", *both)
    write_report(folder / "statistics.json", *both)
    return {
        "documents": sum(d.documents for d in described.values()),
        "text_bytes": sum(d.bytes for d in described.values()),
        "vocabulary": {side: d.vocabulary for side, d in described.items()},
    }


def _again(first: Document, rest: Iterator[Document]) -> Iterator[Document]:
    yield first
    yield from rest


def train_tokenizer(
    documents: Iterable[Document],
    folder: Path,
    *,
    vocab_size: int,
    pattern: str,
    special_tokens: tuple[str, ...],
    max_bytes: int,
    workers: int,
) -> dict[str, Any]:
    """Train BPE on the first `max_bytes` of the training side, and on nothing that is held out."""
    from .fast_bpe import train_bpe

    meter = Meter()

    def texts() -> Iterator[str]:
        for document in meter(documents):
            yield document.text
            if meter.text_bytes >= max_bytes:
                return

    tokenizer = train_bpe(texts(), vocab_size, pattern, special_tokens, workers=workers)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / "tokenizer.json")
    sizes = {"documents": meter.documents, "text_bytes": meter.text_bytes}
    return {**sizes, "vocab_size": tokenizer.vocab_size, "asked_vocab_size": vocab_size}


@dataclass
class StoredSides:
    """The sides that `split` wrote, as `write_splits` wants them: one behind the other, counted."""

    folder: Path
    report: dict[str, Any]
    sides: tuple[str, ...] = field(init=False)
    counts: dict[str, dict[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.sides = tuple(side for side in SIDES if (self.folder / side).is_dir())
        self.counts = {side: {"documents": 0, "text_bytes": 0} for side in self.sides}

    def __iter__(self) -> Iterator[Sided]:
        for side in self.sides:
            count = self.counts[side]
            for document in read_documents(self.folder / side):
                count["documents"] += 1
                count["text_bytes"] += text_bytes(document.text)
                yield side, document, document_hash(document.text)


def tokenise(
    open_sides: Callable[[], Any],
    folder: Path,
    tokenizer: Tokenizer,
    *,
    source: str,
    shard_tokens: int,
    workers: int,
    on_bytes: OnBytes | None,
) -> dict[str, Any]:
    """Write the shards. This stage alone goes on in the middle: after its last whole shard."""
    from .write_splits import write_splits

    result = write_splits(
        folder,
        open_sides,
        tokenizer,
        options={},
        source=source,
        shard_tokens=shard_tokens,
        workers=workers,
        on_document=None if on_bytes is None else lambda side, n_bytes: on_bytes(n_bytes),
    )
    found = result.meta["splits"]
    return {
        "documents": sum(side["documents"] for side in found.values()),
        "text_bytes": sum(side["text_bytes"] for side in found.values()),
        "tokens": {name: side["tokens"] for name, side in found.items()},
        "end_of_text": tokenizer.special_tokens.get(SEPARATOR),
        "split": result.meta["split"],
    }
