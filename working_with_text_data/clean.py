"""Clean a corpus in one command: documents in, a `.jsonl` of those worth keeping and a report out.

    python -m working_with_text_data.clean input=pages/ out=cleaned.jsonl.gz languages=[en] workers=2

`out` appears when it is whole and not before: a run that is stopped leaves nothing. Beside it stands
`<out>.report.json`: the account of every document (processed = kept + Σ dropped), examples of what each
reason dropped (with personal data replaced), the config, the versions, and the sha256 of the output. The
same input and config give the same bytes, whatever the number of workers.

Ready-made configs: `configs/cleaning.yaml` (English web text), `configs/cleaning-books.yaml` and
`configs/cleaning-light.yaml`. The stages are those of `cleaning.py`. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args, to_dict
from utils.errors import UserError
from utils.files import atomic_write_json, jsonable

from .cleaning import CleaningConfig, Counters, clean_documents
from .documents import Document, iter_documents
from .readers import Problems

PACKAGES = ("ftfy", "datafog", "py3langid", "rensa")
EXAMPLE_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class CleanConfig(CleaningConfig):
    """The stages, and where from and where to."""

    input: str = field(metadata={"help": "a corpus, a file, a folder or a glob"})
    out: str = field(metadata={"help": "the cleaned corpus: a name ending in .jsonl or .jsonl.gz"})
    workers: int = field(default=0, metadata={"help": "processes beside this one"})
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    text_field: str = field(default="text", metadata={"help": "the field of a record that holds the text"})
    errors: Literal["strict", "replace"] = field(
        default="strict", metadata={"help": "bytes that are not UTF-8"}
    )
    on_bad_line: Literal["stop", "skip"] = field(default="stop", metadata={"help": "lines that are not JSON"})
    examples: int = field(default=3, metadata={"help": "dropped texts shown for each reason in the report"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out.endswith((".jsonl", ".jsonl.gz")):
            raise UserError(f"out is {self.out}: give a name that ends in .jsonl or .jsonl.gz")
        if self.examples < 0:
            raise UserError(f"examples is {self.examples}: give 0 or more")
        if os.path.exists(self.input) and os.path.exists(self.out) and os.path.samefile(self.input, self.out):
            raise UserError(f"out is the input, {self.out}: give another name, so that the original stays")


def clean(config: CleanConfig, *, on_progress: Callable[[Counters], None] | None = None) -> dict[str, Any]:
    """Do what the module's docstring says; returns the report, which is also written.

    Raises:
        UserError: bad input, a missing package, or nothing left to keep (then nothing is written).
        OSError: the disk is full or read-only; then `out` is as it was.
    """
    started = time.perf_counter()
    out = Path(config.out).expanduser()
    options = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}
    problems = Problems()
    documents = iter_documents(
        config.input,
        max_documents=config.max_documents,
        seed=config.seed,
        text_field=config.text_field,
        errors=config.errors,
        on_bad_line=config.on_bad_line,
        problems=problems,
        **options,
    )
    counters = Counters()
    examples: dict[str, list[dict[str, Any]]] = {}

    def on_drop(document: Document, reason: str, detail: str) -> None:
        shown = examples.setdefault(reason, [])
        if len(shown) < config.examples:
            shown.append(_example(document, detail, config))
        if on_progress:
            on_progress(counters)

    kept = clean_documents(documents, config, counters=counters, workers=config.workers, on_drop=on_drop)
    with contextlib.closing(kept), _atomic_lines(out) as write:
        for document in kept:
            write(_line(document))
            if on_progress:
                on_progress(counters)
        counters.check()
        if not counters.kept:
            raise _nothing_left(config, counters)
    seconds = time.perf_counter() - started
    report = {
        "version": 1,
        "input": config.input,
        "output": {"path": str(out), "bytes": out.stat().st_size, "sha256": _sha256(out)},
        "counters": counters.to_dict(),
        "problems": {"counts": dict(problems.counts), "places": problems.places},
        "examples": examples,
        "config": to_dict(config),
        "packages": {name: _version(name) for name in PACKAGES},
        "seconds": seconds,
    }
    atomic_write_json(report_path(out), report)
    return jsonable(report)


def report_path(out: Path) -> Path:
    """Where the report of a cleaned file lies: beside it."""
    return out.with_name(out.name + ".report.json")


def _example(document: Document, detail: str, config: CleanConfig) -> dict[str, Any]:
    text = document.text[: 2 * EXAMPLE_CHARS].encode("utf-8", "replace").decode("utf-8")
    if config.pii:
        from .pii import replace_pii

        text, _ = replace_pii(text, config.pii_types)
    example = {"source": document.source, "index": document.index, "text": text[:EXAMPLE_CHARS]}
    return {**example, "detail": detail} if detail else example


def _line(document: Document) -> bytes:
    """One record: what the source knew about the text, the text, and where it came from."""
    record = {
        **(document.meta or {}),
        "text": document.text,
        "source": document.source,
        "index": document.index,
    }
    return json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


@contextlib.contextmanager
def _atomic_lines(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Write lines to a hidden file that becomes `path` when the block ends well, and goes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:
            if path.name.endswith(".gz"):  # without a name and a time, equal texts are equal bytes
                zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
                with zipped, io.BufferedWriter(zipped, 1 << 16) as stream:  # type: ignore[type-var]
                    yield stream.write
            else:
                yield file.write
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nothing_left(config: CleanConfig, counters: Counters) -> UserError:
    if not counters.processed:
        return UserError(f"{config.input}: no text in it: give a file or a folder that holds some text")
    reason, count = counters.dropped.most_common(1)[0]
    return UserError(
        f"{config.input}: none of {counters.processed:,} documents is left, {count:,} of them dropped for "
        f"{reason}: loosen that stage (--help lists the keys); nothing was written"
    )


def table(report: dict[str, Any]) -> str:
    """The account as a person reads it."""
    counters = report["counters"]
    total = max(1, counters["processed"])
    dropped = sum(counters["dropped"].values())
    lines = [
        f"  processed  {counters['processed']:>12,} documents  {counters['characters_in']:>15,} characters",
        f"  kept       {counters['kept']:>12,}  {counters['kept'] / total:8.1%}  "
        f"{counters['characters_out']:>15,} characters",
        f"  dropped    {dropped:>12,}  {dropped / total:8.1%}",
    ]
    for title, key in (("", "dropped"), ("  edited, of those kept", "edited"), ("  markers put in", "pii")):
        rows = sorted((-count, name) for name, count in counters[key].items() if count)
        if rows and title:
            lines.append(title)
        for count, name in rows:
            share = f"  {-count / total:8.1%}" if key == "dropped" else ""
            lines.append(f"    {name:<24} {-count:>10,}{share}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        CleanConfig,
        prog="python -m working_with_text_data.clean",
        description="Clean documents: repair, judge, replace personal data, remove copies; report on each.",
        aliases={"--input": "input", "--out": "out", "--workers": "workers"},
    )
    try:
        with _progress_line() as on_progress:
            report = clean(config, on_progress=on_progress)
    except KeyboardInterrupt:
        print("interrupted: nothing was written; the same command begins again", file=sys.stderr)
        raise
    out = report["output"]
    print(table(report))
    problems = {kind: count for kind, count in report["problems"]["counts"].items() if count}
    if problems:
        print("  while reading: " + ", ".join(f"{count:,} {kind}" for kind, count in problems.items()))
    rate = report["counters"]["processed"] / max(report["seconds"], 1e-9)
    print(f"wrote {out['path']} ({out['bytes']:,} bytes, {rate:,.0f} documents/s)")
    print(f"report {report_path(Path(out['path']))}")
    print(f"next: python -m working_with_text_data.preprocess input={out['path']} tokenizer=byte out=shards")
    return 0


@contextlib.contextmanager
def _progress_line() -> Iterator[Callable[[Counters], None] | None]:
    """A line on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("cleaning {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, started = bar.add_task("…", total=None), time.perf_counter()

        def on_progress(counters: Counters) -> None:
            if counters.processed % 50 == 0:
                rate = counters.processed / max(time.perf_counter() - started, 1e-9)
                words = f"{counters.processed:,} documents, {counters.kept:,} kept, {rate:,.0f} documents/s"
                bar.update(task, description=words)

        yield on_progress


if __name__ == "__main__":
    raise SystemExit(run_main(main))
