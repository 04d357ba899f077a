"""Labelled texts from files: one reader for each form, and for every line that is wrong a place and a reason.

| form | what it holds |
|---|---|
| folder | a folder a label, a text a file: `pos/0_9.txt` (IMDb's official layout; its `unsup` has no labels) |
| `.csv`, `.tsv` | a header that names the columns `text_field` and `label_field` |
| `.tsv` without a header, `SMSSpamCollection` | `label<TAB>text` |
| `.jsonl`, `.json`, `.parquet` | records with both fields |

All but folders also with `.gz`. Bytes that are not UTF-8 stop with their place (`errors="replace"` counts them
instead); a line without a label or without text stops too, or is skipped and counted (`on_bad_line="skip"`). Labels are
words: a 1 is the label "1". Left out: several labels a text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from utils.errors import UserError
from working_with_text_data.readers import (
    Problems,
    ReadOptions,
    bare_suffix,
    parse_json,
    read_records,
    record_of,
    text_lines,
)

UNLABELLED = ("unsup", "unsupervised")
RECORDS = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its label, and where it came from, for error messages."""

    text: str
    label: str
    where: str


@dataclass(frozen=True)
class Fields:
    """How a file is read: its columns, and what becomes of bad bytes and bad lines.

    Without `need_label` a text may have none (it is then ""), and a `.txt` file holds one text a line.
    """

    text: str = "text"
    label: str = "label"
    errors: str = "strict"
    on_bad_line: str = "stop"
    need_label: bool = True

    def options(self) -> ReadOptions:
        """The same for `working_with_text_data.readers`, which checks the values."""
        return ReadOptions(self.text, self.errors, self.on_bad_line)  # type: ignore[arg-type]


def read_labelled(path: Path, fields: Fields, problems: Problems) -> Iterator[Labelled]:
    """The texts of a file or a folder in order. Raises UserError naming the file and the line, record or byte."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder of labelled texts")
    if path.is_dir():
        found = _folder(path, fields, problems)
    elif bare_suffix(path) in RECORDS:
        found = _records(path, fields, problems)
    else:
        found = _table(path, fields, problems)
    for text, label, where in found:
        try:
            one = _labelled(text, label, where, fields)
        except UserError as error:
            _bad(error, fields, problems)
        else:
            yield one


def _bad(error: UserError, fields: Fields, problems: Problems) -> None:
    """Stop at a bad line, or count it and go on, as asked."""
    if fields.on_bad_line == "stop":
        raise error
    problems.add("skipped", str(error))


def _labelled(text: Any, label: Any, where: str, fields: Fields) -> Labelled:
    label = "" if label is None else label
    if fields.need_label and not str(label).strip():
        raise UserError(f"{where}: no label in {fields.label!r}: give one, or pass on_bad_line=skip")
    if isinstance(label, float | dict | list):
        raise UserError(f"{where}: the label is {label!r}: a label is a word or a whole number")
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: the text is empty: remove the line, or pass on_bad_line=skip")
    return Labelled(text, str(label).strip(), where)


Found = Iterator[tuple[Any, Any, str]]


def _folder(path: Path, fields: Fields, problems: Problems) -> Found:
    """A folder a label. Files that are not `.txt`, and texts without labels, are passed over."""
    labels = sorted(
        p for p in path.iterdir() if p.is_dir() and p.name not in UNLABELLED and not p.name.startswith(".")
    )
    files = [(folder.name, file) for folder in labels for file in sorted(folder.glob("*.txt"))]
    if not files:
        raise UserError(
            f"{path}: no labelled texts: it needs a folder for each label with .txt files, such as pos/ and neg/"
        )
    for label, file in files:
        yield "".join(line for _, line in text_lines(file, fields.options(), problems)), label, str(file)


def _records(path: Path, fields: Fields, problems: Problems) -> Found:
    for where, text, rest in _numbered(path, fields, problems):
        if fields.label in rest or not fields.need_label:
            yield text, rest.get(fields.label), where
            continue
        has = ", ".join(map(repr, [fields.text, *rest][:8]))
        error = f"{where}: the field {fields.label!r} is missing; it has {has}: pass label_field=NAME"
        _bad(UserError(error), fields, problems)


def _numbered(path: Path, fields: Fields, problems: Problems) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, text, other fields) of each record."""
    if bare_suffix(path) != ".jsonl":
        found = enumerate(read_records(path, fields.options(), problems), start=1)
        yield from ((f"{path}, record {number}", text, dict(rest or {})) for number, (text, rest) in found)
        return
    for number, line in text_lines(path, fields.options(), problems):
        where = f"{path}, line {number}"
        if line.isspace():
            continue
        try:
            text, rest = record_of(parse_json(line, where), fields.text, where)
        except UserError as error:
            _bad(error, fields, problems)
        else:
            yield where, text, dict(rest or {})


def _table(path: Path, fields: Fields, problems: Problems) -> Found:
    """A table with a header, or `label<TAB>text` without one."""
    lines = (line for _, line in text_lines(path, fields.options(), problems))
    if bare_suffix(path) == ".txt" and not fields.need_label:
        return (
            (line.rstrip("\r\n"), "", f"{path}, line {n}")
            for n, line in enumerate(lines, start=1)
            if line.strip()
        )
    first = next(lines, None)
    if first is None:
        raise UserError(f"{path}: the file is empty: give labelled texts")
    everything = chain([first], lines)
    if bare_suffix(path) == ".csv":
        return _cells(path, fields, csv.reader(everything, strict=True), problems)
    if {fields.text, fields.label} <= set(first.rstrip("\r\n").split("\t")):
        rows = csv.reader(everything, delimiter="\t", quoting=csv.QUOTE_NONE)
        return _cells(path, fields, rows, problems)
    return _pairs(path, fields, everything, problems)


def _pairs(path: Path, fields: Fields, lines: Iterator[str], problems: Problems) -> Found:
    for number, line in enumerate(lines, start=1):
        label, tab, text = line.rstrip("\r\n").partition("\t")
        where = f"{path}, line {number}"
        if tab:
            yield text, label, where
        elif line.strip():
            error = (
                f"{where}: neither `label<TAB>text` nor a table whose header names {fields.text} and {fields.label}: "
                "give a .csv with a header, .jsonl, or a tab on each line"
            )
            _bad(UserError(error), fields, problems)


def _cells(path: Path, fields: Fields, rows: Any, problems: Problems) -> Found:
    """The two columns of a table. A row of another width is bad: somewhere a comma or a quote is missing."""
    header = [name.strip() for name in next(rows)]
    wanted = (fields.text, fields.label) if fields.need_label else (fields.text,)
    missing = [name for name in wanted if name not in header]
    if missing:
        raise UserError(
            f"{path}, line 1: no column {missing[0]!r}; the header has {', '.join(map(repr, header[:8]))}: "
            "pass text_field=NAME and label_field=NAME"
        )
    text_at = header.index(fields.text)
    label_at = header.index(fields.label) if fields.label in header else None
    while True:
        where = f"{path}, line {rows.line_num + 1}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:  # what follows a bad quote cannot be trusted, so this always stops
            raise UserError(f"{where}: not CSV ({error}): check its quotes") from None
        if len(row) == len(header):
            yield row[text_at], None if label_at is None else row[label_at], where
        elif row:
            found = f"{where}: {len(row)} cells, but the header has {len(header)}: put a text with commas in quotes"
            _bad(UserError(found), fields, problems)
