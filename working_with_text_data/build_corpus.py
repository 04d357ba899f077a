"""One corpus from a folder of whatever there is: texts as they are, messages and instructions as triplets.

    python -m working_with_text_data.build_corpus dir=my_files out=corpus.jsonl

Each file is recognised by what it holds, not by where it came from:

* `SMSSpamCollection` or a `.tsv` of `ham<TAB>message` lines: one instruction triplet a message;
* `.json`, `.jsonl` whose records have an instruction and an output: one triplet a record (the rule is
  `published_forms.triplet`), and one for each of its `instances` where it has several;
* records with a text, `.parquet` with a column `text`, `.txt`, `.md`: taken as they are.

The fields of every triplet stay in `Document.meta`, since chat templates are made from fields and not from
text. Every file is told of in the report; a folder in which nothing is found gives the embedded corpus,
Storyland, and says so, so that every command has something to run on. Left out: cleaning (`clean`), csv.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

from .documents import Document, walk
from .published_forms import Parsed, instruction_fields, sms_lines, sms_triplet, triplet
from .readers import Problems, ReadOptions, bare_suffix, parse_json, read_records, text_lines

EMBEDDED_STORIES = 2000


@dataclass(slots=True)
class FileFound:
    """What one file gave. `kind` is "sms", "instructions", "text" or "left out"; `note` says why."""

    path: str
    kind: str
    documents: int = 0
    characters: int = 0
    note: str = ""


@dataclass(slots=True)
class BuildReport:
    """What was found, file by file; `embedded` says that nothing was and Storyland stands in."""

    files: list[FileFound] = field(default_factory=list)
    embedded: bool = False
    problems: Problems = field(default_factory=Problems)

    def __str__(self) -> str:
        lines = [
            f"{f.kind:<12}  {f.documents:>9,} documents  {f.characters:>13,} characters  {f.path}"
            + (f" ({f.note})" if f.note else "")
            for f in self.files
        ]
        if self.embedded:
            lines.append("nothing to read was found, so this is the embedded corpus, storyland")
        if self.problems:
            lines.append(self.problems.summary())
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class BuiltCorpus:
    """The documents and how they came about."""

    documents: list[Document]
    report: BuildReport


def build_corpus_from_sources(
    directory: str | os.PathLike[str],
    *,
    errors: Literal["strict", "replace"] = "strict",
    on_bad_line: Literal["stop", "skip"] = "stop",
    seed: int = 0,
) -> BuiltCorpus:
    """All documents below `directory`, in the order of the file names, never none.

    Raises UserError when the folder is not there, or a file is broken and `on_bad_line` is "stop".
    """
    report = BuildReport()
    documents = list(iter_sources(directory, report, errors=errors, on_bad_line=on_bad_line, seed=seed))
    return BuiltCorpus(documents, report)


def iter_sources(
    directory: str | os.PathLike[str],
    report: BuildReport,
    *,
    errors: Literal["strict", "replace"] = "strict",
    on_bad_line: Literal["stop", "skip"] = "stop",
    seed: int = 0,
) -> Iterator[Document]:
    """`build_corpus_from_sources` one document at a time; `report` is complete when the last one is out."""
    folder = Path(directory).expanduser()
    if not folder.is_dir():
        raise UserError(f"{directory}: no such folder: give one that holds your texts (it may be empty)")
    options = ReadOptions(errors=errors, on_bad_line=on_bad_line)
    return _iterate(folder, report, options, seed)


def _iterate(folder: Path, report: BuildReport, options: ReadOptions, seed: int) -> Iterator[Document]:
    total = 0
    for path in sorted(walk(folder, report.problems)):
        found = FileFound(str(path.relative_to(folder)), "left out")
        report.files.append(found)
        for text, meta in _parsed(path, found, options, report.problems):
            if not text or text.isspace():
                report.problems.add("empty", str(path))
                continue
            yield Document(text, str(path), found.documents, meta)
            found.documents += 1
            found.characters += len(text)
        total += found.documents
    if not total:
        from .storyland import story_corpus

        report.embedded = True
        for index, story in enumerate(story_corpus(n_stories=EMBEDDED_STORIES, seed=seed)):
            yield Document(story, "storyland", index)


def _parsed(path: Path, found: FileFound, options: ReadOptions, problems: Problems) -> Iterator[Parsed]:
    """(text, meta) of one file; `found.kind` and `found.note` are set on the way."""
    suffix = bare_suffix(path)
    if path.name == "SMSSpamCollection" or suffix == ".tsv":
        found.kind = "sms"
        lines = (line for _, line in text_lines(path, options, problems))
        yield from (
            sms_triplet(message, str(meta and meta["label"])) for message, meta in sms_lines(lines, str(path))
        )
    elif suffix in (".json", ".jsonl"):
        yield from _records(path, found, options, problems)
    elif suffix in (".txt", ".md", ".parquet"):
        found.kind = "text"
        yield from read_records(path, options, problems)
    else:
        found.note = f"{suffix or 'a name without a suffix'} is not a kind of text known here"


def _records(path: Path, found: FileFound, options: ReadOptions, problems: Problems) -> Iterator[Parsed]:
    """Instruction records become triplets; others are texts by the field `text`."""
    kinds: set[str] = set()
    for where, record in _json_records(path, options, problems):
        try:
            kind, parsed = _documents_of(record, where)
        except UserError as error:
            if options.on_bad_line == "stop":
                raise
            problems.add("skipped", str(error))
            continue
        kinds.add(kind)
        found.kind = " + ".join(sorted(kinds))
        yield from parsed


def _json_records(path: Path, options: ReadOptions, problems: Problems) -> Iterator[tuple[str, Any]]:
    if bare_suffix(path) == ".json":
        text = "".join(line for _, line in text_lines(path, options, problems))
        tree = parse_json(text, str(path))
        for number, record in enumerate(tree if isinstance(tree, list) else [tree], start=1):
            yield f"{path}, record {number}", record
        return
    for number, line in text_lines(path, options, problems):
        where = f"{path}, line {number}"
        if line.isspace():
            continue
        try:
            yield where, parse_json(line, where)
        except UserError as error:
            if options.on_bad_line == "stop":
                raise
            problems.add("skipped", str(error))


def _documents_of(record: Any, where: str) -> tuple[str, list[Parsed]]:
    if isinstance(record, str):
        return "text", [(record, None)]
    if isinstance(record, dict):
        instances = record.get("instances")
        if isinstance(instances, list) and all(isinstance(i, dict) for i in instances):
            shared = {key: value for key, value in record.items() if key != "instances"}
            several = [{**shared, **instance} for instance in instances]
        else:
            several = [record]
        fields = [instruction_fields(one) for one in several]
        if several and all(fields):
            return "instructions", [
                (triplet(f["instruction"], f["input"], f["output"]), {**one, **f})
                for one, f in zip(several, fields, strict=True)
                if f is not None
            ]
        if isinstance(record.get("text"), str):
            rest = {key: value for key, value in record.items() if key != "text"}
            return "text", [(record["text"], rest or None)]
        has = ", ".join(map(repr, list(record)[:8])) or "no fields"
    else:
        has = f"a {type(record).__name__}"
    raise UserError(f"{where}: needs `text`, or `instruction` and `output`; it has {has}: rename its fields")


def write_jsonl(path: str | os.PathLike[str], documents: Iterable[Document]) -> int:
    """Write one JSON object a line (`text` and the meta fields), whole or not at all; returns how many."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    count = 0
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            for document in documents:
                row = {**(document.meta or {}), "text": document.text}
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return count


@dataclass(frozen=True)
class BuildCorpusConfig:
    """Which folder, and where the corpus goes."""

    dir: Path = field(metadata={"help": "a folder with texts, messages, instructions; subfolders too"})
    out: Path = field(default=Path("corpus.jsonl"), metadata={"help": "the file to write"})
    errors: Literal["strict", "replace"] = field(
        default="strict", metadata={"help": "bytes that are no UTF-8: stop, or replace and count"}
    )
    on_bad_line: Literal["stop", "skip"] = field(
        default="stop", metadata={"help": "a broken record: stop, or skip and count"}
    )
    seed: int = field(default=0, metadata={"help": "of the embedded corpus, where nothing is found"})


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        BuildCorpusConfig,
        prog="python -m working_with_text_data.build_corpus",
        description="Make one corpus of a folder: texts as they are, messages and instructions as triplets.",
        aliases={"--dir": "dir", "--out": "out"},
    )
    if not re.fullmatch(r".+\.jsonl", config.out.name):
        raise UserError(f"out is {config.out} but must end in .jsonl: that is the form that is written")
    report = BuildReport()
    documents = iter_sources(
        config.dir, report, errors=config.errors, on_bad_line=config.on_bad_line, seed=config.seed
    )
    count = write_jsonl(config.out, _with_bar(documents))
    print(report)
    print(f"wrote {config.out}: {count:,} documents")
    print(f"next: python -m working_with_text_data.preprocess input={config.out} out=shards")
    return 0


def _with_bar(documents: Iterator[Document]) -> Iterator[Document]:
    """The same documents, counted on a terminal while they pass."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("reading: {task.completed:,.0f} documents"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        for document in documents:
            yield document
            bar.advance(task)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
