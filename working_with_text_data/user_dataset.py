"""A data set from a person: is it one, of which kind, what is wrong in which line, and how clean is it?

    python -m working_with_text_data.user_dataset my_data.jsonl out=clean.jsonl

`validate_dataset` takes a file or its bytes (an upload) and answers with one `DatasetReport`; it never
raises for what is in the data. Formats: `.jsonl`, `.json`, `.csv`, `.txt`, `.md`, each also `.gz`, or told
from the bytes. Kinds, told from the first good record and then asked of all: "text" (a field `text`),
"instruction" (`instruction`/`prompt`, `output`/`response`/`completion`, perhaps `input`) and "chat"
(`messages`, each with a `role` and a `content`).

All errors are collected, with their lines, up to a limit. Sanitising removes control characters and makes
line ends \\n, counts both, and keeps newlines and tabs: text without them is another text. Duplicates are
counted, not removed (that is cleaning). Everything is bounded: bytes after decompression, records, and
the longest record; the whole set is held in memory, which `max_bytes` bounds too. Left out: parquet.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError
from utils.files import sha256_bytes

from .build_corpus import write_jsonl
from .dataset_formats import FORMATS, READERS, DatasetReport, Found, Issue, contents, guess_format, text_of
from .documents import Document
from .published_forms import instruction_fields, triplet
from .readers import bare_suffix

__all__ = ["DatasetReport", "Issue", "main", "sanitise", "validate_dataset"]

MAX_BYTES = 100 * 2**20
ROLES = ("system", "user", "assistant", "tool")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all of Unicode's Cc but \t and \n


def sanitise(text: str) -> tuple[str, int, int]:
    """(text, removed control characters, changed line ends). Newlines and tabs stay.

    >>> sanitise("a\\r\\nb\\x00\\tc")
    ('a\\nb\\tc', 1, 1)
    """
    ends = text.count("\r")
    if ends:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, removed = _CONTROL.subn("", text)
    return text, removed, ends


def validate_dataset(
    path_or_bytes: str | os.PathLike[str] | bytes,
    *,
    name: str | None = None,
    kind: Literal["auto", "text", "instruction", "chat"] = "auto",
    errors: Literal["strict", "replace"] = "strict",
    max_bytes: int = MAX_BYTES,
    max_records: int = 1_000_000,
    max_record_chars: int = 1_000_000,
    max_errors: int = 100,
) -> DatasetReport:
    """Look at a data set and say what it is and what is wrong with it.

    Args:
        path_or_bytes: a file, or the bytes of an upload.
        name: the upload's own name, whose suffix tells the format; it is never used as a path.
        kind: what every record must be; "auto" takes the kind of the first good record.
        errors: bytes that are not UTF-8 are an error each ("strict") or become U+FFFD ("replace").
        max_bytes: of the data, after decompression.
        max_records, max_record_chars: how many records, and how long one may be.
        max_errors: how many errors are listed; all are counted.

    Returns a report with the sanitised documents. Raises UserError only when a path cannot be read.
    """
    label = name or ("upload" if isinstance(path_or_bytes, bytes) else os.fspath(path_or_bytes))
    report = DatasetReport(label, max_errors=max_errors)
    try:
        with (
            io.BytesIO(path_or_bytes)
            if isinstance(path_or_bytes, bytes)
            else open(path_or_bytes, "rb") as stream
        ):
            data = contents(stream, report, max_bytes)
    except OSError as error:
        raise UserError(f"{label}: cannot be read: {error.strerror}") from None
    if data is None:
        return report
    report.bytes, report.sha256 = len(data), sha256_bytes(data)
    text = text_of(data, report, errors)
    if text is None:
        return report
    report.format = FORMATS.get(bare_suffix(Path(label)), "") or guess_format(text)
    records = READERS[report.format](text, report)
    _collect(records, report, kind, max_records, max_record_chars)
    if not report.records and not report.errors_in_all:
        report.error(None, "there is no text in it")
    return report


def _collect(
    records: Found, report: DatasetReport, kind: str, max_records: int, max_record_chars: int
) -> None:
    """Check, sanitise and keep each record; whatever is wrong with one is an error with its line."""
    seen: set[bytes] = set()
    wanted = None if kind == "auto" else kind
    for line, record in records:
        if report.records + report.rejected >= max_records:
            report.error(
                line,
                f"more than {max_records:,} records: give fewer, or raise max_records",
            )
            return
        try:
            found, parsed = _parse(record, wanted)
            if wanted is not None and found != wanted:
                raise ValueError(f"a record of kind {found!r} among {wanted!r}: one data set holds one kind")
            parsed, removed, ends = _sanitised(parsed)
            text = _as_text(found, parsed)
            if len(text) > max_record_chars:
                raise ValueError(f"{len(text):,} characters, more than max_record_chars={max_record_chars:,}")
            if not text.strip() or (found == "instruction" and not parsed["instruction"].strip()):
                raise ValueError("holds no text")
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        except UnicodeEncodeError:
            report.rejected += 1
            report.error(line, "holds half of a surrogate pair, which is not a character")
            continue
        except ValueError as error:
            report.rejected += 1
            report.error(line, str(error))
            continue
        wanted = report.kind = found
        report.control_characters += removed
        report.line_ends += ends
        report.longest = max(report.longest, len(text))
        report.duplicates += key in seen
        seen.add(key)
        meta = {k: v for k, v in parsed.items() if k != "text"} or None
        report.documents.append(Document(text, report.name, report.records, meta))
        report.records += 1


def _parse(record: Any, wanted: str | None) -> tuple[str, dict[str, Any]]:
    """(kind, record with the usual field names), or a ValueError that says what is missing."""
    if isinstance(record, str):
        return "text", {"text": record}
    if not isinstance(record, dict):
        raise ValueError(f"a {type(record).__name__} where an object is needed")
    if wanted == "text" and isinstance(record.get("text"), str):
        return "text", dict(record)
    if "messages" in record:
        return "chat", {**record, "messages": _messages(record["messages"])}
    fields = instruction_fields(record)
    if fields is not None:
        return "instruction", {**record, **fields}
    if isinstance(record.get("text"), str):
        return "text", dict(record)
    has = ", ".join(map(repr, list(record)[:8])) or "no fields"
    raise ValueError(f"needs `text`, `instruction` and `output`, or `messages`; it has {has}")


def _messages(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise ValueError("`messages` must be a list that is not empty")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise ValueError(f"message {number} must be an object with `role` and `content`, both text")
        if message.get("role") not in ROLES:
            raise ValueError(f"message {number} has role {message.get('role')!r}: use {', '.join(ROLES)}")
    if not any(m["role"] == "assistant" and m["content"].strip() for m in messages):
        raise ValueError("no message of the assistant, so there is nothing to learn from it")
    return messages


def _sanitised(value: Any) -> tuple[Any, int, int]:
    """`sanitise` for every text within a record."""
    if isinstance(value, str):
        if not value.isascii():
            value.encode("utf-8")  # half of a surrogate pair has no UTF-8 form
        return sanitise(value)
    if isinstance(value, dict | list):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        done = [(key, *_sanitised(item)) for key, item in items]
        kept: Any = {k: v for k, v, _, _ in done} if isinstance(value, dict) else [v for _, v, _, _ in done]
        return kept, sum(d[2] for d in done), sum(d[3] for d in done)
    return value, 0, 0


def _as_text(kind: str, record: dict[str, Any]) -> str:
    """What a person would read: the text, the triplet, or the messages under their roles."""
    if kind == "instruction":
        return triplet(record["instruction"], record["input"], record["output"])
    if kind == "chat":
        return "\n\n".join(f"### {m['role'].capitalize()}:\n{m['content']}" for m in record["messages"])
    return record["text"]


@dataclass(frozen=True)
class ValidateConfig:
    """Limits, and where the sanitised records go."""

    out: Path | None = field(default=None, metadata={"help": "write the good records there (.jsonl)"})
    kind: Literal["auto", "text", "instruction", "chat"] = "auto"
    errors: Literal["strict", "replace"] = "strict"
    max_bytes: int = field(default=MAX_BYTES, metadata={"help": "after decompression"})
    max_records: int = 1_000_000
    max_record_chars: int = 1_000_000
    max_errors: int = field(default=20, metadata={"help": "how many errors are listed"})


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 if the data set can be used as it is, else 2."""
    config, arguments = parse_args(
        argv,
        ValidateConfig,
        prog="python -m working_with_text_data.user_dataset",
        description="Check a data set of your own: texts, instructions or chats.",
        positional={"file": "a .jsonl, .json, .csv or .txt file, perhaps .gz"},
    )
    options = {name: getattr(config, name) for name in ValidateConfig.__dataclass_fields__ if name != "out"}
    report = validate_dataset(arguments.file, **options)
    print(report)
    if config.out is not None and report.records:
        count = write_jsonl(config.out, report.documents)
        print(f"wrote {config.out}: {count:,} good records")
        print(f"next: python -m working_with_text_data.preprocess input={config.out} out=shards")
    report.raise_if_bad()
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
