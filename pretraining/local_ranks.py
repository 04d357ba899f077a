"""Several ranks from a notebook or a test: children forked from this process, joined by gloo over the loopback device.

torchrun starts programs; this calls a function. A forked child has everything its parent has, also a function that was
written a moment ago, and imports nothing again, so two ranks cost half a second. The children live inside `open_world`
exactly as under torchrun, and what they return comes back by rank. For small things on the CPU of one machine: there
are no restarts and no GPUs, and systems without fork (Windows) have to use torchrun.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pretraining.distributed import open_world
from utils.errors import UserError

SECONDS = 60.0  # of naps; a rank that waits for one that is not coming is killed then


def free_port() -> int:
    """A TCP port of the loopback device that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`work(world, *arguments)` on `size` ranks at once; their results by rank.

    Raises AssertionError when a rank says so, and RuntimeError for any other failure or after SECONDS.
    """
    return _run(size, _inside, (work, arguments))


def run_commands(size: int, main: Callable[[list[str]], int], argv: list[str]) -> list[Any]:
    """`main(argv)` on `size` ranks, as torchrun would start a command that opens its own world; the exit codes."""
    return _run(size, main, (argv,))


def _run(size: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
    """Fork, wait, collect."""
    if not hasattr(os, "fork"):
        raise UserError("this system cannot fork a process: start ranks with torchrun")
    environment = {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo" if Path("/sys/class/net/lo").exists() else "lo0",
    }
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(size)]
        children = [_fork(rank, environment, files[rank], work, arguments) for rank in range(size)]
        try:
            _wait(children, SECONDS)
        finally:
            for child in children:
                try:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                except (ProcessLookupError, ChildProcessError):
                    pass  # it ended by itself and `_wait` has fetched it
        answers = [pickle.loads(f.read_bytes()) if f.exists() else ("lost", "killed") for f in files]
    for kind in ("AssertionError", "lost", "error"):  # what a rank found out before those that waited for it
        for rank, (what, value) in enumerate(answers):
            if what == kind:
                error = AssertionError if kind == "AssertionError" else RuntimeError
                raise error(f"rank {rank} of {size}: {value}")
    return [value for _, value in answers]


def _fork(rank: int, environment: dict[str, str], file: Path, work: Any, arguments: Any) -> int:
    child = os.fork()
    if child:
        return child
    answer: tuple[str, Any]
    try:
        faulthandler.disable()  # a rank that gloo aborts is reported by its parent
        torch.set_num_threads(1)
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        answer = ("ok", work(*arguments))
    except AssertionError as error:
        answer = ("AssertionError", str(error))
    except BaseException:
        answer = ("error", traceback.format_exc())
    partial = file.with_suffix(".part")
    partial.write_bytes(pickle.dumps(answer))
    partial.rename(file)
    os._exit(0)


def _inside(work: Any, arguments: Any) -> Any:
    with open_world("cpu") as world:
        return work(world, *arguments)


def _wait(children: list[int], seconds: float) -> None:
    """Until all have ended or time is up; counted in naps, so that a paused machine costs no test."""
    left = set(children)
    for _ in range(int(seconds / 0.005)):
        left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
        if not left:
            return
        time.sleep(0.005)
