"""Cleaning: from documents as they are found to documents worth learning from, and an account of every one.

    documents ─▶ repair and tidy ─▶ language, quality ─▶ personal data ─▶ exact copies ─▶ near copies ─▶ kept

`clean_documents` is a stream: it holds one document at a time (a few hundred with workers), plus what the
two duplicate stages must remember: up to 160 bytes a kept document for exact copies, up to 2.5 kB for near
ones (measured); `remember=n` bounds both. The stages and their order stand in `cleaning_stages.py`.

The account is honest by construction: every document that comes in is either kept or dropped for exactly
one reason, the first that applied, so that processed == kept + Σ dropped. Edits are counted apart, for kept
documents only: they say what is in the result. Nothing depends on the number of workers.

Why each stage: Raffel et al. (C4, arXiv:1910.10683), Rae et al. (Gopher, arXiv:2112.11446), Lee et al.
(deduplication, arXiv:2107.06499), Penedo et al. (FineWeb, arXiv:2406.17557). Left out: learnt quality
classifiers, toxicity, decontamination against benchmarks. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from utils.errors import UserError

from .cleaning_stages import Outcome, TextStages, clean_texts, set_stages
from .documents import Document
from .exact_duplicates import SeenBefore
from .near_duplicate_filter import Engine, NearDuplicateFilter
from .pii import TYPES as PII_TYPES
from .quality import RULES, QualityRules
from .tidy_text import UnicodeForm
from .worker_pool import map_in_order

EDITS = ("mojibake", "surrogates", "unicode", "boilerplate", "whitespace", "pii")
REASONS = (
    "empty",
    "language_unsure",
    "language_other",
    *(f"quality_{rule}" for rule in RULES),
    "exact_duplicate",
    "near_duplicate",
)
_CHUNK_DOCUMENTS, _CHUNK_CHARS = 64, 1 << 18


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """Every stage and its switch. `CleaningConfig()` cleans English web text without asking its language."""

    mojibake: bool = field(default=True, metadata={"help": "undo wrong decoding (ftfy)"})
    curly_quotes: bool = field(default=True, metadata={"help": "leave curly quotes curly"})
    ligatures: bool = field(default=True, metadata={"help": "leave ligatures such as ﬁ"})
    unicode_form: UnicodeForm = "NFC"
    boilerplate: bool = field(default=True, metadata={"help": "take Project Gutenberg's frame off"})
    whitespace: bool = field(default=True, metadata={"help": "tidy blanks; newlines stay"})
    languages: tuple[str, ...] = field(default=(), metadata={"help": "keep these, such as [en]; empty: all"})
    language_confidence: float = field(default=0.5, metadata={"help": "below it, the language is unsure"})
    language_chars: int = field(default=500, metadata={"help": "characters read to find the language"})
    quality: bool = field(default=True, metadata={"help": "five of Gopher's rules"})
    rules: QualityRules = field(default_factory=QualityRules)
    pii: bool = field(default=True, metadata={"help": "replace personal data by markers (datafog)"})
    pii_types: tuple[str, ...] = PII_TYPES
    exact_duplicates: bool = True
    near_duplicates: bool = field(default=True, metadata={"help": "MinHash-LSH"})
    near_engine: Literal["rensa", "readable"] = "rensa"
    near_threshold: float = field(default=0.8, metadata={"help": "share of common shingles"})
    shingle_words: int = 5
    permutations: int = field(default=128, metadata={"help": "numbers in a signature"})
    remember: int | None = field(default=None, metadata={"help": "bound the memory for duplicates"})
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.language_confidence <= 1.0:
            raise UserError(f"language_confidence is {self.language_confidence}: give a number from 0 to 1")
        if self.language_chars < 1:
            raise UserError(f"language_chars is {self.language_chars}: give at least 1, such as 500")
        if self.remember is not None and self.remember < 1:
            raise UserError(f"remember is {self.remember}: give at least 1, or leave it out to remember all")
        if not 0.0 < self.near_threshold <= 1.0:
            raise UserError(f"near_threshold is {self.near_threshold}: give a number above 0 and at most 1")


@dataclass
class Counters:
    """The account: `processed == kept + Σ dropped`. Edits and personal data are those of kept documents."""

    processed: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    edited: Counter[str] = field(default_factory=Counter)  # documents, by stage
    pii: Counter[str] = field(default_factory=Counter)  # markers, by type
    characters_in: int = 0
    characters_out: int = 0

    def keep(self, before: str, after: str, outcome: Outcome) -> None:
        """One more document that goes through."""
        self.processed += 1
        self.kept += 1
        self.edited.update(outcome.edits)
        self.pii.update(outcome.pii)
        self.characters_in += len(before)
        self.characters_out += len(after)

    def drop(self, before: str, reason: str) -> None:
        """One more document that does not, and why."""
        self.processed += 1
        self.dropped[reason] += 1
        self.characters_in += len(before)

    def check(self) -> None:
        """Raise `AssertionError` unless every document is accounted for."""
        total = self.kept + self.dropped.total()
        if self.processed != total:
            raise AssertionError(f"{self.processed} documents came in, but {total} are accounted for")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; every reason and edit by name, also those that did not occur."""
        return {
            "processed": self.processed,
            "kept": self.kept,
            "dropped": {name: self.dropped[name] for name in REASONS},
            "edited": {name: self.edited[name] for name in EDITS},
            "pii": {name: self.pii[name] for name in PII_TYPES},
            "characters_in": self.characters_in,
            "characters_out": self.characters_out,
        }


OnDrop = Callable[[Document, str, str], None]


def clean_documents(
    documents: Iterable[Document],
    config: CleaningConfig | None = None,
    *,
    counters: Counters | None = None,
    workers: int = 0,
    on_drop: OnDrop | None = None,
) -> Generator[Document, None, None]:
    """The documents worth keeping, cleaned, in the order they came.

    Args:
        documents: any stream; it is read no further than needed (a few chunks ahead with workers).
        config: the stages; None is `CleaningConfig()`.
        counters: filled while the result is read; at every moment processed == kept + Σ dropped.
        workers: processes for the stages that look at one document alone; 0 does all here.
        on_drop: called as (document, reason, detail) for each one dropped.

    Raises:
        UserError: at once, for a wrong option or a package that is not installed.

    >>> config = CleaningConfig(quality=False, near_duplicates=False)
    >>> texts = ["One.", "One. ", "Two, 192.168.7.20"]
    >>> documents = [Document(text, "made", number) for number, text in enumerate(texts)]
    >>> count = Counters()
    >>> [document.text for document in clean_documents(documents, config, counters=count)]
    ['One.', 'Two, [IP]']
    >>> count.processed, count.kept, dict(count.dropped)
    (3, 2, {'exact_duplicate': 1})
    """
    config = config or CleaningConfig()
    TextStages(config)  # says at once what is missing
    outcomes = _outcomes(documents, config, workers)
    return _judged(outcomes, config, Counters() if counters is None else counters, on_drop)


def _outcomes(
    documents: Iterable[Document], config: CleaningConfig, workers: int
) -> Generator[tuple[Document, Outcome], None, None]:
    if workers == 0:
        stages = TextStages(config)
        for document in documents:
            yield document, stages(document.text)
        return
    held: list[list[Document]] = []  # in the order of the work: the texts travel, the documents stay

    def texts() -> Iterator[list[str]]:
        for chunk in _chunks(documents):
            held.append(chunk)
            yield [document.text for document in chunk]

    work = map_in_order(clean_texts, texts(), workers, setup=set_stages, setup_args=(config,))
    with contextlib.closing(work) as results:
        for found in results:
            yield from zip(held.pop(0), found, strict=True)


def _chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document.text)
        if len(chunk) >= _CHUNK_DOCUMENTS or size >= _CHUNK_CHARS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _judged(
    outcomes: Generator[tuple[Document, Outcome], None, None],
    config: CleaningConfig,
    counters: Counters,
    on_drop: OnDrop | None,
) -> Generator[Document, None, None]:
    """The stages that remember, and the account. Sees the documents in order, in one process."""
    exact = SeenBefore(config.remember) if config.exact_duplicates else None
    near = _near_filter(config) if config.near_duplicates else None
    with contextlib.closing(outcomes):  # a reader who stops stops the workers
        for number, (document, outcome) in enumerate(outcomes):
            reason, detail = outcome.reason, ""
            if reason is None and exact is not None and outcome.digest is not None:
                reason = None if exact.add(outcome.digest) else "exact_duplicate"
            if reason is None and near is not None and not near.add(number, outcome.signature):
                reason = "near_duplicate"
                if on_drop is not None:
                    detail = "like document " + ", ".join(map(str, near.alike(outcome.signature)[:3]))
            if reason is not None:
                counters.drop(document.text, reason)
                if on_drop is not None:
                    on_drop(document, reason, detail)
                continue
            text = document.text if outcome.text is None else outcome.text
            counters.keep(document.text, text, outcome)
            yield document if outcome.text is None else replace(document, text=text)


def _near_filter(config: CleaningConfig) -> NearDuplicateFilter:
    engine: Engine = config.near_engine
    return NearDuplicateFilter(
        config.near_threshold,
        engine=engine,
        k=config.permutations,
        shingle_words=config.shingle_words,
        seed=config.seed,
        remember=config.remember,
    )
