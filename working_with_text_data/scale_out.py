"""Past one machine: the pipeline's own functions as `datasets` maps and as Ray Data stages.

Cleaning a text, finding its side and turning it into ids need nothing but the text, so each is a function
from a batch of columns to a batch of columns, and any engine that maps batches can run it. What needs all
documents is made small first: copies are found by a digest of 16 bytes a document, in order, so that the
first of several copies stays, as it does in `pipeline`.

    rows ─▶ CleanBatch ─▶ keep the first of equal digests ─▶ SideBatch ─▶ TokeniseBatch ─▶ shards

`with_datasets` runs it with Hugging Face `datasets` (`.map(batched=True, num_proc=…)`, files on disk, any
number of processes); a test holds it to the same texts, sides and ids as the pipeline. `with_ray` hands the
same three classes to Ray Data's `map_batches`. **Ray: not run here** (it is not among the project's
packages); what it maps is tested, how it is called is not.

Left out: near-duplicates, whose index is one process's (`near_duplicate_filter`); Spark, Beam and others,
which map batches just as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.errors import UserError

from .cleaning import CleaningConfig
from .cleaning_stages import TextStages
from .documents import SEPARATOR
from .exact_duplicates import SeenBefore
from .splitting import assign, check_fractions, document_hash
from .tokenizer import Tokenizer

Batch = dict[str, Any]  # column → values, one for each row


class CleanBatch:
    """`text` → `text`, `reason`, `digest`: cleaned, with the reason why a row is dropped ("" if it is not)."""

    def __init__(self, config: CleaningConfig | None = None) -> None:
        # The duplicate stages remember other documents, which a batch does not have.
        self.config = replace(config or CleaningConfig(), near_duplicates=False)
        self._stages: TextStages | None = None

    def __call__(self, batch: Batch) -> Batch:
        self._stages = self._stages or TextStages(self.config)  # in the process that uses it
        texts = [str(text) for text in batch["text"]]
        outcomes = [self._stages(text) for text in texts]
        return {
            "text": [text if o.text is None else o.text for text, o in zip(texts, outcomes, strict=True)],
            "reason": [o.reason or "" for o in outcomes],
            "digest": [o.digest or b"" for o in outcomes],
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "_stages": None}


class SideBatch:
    """`text` → `side`: train, val or test, from the hash of the text alone (`splitting.assign`)."""

    def __init__(self, val_fraction: float = 0.05, test_fraction: float = 0.0, seed: int = 0) -> None:
        check_fractions(val_fraction, test_fraction)
        self.shares = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        self.seed = seed

    def __call__(self, batch: Batch) -> Batch:
        hashes = (document_hash(str(text)) for text in batch["text"])
        return {"side": [assign(digest, seed=self.seed, **self.shares) for digest in hashes]}


class TokeniseBatch:
    """`text` → `ids`, each closed by the end-of-text token where the tokenizer has one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        end = tokenizer.special_tokens.get(SEPARATOR)
        self.tail = [] if end is None else [end]

    def __call__(self, batch: Batch) -> Batch:
        return {"ids": [self.tokenizer.encode_ordinary(str(text)) + self.tail for text in batch["text"]]}


def keep_first(reasons: Iterable[str], digests: Iterable[bytes]) -> Iterator[int]:
    """The numbers of the rows to keep, given in the order of the documents: no reason, and no copy before."""
    seen = SeenBefore()
    for number, (reason, digest) in enumerate(zip(reasons, digests, strict=True)):
        if not reason and (not digest or seen.add(digest)):
            yield number


def with_datasets(
    files: str | list[str],
    tokenizer: Tokenizer,
    *,
    cleaning: CleaningConfig | None = None,
    val_fraction: float = 0.05,
    test_fraction: float = 0.0,
    seed: int = 0,
    num_proc: int | None = None,
    cache_dir: str | Path | None = None,
) -> dict[str, Any]:
    """JSON-lines files with a `text` column → a `datasets.Dataset` of `text, ids` for each side.

    `write_shards(out, side, rows["ids"], …)` makes shards of one. Near-duplicates are not looked for.
    Raises UserError without the package `datasets`.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            "scale_out needs the package datasets: pip install -c constraints.txt -e '.[data]'"
        ) from None
    how: dict[str, Any] = {"batched": True, "num_proc": num_proc}
    folder = None if cache_dir is None else str(cache_dir)
    rows = datasets.load_dataset("json", data_files=files, split="train", cache_dir=folder)
    rows = rows.select_columns(["text"]).map(CleanBatch(cleaning), **how)
    kept = list(keep_first(_column(rows, "reason"), _column(rows, "digest")))
    rows = rows.select(kept).select_columns(["text"])
    rows = rows.map(SideBatch(val_fraction, test_fraction, seed), **how)
    rows = rows.map(TokeniseBatch(tokenizer), **how)
    sides = ("train", "val", "test") if test_fraction else ("train", "val")
    numbers: dict[str, list[int]] = {side: [] for side in sides}
    for number, side in enumerate(_column(rows, "side")):
        numbers[side].append(number)
    return {side: rows.select(numbers[side]).select_columns(["text", "ids"]) for side in sides}


def _column(rows: Any, name: str) -> Iterator[Any]:
    """One column of a dataset, a thousand rows at a time."""
    for batch in rows.select_columns([name]).iter(batch_size=1000):
        yield from batch[name]


def with_ray(
    path: str,
    out: str,
    tokenizer: Tokenizer,
    *,
    cleaning: CleaningConfig | None = None,
    val_fraction: float = 0.05,
    test_fraction: float = 0.0,
    seed: int = 0,
    concurrency: int | None = None,
) -> None:
    """The same on a Ray cluster: JSON lines at `path` → Parquet below `out`, a folder a side. **Not run here.**

    Copies are dropped by grouping on the digest, so which one of several equal texts stays is not said;
    they are equal. Raises UserError without the package `ray`.
    """
    try:
        import ray.data
    except ImportError:
        raise UserError(
            "with_ray needs Ray Data, which this project does not install: pip install 'ray[data]', "
            "or use with_datasets on one machine"
        ) from None
    how: dict[str, Any] = {"batch_format": "numpy", "concurrency": concurrency}
    rows = ray.data.read_json(path).select_columns(["text"])
    rows = rows.map_batches(CleanBatch(cleaning), **how).filter(lambda row: not row["reason"])
    if cleaning is None or cleaning.exact_duplicates:
        rows = rows.groupby("digest").map_groups(_first_of_group, batch_format="numpy")
    side, tokenise = SideBatch(val_fraction, test_fraction, seed), TokeniseBatch(tokenizer)
    rows = rows.map_batches(lambda batch: {**batch, **side(batch), **tokenise(batch)}, **how)
    for name in ("train", "val", "test") if test_fraction else ("train", "val"):
        rows.filter(lambda row, name=name: row["side"] == name).write_parquet(f"{out}/{name}")


def _first_of_group(group: Batch) -> Batch:
    return {"text": group["text"][:1]}
