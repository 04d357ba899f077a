"""Data sets of labelled texts: who trains, who chooses, who judges; and which labels there are.

| `data=` | training and test |
|---|---|
| `storyland` | generated reviews of things, negative or positive, as many as `reviews` says, all different |
| `sms-spam`, `imdb` | the published sets by name (`working_with_text_data.corpora`), from `data/` or the network |
| a folder with `train/` and `test/` | the official split (`aclImdb`) |
| any other folder, `.csv`, `.tsv`, `.jsonl`, … | with `test=` its own test file; without, a fifth is held out |

A split goes by the hash of the text within each label, so copies of a text are on one side and a rare label on all.
Validation, which chooses when to stop, always comes out of the training part, never out of the test set. Labels are
those of the training part, in alphabetical order; one that only the test set has is an error, not a new class.
`take` and `take_test` use so many texts, chosen by hash too: the first so many of IMDb would all be negative.
Left out: cleaning, several labels a text. How a file is read: `reading`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from finetuning.classification.reading import Fields, Labelled, read_labelled
from utils.errors import UserError
from working_with_text_data.documents import Document
from working_with_text_data.readers import Problems

NAMED = ("storyland", "sms-spam", "imdb")


@dataclass(frozen=True)
class DataConfig:
    """Which texts, and how they are shared out."""

    data: str = field(default="storyland", metadata={"help": "storyland, sms-spam, imdb, a file or a folder"})
    test: str | None = field(default=None, metadata={"help": "a test set of its own, read like data"})
    text_field: str = field(default="text", metadata={"help": "the column or field of the text"})
    label_field: str = field(default="label", metadata={"help": "the column or field of the label"})
    errors: str = field(default="strict", metadata={"help": "bytes that are not UTF-8: strict or replace"})
    on_bad_line: str = field(default="stop", metadata={"help": "stop, or skip and count"})
    on_overlap: str = field(
        default="drop", metadata={"help": "training texts that the test set has: drop, stop, or keep"}
    )
    val_fraction: float = field(default=0.1, metadata={"help": "share of the training part that chooses"})
    test_fraction: float = field(default=0.2, metadata={"help": "share held out where no test set is given"})
    take: int | None = field(default=None, metadata={"help": "training texts at most, validation included"})
    take_test: int | None = field(default=None, metadata={"help": "test texts at most"})
    reviews: int = field(default=4000, metadata={"help": "data=storyland: different reviews in all"})
    data_seed: int = field(default=0, metadata={"help": "of the split, and of generated reviews"})

    def __post_init__(self) -> None:
        if self.on_overlap not in ("drop", "stop", "keep"):
            raise UserError(f"on_overlap is {self.on_overlap!r}: choose drop, stop or keep")
        for name in ("take", "take_test", "reviews"):
            value = getattr(self, name)
            if value is not None and value < 10:
                raise UserError(f"{name} is {value}: the least is 10, so that each part has some")


@dataclass(frozen=True)
class ClassData:
    """The three parts, the labels in the order of a classifier's scores, and what was left out and why."""

    name: str
    labels: tuple[str, ...]
    train: list[Labelled]
    val: list[Labelled]
    test: list[Labelled]
    report: dict[str, Any]

    def numbers(self, part: Sequence[Labelled]) -> list[int]:
        """The labels of a part as numbers."""
        place = {label: i for i, label in enumerate(self.labels)}
        return [place[each.label] for each in part]


def texts(part: Iterable[Labelled]) -> list[str]:
    """The texts of a part."""
    return [each.text for each in part]


def load_class_data(config: DataConfig) -> ClassData:
    """Read, split, check. Raises UserError with its place for each bad input that the module's text names."""
    problems = Problems()
    pool, test = _read(config, problems)
    if test is None:
        pool, test = _share(pool, config.test_fraction, config.data_seed, "test_fraction", config.data)
    labels = _labels(pool, config)
    test = _known(test, labels, config, problems)
    pool, overlap = _apart(pool, test, config)
    pool, test = _some(pool, config.take, config.data_seed), _some(test, config.take_test, config.data_seed)
    train, val = _share(pool, config.val_fraction, config.data_seed + 1, "val_fraction", config.data)
    for part, name in ((train, "training"), (val, "validation"), (test, "test")):
        absent = [label for label in labels if label not in {each.label for each in part}]
        if name == "training" and absent:
            raise UserError(
                f"{config.data}: no text with label {absent[0]!r} is left to train on: take more, or give more texts"
            )
        if not part:
            raise UserError(f"{config.data}: the {name} part has no text: give more texts")
    counts = {
        name: dict(sorted(Counter(each.label for each in part).items()))
        for name, part in (("train", train), ("val", val), ("test", test))
    }
    report = {
        "counts": counts,
        "also_in_test": overlap,
        "left_out": dict(problems.counts),
        "first": problems.places[:5],
    }
    return ClassData(Path(config.data).name, labels, train, val, test, report)


def _read(config: DataConfig, problems: Problems) -> tuple[list[Labelled], list[Labelled] | None]:
    """The training pool, and the test set where there is an official one."""
    fields = Fields(config.text_field, config.label_field, config.errors, config.on_bad_line)
    place = Path(config.data).expanduser()
    own = None if config.test is None else _file(Path(config.test).expanduser(), fields, problems)
    if config.data == "storyland":
        return storyland_reviews(config.reviews, config.data_seed), own
    if config.data in NAMED:
        official = _corpus(config.data, "test", problems) if config.data == "imdb" and own is None else own
        return _corpus(config.data, "train", problems), official
    if (place / "train").is_dir() and (place / "test").is_dir() and own is None:
        return _file(place / "train", fields, problems), _file(place / "test", fields, problems)
    if not place.exists():
        raise UserError(
            f"{config.data}: no such file or folder, and no data set: choose {', '.join(NAMED)}, or a path"
        )
    return _file(place, fields, problems), own


def _file(path: Path, fields: Fields, problems: Problems) -> list[Labelled]:
    return list(read_labelled(path, fields, problems))


def _corpus(name: str, split: str, problems: Problems) -> list[Labelled]:
    """A named corpus, which says its labels itself."""
    from working_with_text_data.documents import iter_documents

    options: dict[str, Any] = {"split": split} if name == "imdb" else {}
    found = iter_documents(name, problems=problems, **options)
    return [
        Labelled(d.text, str(d.meta["label"]), f"{d.source}, text {d.index + 1}")
        for d in found
        if d.meta and d.meta.get("label") is not None
    ]


def storyland_reviews(count: int, seed: int) -> list[Labelled]:
    """`count` different reviews with the sentiment that they were generated with."""
    from working_with_text_data.storyland.reviews import LABELS, reviews

    seen: dict[str, int] = {}
    for review in islice(reviews(seed), 20 * count):
        seen.setdefault(review.text, review.label)
        if len(seen) == count:
            break
    return [Labelled(text, LABELS[label], f"review {i + 1}") for i, (text, label) in enumerate(seen.items())]


def _labels(pool: Sequence[Labelled], config: DataConfig) -> tuple[str, ...]:
    labels = tuple(sorted({each.label for each in pool}))
    if len(labels) < 2:
        raise UserError(
            f"{config.data}: all {len(pool)} texts have the label {labels[0]!r}: a classifier needs two or more"
            if labels
            else f"{config.data}: no labelled text in it"
        )
    if len(labels) > 20 and len(labels) > len(pool) / 5:
        raise UserError(
            f"{config.data}: {len(labels)} labels for {len(pool)} texts: {config.label_field!r} is no label: "
            "pass label_field=NAME"
        )
    return labels


def _known(
    test: list[Labelled], labels: Sequence[str], config: DataConfig, problems: Problems
) -> list[Labelled]:
    """The test texts whose label was seen in training; another one stops, or is counted."""
    kept = []
    for each in test:
        if each.label in labels:
            kept.append(each)
            continue
        error = f"{each.where}: the label {each.label!r} was never seen in training: there are {', '.join(labels)}"
        if config.on_bad_line == "stop":
            raise UserError(f"{error}: correct it, or pass on_bad_line=skip")
        problems.add("unknown label", error)
    return kept


def _apart(pool: list[Labelled], test: Sequence[Labelled], config: DataConfig) -> tuple[list[Labelled], int]:
    """The training texts that the test set does not have, and how many it has."""
    judged = {each.text for each in test}
    shared = [each for each in pool if each.text in judged]
    if shared and config.on_overlap == "stop":
        raise UserError(
            f"{shared[0].where}: this text is in the test set too ({len(shared)} in all): remove it, or pass "
            "on_overlap=drop"
        )
    if shared and config.on_overlap == "drop":
        pool = [each for each in pool if each.text not in judged]
    return pool, len(shared)


def _share(
    pool: list[Labelled], fraction: float, seed: int, name: str, where: str
) -> tuple[list[Labelled], list[Labelled]]:
    """(the rest, the held-out share of each label), by the hash of the text."""
    from working_with_text_data.splitting import split_documents

    if not 0 < fraction < 1:
        raise UserError(f"{name} is {fraction}: it must lie between 0 and 1, such as 0.1")
    if not pool:
        raise UserError(f"{where}: no labelled text in it")
    documents = [Document(each.text, each.where, i, {"label": each.label}) for i, each in enumerate(pool)]
    split = split_documents(
        documents,
        val_fraction=fraction,
        seed=seed,
        method="documents",
        stratify=True,
        look_for_near_duplicates=False,
    )
    return [pool[d.index] for d in split.train], [pool[d.index] for d in split.val]


def _some(part: list[Labelled], count: int | None, seed: int) -> list[Labelled]:
    """At most `count` texts, chosen by hash, in the order of the hashes."""
    from working_with_text_data.splitting import document_hash

    if count is None or len(part) <= count:
        return part
    return sorted(part, key=lambda each: document_hash(f"{seed}:{each.text}"))[:count]
