"""The run directory: one folder per piece of work, and the single source of truth about it.

`runs/<stage>/<id>/` holds `run.json` (what ran, on what, with which config, how it ended), `metrics.jsonl`,
`samples.jsonl` and `log.txt`. Every screen, plot, API route and resume reads these files and nothing else.
`run.json` is replaced atomically, the others are only appended to; each file has one writer.
Left out: checkpoints, which `pretraining.checkpoints` keeps in the same folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from utils.errors import UserError, one_line
from utils.files import (
    JsonlWriter,
    atomic_write_json,
    jsonable,
    read_jsonl,
    sha256_file,
    sha256_folder,
)
from utils.provenance import git_state, now, versions

STATUSES = ("running", "complete", "failed", "stopped")
ENDED = "stopped (process ended)"
RUN_ID_VARIABLE = "SCRATCHBOOK_RUN_ID"  # `stage/id`: what `Run.create` calls the run of that stage
_CHECKPOINT = re.compile(r"last|best|(step_)?\d+")
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: ids are read aloud and retyped


def runs_root(root: Path | str | None = None) -> Path:
    """Where runs live: the argument, else the environment's SCRATCHBOOK_RUNS, else ./runs."""
    return Path(root if root is not None else os.environ.get("SCRATCHBOOK_RUNS") or "runs")


def new_run_id() -> str:
    """A name that sorts by time, such as `20261120-114530-k3f9` (UTC)."""
    suffix = "".join(secrets.choice(_ALPHABET) for _ in range(4))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{suffix}"


class Run:
    """One run directory, to write during the work and to read afterwards.

    As a context manager it records how the work ended: complete, failed with the error, or stopped (Ctrl-C).
    Make one with `Run.create` or `Run.open`.
    """

    def __init__(self, path: Path, meta: dict[str, Any]):
        self.path = path
        self.meta = meta
        self._writers: dict[str, JsonlWriter] = {}

    @classmethod
    def create(
        cls,
        stage: str,
        config: Mapping[str, Any],
        *,
        root: Path | str | None = None,
        inputs: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> Run:
        """Make `root/stage/id` and its run.json with status running.

        `inputs` maps a name to what the run reads: a `Path` is recorded with its sha256 and size (a folder
        with one sum over its files), anything else as it is. Without `run_id` the environment's SCRATCHBOOK_RUN_ID
        (`stage/id`) names a run of that stage: a job on a rented machine has its name before it begins. Raises
        `UserError` when an input is missing, a name is not usable as a folder, or `run_id` exists.
        """
        from utils.device import hardware

        run_id = _id_from_environment(stage) if run_id is None else run_id
        for what, name in (("stage", stage), ("run_id", run_id)):
            if name is not None and (not name or name.startswith(".") or set(name) & set('/\\:*?"<>|\n')):
                raise UserError(f"{what} is {name!r} but must be a plain folder name")
        meta = {
            "stage": stage,
            "id": run_id or new_run_id(),
            "status": "running",
            "config": jsonable(config),
            "inputs": {name: describe_file(value, name) for name, value in (inputs or {}).items()},
            "outputs": {},
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else [],
            **git_state(),
            "versions": versions(),
            "hardware": hardware(import_torch=False),
            "start": now(),
            "end": None,
            "error": None,
            **_this_process(),
        }
        parent = runs_root(root) / stage
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = parent / meta["id"]
            try:
                path.mkdir()
                break
            except FileExistsError:
                if run_id is not None:
                    raise UserError(f"run {run_id!r} exists already in {parent}: choose another id") from None
                meta["id"] = new_run_id()
        run = cls(path.resolve(), meta)
        run._save()
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Read an existing run directory. Raises `UserError` when there is no readable run.json."""
        file = Path(path) / "run.json"
        try:
            meta = json.loads(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path} is not a run: it has no run.json") from None
        except ValueError as exc:
            raise UserError(f"{file} is damaged ({exc}): restore it or use another run") from None
        if not isinstance(meta, dict) or not {"stage", "id", "status", "start"} <= meta.keys():
            raise UserError(f"{file} is not a run.json of this project: it has no stage, id, status or start")
        return cls(Path(path).resolve(), meta)

    @property
    def id(self) -> str:
        """The folder's name, such as `20261120-114530-k3f9`."""
        return self.meta["id"]

    @property
    def stage(self) -> str:
        """What kind of work: demo, pretrain, sft, …"""
        return self.meta["stage"]

    @property
    def status(self) -> str:
        """running, complete, failed or stopped; `stopped (process ended)` when it ended without saying so."""
        if self.meta["status"] == "running" and _process_ended(self.meta):
            return ENDED
        return self.meta["status"]

    def log(self, text: str) -> None:
        """Append `text` to log.txt, with the time."""
        with open(self.path / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{now()} {text.rstrip()}\n")

    def metric(self, **fields: Any) -> None:
        """Append one record to metrics.jsonl; `timestamp` is added. NaN and infinity become null."""
        self._append("metrics.jsonl", fields)

    def sample(self, **fields: Any) -> None:
        """Append one record to samples.jsonl; `timestamp` is added."""
        self._append("samples.jsonl", fields)

    def metrics(self) -> list[dict[str, Any]]:
        """All whole records of metrics.jsonl so far."""
        return read_jsonl(self.path / "metrics.jsonl")

    def samples(self) -> list[dict[str, Any]]:
        """All whole records of samples.jsonl so far."""
        return read_jsonl(self.path / "samples.jsonl")

    def add_output(self, name: str, path: Path | str) -> None:
        """Record a file or folder that the run made, with its sha256; inside the run its path is relative."""
        described = describe_file(Path(path), name)
        with contextlib.suppress(ValueError):
            described["path"] = Path(path).resolve().relative_to(self.path).as_posix()
        self.meta["outputs"][name] = described
        self._save()

    def resume(self) -> None:
        """Take the run up again in this process: running, without end and error; `resumed` gets the time.

        Raises `UserError` while another live process is still running it.
        """
        if self.status == "running" and self.meta["pid"] != os.getpid():
            raise UserError(f"run {self.id} is still running (process {self.meta['pid']}): stop it first")
        self.meta.update(status="running", end=None, error=None, **_this_process())
        self.meta.setdefault("resumed", []).append(now())
        self._save()

    def note(self, **fields: Any) -> None:
        """Set fields of run.json that belong to this kind of work, and write it: `run.note(stages={…})`."""
        self.meta.update(jsonable(fields))
        self._save()

    def finish(self, status: str = "complete", error: str | None = None) -> None:
        """Record how the run ended and close its files. `status` is complete, failed or stopped."""
        if status not in STATUSES[1:]:
            raise UserError(f"status is {status!r} but must be one of {', '.join(STATUSES[1:])}")
        self.close()
        self.meta.update(status=status, end=now(), error=error)
        self._save()

    def close(self) -> None:
        """Close the files that are open for appending; the status does not change."""
        while self._writers:
            self._writers.popitem()[1].close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.meta["status"] != "running":  # the work itself said how it ended
            self.close()
            return
        if exc is None:
            self.finish("complete")
            return
        stopped = isinstance(exc, KeyboardInterrupt)
        error = one_line(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__)
        try:
            self.finish("stopped" if stopped else "failed", error)
        except OSError as second:  # a full disk must not hide what went wrong first
            exc.add_note(f"and {self.path / 'run.json'} could not be updated: {second}")

    def __repr__(self) -> str:
        return f"Run({self.stage}/{self.id}, {self.status}, {self.path})"

    def _append(self, name: str, fields: Mapping[str, Any]) -> None:
        if name not in self._writers:
            self._writers[name] = JsonlWriter(self.path / name)
        self._writers[name].write({**fields, "timestamp": fields.get("timestamp") or now()})

    def _save(self) -> None:
        atomic_write_json(self.path / "run.json", self.meta)


def describe_file(value: Any, name: str) -> Any:
    """What run.json keeps of an input or output: path, sha256 and bytes of a `Path`, else the value."""
    if not isinstance(value, Path):
        return jsonable(value)
    if value.is_file():
        return {"path": str(value.resolve()), "sha256": sha256_file(value), "bytes": value.stat().st_size}
    if value.is_dir():
        size = sum(file.stat().st_size for file in value.rglob("*") if file.is_file())
        return {"path": str(value.resolve()), "sha256": sha256_folder(value), "bytes": size}
    raise UserError(f"{name} is {value} but there is no such file or folder")


def list_runs(*, stage: str | None = None, root: Path | str | None = None) -> list[Run]:
    """All readable runs below `root`, newest start first. Folders without a readable run.json are none."""
    runs = []
    for file in runs_root(root).glob(f"{stage or '*'}/*/run.json"):
        with contextlib.suppress(UserError):
            runs.append(Run.open(file.parent))
    return sorted(
        runs, key=lambda run: (str(run.meta.get("start")), run.id), reverse=True
    )  # whatever stands there


def split_checkpoint(ref: str | Path) -> tuple[str, str | None]:
    """A reference to a run and, after the last @, to one of its checkpoints.

    >>> split_checkpoint("20261120-114530-k3f9@best"), split_checkpoint("last@500"), split_checkpoint("me@home")
    (('20261120-114530-k3f9', 'best'), ('last', '500'), ('me@home', None))
    """
    run, at, which = str(ref).rpartition("@")
    if at and run and _CHECKPOINT.fullmatch(which):
        return run, which
    return str(ref), None


def find_run(ref: str | Path, *, stage: str | None = None, root: Path | str | None = None) -> Run:
    """The run that `ref` means: a path, an id, `stage/id`, or "last" (the newest by start).

    Raises `UserError` when there is none; it names where it looked and the newest ids.
    """
    base = runs_root(root)
    text = str(ref)
    if text != "last":
        for candidate in (Path(text), base / text):
            if (candidate / "run.json").is_file():
                return Run.open(candidate)
    runs = list_runs(stage=stage, root=root)
    found = runs[:1] if text == "last" else [run for run in runs if run.id == text]
    if len(found) == 1:
        return found[0]
    if found:
        stages = ", ".join(f"{run.stage}/{run.id}" for run in found)
        raise UserError(f"run {text!r} is not unique below {base}: write one of {stages}")
    kind = f"{stage} runs" if stage else "runs"
    newest = ", ".join(run.id for run in runs[:5])
    what = f"no {kind} yet" if not runs else f"no run {text!r}; the newest {kind} are {newest}"
    raise UserError(f"{what} (looked in {base.resolve()}): give a path, an id or 'last'")


def _id_from_environment(stage: str) -> str | None:
    named, _, run_id = os.environ.get(RUN_ID_VARIABLE, "").partition("/")
    return run_id if run_id and named == stage else None


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "pid_start": _process_start(os.getpid()), "host": socket.gethostname()}


def _process_start(pid: int) -> int | None:
    """Clock ticks from boot to the start of a live process (Linux), else None. It tells reused ids apart."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if state == "Z" else int(fields[18])  # a zombie has ended; it only waits for its parent


def _process_ended(meta: Mapping[str, Any]) -> bool:
    """Whether the process that wrote run.json is surely gone; that of another machine cannot be judged."""
    pid = meta.get("pid")
    if not isinstance(pid, int) or meta.get("host") != socket.gethostname() or os.name == "nt":
        return False
    if meta.get("pid_start") is not None:
        return _process_start(pid) != meta["pid_start"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # alive, and someone else's
    return False
