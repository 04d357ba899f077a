"""How many documents a second does cleaning take on one core, and what does each stage cost?

    python -m working_with_text_data.benchmark_cleaning
    python -m working_with_text_data.benchmark_cleaning corpora=[storyland,stories.txt]

Three pipelines over the same documents in memory, in turn, in one process with one thread: "base" (all but
language and personal data), "base + personal data", and "everything". Then each stage on its own. What is
loaded once a process (models, patterns) is loaded before the clock starts and noted apart. Reading and
writing files are not part of it. Writes `results/cleaning.json`.
"""

from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL"):  # before numpy is loaded: a figure "per core" uses one
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from itertools import islice  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from utils.cli import run_main  # noqa: E402
from utils.config import command_words, parse_args  # noqa: E402
from utils.timing import Timer, compare, write_result  # noqa: E402

from .cleaning import CleaningConfig, Counters, clean_documents  # noqa: E402
from .documents import Document, iter_documents  # noqa: E402
from .exact_duplicates import SeenBefore, content_digest  # noqa: E402
from .near_duplicate_filter import NearDuplicateFilter, Signer  # noqa: E402

PIPELINES = {
    "base": CleaningConfig(pii=False),
    "base_and_pii": CleaningConfig(),
    "everything": CleaningConfig(languages=("en",)),
}


@dataclass(frozen=True)
class CleaningBenchmarkConfig:
    """What to clean, how much of it, and where the figures go."""

    corpora: tuple[str, ...] = field(default=("storyland",), metadata={"help": "names or paths"})
    documents: int = field(default=3_000, metadata={"help": "at most so many of each corpus"})
    rounds: int = 5
    seed: int = 0
    out: str = str(Path(__file__).parent / "results" / "cleaning.json")


def measure(config: CleaningBenchmarkConfig) -> dict[str, Any]:
    """Documents a second of each pipeline and microseconds a document of each stage, by corpus."""
    figures: dict[str, Any] = {"loading_s": _load_everything(), "corpora": {}}
    for name in config.corpora:
        options: dict[str, Any] = {"n_bytes": 900 * config.documents} if name == "storyland" else {}
        documents = list(islice(iter_documents(name, seed=config.seed, **options), config.documents))
        n = len(documents)
        accounts = {}
        for pipeline, cleaning in PIPELINES.items():
            counters = Counters()
            for _ in clean_documents(documents, cleaning, counters=counters):
                pass
            counters.check()
            accounts[pipeline] = counters.to_dict()
        runs = compare(
            {key: _pipeline(documents, own) for key, own in PIPELINES.items()}, rounds=config.rounds
        )
        stages = compare(_stages([document.text for document in documents]), rounds=config.rounds)
        figures["corpora"][Path(name).name] = {
            "documents": n,
            "words_per_document": sum(len(document.text.split()) for document in documents) / n,
            "accounts": accounts,
            "documents_per_s": {key: _rates(row, n) for key, row in runs["candidates"].items()},
            "us_per_document": {
                key: {
                    "median": row["median_s"] / n * 1e6,
                    "min": row["min_s"] / n * 1e6,
                    "max": row["max_s"] / n * 1e6,
                }
                for key, row in stages["candidates"].items()
            },
        }
    return figures


def _rates(row: dict[str, Any], n: int) -> dict[str, float]:
    return {"median": n / row["median_s"], "min": n / row["max_s"], "max": n / row["min_s"]}


def _load_everything() -> dict[str, float]:
    """Seconds that each library takes to be ready, once a process."""
    text = ["Write to ada@example.org from the café, or ring 212-555-0147."]
    seconds = {}
    for name, call in _stages(text).items():
        with Timer() as timer:
            call()
        seconds[name] = timer.seconds
    return seconds


def _pipeline(documents: Sequence[Document], config: CleaningConfig) -> Callable[[], None]:
    def run() -> None:
        for _ in clean_documents(documents, config):
            pass

    return run


def _stages(texts: Sequence[str]) -> dict[str, Callable[[], None]]:
    """Each stage over all texts, as the pipeline calls it."""
    from .boilerplate import strip_boilerplate
    from .language import identify
    from .mojibake import mojibake_fixer
    from .pii import replace_pii
    from .quality import failed_rule
    from .tidy_text import normalise_unicode, tidy_whitespace

    def each(function: Callable[[str], Any]) -> Callable[[], None]:
        def run() -> None:
            for text in texts:
                function(text)

        return run

    def exact() -> None:
        seen = SeenBefore()
        for text in texts:
            seen.add(content_digest(text))

    def near() -> None:
        sieve = NearDuplicateFilter()
        for number, text in enumerate(texts):
            sieve.add(number, sieve.signer(text))

    return {
        "mojibake": each(mojibake_fixer()),
        "unicode": each(normalise_unicode),
        "boilerplate": each(strip_boilerplate),
        "whitespace": each(tidy_whitespace),
        "language": each(identify),
        "quality": each(failed_rule),
        "pii": each(replace_pii),
        "exact_duplicates": exact,
        "near_duplicates": near,
        "near_signature_alone": each(Signer()),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    config, _ = parse_args(
        argv,
        CleaningBenchmarkConfig,
        prog="python -m working_with_text_data.benchmark_cleaning",
        description="Measure cleaning: documents a second on one core, and the cost of each stage.",
    )
    figures = measure(config)
    for name, corpus in figures["corpora"].items():
        print(f"{name}: {corpus['documents']:,} documents of {corpus['words_per_document']:.0f} words")
        for key, rates in corpus["documents_per_s"].items():
            print(
                f"  {key:<24} {rates['median']:10,.0f} documents/s  ({rates['min']:,.0f}–{rates['max']:,.0f})"
            )
        for key, cost in corpus["us_per_document"].items():
            print(f"    {key:<22} {cost['median']:10.1f} µs a document")
    path = write_result(
        config.out,
        name="cleaning",
        figures=figures,
        command=" ".join(["python -m working_with_text_data.benchmark_cleaning", *command_words(config)]),
        seed=config.seed,
        notes="medians of rounds in turn; documents in memory; one process, one thread",
    )
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
