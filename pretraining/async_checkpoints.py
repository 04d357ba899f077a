"""Checkpoints written while training goes on: a copy in memory now, the disk later, in a thread.

The loop has to stand still only while the state is copied, because the next step changes it. So the copy goes into
memory that was set aside before (fresh memory costs five times as much: the system has to find and clear each page),
and everything slow, which is writing, summing and syncing, happens beside the next steps. One write is under way at a
time; the one before it is waited for. The files come about exactly as in `checkpoints`, so a kill at any moment
leaves the previous checkpoint as it was. What goes wrong in the thread is raised in the loop, at the next save or
when the end waits for it.

Left out: states that are spread over several processes (they are gathered, or written in shards, by all of them at
once). Measured by `benchmark_checkpoints`; notebook 06.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretraining.checkpoints import write_checkpoint
from pretraining.state_codec import encode


@dataclass(frozen=True)
class Outcome:
    """How a write ended: the folder, or what was raised instead."""

    step: int
    path: Path | None
    error: Exception | None = None


class MemoryPool:
    """CPU memory for named tensors, used again by the next save. On a GPU machine it is pinned."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` as it is now, in the memory kept under `name`; call `settle` before it is read."""
        tensor = tensor.detach()
        return self.room(name, tensor).copy_(tensor, non_blocking=tensor.is_cuda)

    def room(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Memory for such a tensor, its numbers whatever they are."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            shape, pin = tensor.shape, tensor.is_cuda
            kept = self._kept[name] = torch.empty(shape, dtype=tensor.dtype, device="cpu", pin_memory=pin)
        return kept

    def touch(self) -> None:
        """Make the system find the memory now, for all that is kept."""
        for tensor in list(self._kept.values()):
            tensor.zero_()


class AsyncCheckpoints:
    """Saves `model` (which has `save_pretrained`) and a state like `save_checkpoint`, but returns at once.

    `save` copies and starts the write; `wait` ends it. Both return the outcome of the write that they waited for.
    Memory: one copy of the model and of the state on the CPU.
    """

    def __init__(self, model: nn.Module, *, write: Callable[..., Path] = write_checkpoint) -> None:
        self._model, self._write = model, write
        self._pool = MemoryPool()
        self._shell: Any = None  # a model of the same class whose weights are the copies
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | None = None
        self.write_seconds: list[float] = []  # of each write

    @staticmethod
    def can_copy(model: nn.Module) -> bool:
        """Whether its state dict is its own plain tensors; a sharded model's has to be gathered first."""
        own = {id(t) for t in (*model.parameters(), *model.buffers())}
        plain = (torch.Tensor, nn.Parameter)
        return all(id(t) in own and type(t) in plain for t in model.state_dict(keep_vars=True).values())

    def prime(self, state: Mapping[str, Any]) -> None:
        """Set the memory aside beforehand, so that the first save costs no more than the others.

        `state` is one like those to come; the pages are found in a thread. Call it once the optimizer has state.
        """
        if self._thread is None:
            self._stand_in()
            encode(dict(state), {}, take=self._pool.room)
            self._thread = threading.Thread(target=self._pool.touch, name="checkpoint-memory")
            self._thread.start()

    def save(self, root: Path, step: int, *, state: Mapping[str, Any], **how: Any) -> Outcome | None:
        """Begin to write `root/step_NNNNNN` as of now; `how` is what `write_checkpoint` takes besides.

        Returns the outcome of the save before, None where it was asked for already. It never raises what that one
        raised: look at `error`.
        """
        before = self.wait()
        tensors: dict[str, torch.Tensor] = {}
        tree = encode(dict(state), tensors, take=self._pool.copy)
        shell = self._stand_in()
        for name, tensor in self._model.state_dict().items():
            self._pool.copy(f"model.{name}", tensor)
        settle(self._model)
        how.update(save_model=shell.save_pretrained, tree=tree, tensors=tensors)
        self._thread = threading.Thread(target=self._run, args=(root, step, how), name="checkpoint")
        self._thread.start()  # no daemon: the interpreter waits for it, whatever ends the program
        return before

    @property
    def writing(self) -> bool:
        """Whether the thread is at work now."""
        return self._thread is not None and self._thread.is_alive()

    def ended(self) -> Outcome | None:
        """The outcome of a write that has ended since the last question, without waiting."""
        return self.wait() if self._thread is not None and not self.writing else None

    def wait(self) -> Outcome | None:
        """Wait for the write under way, if there is one, and return how it ended (each outcome once)."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        outcome, self._outcome = self._outcome, None
        return outcome

    def _run(self, root: Path, step: int, how: dict[str, Any]) -> None:
        started = time.perf_counter()
        try:
            self._outcome = Outcome(step, self._write(root, step, **how))
        except Exception as error:
            self._outcome = Outcome(step, None, error)
        self.write_seconds.append(time.perf_counter() - started)

    def _stand_in(self) -> Any:
        """A copy of the model on the CPU, made once, whose tensors are the pool's."""
        if self._shell is None:
            in_place_of: dict[int, Any] = {}
            for name, tensor in self._model.state_dict(keep_vars=True).items():
                room = self._pool.room(f"model.{name}", tensor)
                if isinstance(tensor, nn.Parameter):
                    room = nn.Parameter(room, requires_grad=tensor.requires_grad)
                in_place_of.setdefault(id(tensor), room)
            self._shell = copy.deepcopy(self._model, in_place_of)
        return self._shell


def settle(model: nn.Module) -> None:
    """Wait until copies from the GPU have arrived."""
    if any(p.is_cuda for p in model.parameters()):
        torch.cuda.synchronize()
