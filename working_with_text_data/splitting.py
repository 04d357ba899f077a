"""Splitting: which documents train the model, and which judge it. Done before any window is cut.

If windows were cut first and shared out afterwards, a validation window would begin in the middle of
a sentence whose other half was trained on, and the loss would flatter the model. So whole documents
go to one side or the other:

* A hash of the text and the seed gives each document a place on a line. The first `val_fraction` of
  the line is validation, the last `test_fraction` the test set, the rest trains. The order in which
  documents arrive does not matter, and no random generator is touched.
* Equal texts have equal hashes, so copies are always on the same side. They are kept, and counted.
* Texts that are *almost* equal cannot be told apart by a hash: they are counted (`near_duplicates.py`),
  as the leak rate of the report. Remove them before the split (`cleaning.py`).

Two ways to read "the first 5 % of the line". By count (method "documents"): sort, take 5 % of the
documents: exact, but a new document may push another over the edge. By threshold (method "threshold",
and `assign` for a stream): take every place below 0.05; a document then keeps its side for ever,
whatever is added, and the share is right only on average.

A corpus of one document cannot be shared out whole. It is cut into up to ten spans a side spread evenly
over the text, because the last tenth of a book is not like the rest of it; a gap is dropped around each
span, so that no sentence has one foot on either side. Cuts are made at white space.

Left out: cleaning and removal of duplicates, which change the text. Built by hand in notebook 05.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from utils.errors import UserError

from .documents import Document
from .near_duplicates import NearDuplicates, count_near_duplicates
from .split_report import Label, SplitReport, build_report, count_labels, label_of

Side = Literal["train", "val", "test"]
SIDES: tuple[Side, ...] = ("train", "val", "test")
METHODS = ("auto", "documents", "threshold", "spans")

MAX_SPANS = 10
MIN_SPAN_CHARS = 2_000  # a shorter span would hold few windows, and its gaps would cost more than it
MAX_GAP_CHARS = 256  # a few sentences: further apart, neighbours are as alike as any two places


@dataclass(frozen=True, slots=True)
class Split:
    """The sides, what was dropped between them (gaps around spans), and the report."""

    train: list[Document]
    val: list[Document]
    report: SplitReport
    dropped: list[Document] = field(default_factory=list)
    test: list[Document] = field(default_factory=list)


def document_hash(text: str) -> str:
    """sha256 of the text's UTF-8 bytes, in hex: what "the same document" means everywhere here."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_documents(
    documents: Iterable[Document],
    *,
    val_fraction: float = 0.05,
    test_fraction: float = 0.0,
    seed: int = 0,
    method: str = "auto",
    label: Label | None = None,
    stratify: bool = False,
    look_for_near_duplicates: bool = True,
) -> Split:
    """Share documents out to training, validation and (if asked for) a test set, before any window is cut.

    Args:
        documents: at least one. Their order is kept within each side.
        val_fraction: share of the distinct documents (of the characters, for spans), 0 ≤ f < 1.
            Above 0, by count, validation gets at least one document and training at least one.
        test_fraction: the same for the test set, which is served last: of two documents it gets
            none. The two together must be below 1. Validation does not depend on it.
        seed: another seed, another split. Nothing else is random.
        method: "documents" takes exact shares of the distinct texts; "threshold" asks `assign` for
            each, so that adding documents moves none (and a small side may be empty); "spans" cuts
            spans out of every document; "auto" takes spans when there is only one distinct text,
            and documents otherwise.
        label: names the class of a document, for the report and for `stratify`; by default
            `meta["label"]`, where documents have one.
        stratify: take the exact shares within each class, so that a rare one is on every side.
        look_for_near_duplicates: fill `report.near_duplicates` (about a second for 10 MB).

    Returns:
        Split. Pieces of a cut document have the source `name[start:stop]` in characters, and
        `index` is their place in the text, so that sorting all sides and `dropped` by it gives the
        text back.

    Raises:
        UserError: no documents, fractions out of range, an unknown method, strata without labels.
    """
    documents = list(documents)
    if not documents:
        raise UserError("there are no documents to split: give at least one text")
    check_fractions(val_fraction, test_fraction)
    if method not in METHODS:
        raise UserError(f"split method is {method!r}: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}")
    hashes = [document_hash(document.text) for document in documents]
    distinct = set(hashes)
    if method == "auto":
        method = "spans" if len(distinct) == 1 and not stratify else "documents"
    name_of = label_of(documents, label)
    if stratify and name_of is None:
        raise UserError('stratify needs classes: pass label=…, or give the documents a meta["label"]')
    if stratify and method != "documents":
        raise UserError(f'stratify with method={method!r}: exact shares of a class need method="documents"')

    sides: dict[str, list[Document]] = {"train": [], "val": [], "test": [], "gap": []}
    if method == "spans":
        for document, digest in zip(documents, hashes, strict=True):
            for side, piece in _pieces(document, digest, val_fraction, test_fraction, seed):
                sides[side].append(piece)
        _drop_twins(sides)
    else:
        if method == "threshold":
            side_of = {
                digest: assign(digest, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
                for digest in distinct
            }
        else:
            side_of = {}
            for members in _classes(documents, hashes, name_of if stratify else None):
                side_of |= _by_count(members, val_fraction, test_fraction, seed)
        for document, digest in zip(documents, hashes, strict=True):
            sides[side_of[digest]].append(document)

    report = build_report(
        sides,
        {side: {document_hash(document.text) for document in sides[side]} for side in SIDES},
        method=method,
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        duplicates=len(hashes) - len(distinct),
        labels=count_labels({side: sides[side] for side in SIDES}, name_of),
        **(_leaks(sides) if look_for_near_duplicates else {}),
    )
    return Split(sides["train"], sides["val"], report, sides["gap"], sides["test"])


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


def _leaks(sides: dict[str, list[Document]]) -> dict[str, NearDuplicates]:
    """What the report counts as leaks: validation held by training, the test set held by either."""
    train, val, test = ([document.text for document in sides[name]] for name in SIDES)
    pairs = {"near_duplicates": (train, val), "test_near_duplicates": (train + val, test)}
    return {name: count_near_duplicates(*pair) for name, pair in pairs.items() if all(pair)}


def _key(digest: str, seed: int) -> int:
    """64 bits that depend on the text and the seed, and on nothing else."""
    mixed = hashlib.blake2b(f"{seed}:{digest}".encode(), digest_size=8).digest()
    return int.from_bytes(mixed, "big")


def _held_out(distinct: set[str], val_fraction: float, seed: int) -> set[str]:
    """The validation hashes: the first of an order that only text and seed decide."""
    if val_fraction == 0.0 or len(distinct) < 2:
        return set()
    wanted = min(max(1, round(val_fraction * len(distinct))), len(distinct) - 1)
    return set(_in_order(distinct, seed)[:wanted])


def _in_order(distinct: Iterable[str], seed: int) -> list[str]:
    return sorted(distinct, key=lambda digest: (_key(digest, seed), digest))


def _by_count(distinct: set[str], val_fraction: float, test_fraction: float, seed: int) -> dict[str, Side]:
    """The exact shares: validation from the front of the order, the test set from its end."""
    val = _held_out(distinct, val_fraction, seed)
    rest = _in_order(distinct - val, seed)
    wanted = max(1, round(test_fraction * len(distinct))) if test_fraction else 0
    test = set(rest[max(1, len(rest) - wanted) :]) if wanted else set()  # training keeps one at least
    return {d: "val" if d in val else "test" if d in test else "train" for d in distinct}


def _classes(
    documents: list[Document], hashes: list[str], name_of: Callable[[Document], str] | None
) -> list[set[str]]:
    """The distinct hashes of each class; of a text with two labels the first in the alphabet counts."""
    if name_of is None:
        return [set(hashes)]
    labels: dict[str, str] = {}
    for document, digest in zip(documents, hashes, strict=True):
        name = name_of(document)
        labels[digest] = min(name, labels.get(digest, name))
    groups: dict[str, set[str]] = {}
    for digest, name in labels.items():
        groups.setdefault(name, set()).add(digest)
    return list(groups.values())


def _pieces(
    document: Document, digest: str, val_fraction: float, test_fraction: float, seed: int
) -> Iterator[tuple[str, Document]]:
    """The spans of one document with their sides. Copies are cut alike: text and seed alone decide."""
    extra = (test_fraction,) if test_fraction else ()
    start = 0
    for place, (stop, side) in enumerate(span_cuts(document.text, val_fraction, _key(digest, seed), *extra)):
        source = f"{document.source}[{start}:{stop}]"
        yield side, replace(document, text=document.text[start:stop], source=source, index=place)
        start = stop


def _drop_twins(sides: dict[str, list[Document]]) -> None:
    """A span may read like another place word for word ("THE END"): then it is no fair judge."""
    for side, others in (("val", ("train",)), ("test", ("train", "val"))):
        seen = {document_hash(piece.text) for other in others for piece in sides[other]}
        alone = [piece for piece in sides[side] if document_hash(piece.text) not in seen]
        if alone:
            sides["gap"] += [piece for piece in sides[side] if document_hash(piece.text) in seen]
            sides[side] = alone


def span_cuts(text: str, val_fraction: float, key: int, test_fraction: float = 0.0) -> list[tuple[int, str]]:
    """Where to cut one text: [(stop, side or "gap"), …] in order, the last stop = len(text).

    The text is divided into equal strata (each again, when there is a test set, into a part for
    either side, as wide as its share). One span lies at a place in each that `key` decides, and a
    gap on either side of it. Every text of two characters or more gets both sides (of three words
    or more, all three) unless a fraction is 0; blank pieces become gaps.
    """
    length = len(text)
    if length < 2 or val_fraction == test_fraction == 0.0:
        return [(length, "train")]
    fractions = (("val", val_fraction), ("test", test_fraction))
    wanted = {side: min(max(1, round(share * length)), length - 1) for side, share in fractions if share}
    n_spans = min(MAX_SPANS, max(1, min(wanted.values()) // MIN_SPAN_CHARS))

    edges: list[tuple[int, str]] = []
    for number in range(n_spans):
        low, high = number * length // n_spans, (number + 1) * length // n_spans
        held = sum(wanted.values())
        begin = low
        for side, share in wanted.items():
            end = high if side == list(wanted)[-1] else begin + (high - low) * share // held
            # A fresh 64 bits for each place; modulo is fair enough at these sizes.
            dice = _key(str(number) if side == "val" else f"{side} {number}", key)
            edges += _one_span(text, side, share // n_spans, begin, end, dice)
            begin = end
    edges.append((length, "train"))
    return _tidy(text, edges, length, list(wanted))


def _one_span(text: str, side: str, span: int, low: int, high: int, dice: int) -> list[tuple[int, str]]:
    """The edges of a span of `side` somewhere in [low, high), with a gap before and behind it."""
    gap = min(MAX_GAP_CHARS, len(text) // 50, span // 4 + 1)
    room = max(0, high - low - span - 2 * gap)
    start = _at_whitespace(text, low + gap + dice % (room + 1), low, high)
    stop = _at_whitespace(text, min(start + span, high), start + 1, high)
    return [
        (_at_whitespace(text, max(start - gap, low), low, start), "train"),
        (start, "gap"),
        (stop, side),
        (_at_whitespace(text, min(stop + gap, high), stop, high), "gap"),
    ]


def _at_whitespace(text: str, position: int, low: int, high: int, reach: int = 200) -> int:
    """The place just after the nearest white space at or behind `position`, within [low, high]."""
    position = min(max(position, low), high)
    if position == 0 or (position <= len(text) and text[position - 1].isspace()):
        return position
    for place in range(position, min(high, position + reach, len(text))):
        if text[place].isspace():
            return place + 1
    return position  # one very long word: the cut falls inside it


def _tidy(text: str, edges: Sequence[tuple[int, str]], length: int, held: list[str]) -> list[tuple[int, str]]:
    """Drop empty pieces, turn blank ones into gaps, and make sure that every side has something."""
    pieces: list[tuple[int, str]] = []
    start = 0
    for stop, side in edges:
        if stop <= start:
            continue
        pieces.append((stop, "gap" if text[start:stop].isspace() else side))
        start = stop
    if {"train", *held} <= {side for _, side in pieces}:
        return pieces
    # Too short for gaps: the last words are held out, one a side, or the last character of a word.
    words = [(m.start(), m.end()) for m in re.finditer(r"\S+", text)]
    if len(words) > len(held):
        cuts = [start for start, _ in words[-len(held) :]]
    elif len(words) >= 2:
        cuts = [words[-1][0]]
    elif words and words[0][1] - words[0][0] >= 2:
        cuts = [words[0][1] - 1]
    else:
        return [(length, "train")]  # a single character: there is nothing to share out
    return list(zip([*cuts, length], ["train", *held], strict=False))
