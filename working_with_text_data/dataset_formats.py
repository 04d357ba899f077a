"""The bytes of a person's data set as records, each with its line, and every error in a report.

`contents` takes no more than a limit from a file or an upload, unpacked where it is gzip; `text_of` makes
text of it; `READERS` hold one generator of (line, record) for each format. Nothing here raises for what is
in the data: `DatasetReport.error` collects it, and a reader ends where it cannot go on. What a record must
hold is asked in `user_dataset.py`. Unlike `readers.py`, which streams files of one's own and stops at the
first error, this holds the whole (bounded) set and reports all errors at once.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from utils.errors import UserError, one_line

from .documents import Document
from .readers import SEPARATOR

FORMATS = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".txt": "txt", ".md": "txt"}
_BINARY = {
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF",
    b"PAR1": "a parquet file",
    b"\x89PNG": "a picture",
}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# strict=False: a raw tab in a string is a slip, not a reason to refuse it.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong; `line` is counted from 1, or None where it concerns the whole file."""

    line: int | None
    message: str

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


@dataclass(slots=True)
class DatasetReport:
    """What `validate_dataset` found. `ok` means usable as it is: at least one record and no error."""

    name: str
    format: str = ""
    kind: str | None = None
    bytes: int = 0
    sha256: str = ""
    records: int = 0
    rejected: int = 0
    duplicates: int = 0
    control_characters: int = 0
    line_ends: int = 0
    longest: int = 0
    errors: list[Issue] = field(default_factory=list)
    errors_in_all: int = 0
    documents: list[Document] = field(default_factory=list)
    max_errors: int = 100

    def error(self, line: int | None, message: str) -> None:
        """Count an error, and list it while there is room."""
        self.errors_in_all += 1
        if len(self.errors) < self.max_errors:
            self.errors.append(Issue(line, message))

    @property
    def ok(self) -> bool:
        return self.records > 0 and self.errors_in_all == 0

    def raise_if_bad(self) -> None:
        """A UserError with the first error, for callers that want one line and no report."""
        if not self.ok:
            more = f" (and {self.errors_in_all - 1:,} more)" if self.errors_in_all > 1 else ""
            raise UserError(f"{self.name}: {self.errors[0]}{more}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for an API, without the documents."""
        hidden = ("documents", "max_errors")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in hidden}
        return {
            **values,
            "ok": self.ok,
            "errors": [{"line": e.line, "message": e.message} for e in self.errors],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.format or 'unknown'} format, {self.kind or 'no'} records, {self.bytes:,} bytes",
            f"  {self.records:,} good, {self.rejected:,} rejected, {self.duplicates:,} duplicates; longest "
            f"{self.longest:,} characters",
            f"  {self.control_characters:,} control characters removed, {self.line_ends:,} line ends made \\n",
            *(f"  {error}" for error in self.errors),
        ]
        if self.errors_in_all > len(self.errors):
            lines.append(f"  … and {self.errors_in_all - len(self.errors):,} more errors")
        return "\n".join(lines)


def contents(stream: Any, report: DatasetReport, max_bytes: int) -> bytes | None:
    """The bytes, unpacked if they are gzip, or None with an error: never more than the limit is read."""
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    try:
        data = (gzip.GzipFile(fileobj=stream) if packed else stream).read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        report.error(None, f"a damaged gzip file ({one_line(error)}): compress it again")
        return None
    if len(data) > max_bytes:
        unpacked = " after decompression" if packed else ""
        report.error(
            None,
            f"more than {max_bytes:,} bytes{unpacked}: give less, or raise max_bytes",
        )
        return None
    return data


def text_of(data: bytes, report: DatasetReport, errors: str) -> str | None:
    """The data as text; every line that is not UTF-8 is an error, or is mended, as asked."""
    what = next((kind for magic, kind in _BINARY.items() if data.startswith(magic)), None)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        what = "UTF-16 text"
    elif what is None and data[:4096].count(0) > len(data[:4096]) // 20:
        what = "a binary file"
    if what is not None:
        report.error(None, f"this is {what}: give UTF-8 text as .jsonl, .json, .csv or .txt")
        return None
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if errors == "strict":
        for number, line in enumerate(data.split(b"\n"), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = line[error.start]
                report.error(number, f"0x{bad:02x} at byte {error.start} of the line is not UTF-8")
    return data.decode("utf-8", "replace")


def guess_format(text: str) -> str:
    """The format of nameless data: a list is JSON, an object a line is JSON lines, else it is text."""
    start = text.lstrip()[:1]
    if start == "[":
        return "json"
    return "jsonl" if start == "{" else "txt"


Found = Iterator[tuple[int, Any]]  # (line, record); a str is a text by itself


def _jsonl(text: str, report: DatasetReport) -> Found:
    for number, line in enumerate(text.split("\n"), start=1):
        if line and not line.isspace():
            try:
                record, end = _DECODER.raw_decode(line.strip())
                if line.strip()[end:].strip():
                    raise ValueError("something follows the object")
            except (ValueError, RecursionError) as error:
                report.rejected += 1
                report.error(number, f"not JSON ({one_line(error)}): one whole object a line")
            else:
                yield number, record


def _json(text: str, report: DatasetReport) -> Found:
    """The elements of a list one by one, so that each knows its line; or one object."""
    position, line = 0, 1
    after = re.compile(r"\s*")

    def skip(to: int) -> int:
        nonlocal line
        end = after.match(text, to).end()  # type: ignore[union-attr]
        line += text.count("\n", position, end)
        return end

    try:
        position = skip(0)
        if text[position : position + 1] != "[":
            record, end = _DECODER.raw_decode(text, position)
            yield line, record
            position = skip(end)
        else:
            position = skip(position + 1)
            while text[position : position + 1] != "]":
                record, end = _DECODER.raw_decode(text, position)
                yield line, record
                position = skip(end)
                if text[position : position + 1] == ",":
                    position = skip(position + 1)
                elif text[position : position + 1] != "]":
                    raise ValueError("a comma or ] must follow a record")
            position = skip(position + 1)
        if position < len(text):
            raise ValueError("something follows the end of the data")
    except json.JSONDecodeError as error:
        report.error(error.lineno, f"not JSON ({error.msg}): records after it were not read")
    except (ValueError, RecursionError) as error:
        report.error(line, f"not JSON ({one_line(error)}): records after it were not read")


def _csv(text: str, report: DatasetReport) -> Found:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                report.rejected += 1
                report.error(reader.line_num, "has more or fewer fields than the first line names")
            else:
                yield reader.line_num, row
    except csv.Error as error:
        report.error(reader.line_num, f"not CSV ({error}): records after it were not read")


def _plain(text: str, report: DatasetReport) -> Found:
    """One text, or those between lines that are exactly the separator."""
    start, parts = 1, re.split(rf"^{re.escape(SEPARATOR)}[ \t]*\r?$\n?", text, flags=re.MULTILINE)
    for part in parts:
        if part.strip():
            yield start, part.strip("\r\n") if len(parts) > 1 else part
        start += part.count("\n") + 1


READERS: dict[str, Callable[[str, DatasetReport], Found]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "txt": _plain,
}
