"""Statistics of a text: how much, how long, which words, scripts and languages. One pass, constant memory.

Look at the data before training on it: most accidents (an empty half, a second language, one giant
document, everything twice) are visible in a table of twenty numbers. `describe` reads a stream of documents
once and holds some tens of MB whatever its length. What it counts exactly up to a bound and estimates
beyond says so: `…_exact`, with its error (`bounded_counting.py`).

* a *word* is a run of letters, digits and underscores, with an apostrophe inside; counted in lower case.
  Scripts without spaces give runs of characters, not words.
* *percentiles* are of document lengths, linear between the two nearest ranks.
* *Zipf*: the word of rank r is about r^s times as frequent as the first, s near −1 in natural language (Zipf
  1949). The slope is a straight line through the logarithms at ranks that are evenly spaced in log r, so
  that the thousands of rare words do not outvote the rest. Generated text is flatter.
* *scripts* are the first word of a letter's Unicode name; *languages* are asked of a sample.

Left out: what to do about it, which is `cleaning.py`. Shown in notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import math
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

from .bounded_counting import DistinctSample, Reservoir, WordCounts
from .documents import Document, iter_documents
from .scripts import script_mix
from .text_comparison import Comparison, compare_statistics
from .tokenizer import Tokenizer, load_tokenizer

__all__ = ["Comparison", "TextStatistics", "compare_statistics", "describe", "percentile"]

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
WORD = re.compile(r"\w+(?:['’]\w+)*")
ASCII_LETTERS = string.ascii_letters.encode()
UNITS = ("bytes", "characters", "words", "tokens")
MAX_WORDS = 200_000  # some 20 MB
MAX_LENGTHS = 100_000
LANGUAGE_SAMPLE = 300  # documents whose beginning is kept and identified: about a second
SAMPLE_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the documents are, in one unit. `sample` is sorted: all of them while `exact`."""

    total: int
    minimum: int
    maximum: int
    mean: float
    percentiles: Mapping[int, float]
    exact: bool
    sample: tuple[int, ...] = field(repr=False, default=())

    @property
    def rank_error(self) -> float:
        """Standard error of the median's rank, in percentage points: 0 while exact."""
        return 0.0 if self.exact else 100 * math.sqrt(0.25 / len(self.sample))


@dataclass(frozen=True, slots=True)
class Zipf:
    """Counts of the words by rank, at ranks evenly spaced in log r, and the line through their logarithms."""

    ranks: tuple[int, ...]
    counts: tuple[int, ...]
    slope: float
    r2: float


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """What `describe` found. Shares are of 1; `tokens` and what follows from it is None without a tokenizer."""

    name: str
    documents: int
    bytes: int
    characters: int
    words: int
    lines: int
    tokens: int | None
    tokenizer: str | None
    vocab_size: int | None
    tokens_used: int | None  # different ids that occur
    vocabulary: int  # different words
    vocabulary_error: float  # relative standard error; 0: exact
    once: float | None  # share of the vocabulary that occurs a single time; None once words are forgotten
    lengths: Mapping[str, Lengths]
    zipf: Zipf | None
    scripts: Mapping[str, float]  # of the letters
    languages: Mapping[str, float] | None  # of the documents; None: not asked, or py3langid is missing
    languages_sampled: int
    duplicates: int  # documents whose text had come before
    duplicates_exact: bool
    word_counts: Counter[str] = field(repr=False)
    undercount: int  # a word may have come so many times more than `word_counts` says

    @property
    def top_words(self) -> list[tuple[str, int]]:
        """The 20 most frequent words; equal counts in alphabetical order."""
        return sorted(self.word_counts.most_common(200), key=lambda pair: (-pair[1], pair[0]))[:20]

    @property
    def tokens_per_word(self) -> float | None:
        """How many tokens a word costs, spaces and punctuation included."""
        return self.tokens / self.words if self.tokens is not None and self.words else None

    @property
    def bytes_per_token(self) -> float | None:
        """The compression: what turns a loss per token into bits per byte."""
        return self.bytes / self.tokens if self.tokens else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the long tables (the samples, all words)."""
        plain = asdict(replace(self, word_counts=Counter()))
        del plain["word_counts"]
        for length in plain["lengths"].values():
            del length["sample"]
            length["percentiles"] = {f"p{p}": value for p, value in length["percentiles"].items()}
        ratios = {"tokens_per_word": self.tokens_per_word, "bytes_per_token": self.bytes_per_token}
        return {**plain, **ratios, "top_words": [list(pair) for pair in self.top_words]}


def describe(
    documents: Iterable[Document],
    tokenizer: Tokenizer | None = None,
    *,
    name: str = "",
    tokenizer_name: str | None = None,
    languages: bool = True,
    max_words: int = MAX_WORDS,
    max_lengths: int = MAX_LENGTHS,
    seed: int = 0,
    on_document: Callable[[int], None] | None = None,
) -> TextStatistics:
    """Read documents once and count.

    Args:
        documents: any iterable; nothing of it is kept but counts and samples.
        tokenizer: also count its tokens (plain text: control words are spelled out).
        name, tokenizer_name: for the report.
        languages: identify the language of a sample of documents, if py3langid is installed.
        max_words, max_lengths: the bounds up to which words and lengths are exact.
        seed: of the samples, which matter only beyond the bounds.
        on_document: called with the UTF-8 bytes of each document, for a progress bar.

    Raises:
        UserError: there is not one document.
    """
    words = WordCounts(max_words)
    texts = DistinctSample()
    letters: Counter[str] = Counter()
    totals = dict.fromkeys(UNITS, 0)
    smallest, largest = dict.fromkeys(UNITS, sys.maxsize), dict.fromkeys(UNITS, 0)
    lengths: Reservoir[tuple[int, ...]] = Reservoir(max_lengths, seed)
    beginnings: Reservoir[str] = Reservoir(LANGUAGE_SAMPLE, seed + 1)
    used: set[int] = set()
    lines = 0
    for document in documents:
        text = document.text
        found = WORD.findall(text.lower())
        ids = tokenizer.encode_ordinary(text) if tokenizer is not None else ()
        data = text.encode("utf-8", "surrogatepass")
        n_bytes = len(data)
        row = (n_bytes, len(text), len(found), len(ids))
        for unit, length in zip(UNITS, row, strict=True):
            totals[unit] += length
            smallest[unit], largest[unit] = min(smallest[unit], length), max(largest[unit], length)
        lengths.add(row)
        words.update(found)
        if len(text) == n_bytes:  # ASCII, which has Latin letters only: ten times as fast
            letters["a"] += n_bytes - len(data.translate(None, ASCII_LETTERS))
        else:
            letters.update(text)
        texts.update((text,))
        used.update(ids)
        beginnings.add(text[:SAMPLE_CHARS])
        lines += text.count("\n") + (not text.endswith("\n") and bool(text))
        if on_document is not None:
            on_document(n_bytes)
    if not lengths.passed:
        raise UserError(f"{name or 'the input'}: there are no documents to describe: give at least one text")

    sampled = list(zip(*lengths.items, strict=True))
    units = UNITS if tokenizer is not None else UNITS[:3]
    table = {
        unit: _lengths(sampled[i], totals[unit], smallest[unit], largest[unit], lengths.passed, lengths.exact)
        for i, unit in enumerate(units)
    }
    mix = language_mix(beginnings.items) if languages else None
    return TextStatistics(
        name=name,
        documents=lengths.passed,
        bytes=totals["bytes"],
        characters=totals["characters"],
        words=totals["words"],
        lines=lines,
        tokens=totals["tokens"] if tokenizer is not None else None,
        tokenizer=(tokenizer_name or type(tokenizer).__name__) if tokenizer is not None else None,
        vocab_size=tokenizer.vocab_size if tokenizer is not None else None,
        tokens_used=len(used) if tokenizer is not None else None,
        vocabulary=words.distinct,
        vocabulary_error=words.distinct_error,
        once=sum(c == 1 for c in words.counts.values()) / max(1, words.distinct) if words.exact else None,
        lengths=table,
        zipf=fit_zipf(count for count in words.counts.values() if count > words.undercount),
        scripts=script_mix(letters),
        languages=mix,
        languages_sampled=len(beginnings.items) if mix is not None else 0,
        duplicates=texts.copies,
        duplicates_exact=texts.exact,
        word_counts=words.counts,
        undercount=words.undercount,
    )


def percentile(ordered: Sequence[float], p: float) -> float:
    """The value below which p % of `ordered` (ascending, not empty) lies, linear between two ranks.

    >>> percentile([10, 20, 30, 40], 50), percentile([10, 20, 30, 40], 100)
    (25.0, 40.0)
    """
    place = p / 100 * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _lengths(
    sample: Sequence[int], total: int, minimum: int, maximum: int, documents: int, exact: bool
) -> Lengths:
    ordered = tuple(sorted(sample))
    marks = {p: percentile(ordered, p) for p in PERCENTILES}
    return Lengths(total, minimum, maximum, total / documents, marks, exact, ordered)


def fit_zipf(counts: Iterable[int], points: int = 60) -> Zipf | None:
    """Rank-frequency at evenly spaced log ranks, and its least-squares line; None below 3 ranks."""
    ordered = sorted(counts, reverse=True)
    if len(ordered) < 3:
        return None
    steps = (round(len(ordered) ** (i / (points - 1))) for i in range(points))
    ranks = tuple(sorted(set(steps)))
    chosen = tuple(ordered[rank - 1] for rank in ranks)
    x, y = [math.log(rank) for rank in ranks], [math.log(count) for count in chosen]
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    xx = math.fsum((a - mean_x) ** 2 for a in x)
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    yy = math.fsum((b - mean_y) ** 2 for b in y)
    return Zipf(ranks, chosen, xy / xx, xy**2 / (xx * yy) if yy else 1.0)


def language_mix(texts: Sequence[str]) -> dict[str, float] | None:
    """ISO 639-1 code → share of the texts, the largest first; None when py3langid is not installed."""
    from .language import identify

    codes: Counter[str] = Counter()
    try:
        for text in texts:
            codes[identify(text, max_chars=SAMPLE_CHARS)[0]] += 1
    except UserError:  # the optional package is missing
        return None
    return {code: count / len(texts) for code, count in codes.most_common()}


@dataclass(frozen=True)
class StatisticsConfig:
    """What to describe, what to compare it with, and where the page goes."""

    input: str = field(metadata={"help": "a corpus (storyland, pydoc), a file, a folder or a glob"})
    out: str = field(default="statistics.html", metadata={"help": "the page: .html, .md, or .json"})
    compare: str | None = field(default=None, metadata={"help": "a second input, to set beside the first"})
    tokenizer: str | None = field(default=None, metadata={"help": "a tokenizer's JSON, or byte, gpt2, …"})
    languages: bool = field(default=True, metadata={"help": "identify the language of a sample"})
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated input (not of compare)"})
    text_field: str = field(default="text", metadata={"help": "the field of a .jsonl line"})
    seed: int = 0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        StatisticsConfig,
        prog="python -m working_with_text_data.text_statistics",
        description="Describe a text on one page: sizes, lengths, words, scripts, languages, copies.",
        aliases={"--input": "input", "--out": "out", "--compare": "compare", "--tokenizer": "tokenizer"},
    )
    from .statistics_report import check_suffix, write_report

    check_suffix(config.out)
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else None
    found = []
    for source in [config.input, *([config.compare] if config.compare else [])]:
        sized = config.n_bytes is not None and source == config.input
        options: dict[str, Any] = {"n_bytes": config.n_bytes} if sized else {}
        documents = iter_documents(
            source,
            max_documents=config.max_documents,
            seed=config.seed,
            text_field=config.text_field,
            **options,
        )
        with _progress(source) as on_document:
            found.append(
                describe(
                    documents,
                    tokenizer,
                    name=source,
                    tokenizer_name=config.tokenizer,
                    languages=config.languages,
                    seed=config.seed,
                    on_document=on_document,
                )
            )
        print(f"{source}: {found[-1].documents:,} documents, {found[-1].bytes:,} bytes")
    path = write_report(config.out, *found)
    print(f"wrote: {path}")
    print(f"next: python -m working_with_text_data.clean input={config.input} out=clean.jsonl")
    return 0


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int], None] | None]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("describing {task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda n_bytes: bar.advance(task, n_bytes)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
