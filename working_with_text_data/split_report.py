"""What a split did: sizes, copies, class balance, and how much of the held-out sides training holds.

A split is only worth what its report can show. Three numbers decide: `shared_hashes` must be 0; the
leak rate says how many held-out documents training holds almost word for word (`near_duplicates.py`);
the label gap says whether the sides ask for the same mix of classes.

Left out: the splitting itself (`splitting.py`), which notebook 05 builds by hand.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .documents import Document
from .near_duplicates import NearDuplicates

Label = Callable[[Document], Any]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What the split did. Bytes are UTF-8 bytes of text; hashes are of the text alone, without seed."""

    method: str  # "documents", "threshold" or "spans"
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
    shared_hashes: int  # texts that stand on two sides: 0, or the split is wrong
    near_duplicates: NearDuplicates = field(default_factory=NearDuplicates)  # validation in training
    test_fraction: float = 0.0
    test_documents: int = 0
    test_bytes: int = 0
    test_hash: str = ""
    test_near_duplicates: NearDuplicates = field(default_factory=NearDuplicates)  # test in the other two
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # side → label → documents

    @property
    def leak_rate(self) -> float:
        """Share of the validation documents looked at that training holds exactly or nearly."""
        return self.near_duplicates.rate

    @property
    def test_leak_rate(self) -> float:
        """Share of the test documents looked at that training or validation holds exactly or nearly."""
        return self.test_near_duplicates.rate

    @property
    def label_gap(self) -> float:
        """The largest difference between a label's share of training and of a held-out side, 0 to 1.

        0 without labels. A side without documents is left out.
        """
        return label_gap(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the leak rates and the label gap."""
        rates = {"leak_rate": self.leak_rate, "test_leak_rate": self.test_leak_rate}
        return {**asdict(self), **rates, "label_gap": self.label_gap}

    def __str__(self) -> str:
        parts = [
            f"train {self.train_documents:,} documents, {self.train_bytes:,} bytes",
            f"validation {self.val_documents:,} documents, {self.val_bytes:,} bytes",
        ]
        if self.test_fraction:
            parts.append(f"test {self.test_documents:,} documents, {self.test_bytes:,} bytes")
        text = f"split by {self.method}, {self.duplicates:,} duplicates, leak rate {self.leak_rate:.1%}"
        if self.test_fraction:
            text += f" (test {self.test_leak_rate:.1%})"
        if self.dropped_bytes:
            text += f", {self.dropped_bytes:,} bytes dropped in gaps"
        if self.labels:
            text += f", labels differ by at most {self.label_gap:.1%} of a side"
        return "; ".join([*parts, text])


def build_report(
    sides: Mapping[str, list[Document]],
    hashes: Mapping[str, set[str]],
    **settings: Any,
) -> SplitReport:
    """Measure the sides "train", "val", "test" and "gap"; `hashes` are those of the texts of each side.

    `settings` are the fields of `SplitReport` that the sides do not tell.
    """
    train, val, test = hashes["train"], hashes["val"], hashes["test"]
    return SplitReport(
        train_documents=len(sides["train"]),
        val_documents=len(sides["val"]),
        test_documents=len(sides["test"]),
        dropped_documents=len(sides["gap"]),
        train_bytes=_bytes(sides["train"]),
        val_bytes=_bytes(sides["val"]),
        test_bytes=_bytes(sides["test"]),
        dropped_bytes=_bytes(sides["gap"]),
        train_hash=_set_hash(train),
        val_hash=_set_hash(val),
        test_hash=_set_hash(test) if settings["test_fraction"] else "",
        shared_hashes=len((train & val) | ((train | val) & test)),
        **settings,
    )


def _bytes(documents: Iterable[Document]) -> int:
    return sum(len(document.text.encode("utf-8")) for document in documents)


def _set_hash(hashes: set[str]) -> str:
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def label_of(documents: Iterable[Document], label: Label | None) -> Callable[[Document], str] | None:
    """The function that names a document's class, or None when no document has one.

    `label` decides if given. Else it is `meta["label"]`, when at least one document has that; the
    others are then "(none)".
    """
    if label is not None:
        return lambda document: str(label(document))
    if any(_meta_label(document) is not None for document in documents):
        return lambda document: "(none)" if (name := _meta_label(document)) is None else str(name)
    return None


def _meta_label(document: Document) -> Any:
    return (document.meta or {}).get("label")


def count_labels(
    sides: Mapping[str, Iterable[Document]], label: Callable[[Document], str] | None
) -> dict[str, dict[str, int]]:
    """side → label → number of documents, each label on every side; {} without labels."""
    if label is None:
        return {}
    counts = {side: Counter(label(document) for document in documents) for side, documents in sides.items()}
    names = sorted({name for count in counts.values() for name in count})
    return {side: {name: count[name] for name in names} for side, count in counts.items()}


def label_gap(labels: Mapping[str, Mapping[str, int]]) -> float:
    """The largest difference between a label's share of training and of another side that is not empty.

    >>> label_gap({"train": {"ham": 6, "spam": 2}, "val": {"ham": 1, "spam": 1}, "test": {}})
    0.25
    """
    train = labels.get("train", {})
    size = sum(train.values())
    gaps = [0.0]
    for side, counts in labels.items():
        total = sum(counts.values())
        if side != "train" and size and total:
            gaps += [abs(counts[name] / total - train.get(name, 0) / size) for name in counts]
    return max(gaps)
