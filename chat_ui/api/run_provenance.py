"""Where a run comes from: the code, the command, and every file it read and made, with its sum.

The idea: run.json keeps the sha256 of each input and output, so a result can be followed back file by file, and an
input that lies in another run leads on to that run. On request the sums are computed again: same, changed or gone.
Sums of files that a run does not own are compared and never shown.

Left out: git itself; the commit's name is what was noted when the run began.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from chat_ui import limits
from chat_ui.api.route import plain
from chat_ui.api.run_files import name_of
from chat_ui.api.run_schema import Provenance, SourceFile
from utils.runs import Run, runs_root


def provenance_of(run: Run, root: Path | None, *, verify: bool = False) -> Provenance:
    """The provenance of a run below `root`; `verify` reads its files."""
    meta = run.meta
    dirty, resumed = meta.get("git_dirty"), meta.get("resumed")
    from chat_ui.api.runs import command_of

    return Provenance(
        id=name_of(run),
        git_sha=_text(meta.get("git_sha")),
        git_dirty=dirty if isinstance(dirty, bool) else None,
        command=command_of(run),
        start=str(plain(meta["start"])),
        end=_text(meta.get("end")),
        resumed=[str(plain(time)) for time in resumed] if isinstance(resumed, list) else [],
        versions=_mapping(meta.get("versions")),
        hardware=_mapping(meta.get("hardware")),
        inputs=_files(meta.get("inputs"), run, root, verify),
        outputs=_files(meta.get("outputs"), run, root, verify),
    )


def _files(described: Any, run: Run, root: Path | None, verify: bool) -> list[SourceFile]:
    return [_file(str(name), value, run, root, verify) for name, value in _mapping(described).items()]


def _file(name: str, value: Any, run: Run, root: Path | None, verify: bool) -> SourceFile:
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return SourceFile(name=name, value=value)
    size, sum_then = value.get("bytes"), _text(value.get("sha256"))
    path = run.path / value["path"]  # an absolute one stays as it is
    return SourceFile(
        name=name,
        path=value["path"],
        sha256=sum_then,
        bytes=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        from_run=_run_of(path, root),
        now=_now(path, sum_then) if verify and sum_then else "not checked",
    )


def _run_of(path: Path, root: Path | None) -> str | None:
    """`stage/id` of the run that a path lies in."""
    base = runs_root(root).resolve()
    try:
        inside = path.resolve().relative_to(base)
    except (OSError, RuntimeError, ValueError):
        return None
    return "/".join(inside.parts[:2]) if len(inside.parts) >= 2 else None


def _now(path: Path, sum_then: str) -> Any:
    """Whether a file or folder still has the sum that was noted; a very large one is not read."""
    from utils.files import sha256_file, sha256_folder

    try:
        if path.is_dir():
            inside = list(islice(path.rglob("*"), limits.VERIFY_FILES + 1))
            if len(inside) > limits.VERIFY_FILES:
                return "not checked"
            size = sum(file.stat().st_size for file in inside if file.is_file())
        elif path.is_file():
            size = path.stat().st_size
        else:
            return "missing"
        if size > limits.VERIFY_BYTES:
            return "not checked"
        found = sha256_folder(path) if path.is_dir() else sha256_file(path)
    except (OSError, ValueError):
        return "missing"
    return "same" if found == sum_then else "changed"


def _text(value: Any) -> str | None:
    return None if value is None else str(plain(value))


def _mapping(value: Any) -> dict[str, Any]:
    value = plain(value)
    return value if isinstance(value, dict) else {}
