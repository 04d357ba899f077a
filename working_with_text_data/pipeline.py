"""The whole way from texts to token shards in one command, every stage kept and none done twice.

    python -m working_with_text_data.pipeline input=books/ out=data/books vocab_size=5000

    load ─▶ clean ─▶ split ─▶ statistics, (train a tokenizer), tokenise        each in out/<stage>/

A stage's key is a hash over its options and the content of what it reads. A folder that was made under the
same key, and still holds what was written there, is left as it is ("unchanged"); so a change of one option
repeats the stages behind it and no other. Each folder appears whole or not at all, so the command can be
killed at any moment and given again; tokenising, the last stage, goes on in the middle.

Any stage may be left out (`clean=false`): the next one then reads what came before. Documents stream
through; `pipeline.json` tells for each stage what went in and came out, how fast, and the peak of memory, of
this process and with its workers. Duplicates are remembered over the last 50,000 documents unless
`cleaning.remember` says otherwise: that is what keeps the memory constant.

Left out: stages at the same time, and several machines, for which see `scale_out`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import parse_args, to_dict

from . import pipeline_stages as stages
from .content_cache import as_records, content_of, file_digests, key_of
from .document_files import Meter, document_key, read_documents
from .documents import Document, Problems, iter_documents
from .pipeline_config import PipelineConfig
from .pipeline_report import StageBar, stage_bar, stage_table
from .preprocess import input_files
from .split_stream import HOLD_BYTES, SplitStream
from .stage_cache import Made, StageCache, content_key
from .tokenizer import Tokenizer, load_tokenizer, tokenizer_hash

RECORD = "pipeline.json"


@dataclass(frozen=True)
class _Stream:
    """Documents that can be read again, and the key of what they hold."""

    key: str | None  # None: not known before they are read
    open: Callable[[], Iterable[Document]]
    n_bytes: int | None  # about how much text
    exact: bool = False  # n_bytes is that of the texts, not of their files


def run_pipeline(config: PipelineConfig, *, bar: StageBar | None = None) -> dict[str, Any]:
    """Bring `config.out` up to date; returns what `pipeline.json` holds. `bar` is told of the progress.

    Raises:
        UserError: bad input, a foreign folder at `out`. OSError: disk full; RunFailure: a worker died.
    """
    # A wrong name is better known now than after an hour of cleaning.
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenise and config.tokenizer else None
    pipeline = _Pipeline(config, bar or StageBar())
    documents = pipeline.input()
    if config.load:
        documents = pipeline.documents("load", documents, None, stages.load)
    if config.clean:
        cleaning, workers = config.cleaning, config.workers

        def work(stream: Iterable[Document], folder: Path) -> dict[str, Any]:
            return stages.clean(stream, folder, cleaning, workers)

        documents = pipeline.documents("clean", documents, to_dict(cleaning), work)
    sides = pipeline.split(documents) if config.split else None
    if config.statistics:
        assert sides is not None
        pipeline.statistics(sides)
    if config.vocab_size is not None:
        assert sides is not None
        pipeline.train_tokenizer(sides)
    if config.tokenise:
        pipeline.tokenise(documents, sides, tokenizer)
    return pipeline.cache.finish()


class _Pipeline:
    """The stages of one folder: each method brings one of them up to date."""

    def __init__(self, config: PipelineConfig, bar: StageBar) -> None:
        self.config, self.bar = config, bar
        self.out = Path(config.out).expanduser()
        self.cache = StageCache(self.out, RECORD, {"config": to_dict(config)})
        self.record = self.cache.record

    def input(self) -> _Stream:
        """The documents as they come in."""
        config = self.config
        paths = input_files(config.input)
        digests = file_digests(paths or [], self.record["inputs"])
        self.record["inputs"] = as_records(digests)
        options: dict[str, Any] = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}

        def documents() -> Iterator[Document]:
            problems = Problems()
            yield from iter_documents(
                config.input,
                max_documents=config.max_documents,
                seed=config.seed,
                text_field=config.text_field,
                errors=config.errors,
                on_bad_line=config.on_bad_line,
                problems=problems,
                **options,
            )
            self.record["reading"] = {kind: n for kind, n in problems.counts.items() if n}

        # What decides which documents these are: the files and how they are read. Not where they lie.
        names = ("max_documents", "text_field", "errors", "on_bad_line")
        how = {name: getattr(config, name) for name in names}
        key = None if paths is None else key_of([content_of(digests), how])
        packed = any(d.path.endswith((".gz", ".parquet")) for d in digests)
        return _Stream(key, documents, sum(d.size for d in digests) if digests and not packed else None)

    def documents(
        self,
        name: str,
        stream: _Stream,
        options: Any,
        work: Callable[[Iterable[Document], Path], dict[str, Any]],
    ) -> _Stream:
        """A stage from documents to documents."""
        meter = Meter(self.bar.begin(name, stream.n_bytes))
        made = self._run(
            name,
            [stream.key, options],
            lambda out: work(meter(stream.open()), out),
            meter,
            keyed=stream.key is not None,
        )
        folder = self.out / name
        return _Stream(content_key(made), lambda: read_documents(folder), made["text_bytes"], exact=True)

    def split(self, stream: _Stream) -> _Stream:
        """Each document to its side; what comes back opens all sides, one behind the other."""
        shares = self._shares()
        # Text that is known to be too long to hold need not be held to find that out.
        too_long = stream.exact and (stream.n_bytes or 0) > HOLD_BYTES
        held = {**shares, "hold_bytes": 0} if too_long else shares
        meter = Meter(self.bar.begin("split", stream.n_bytes))
        made = self._run(
            "split",
            [self._key(stream), shares],
            lambda folder: stages.split(SplitStream(meter(stream.open()), **held), folder),
            meter,
        )
        return _Stream(content_key(made), lambda: iter(()), made["text_bytes"])

    def statistics(self, sides: _Stream) -> None:
        """A page about the sides."""
        meter = Meter(self.bar.begin("statistics", sides.n_bytes))
        folder = self.out / "split"
        names = [side for side in stages.SIDES if (folder / side).is_dir()]
        self._run(
            "statistics",
            [sides.key],
            lambda out: stages.statistics({s: meter(read_documents(folder / s)) for s in names}, out),
            meter,
        )

    def train_tokenizer(self, sides: _Stream) -> None:
        """BPE, from the training side alone."""
        config = self.config
        assert config.vocab_size is not None
        options: dict[str, Any] = {
            "vocab_size": config.vocab_size,
            "pattern": config.pattern,
            "special_tokens": config.special_tokens,
            "max_bytes": config.tokenizer_bytes,
        }
        expected = min(sides.n_bytes or 0, config.tokenizer_bytes)
        meter = Meter(self.bar.begin("tokenizer", expected))
        train = self.out / "split" / "train"
        self._run(
            "tokenizer",
            [sides.key, options],
            lambda out: stages.train_tokenizer(
                meter(read_documents(train)), out, workers=config.workers, **options
            ),
            meter,
        )

    def tokenise(self, documents: _Stream, sides: _Stream | None, tokenizer: Tokenizer | None) -> None:
        """Token shards of every side; split on the way where that was left out."""
        config = self.config
        if tokenizer is None:
            tokenizer = load_tokenizer(self.out / "tokenizer" / "tokenizer.json")
        encoder = tokenizer
        shares = self._shares()
        if sides is not None:
            source = key_of([sides.key])
            report = self.record["stages"]["split"]["split"]

            def opened() -> Any:
                return stages.StoredSides(self.out / "split", report)
        else:
            source = key_of([self._key(documents), shares])

            def opened() -> Any:
                return SplitStream(documents.open(), **shares)

        meter = Meter()
        on_bytes = self.bar.begin("tokenise", (sides or documents).n_bytes)
        self._run(
            "tokenise",
            [source, tokenizer_hash(tokenizer), config.shard_tokens],
            lambda out: stages.tokenise(
                opened,
                out,
                encoder,
                source=source,
                shard_tokens=config.shard_tokens,
                workers=config.workers,
                on_bytes=on_bytes,
            ),
            meter,
            resumable=True,
        )

    def _shares(self) -> dict[str, Any]:
        shares = {name: getattr(self.config, name) for name in ("val_fraction", "test_fraction", "seed")}
        return {**shares, "method": self.config.split_method, "hold_bytes": HOLD_BYTES}

    def _key(self, stream: _Stream) -> str:
        """The key of a stream, read through for it where it is not known."""
        return stream.key if stream.key is not None else document_key(stream.open())

    def _run(self, name: str, *arguments: Any, **options: Any) -> Made:
        made = self.cache.run(name, *arguments, **options)
        self.bar.end(name, made)
        return made


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        PipelineConfig,
        prog="python -m working_with_text_data.pipeline",
        description="Load, clean, split, describe and tokenise texts: one command, each stage kept.",
        aliases={"--input": "input", "--out": "out", "--tokenizer": "tokenizer", "--workers": "workers"},
    )
    try:
        with stage_bar() as bar:
            record = run_pipeline(config, bar=bar)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on with the stage that was under way", file=sys.stderr)
        raise
    print(stage_table(record))
    out = Path(config.out)
    print(f"wrote: {out / RECORD}")
    if config.tokenise:
        print(
            f"next: python -m pretraining.train data={out / 'clean' if config.clean else config.input} "
            f"tokenizer={out / 'tokenise' / 'tokenizer.json'}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
