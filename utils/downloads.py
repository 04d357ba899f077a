"""Files from the network: checked by their sum, resumed, taken from mirrors, and never needed twice.

The idea: a file counts only when its SHA-256 is right; until then it is `<name>.part` beside its place. A
line that breaks goes on where it stopped (HTTP Range, RFC 9110 section 14). What cannot be downloaded can be
put in place by hand, and the error says what and where.
Left out: archives, and accounts: sources that need a login are put in place by hand.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from utils.errors import RunFailure, UserError, one_line
from utils.files import sha256_file

_BLOCK = 1 << 18

Progress = Callable[[int, int | None], None]  # (bytes so far, bytes in all or None)


class _Broken(Exception):
    """One attempt failed. `again`: the same address may work if it is tried again."""

    def __init__(self, why: str, again: bool):
        super().__init__(why)
        self.again = again


def data_root(root: Path | str | None = None) -> Path:
    """Where data lives: the argument, else the environment's SCRATCHBOOK_DATA, else ./data."""
    return Path(root if root is not None else os.environ.get("SCRATCHBOOK_DATA") or "data")


def fetch(
    name: str,
    urls: str | Sequence[str],
    sha256: str,
    *,
    root: Path | str | None = None,
    size: int | None = None,
    retries: int = 3,
    timeout: float = 20.0,
    pause: float = 0.5,
    progress: Progress | None = None,
) -> Path:
    """The path of `root/name`, downloaded from the first of `urls` that gives the right bytes.

    `sha256` is the sum that the file must have, `size` its bytes, if known. A file that is there already is
    checked and never fetched again. Each address is given up after `retries` failures
    in a row that brought nothing, `pause` seconds apart, then twice as long; an unfinished `.part` file is
    taken up where it ends. `progress` replaces the bar on a terminal.

    Raises `UserError` when a file in place has the wrong sum (it may be the person's own, so it stays) or the
    name leaves the data folder; `RunFailure` when no address works: it names the file, the addresses and the
    folder to put the file in by hand; `OSError` when the disk is full or read-only.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.name or "\\" in name:
        raise UserError(f"{name!r} is not a file name within the data folder")
    addresses = [urls] if isinstance(urls, str) else list(urls)
    target = data_root(root) / pure
    sha256 = sha256.lower()
    if target.exists():
        if target.is_file() and sha256_file(target) == sha256:
            return target
        raise UserError(
            f"{target} is there but is not the expected file (its sha256 is not {sha256}): "
            "move it away to download it, or put the right one in its place"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures = []
    with _bar(name, progress) as report:
        for address in addresses:
            problem = _try_address(address, part, sha256, size, retries, timeout, pause, report)
            if problem is None:
                os.replace(part, target)
                return target
            failures.append(f"{address} ({problem})")
    tried = "; ".join(failures) or "no address is known"
    folder = target.parent.resolve()
    raise RunFailure(
        f"{name} could not be downloaded: {tried}. Without a network, put the file by hand at "
        f"{folder / target.name} (or set SCRATCHBOOK_DATA); its sha256 must be {sha256}"
    )


def _try_address(
    address: str,
    part: Path,
    sha256: str,
    size: int | None,
    retries: int,
    timeout: float,
    pause: float,
    report: Progress,
) -> str | None:
    """Fill `part` from one address until its sum is right. Returns None, or why it did not work."""
    if not address.startswith(("http://", "https://")):
        return "not an http address"
    why, failures, restarted = "", 0, False
    best = part.stat().st_size if part.exists() else 0
    while True:
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _transfer(address, part, size, timeout, report)
        except _Broken as exc:
            why = str(exc)
            if not exc.again:
                return why
            have = part.stat().st_size if part.exists() else 0
            failures = 1 if have > best else failures + 1  # a line that brings something may break often
            best = max(best, have)
        else:
            if sha256_file(part) == sha256:
                return None
            part.unlink()
            if not resumed or restarted:
                return "wrong bytes: the sha256 differs"
            restarted = True  # the part may come from another mirror or day: once more, from the start
            continue
        if failures >= retries:
            return why
        time.sleep(pause * 2 ** (failures - 1))


def _transfer(address: str, part: Path, size: int | None, timeout: float, report: Progress) -> None:
    """One request: append to `part` what is missing. Raises `_Broken` (line) or `OSError` (disk)."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    if size is not None and have == size:
        return  # complete: only its sum is left to check
    headers = {"User-Agent": "llm-scratchbook", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response: Any = urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as exc:
        with exc:
            if exc.code == 416 and have:  # nothing follows: the part is complete, or not a part of this file
                return
            busy = exc.code >= 500 or exc.code in (408, 429)
            raise _Broken(f"HTTP {exc.code} {exc.reason}", again=busy) from None
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise _Broken(one_line(reason) or type(exc).__name__, again=not isinstance(exc, ValueError)) from None
    with response:
        start = _start_of(response)
        if start not in (0, have):
            part.unlink()  # the next request starts afresh and needs no Range
            raise _Broken(f"the server answered from byte {start}, not {have}", again=True)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else size
        with open(part, "r+b" if have else "wb") as file:
            file.truncate(start)  # a server without Range sends the whole file again
            file.seek(start)
            done = start
            while block := _read(response):
                file.write(block)
                done += len(block)
                if size is not None and done > size:
                    file.truncate(0)
                    raise _Broken(f"more than the expected {size} bytes", again=False)
                report(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Broken(f"the line was cut after {done} of {total} bytes", again=True)


def _start_of(response: Any) -> int:
    """The offset of the first byte that a response brings."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found.group(1)) if found else -1


def _read(response: Any) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as exc:
        raise _Broken(f"the line was cut ({one_line(exc) or type(exc).__name__})", again=True) from None


@contextlib.contextmanager
def _bar(name: str, progress: Progress | None) -> Iterator[Progress]:
    """The caller's own progress function, or a bar on the terminal (nothing where there is none)."""
    if progress is not None:
        yield progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
