"""Splitting: which documents train the model, and which judge it. Done before any window is cut.

If windows were cut first and shared out afterwards, a validation window would begin in the middle of
a sentence whose other half was trained on, and the loss would flatter the model. So whole documents
go to one side or the other:

* Documents are ordered by a hash of their text and the seed; the first `val_fraction` of them are
  validation. The order in which they arrive does not matter, and no random generator is touched.
* Equal texts have equal hashes, so copies are always on the same side. They are kept, and counted.
* Texts that are *almost* equal cannot be told apart by a hash: they are counted (`near_duplicates.py`),
  as the leak rate of the report.

A corpus of one document cannot be shared out whole. It is cut into up to ten validation spans spread
evenly over the text, because the last tenth of a book is not like the rest of it; a gap is dropped
around each span, so that no sentence has one foot on either side. Cuts are made at white space.

Left out: cleaning and removal of duplicates, which change the text; a third part for testing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from utils.errors import UserError

from .documents import Document
from .near_duplicates import NearDuplicates, count_near_duplicates

Side = Literal["train", "val", "test"]

MAX_SPANS = 10
MIN_SPAN_CHARS = 2_000  # a shorter span would hold few windows, and its gaps would cost more than it
MAX_GAP_CHARS = 256  # a few sentences: further apart, neighbours are as alike as any two places


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What the split did. Bytes are UTF-8 bytes of text; hashes are of the text alone, without seed."""

    method: str  # "documents" or "spans"
    seed: int
    val_fraction: float
    train_documents: int
    val_documents: int
    train_bytes: int
    val_bytes: int
    dropped_documents: int  # the gaps around spans
    dropped_bytes: int
    duplicates: int  # documents whose text had come before
    train_hash: str  # sha256 over the sorted document hashes: equal sets of texts, equal hash
    val_hash: str
    shared_hashes: int  # texts on both sides: 0, or the split is wrong
    near_duplicates: NearDuplicates = field(default_factory=NearDuplicates)

    @property
    def leak_rate(self) -> float:
        """Share of the validation documents looked at that training holds exactly or nearly."""
        return self.near_duplicates.rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the leak rate."""
        return {**asdict(self), "leak_rate": self.leak_rate}

    def __str__(self) -> str:
        return (
            f"train {self.train_documents:,} documents, {self.train_bytes:,} bytes; "
            f"validation {self.val_documents:,} documents, {self.val_bytes:,} bytes; "
            f"split by {self.method}, {self.duplicates:,} duplicates, leak rate {self.leak_rate:.1%}"
            + (f", {self.dropped_bytes:,} bytes dropped in gaps" if self.dropped_bytes else "")
        )


@dataclass(frozen=True, slots=True)
class Split:
    """The two sides, what was dropped between them (gaps around spans), and the report."""

    train: list[Document]
    val: list[Document]
    report: SplitReport
    dropped: list[Document] = field(default_factory=list)


def document_hash(text: str) -> str:
    """sha256 of the text's UTF-8 bytes, in hex: what "the same document" means everywhere here."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_documents(
    documents: Iterable[Document],
    *,
    val_fraction: float = 0.05,
    seed: int = 0,
    method: str = "auto",
    look_for_near_duplicates: bool = True,
) -> Split:
    """Share documents out to training and validation, before any window is cut.

    Args:
        documents: at least one. Their order is kept within each side.
        val_fraction: share of the distinct documents (of the characters, for spans), 0 ≤ f < 1.
            Above 0, validation gets at least one document and training at least one.
        seed: another seed, another split. Nothing else is random.
        method: "documents"; "spans" cuts validation spans out of every document; "auto" takes
            spans when there is only one distinct text, and documents otherwise.
        look_for_near_duplicates: fill `report.near_duplicates` (about a second for 10 MB).

    Returns:
        Split. Pieces of a cut document have the source `name[start:stop]` in characters, and
        `index` is their place in the text, so that sorting train + val + dropped by it gives the
        text back.

    Raises:
        UserError: no documents, a fraction out of range, an unknown method.
    """
    documents = list(documents)
    if not documents:
        raise UserError("there are no documents to split: give at least one text")
    if not 0.0 <= val_fraction < 1.0:
        raise UserError(f"val_fraction is {val_fraction}: it must be at least 0 and below 1, such as 0.05")
    if method not in ("auto", "documents", "spans"):
        raise UserError(f"split method is {method!r}: choose auto, documents or spans")
    hashes = [document_hash(document.text) for document in documents]
    distinct = set(hashes)
    if method == "auto":
        method = "spans" if len(distinct) == 1 else "documents"

    train: list[Document] = []
    val: list[Document] = []
    dropped: list[Document] = []
    if method == "documents":
        held_out = _held_out(distinct, val_fraction, seed)
        for document, digest in zip(documents, hashes, strict=True):
            (val if digest in held_out else train).append(document)
    else:
        for document, digest in zip(documents, hashes, strict=True):
            # The cuts depend on the text and the seed alone: copies are cut alike.
            cuts = span_cuts(document.text, val_fraction, _key(digest, seed))
            start = 0
            for place, (stop, side) in enumerate(cuts):
                piece = Document(document.text[start:stop], f"{document.source}[{start}:{stop}]", place)
                {"train": train, "val": val, "gap": dropped}[side].append(piece)
                start = stop
        # A span may read like another place word for word ("THE END"): then it is no fair judge.
        seen = {document_hash(piece.text) for piece in train}
        twins = [piece for piece in val if document_hash(piece.text) in seen]
        if len(twins) < len(val):
            val = [piece for piece in val if document_hash(piece.text) not in seen]
            dropped += twins

    return Split(
        train,
        val,
        _report(method, seed, val_fraction, train, val, dropped, hashes, look_for_near_duplicates),
        dropped,
    )


def assign(text_hash: str, *, val_fraction: float = 0.05, test_fraction: float = 0.0, seed: int = 0) -> Side:
    """The side of one document, from its hash and the seed alone: what a stream is split with.

    The hash and the seed give a place in [0, 1); the first `val_fraction` of that line is validation,
    the last `test_fraction` is the test set. Nothing is remembered, so the answer is the same whatever
    else is in the corpus and in whatever order it comes; copies go together. The shares are therefore
    only right on average: of n documents, val_fraction · n ± √(val_fraction · n) or so are held out.
    Asking for a test set takes its documents from training and leaves validation as it was.

    Args:
        text_hash: `document_hash(text)`, 64 hex digits.
        val_fraction, test_fraction: shares of the distinct documents, each ≥ 0, together below 1.
        seed: another seed, another split.

    Raises:
        UserError: fractions out of range, or something that is not a hash.

    >>> [assign(document_hash(word), val_fraction=0.3, test_fraction=0.3) for word in "abcde"]
    ['train', 'test', 'train', 'test', 'train']
    """
    check_fractions(val_fraction, test_fraction)
    if not re.fullmatch("[0-9a-f]{64}", text_hash):
        raise UserError(f"text_hash is {text_hash[:40]!r}: give document_hash(text), 64 hex digits")
    place = _key(text_hash, seed)
    if place < round(val_fraction * 2**64):
        return "val"
    return "test" if place >= 2**64 - round(test_fraction * 2**64) else "train"


def check_fractions(val_fraction: float, test_fraction: float = 0.0) -> None:
    """Refuse shares that leave training nothing, with a UserError that names the limit."""
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0.0 <= value < 1.0:
            raise UserError(f"{name} is {value}: it must be at least 0 and below 1, such as 0.05")
    if val_fraction + test_fraction >= 1.0:
        raise UserError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} are together "
            f"{val_fraction + test_fraction:g}: keep them below 1, so that training gets something"
        )


def _key(digest: str, seed: int) -> int:
    """64 bits that depend on the text and the seed, and on nothing else."""
    mixed = hashlib.blake2b(f"{seed}:{digest}".encode(), digest_size=8).digest()
    return int.from_bytes(mixed, "big")


def _held_out(distinct: set[str], val_fraction: float, seed: int) -> set[str]:
    """The validation hashes: the first of an order that only text and seed decide."""
    if val_fraction == 0.0 or len(distinct) < 2:
        return set()
    wanted = min(max(1, round(val_fraction * len(distinct))), len(distinct) - 1)
    return set(sorted(distinct, key=lambda digest: (_key(digest, seed), digest))[:wanted])


def span_cuts(text: str, val_fraction: float, key: int) -> list[tuple[int, str]]:
    """Where to cut one text: [(stop, "train" | "val" | "gap"), …] in order, the last stop = len(text).

    The text is divided into equal strata, one validation span lies at a place in each that `key`
    decides, and a gap on either side of it. Every text of two characters or more gets both sides
    (unless val_fraction is 0); blank pieces become gaps.
    """
    length = len(text)
    wanted = round(val_fraction * length)
    if val_fraction == 0.0 or length < 2:
        return [(length, "train")]
    wanted = min(max(1, wanted), length - 1)
    n_spans = min(MAX_SPANS, max(1, wanted // MIN_SPAN_CHARS))
    span = wanted // n_spans
    gap = min(MAX_GAP_CHARS, length // 50, span // 4 + 1)

    edges: list[tuple[int, str]] = []
    for number in range(n_spans):
        low, high = number * length // n_spans, (number + 1) * length // n_spans
        room = max(0, high - low - span - 2 * gap)
        # A fresh 64 bits for each stratum; modulo is fair enough at these sizes.
        place = _key(str(number), key) % (room + 1)
        first = low + gap + place
        start = _at_whitespace(text, first, low, high)
        stop = _at_whitespace(text, min(start + span, high), start + 1, high)
        edges += [
            (_at_whitespace(text, max(start - gap, low), low, start), "train"),
            (start, "gap"),
            (stop, "val"),
            (_at_whitespace(text, min(stop + gap, high), stop, high), "gap"),
        ]
    edges.append((length, "train"))
    return _tidy(text, edges, length)


def _at_whitespace(text: str, position: int, low: int, high: int, reach: int = 200) -> int:
    """The place just after the nearest white space at or behind `position`, within [low, high]."""
    position = min(max(position, low), high)
    if position == 0 or (position <= len(text) and text[position - 1].isspace()):
        return position
    for place in range(position, min(high, position + reach, len(text))):
        if text[place].isspace():
            return place + 1
    return position  # one very long word: the cut falls inside it


def _tidy(text: str, edges: Sequence[tuple[int, str]], length: int) -> list[tuple[int, str]]:
    """Drop empty pieces, turn blank ones into gaps, and make sure that both sides have something."""
    pieces: list[tuple[int, str]] = []
    start = 0
    for stop, side in edges:
        if stop <= start:
            continue
        pieces.append((stop, "gap" if text[start:stop].isspace() else side))
        start = stop
    sides = {side for _, side in pieces}
    if {"train", "val"} <= sides:
        return pieces
    # Too short for gaps: the tail is validation, cut at white space if there is any.
    words = text.split()
    if len(words) >= 2:
        cut = len(text.rstrip()) - len(words[-1])
    elif words and len(words[0]) >= 2:
        cut = text.index(words[0]) + len(words[0]) - 1
    else:
        return [(length, "train")]  # a single character: there is nothing to share out
    return [(cut, "train"), (length, "val")]


def _report(
    method: str,
    seed: int,
    val_fraction: float,
    train: list[Document],
    val: list[Document],
    dropped: list[Document],
    hashes: list[str],
    look_for_near_duplicates: bool,
) -> SplitReport:
    train_set = {document_hash(document.text) for document in train}
    val_set = {document_hash(document.text) for document in val}
    near = NearDuplicates()
    if look_for_near_duplicates and train and val:
        near = count_near_duplicates([d.text for d in train], [d.text for d in val])
    return SplitReport(
        method=method,
        seed=seed,
        val_fraction=val_fraction,
        train_documents=len(train),
        val_documents=len(val),
        train_bytes=_bytes(train),
        val_bytes=_bytes(val),
        dropped_documents=len(dropped),
        dropped_bytes=_bytes(dropped),
        duplicates=len(hashes) - len(set(hashes)),
        train_hash=_set_hash(train_set),
        val_hash=_set_hash(val_set),
        shared_hashes=len(train_set & val_set),
        near_duplicates=near,
    )


def _bytes(documents: Iterable[Document]) -> int:
    return sum(len(document.text.encode("utf-8")) for document in documents)


def _set_hash(hashes: set[str]) -> str:
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
