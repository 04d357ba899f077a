"""Documents with the side that each belongs to, whether they fit into memory or not.

`splitting.split_documents` looks at all documents and so can promise exact shares, spans of a single book
and a report of near-duplicates. A stream that is longer than memory can only be asked one document at a
time: `splitting.assign` decides by the hash of the text, and shares are right on average.

**The rule of "auto"**: up to `hold_bytes` of text (64 MB), or a single document of any size, is held and
split exactly; as soon as there is more, every document is assigned by its hash. So the method depends on
the documents alone, and is written in the report. "documents" and "spans" hold everything whatever its
size, "threshold" nothing.

Left out: near-duplicates and copies of a stream, which take memory to count: `cleaning` removes them first.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from utils.errors import UserError

from .documents import Document
from .splitting import METHODS, Split, assign, check_fractions, document_hash, split_documents

HOLD_BYTES = 64_000_000
Sided = tuple[str, Document, str]  # side, document, its hash


class SplitStream:
    """Iterates once over `(side, document, hash)`; afterwards `report` says what the split did.

    Held documents come side by side (all of train, then val, then test), streamed ones in their own order.

    Args:
        documents: read once, as they are asked for.
        val_fraction, test_fraction, seed: as in `splitting.split_documents`.
        method: one of `splitting.METHODS`; what "auto" means is in the module's docstring.
        hold_bytes: how much text, in UTF-8 bytes, "auto" may hold.

    Raises:
        UserError: fractions out of range or an unknown method, at once; no documents, when iterated.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        *,
        val_fraction: float = 0.05,
        test_fraction: float = 0.0,
        seed: int = 0,
        method: str = "auto",
        hold_bytes: int = HOLD_BYTES,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        if method not in METHODS:
            raise UserError(f"split method is {method!r}: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}")
        self.documents, self.method, self.hold_bytes = documents, method, hold_bytes
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed
        self.sides = ("train", "val", "test") if test_fraction else ("train", "val")
        self.counts = {side: {"documents": 0, "text_bytes": 0} for side in self.sides}
        self.report: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Sided]:
        held: deque[Document] = deque()
        size = 0
        stream = iter(self.documents)
        hold = self.method != "threshold"
        for document in stream if hold else ():
            held.append(document)
            size += _bytes(document.text)
            if self.method == "auto" and size > self.hold_bytes and len(held) > 1:
                hold = False
                break
        if hold:
            return self._exactly(list(held))
        return self._by_hash(chain(_drained(held), stream))

    def _exactly(self, documents: list[Document]) -> Iterator[Sided]:
        split: Split = split_documents(
            documents,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
            method=self.method,
        )
        self.report = split.report.to_dict()
        for side in self.sides:
            for document in getattr(split, side):
                self._count(side, _bytes(document.text))
                yield side, document, document_hash(document.text)

    def _by_hash(self, documents: Iterable[Document]) -> Iterator[Sided]:
        shares = {"val_fraction": self.val_fraction, "test_fraction": self.test_fraction}
        for document in documents:
            data = document.text.encode("utf-8")
            digest = hashlib.sha256(data).hexdigest()  # document_hash, without encoding twice
            side = assign(digest, seed=self.seed, **shares)
            self._count(side, len(data))
            yield side, document, digest
        if not any(count["documents"] for count in self.counts.values()):
            raise UserError("there are no documents to split: give at least one text")
        sizes = {
            f"{side}_{what.removeprefix('text_')}": self.counts[side][what]
            for side in self.sides
            for what in ("documents", "text_bytes")
        }
        # None, not 0: nobody looked.
        unknown = {"duplicates": None, "leak_rate": None}
        self.report = {"method": "threshold", "seed": self.seed, **shares, **sizes, **unknown}

    def _count(self, side: str, n_bytes: int) -> None:
        self.counts[side]["documents"] += 1
        self.counts[side]["text_bytes"] += n_bytes


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _drained(held: deque[Document]) -> Iterator[Document]:
    while held:  # let go of each as it is given on
        yield held.popleft()
