"""Run directories as the routes see them: found by name in a listing, and read a few lines at a time.

The idea: a run's name from outside is compared with the folders that are there and never becomes part of a path, and
nothing is opened through a symbolic link, so no request can reach a file outside the folder of runs (law LS5). A run
folder that is kept elsewhere and linked into place is therefore not shown; set SCRATCHBOOK_RUNS to its home instead.

The growing files (metrics, samples, log) are read by *offset*: every whole line is given with the byte offset behind
it, and that number is all a reader needs to go on, today or after a lost connection. A last line without its newline
is still being written and is not given.

Left out: checkpoints' contents, and writing anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chat_ui import limits
from chat_ui.api.route import NotHere, NotWhole, shortened
from utils.errors import UserError
from utils.runs import Run, runs_root

METRICS, SAMPLES, LOG = "metrics.jsonl", "samples.jsonl", "log.txt"
# Never through a link, and never waiting for the other end of a pipe.
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)


class Replaced(UserError):
    """The offset does not stand behind a line of this file: it is another file than the one that was read."""


def all_runs(root: Path | None, *, stage: str | None = None) -> list[Run]:
    """Every readable run below `root`, newest start first."""
    runs = []
    for folder in _folders(runs_root(root), stage):
        try:
            runs.append(_open(folder))
        except UserError:
            continue
    return sorted(runs, key=lambda run: (str(run.meta["start"]), run.path.name), reverse=True)


def find_run(root: Path | None, stage: str, run_id: str) -> Run:
    """The run in folder `stage`/`run_id`. Raises NotHere, or NotWhole for a run.json that cannot be read."""
    for folder in _folders(runs_root(root), stage):
        if folder.name == run_id:
            return _open(folder)
    raise NotHere(f"no run {shortened(f'{stage}/{run_id}')}: /api/v1/runs lists them")


def name_of(run: Run) -> str:
    """`stage/id`, by its folders: the name that the routes and `/v1/models` know it by."""
    return f"{run.path.parent.name}/{run.path.name}"


def _folders(root: Path, stage: str | None = None) -> Iterator[Path]:
    """The run folders that are there. Links are left aside, and names that are no text."""
    for outer in _plain_folders(root):
        if stage is None or outer.name == stage:
            yield from (Path(inner.path) for inner in _plain_folders(Path(outer.path)))


def _plain_folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if _is_plain(entry)]
    except OSError:  # not there, or gone meanwhile
        return []


def _is_plain(entry: os.DirEntry[str]) -> bool:
    try:
        entry.name.encode("utf-8")
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return False


def _open(folder: Path) -> Run:
    """The run in a folder that was listed."""
    with open_file(folder, "run.json") as file:
        if os.fstat(file.fileno()).st_size > limits.RUN_JSON_BYTES:
            raise NotWhole(f"run.json of {folder.name} has more than {limits.RUN_JSON_BYTES:,} bytes")
    try:
        run = Run.open(folder)
    except (UserError, OSError, RecursionError) as error:
        raise NotWhole(f"run.json of {folder.name} cannot be read now: {error}") from None
    run.path = folder.absolute()
    return run


def open_file(folder: Path, name: str) -> BinaryIO:
    """A regular file of a run folder, to be read. Raises NotHere when there is none of this name."""
    missing = NotHere(f"the run {shortened(folder.name)} has no {name}")
    try:
        descriptor = os.open(folder / name, _FLAGS)
    except OSError:
        raise missing from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise missing
    return os.fdopen(descriptor, "rb", buffering=0)


@dataclass(frozen=True)
class Lines:
    """Whole lines of a file: each with the offset behind it; None for one that is too long to send.

    `after` is where to go on, `more` whether there may be further whole lines already.
    """

    lines: list[tuple[int, bytes | None]]
    after: int
    more: bool


def read_lines(
    folder: Path,
    name: str,
    after: int = 0,
    *,
    most: int = limits.ROWS_OF_A_FILE,
    size: int = limits.READ_BYTES,
) -> Lines:
    """Whole lines of a run's file from offset `after` on: at most `most` lines and about `size` bytes.

    A file that is not there has none, as long as nobody has read from it. Raises Replaced when `after` does not
    stand behind a line.
    """
    try:
        file = open_file(folder, name)
    except NotHere:
        if after:
            raise Replaced(f"{name} is gone") from None
        return Lines([], 0, False)
    with file:
        if after:
            inside = after <= os.fstat(file.fileno()).st_size  # far behind the end, seeking itself would fail
            file.seek(after - 1 if inside else 0)
            if not inside or file.read(1) != b"\n":
                raise Replaced(f"{name} has no line that ends at byte {after}: start again from 0")
        data = _read(file, size)
        whole = data.rfind(b"\n") + 1
        if not whole:  # no end of a line: nothing new, a line that is being written, or a very long one
            end = _end_of_line(file, after + len(data)) if len(data) >= limits.LINE_BYTES else None
            return Lines([], after, False) if end is None else Lines([(end, None)], end, True)
        lines: list[tuple[int, bytes | None]] = []
        at = after
        for line in data[: whole - 1].split(b"\n"):
            if len(lines) == most:
                return Lines(lines, at, True)
            at += len(line) + 1
            lines.append((at, line if len(line) <= limits.LINE_BYTES else None))
        return Lines(lines, at, len(data) == size)


def tail_offset(folder: Path, name: str, lines: int, *, size: int = limits.READ_BYTES) -> int:
    """The offset from which a file has its last `lines` whole lines, searched in its last `size` bytes."""
    try:
        file = open_file(folder, name)
    except NotHere:
        return 0
    with file:
        length = os.fstat(file.fileno()).st_size
        begin = max(0, length - size)
        file.seek(begin)
        data = _read(file, length - begin)
    end = data.rfind(b"\n")
    if end < 0:
        return 0  # no whole line so near to the end
    start = end + 1
    for _ in range(lines + 1):
        if (found := data.rfind(b"\n", 0, start)) < 0:
            return begin if begin == 0 else begin + data.find(b"\n") + 1
        start = found
    return begin + start + 1


def _read(file: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes: an unbuffered read may give fewer than it could."""
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _end_of_line(file: BinaryIO, at: int) -> int | None:
    """The offset behind the next newline from `at` on, or None; nothing is kept."""
    file.seek(at)
    while part := file.read(1 << 20):
        if (found := part.find(b"\n")) >= 0:
            return at + found + 1
        at += len(part)
    return None
