"""Where a result comes from: the commit, the versions and the time, for run.json and results/*.json.

Nothing here imports what it reports on: versions are read from package metadata, so a tokenizer command that
records the version of torch does not pay 1.2 s for importing it.
"""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = ("torch", "numpy", "tiktoken", "tokenizers", "transformers", "safetensors", "omegaconf")


def project_root() -> Path:
    """The folder that holds the chapters (the checkout, for an editable install)."""
    return Path(__file__).resolve().parents[1]


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those `packages` that are installed."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, str | bool | None]:
    """`git_sha` and `git_dirty` of the project; both None outside its own checkout (an installed wheel).

    Files in `results/` do not count as changes: a benchmark that goes on where it stopped has written one itself.
    """
    root = project_root()
    nothing: dict[str, str | bool | None] = {"git_sha": None, "git_dirty": None}
    top = _git("rev-parse", "--show-toplevel", "HEAD")
    if top is None:
        return nothing
    lines = top.splitlines()
    if len(lines) != 2 or Path(lines[0]).resolve() != root:
        return nothing  # a checkout around us (site-packages within someone's project) is not ours
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)*/results/*.json")
    return {"git_sha": lines[1], "git_dirty": None if changes is None else bool(changes.strip())}


def _git(*arguments: str) -> str | None:
    """Output of a read-only git command in the project, or None where git or the checkout is missing."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(project_root()), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@functools.cache
def cpu_name() -> str:
    """The processor's name as the system tells it, or its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name") and line.partition(":")[2].strip():
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
