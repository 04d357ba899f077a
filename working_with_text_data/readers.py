"""File formats: from the bytes of one file to texts, with the place named where the bytes are wrong.

`documents.py` decides which files are read; this module reads one. Each format is a small generator of
(text, other fields), so that memory is that of the longest document: lines for `.txt`, `.md` and `.jsonl`,
row groups for `.parquet`. Only `.json`, which cannot be cut before it is parsed, is read whole.

Nothing is lost in silence: what is left out (`on_bad_line="skip"`) or changed (`errors="replace"`) is counted
in a `Problems` object and the first places are listed. A line longer than `max_line_bytes` is measured in
blocks, never held, so even a line of gigabytes ends in one sentence. `max_bytes` bounds a whole file *after*
decompression, which is what stops a gzip bomb. Left out: other encodings than UTF-8 (convert them first).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from utils.errors import UserError, one_line

SEPARATOR = "<|endoftext|>"
MAX_LINE_BYTES = 256 * 2**20  # a line of 100 MB is read; one of a gigabyte is a mistake
_BLOCK = 1 << 20
_PARQUET_ROWS = 64  # rows held at once
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Record = tuple[str, dict[str, Any] | None]  # the text, and the other fields if there are any


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read. The meaning of each option is told in `documents.iter_documents`."""

    text_field: str = "text"
    errors: Literal["strict", "replace"] = "strict"
    on_bad_line: Literal["stop", "skip"] = "stop"
    max_line_bytes: int = MAX_LINE_BYTES
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.errors not in ("strict", "replace"):
            raise UserError(f'errors is {self.errors!r} but must be "strict" or "replace"')
        if self.on_bad_line not in ("stop", "skip"):
            raise UserError(f'on_bad_line is {self.on_bad_line!r} but must be "stop" or "skip"')
        for name in ("max_line_bytes", "max_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: give at least 1")


@dataclass(slots=True)
class Problems:
    """What reading left out or changed: `counts` by kind, and the first `listed` of them in words.

    Kinds: "skipped" lines or records, "replaced" bytes that were no UTF-8, "empty" documents, "links" that
    lead out of a folder.
    """

    counts: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)
    listed: int = 20

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count `count` problems of one kind; `where` is a sentence that names the place."""
        self.counts[kind] += count
        if kind != "empty" and len(self.places) < self.listed:
            self.places.append(where)

    def __bool__(self) -> bool:
        return any(count for kind, count in self.counts.items() if kind != "empty")

    def summary(self) -> str:
        """One line, such as `2 skipped, 1 replaced (first: a.jsonl, line 3: not JSON)`."""
        counts = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.counts.items()))
        return (counts or "nothing") + (f" (first: {self.places[0]})" if self.places else "")


def bare_suffix(path: Path) -> str:
    """The suffix in lower case, looking through `.gz`: `a.jsonl.gz` is `.jsonl`."""
    return os.path.splitext(path.name.lower().removesuffix(".gz"))[1]


def read_records(path: Path, options: ReadOptions, problems: Problems) -> Iterator[Record]:
    """(text, other fields) of one file, in order, blank ones included.

    Raises UserError naming the file and the line, record or byte.
    """
    reader = {".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}.get(bare_suffix(path), _plain)
    return reader(path, options, problems)


def _plain(path: Path, options: ReadOptions, problems: Problems) -> Iterator[Record]:
    """The whole file, or the pieces between separator lines (without the line breaks around them)."""
    lines: list[str] = []
    separated = False
    for _, line in text_lines(path, options, problems):
        # The cheap test first: of a million lines almost none begin so.
        if line.startswith(SEPARATOR) and line.strip() == SEPARATOR:
            separated = True
            yield "".join(lines).strip("\r\n"), None
            lines = []
        else:
            lines.append(line)
    rest = "".join(lines)
    yield (rest.strip("\r\n") if separated else rest), None


def _jsonl(path: Path, options: ReadOptions, problems: Problems) -> Iterator[Record]:
    def too_long(where: str, why: str) -> None:
        _bad(UserError(f"{where}: {why}"), options, problems)

    for number, line in text_lines(path, options, problems, too_long):
        if line.isspace():
            continue
        where = f"{path}, line {number}"
        try:
            yield record_of(parse_json(line, where), options.text_field, where)
        except UserError as error:
            _bad(error, options, problems)


def _json(path: Path, options: ReadOptions, problems: Problems) -> Iterator[Record]:
    """A list of objects or of strings, or one object."""
    limit = min(options.max_line_bytes, options.max_bytes or options.max_line_bytes)
    with _opened(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise UserError(
            f"{path}: more than {limit:,} bytes, but a .json file is read whole: write one record a line "
            "(.jsonl), or pass a larger max_line_bytes and max_bytes"
        )
    tree = parse_json(_decode(data, path, 0, options, problems), str(path))
    for number, record in enumerate(tree if isinstance(tree, list) else [tree], start=1):
        where = f"{path}, record {number}"
        try:
            yield (record, None) if isinstance(record, str) else record_of(record, options.text_field, where)
        except UserError as error:
            _bad(error, options, problems)


def _parquet(path: Path, options: ReadOptions, problems: Problems) -> Iterator[Record]:
    """Rows in batches. Columns of lists, structs and bytes are not read: they are no part of a document."""
    pa, pq = _pyarrow(path)
    if path.name.lower().endswith(".gz"):
        raise UserError(f"{path}: parquet is compressed already: unpack the .gz first")
    number = size = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = _plain_columns(file.schema_arrow, options.text_field, path, pa)
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=columns):
                # As bytes, so that a string that is no UTF-8 is our error with its row, not a crash.
                texts = batch.column(options.text_field).cast(pa.large_binary()).to_pylist()
                others = batch.drop_columns([options.text_field]).to_pylist()
                for data, fields in zip(texts, others, strict=True):
                    number += 1
                    size += len(data or b"")
                    _check_size(path, size, options)
                    where = f"{path}, row {number}"
                    if data is None:
                        _bad(UserError(f"{where}: {options.text_field!r} is null"), options, problems)
                        continue
                    yield _decode(data, path, 0, options, problems, where), fields or None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a parquet file that can be read ({one_line(error)})") from None


def _plain_columns(schema: Any, text_field: str, path: Path, pa: Any) -> list[str]:
    names = ", ".join(map(repr, schema.names[:8])) or "none"
    if text_field not in schema.names:
        raise UserError(f"{path}: no column {text_field!r}; its columns are {names}: pass text_field=NAME")
    kind = schema.field(text_field).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{path}: the column {text_field!r} is {kind}, not a string: pass text_field=NAME")
    types = pa.types
    plain = [
        f.name
        for f in schema
        if not (types.is_nested(f.type) or types.is_binary(f.type) or f.name == text_field)
    ]
    return [text_field, *plain]


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(
            f"{path}: reading parquet needs pyarrow: pip install -c constraints.txt -e '.[data]'"
        ) from None
    return pa, pq


def parse_json(text: str, where: str) -> Any:
    """`text` as JSON, or a UserError that begins with `where`."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}): each line must be one whole object") from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply: each line must be one flat object") from None
    # An escaped lone surrogate is valid JSON and no text: it has no UTF-8 form.
    if ("\\ud" in text or "\\uD" in text) and _LONE_SURROGATE.search(json.dumps(tree, ensure_ascii=False)):
        raise UserError(f"{where}: holds half of a surrogate pair, which is not a character: remove it")
    return tree


def record_of(record: Any, text_field: str, where: str) -> Record:
    """The text of a JSON object and its other fields, or a UserError that says what the line has."""
    if not isinstance(record, Mapping):
        kind = type(record).__name__
        raise UserError(f"{where}: a {kind}, but each line must be an object with {text_field!r}")
    text = record.get(text_field)
    if not isinstance(text, str):
        has = ", ".join(map(repr, list(record)[:8])) or "no fields"
        what = "is missing" if text_field not in record else f"is {type(text).__name__}, not a string"
        raise UserError(f"{where}: the field {text_field!r} {what}; the line has {has}: pass text_field=NAME")
    return text, {key: value for key, value in record.items() if key != text_field} or None


def _bad(error: UserError, options: ReadOptions, problems: Problems) -> None:
    """Stop at a bad record, or count it and go on, as asked."""
    if options.on_bad_line == "stop":
        raise error
    problems.add("skipped", str(error))


def text_lines(
    path: Path,
    options: ReadOptions,
    problems: Problems,
    too_long: Callable[[str, str], None] | None = None,
) -> Iterator[tuple[int, str]]:
    """(line number from 1, line with its own line end); lines end at \\n alone, so \\r\\n stays \\r\\n.

    `too_long(where, why)` is called for a line above `max_line_bytes`, which is then left out; without it
    such a line is an error.
    """
    limit = options.max_line_bytes
    if options.max_bytes is not None:
        limit = min(limit, options.max_bytes)  # one line alone may already be too much
    number = offset = 0
    with _opened(path) as stream:
        while line := stream.readline(limit + 1):
            number += 1
            size = len(line)
            _check_size(path, offset + size, options)
            if size > limit:
                size += _rest_of_line(stream, line)
                offset += size
                why = f"{size:,} bytes, more than max_line_bytes={limit:,}: pass a larger one or cut the line"
                if too_long is None:
                    raise UserError(f"{path}, line {number}: {why}")
                too_long(f"{path}, line {number}", why)
                continue
            yield number, _decode(line, path, offset, options, problems)
            offset += size


def _rest_of_line(stream: IO[bytes], seen: bytes) -> int:
    """How many bytes are left of a line of which `seen` was read; none of them is kept."""
    rest = 0
    while not seen.endswith(b"\n") and (seen := stream.readline(_BLOCK)):
        rest += len(seen)
    return rest


def _check_size(path: Path, size: int, options: ReadOptions) -> None:
    if options.max_bytes is not None and size > options.max_bytes:
        raise UserError(
            f"{path}: more than max_bytes={options.max_bytes:,} bytes of text (after decompression): "
            "give a smaller file or a larger max_bytes"
        )


def _decode(
    data: bytes, path: Path, offset: int, options: ReadOptions, problems: Problems, where: str | None = None
) -> str:
    """UTF-8 to text. `offset` is where `data` begins in the file; at 0 a byte-order mark goes."""
    if offset == 0 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path}: UTF-16 text, from byte 0: save it as UTF-8")
    mark = 3 if offset == 0 and data.startswith(b"\xef\xbb\xbf") else 0
    nul = data.find(b"\0")
    try:
        text = data.decode("utf-8") if not mark else data[mark:].decode("utf-8")
        if nul < 0:
            return text
        bad, reason = nul, "a NUL byte"
    except UnicodeDecodeError as error:
        bad = error.start + mark
        reason = f"0x{data[bad]:02x}, which is not UTF-8"
        if 0 <= nul < bad:
            bad, reason = nul, "a NUL byte"
    place = f"{where or path}: not a text file: {reason} at byte {offset + bad}"
    if options.errors == "strict":
        raise UserError(f'{place}: give UTF-8 text, or pass errors="replace"')
    data = data[mark:]
    text = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    # A U+FFFD that was in the file stays one and is not counted: its bytes begin with 0xef, which never
    # continues another character.
    problems.add("replaced", place, text.count("\ufffd") - data.count(b"\xef\xbf\xbd"))
    return text


class _opened:
    """The bytes of a file, unpacked if its name ends in .gz; what goes wrong becomes a UserError."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> Any:
        if self.path.is_dir():
            raise UserError(f"{self.path}: a folder where a file is needed")
        try:
            zipped = self.path.name.lower().endswith(".gz")
            self.stream: Any = gzip.open(self.path, "rb") if zipped else open(self.path, "rb")
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such file") from None
        return self.stream

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.stream.close()
        if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
            raise UserError(
                f"{self.path}: a damaged gzip file ({error}): fetch or compress it again"
            ) from None
