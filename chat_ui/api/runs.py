"""/api/v1/runs: what was trained, how it went, how it goes.

    curl -s  localhost:8000/api/v1/runs
    curl -sN localhost:8000/api/v1/runs/pretrain/20261120-114530-k3f9/metrics/stream

Everything is read from the run directory at the moment of the question, so a run that began a second ago is there, and
one that was deleted is a 404. The growing files are given as records from an offset on, and as server-sent events
that go on from the same offset (`event_stream`). Left out: starting, stopping and deleting runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi import Path as InPath

from chat_ui import limits
from chat_ui.api.context import Context, Here
from chat_ui.api.event_stream import STREAM, follow, start_of
from chat_ui.api.route import PROBLEMS, LineRoute, NotHere, plain
from chat_ui.api.run_files import LOG, METRICS, SAMPLES, all_runs, find_run, name_of, read_lines, tail_offset
from chat_ui.api.run_provenance import provenance_of
from chat_ui.api.run_schema import (
    CheckpointLine,
    Checkpoints,
    LogLines,
    Provenance,
    Rows,
    RunDetail,
    RunLine,
    RunTable,
)
from utils.runs import Run

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], route_class=LineRoute, responses=PROBLEMS)

Stage = Annotated[str, InPath(max_length=limits.NAME_CHARACTERS, examples=["pretrain"])]
RunId = Annotated[str, InPath(max_length=limits.NAME_CHARACTERS, examples=["20261120-114530-k3f9"])]
Offset = Annotated[int, Query(ge=0, lt=2**62, description="bytes: the `next` of an earlier answer")]
Most = Annotated[int, Query(ge=1, le=limits.ROWS_OF_A_FILE, description="at most so many")]
Tail = Annotated[
    int | None, Query(ge=0, le=limits.ROWS_OF_A_FILE, description="begin so many lines before the end")
]
LastEvent = Annotated[str | None, Header(alias="last-event-id", max_length=40)]
KNOWN = {
    *(
        "stage",
        "id",
        "status",
        "config",
        "inputs",
        "outputs",
        "command",
        "versions",
        "hardware",
        "start",
        "end",
    ),
    *("error", "pid", "pid_start", "host", "resumed", "git_sha", "git_dirty"),
}


@router.get("")
def runs(
    here: Here,
    stage: Annotated[str | None, Query(max_length=limits.NAME_CHARACTERS)] = None,
    status: Annotated[
        str | None, Query(max_length=40, description="or its beginning, such as stopped")
    ] = None,
    first: Annotated[int, Query(ge=0, le=10**6, description="so many are left out")] = 0,
    most: Annotated[int, Query(ge=1, le=limits.RUNS)] = 100,
) -> RunTable:
    """All runs, newest first; a page of them."""
    known = all_runs(here.root)
    found = [
        run
        for run in known
        if (stage is None or run.path.parent.name == stage)
        and (status is None or status_of(run).startswith(status))
    ]
    return RunTable(
        total=len(found),
        runs=[RunLine(**_line(run)) for run in found[first : first + most]],
        stages=sorted({run.path.parent.name for run in known}),
    )


@router.get("/{stage}/{run_id}")
def run_detail(here: Here, stage: Stage, run_id: RunId) -> RunDetail:
    """One run: its status, the configuration it was made with, and what it has noted."""
    run = find_run(here.root, stage, run_id)
    return RunDetail(
        **_line(run),
        config=_mapping(run.meta.get("config")),
        command=command_of(run),
        files={
            name: size for name in (METRICS, SAMPLES, LOG) if (size := _size(run.path / name)) is not None
        },
        extra=plain({key: value for key, value in run.meta.items() if key not in KNOWN}),
    )


@router.get("/{stage}/{run_id}/metrics")
def metrics(
    here: Here, stage: Stage, run_id: RunId, after: Offset = 0, most: Most = 1000, split: str | None = None
) -> Rows:
    """Records of metrics.jsonl from an offset on: losses, learning rate, gradient norm, speed."""
    return _rows(find_run(here.root, stage, run_id).path, METRICS, after, most, split)


@router.get("/{stage}/{run_id}/samples")
def samples(here: Here, stage: Stage, run_id: RunId, after: Offset = 0, most: Most = 100) -> Rows:
    """Records of samples.jsonl from an offset on: what the model wrote while it learned."""
    return _rows(find_run(here.root, stage, run_id).path, SAMPLES, after, most)


@router.get("/{stage}/{run_id}/log")
def log(
    here: Here, stage: Stage, run_id: RunId, after: Offset = 0, most: Most = 1000, tail: Tail = None
) -> LogLines:
    """Lines of log.txt from an offset on, or the last `tail` of them."""
    folder = find_run(here.root, stage, run_id).path
    if tail is not None:
        after = tail_offset(folder, LOG, tail)
    found = read_lines(folder, LOG, after, most=most)
    lines = [text_of(line) for _, line in found.lines if line is not None]
    return LogLines(lines=lines, next=found.after, more=found.more, skipped=len(found.lines) - len(lines))


@router.get("/{stage}/{run_id}/metrics/stream", responses=STREAM, response_class=Response)
def metrics_stream(
    here: Here,
    stage: Stage,
    run_id: RunId,
    after: Offset = 0,
    tail: Tail = None,
    last_event_id: LastEvent = None,
) -> Response:
    """Every record of metrics.jsonl as an event, then those to come; ends when the run has ended."""
    return _stream(here, find_run(here.root, stage, run_id), METRICS, _record, after, tail, last_event_id)


@router.get("/{stage}/{run_id}/log/stream", responses=STREAM, response_class=Response)
def log_stream(
    here: Here,
    stage: Stage,
    run_id: RunId,
    after: Offset = 0,
    tail: Tail = None,
    last_event_id: LastEvent = None,
) -> Response:
    """Every line of log.txt as an event {"line": …}, then those to come; ends when the run has ended."""
    run = find_run(here.root, stage, run_id)
    return _stream(here, run, LOG, lambda line: {"line": text_of(line)}, after, tail, last_event_id)


@router.get("/{stage}/{run_id}/checkpoints")
def checkpoints(here: Here, stage: Stage, run_id: RunId) -> Checkpoints:
    """The whole checkpoints of a run, oldest first; one that is being written is not among them."""
    folder = find_run(here.root, stage, run_id).path / "checkpoints"
    lines = []
    for path in _step_folders(folder):
        if (line := _checkpoint(path)) is not None:
            lines.append(line)
    return Checkpoints(checkpoints=lines, being_written=_being_written(folder))


@router.get("/{stage}/{run_id}/provenance")
async def provenance(here: Here, stage: Stage, run_id: RunId, verify: bool = False) -> Provenance:
    """Code, command, machine and files of a run; `verify` computes their sums again, which reads them."""

    def work() -> Provenance:
        return provenance_of(find_run(here.root, stage, run_id), here.root, verify=verify)

    return await here.compute(work)


# ---- one run


def status_of(run: Run) -> str:
    """The status as `Run` has it; as run.json has it, where that names a process that cannot be."""
    try:
        return str(run.status)
    except (OverflowError, TypeError, ValueError, OSError):
        return str(run.meta["status"])


def command_of(run: Run) -> list[str]:
    """The command's words; the book's own model has it as one text."""
    command = run.meta.get("command") or []
    return [str(word) for word in plain(command)] if isinstance(command, list) else [str(plain(command))]


def _line(run: Run) -> dict[str, Any]:
    end, error = run.meta.get("end"), run.meta.get("error")
    return plain(
        {
            "id": name_of(run),
            "stage": run.path.parent.name,
            "run_id": run.path.name,
            "status": status_of(run),
            "start": str(run.meta["start"]),
            "end": None if end is None else str(end),
            "error": None if error is None else str(error),
            "latest": _latest(run.path),
            "checkpoints": len(_step_folders(run.path / "checkpoints")),
        }
    )


def _latest(folder: Path, lines: int = 50) -> dict[str, dict[str, Any]]:
    """The newest record of each split among the last lines of metrics.jsonl."""
    found: dict[str, dict[str, Any]] = {}
    begin = tail_offset(folder, METRICS, lines, size=limits.LINE_BYTES)
    for _, line in read_lines(folder, METRICS, begin).lines:
        if line is not None and (record := _record(line)) is not None:
            found[str(record.get("split", "train"))] = record
    return found


def _mapping(value: Any) -> dict[str, Any]:
    value = plain(value)
    return value if isinstance(value, dict) else {} if value is None else {"value": value}


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


# ---- growing files


def _record(line: bytes) -> dict[str, Any] | None:
    """The record on a line of JSON, or None."""
    try:
        record = plain(json.loads(line))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def text_of(line: bytes) -> str:
    """A line of a log as text; what a progress bar has overwritten (before a carriage return) is gone."""
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]


def _rows(folder: Path, name: str, after: int, most: int, split: str | None = None) -> Rows:
    found = read_lines(folder, name, after, most=most)
    records = [None if line is None else _record(line) for _, line in found.lines]
    rows = [record for record in records if record is not None]
    wanted = rows if split is None else [row for row in rows if row.get("split", "train") == split]
    return Rows(rows=wanted, next=found.after, more=found.more, skipped=len(records) - len(rows))


def _stream(
    here: Context,
    run: Run,
    name: str,
    read: Callable[[bytes], Any],
    after: int,
    tail: int | None,
    last_event_id: str | None,
) -> Response:
    begin = start_of(last_event_id, tail_offset(run.path, name, tail) if tail is not None else after)

    def status() -> str:
        return status_of(find_run(here.root, run.path.parent.name, run.path.name))

    resumed = last_event_id is not None
    return follow(
        here, lambda offset: read_lines(run.path, name, offset), status, read, begin, resumed=resumed
    )


# ---- checkpoints


def _step_folders(folder: Path) -> list[Path]:
    """The folders of whole checkpoints, oldest first, none of them behind a link."""
    from pretraining.checkpoints import step_folders

    try:
        return (
            [path for path in step_folders(folder) if not path.is_symlink()]
            if not folder.is_symlink()
            else []
        )
    except OSError:
        return []


def _checkpoint(path: Path) -> CheckpointLine | None:
    """One checkpoint; None where it was removed meanwhile."""
    from pretraining.checkpoints import score_of

    try:
        files = sorted(file.name for file in path.iterdir() if file.is_file() and not file.is_symlink())
        size = sum((path / name).lstat().st_size for name in files)
    except OSError:
        return None
    if not files:
        return None
    return CheckpointLine(
        name=path.name,
        step=int(path.name.rpartition("_")[2]),
        bytes=size,
        score=plain(score_of(path)) if _size(path / "manifest.json") is not None else None,
        files=[plain(name) for name in files],
        last=_pointer(path.parent, "last") == path.name,
        best=_pointer(path.parent, "best") == path.name,
    )


def _pointer(folder: Path, name: str) -> str | None:
    try:
        found = read_lines(folder, name, most=1).lines
    except NotHere:
        return None
    return text_of(found[0][1] or b"").strip() if found else None


def _being_written(folder: Path) -> bool:
    """Whether a save is under way: a hidden folder beside the whole ones (`utils.files.atomic_dir`)."""
    try:
        if folder.is_symlink():
            return False
        return any(path.name.endswith(".tmp") and path.name.startswith(".step_") for path in folder.iterdir())
    except OSError:
        return False
