"""Documents between two stages of a pipeline: a folder of JSON lines, cut into parts of bounded size.

One line is one document with everything it carries: text, source, index, meta. Parts
keep every file small enough to be copied, read and hashed by itself.

Left out: any other format. What comes from outside is read by `documents`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from utils.errors import UserError

from .documents import Document

PART_BYTES = 64_000_000


class DocumentWriter:
    """Writes documents into `folder/part_00000.jsonl`, …: `with DocumentWriter(folder) as write: write(d)`.

    A part is closed once it holds `part_bytes`; there is at least one. Afterwards `documents` and
    `text_bytes` (UTF-8 bytes of the texts) say what was written.
    """

    def __init__(self, folder: Path, part_bytes: int = PART_BYTES) -> None:
        if part_bytes < 1:
            raise UserError(f"part_bytes is {part_bytes}: it must be at least 1")
        self.folder, self.part_bytes = folder, part_bytes
        self.documents = self.text_bytes = 0
        self._parts = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._file = open(self.folder / f"part_{self._parts:05d}.jsonl", "wb")  # noqa: SIM115  # closed below
        self._parts += 1
        self._written = 0

    def __call__(self, document: Document) -> None:
        """Append one document."""
        if self._written >= self.part_bytes:
            self._file.close()
            self._open()
        text = document.text
        record = {"text": text, "source": document.source, "index": document.index}
        if document.meta:
            record["meta"] = document.meta
        line = json.dumps(record, ensure_ascii=False, default=str).encode("utf-8") + b"\n"
        self._file.write(line)
        self._written += len(line)
        self.documents += 1
        self.text_bytes += text_bytes(text)

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read_documents(folder: Path) -> Iterator[Document]:
    """The documents that a `DocumentWriter` wrote into `folder`, in order."""
    for part in part_files(folder):
        with open(part, "rb") as lines:
            for line in lines:
                record = json.loads(line)
                yield Document(record["text"], record["source"], record["index"], record.get("meta"))


def part_files(folder: Path) -> list[Path]:
    """The parts of a folder, in order."""
    return sorted(folder.glob("part_*.jsonl"))


def text_bytes(text: str) -> int:
    """UTF-8 bytes of a text, without encoding it where that can be seen."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


class Meter:
    """Counts documents and bytes that pass, and tells `on_document(n_bytes)` of each."""

    def __init__(self, on_document: Callable[[int], None] | None = None) -> None:
        self.documents = self.text_bytes = 0
        self._on_document = on_document

    def __call__(self, documents: Iterable[Document]) -> Iterator[Document]:
        """`documents`, counted."""
        for document in documents:
            size = text_bytes(document.text)
            self.documents += 1
            self.text_bytes += size
            if self._on_document:
                self._on_document(size)
            yield document


def document_key(documents: Iterable[Document]) -> str:
    """sha256 over all texts in order: what two streams have in common when they are the same."""
    running = hashlib.sha256()
    for document in documents:
        running.update(hashlib.sha256(document.text.encode("utf-8")).digest())
    return running.hexdigest()
