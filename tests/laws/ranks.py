"""Several ranks inside one test: children forked from this process, joined by gloo over the loopback device.

A forked child needs no import and inherits what a mutation patched, so a law about two processes costs a second.
The children live inside `open_world`, exactly as under torchrun; what they return comes back by rank.
"""

from __future__ import annotations

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

import pytest
import torch

import pretraining.fsdp  # noqa: F401  (imported once here, not again in every child)
from pretraining.distributed import World, open_world

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked children")


def free_port() -> int:
    """A TCP port of the loopback device that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_ranks(size: int, work: Callable[..., Any], *arguments: Any, seconds: float = 60.0) -> list[Any]:
    """`work(world, *arguments)` on `size` ranks at once; their results by rank.

    Raises AssertionError when a rank says so, and RuntimeError for any other failure or after `seconds`.
    """
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
            _wait(children, seconds)
        finally:
            for child in children:
                try:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                except (ProcessLookupError, ChildProcessError):
                    pass
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
        torch.set_num_threads(1)
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        with open_world("cpu") as world:
            answer = ("ok", _inside(world, work, arguments))
    except AssertionError as error:
        answer = ("AssertionError", str(error))
    except BaseException:
        answer = ("error", traceback.format_exc())
    partial = file.with_suffix(".part")
    partial.write_bytes(pickle.dumps(answer))
    partial.rename(file)
    os._exit(0)


def _inside(world: World, work: Any, arguments: Any) -> Any:
    return work(world, *arguments)


def _wait(children: list[int], seconds: float) -> None:
    """Until all have ended or time is up; counted in naps, so that a paused machine costs no test."""
    left = set(children)
    for _ in range(int(seconds / 0.005)):
        left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
        if not left:
            return
        time.sleep(0.005)
