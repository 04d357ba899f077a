"""Several processes that train one model: who am I, how many are we, and what do we have to say to each other.

`torchrun --nproc-per-node 2 -m pretraining.train …` starts the same program twice; each copy finds its number
(rank) in the environment. `open_world` joins them and gives a `World`, the only thing the rest of the code sees:
with one process (`SINGLE`) every method is the identity, so the loop reads the same for 1 and for 512.

What travels: gradients (`wrap`: DDP averages them during backward, FSDP also shards the weights), and a few
numbers a step (`sum`, `any`, `from_main`), which go through gloo on the CPU so that a GPU is never waited for.
Each rank reads other rows of the same global batch, and only rank 0 writes.
Li et al., arXiv 2006.15704 (DDP); Rajbhandari et al., arXiv 1910.02054 (ZeRO); Zhao et al., arXiv 2304.11277
(FSDP). Left out: tensor, pipeline and sequence parallelism. Explained in notebook 04_many_processes.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pretraining.elastic import launched
from utils.device import pick_device
from utils.errors import UserError

T = TypeVar("T")
STRATEGIES = ("none", "ddp", "fsdp")
TIMEOUT = timedelta(minutes=30)  # for the slowest thing one rank does alone: writing a checkpoint
# the newer name of DDP's switch for copying buffers in each forward pass, where this torch has it
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)


@dataclass(frozen=True)
class World:
    """This process among its equals. With `size` 1 nothing is sent and every method gives back its input.

    `rank` counts over all machines, `local_rank` on this one; `device` is what this process computes on, None
    for "what the config says". Methods marked *collective* must be called by all ranks, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes: runs, metrics, samples, checkpoints."""
        return self.rank == 0

    def pick_device(self, name: str) -> torch.device:
        """This rank's device, or the one that `name` means when no world was opened."""
        return self.device if self.device is not None else pick_device(name)

    def share_of(self, batch_size: int, what: str = "batch_size") -> int:
        """Rows of a global batch that each rank takes. Raises UserError when they do not divide.

        >>> World(rank=1, size=2).share_of(16)
        8
        """
        if batch_size % self.size:
            below = batch_size - batch_size % self.size
            near = " or ".join(str(n) for n in (below, below + self.size) if n)
            raise UserError(
                f"{what} is {batch_size}, which {self.size} processes cannot share equally: "
                f"take {near}, or another --nproc-per-node"
            )
        return batch_size // self.size

    # ------------------------------------------------------------ numbers: collective, float64, through gloo

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value added up over all ranks. Collective."""
        if self.size == 1:
            return [float(value) for value in values]
        together = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(together)
        return together.tolist()

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes. Collective."""
        return self.sum([float(flag)])[0] > 0 if self.size > 1 else bool(flag)

    def from_main(self, value: float) -> float:
        """Rank 0's number on every rank. Collective.

        The clocks of two processes differ, and two ranks that disagree on whether the time is up wait for each
        other for ever; so such a decision is made by one and told to all.
        """
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(told, src=0)
        return float(told)

    def tell(self, value: Any) -> Any:
        """Rank 0's object (a path, an error, a dict; pickled) on every rank. Collective."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, by rank, on every rank. Collective; for small things, they are pickled."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        """Wait until all ranks are here. Collective."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))  # not dist.barrier, which would wait for the GPU too

    # ------------------------------------------------------------ work

    def seed(self, seed: int) -> int:
        """The seed of this rank's generators: rank 0's is `seed`, and dropout differs from rank to rank."""
        return (seed + self.rank) % 2**32

    def deal(self, items: Iterable[T]) -> Iterator[tuple[T, bool]]:
        """Every `size`-th of `items`, as cards are dealt; with False, one that another rank counts.

        All ranks get equally many, because a sharded model's forward pass needs all of them: where the last
        round does not go round, those who got nothing see its last item again.

        >>> [list(World(rank=r, size=2).deal("abc")) for r in (0, 1)]
        [[('a', True), ('c', True)], [('b', True), ('c', False)]]
        """
        dealt: list[T] = []
        for item in items:
            dealt.append(item)
            if len(dealt) == self.size:
                yield dealt[self.rank], True
                dealt.clear()
        if dealt:
            yield dealt[min(self.rank, len(dealt) - 1)], self.rank < len(dealt)

    # ------------------------------------------------------------ the model

    def wrap(self, model: nn.Module, strategy: str = "ddp", dtype: torch.dtype = torch.float32) -> nn.Module:
        """What to call instead of `model` in the forward pass, so that gradients are averaged over the ranks.

        Call it before the optimizer is built: `fsdp` replaces the model's parameters by their shards, in
        place. With one process and `none` or `ddp` it is the model itself. `dtype` bf16 lets FSDP gather weights
        in it, which halves what travels; gradients are summed in fp32. Raises UserError. Collective.
        """
        if strategy not in STRATEGIES:
            raise UserError(
                f"strategy is {strategy!r}, but there is no such one: choose {', '.join(STRATEGIES)}"
            )
        if strategy == "fsdp":
            from pretraining.fsdp import shard

            return shard(model, self, dtype)
        if self.size == 1:
            return model
        if strategy == "none":
            raise UserError(
                f"strategy is none, but {self.size} processes were started: each would train a model of its own; "
                "take strategy=ddp or fsdp, or start one process"
            )
        gpu = self.device is not None and self.device.type == "cuda"
        options: dict[str, Any] = {
            "device_ids": [self.device.index] if gpu and self.device is not None else None,
            "gradient_as_bucket_view": True,  # .grad is the bucket itself: no second copy
            _BUFFERS: False,  # rotary tables and masks are computed alike everywhere
        }
        return DistributedDataParallel(model, **options)

    @contextlib.contextmanager
    def accumulating(self, forward: Any, last: bool) -> Iterator[None]:
        """Around forward *and* backward of one micro-batch: DDP's gradients travel only after the last one.

        FSDP's go home as shards after each: keeping them whole until the last would take the memory that sharding
        saves. All ranks must agree on `last` and must run each micro-batch, also one without a label: the others wait
        for its gradients.
        """
        if isinstance(forward, DistributedDataParallel) and not last:
            with forward.no_sync():
                yield
            return
        yield


SINGLE = World()


def is_sharded(model: Any) -> bool:
    """Whether `wrap` made shards of this model's weights (they may be whole at this moment, after a forward pass)."""
    return hasattr(model, "set_requires_gradient_sync")  # FSDP2's; its import costs more than a second


def readable(model: Any, world: World = SINGLE) -> Any:
    """A model that rank 0 can use alone, to sample or save: itself, or a whole copy on the CPU. Collective.

    None on the other ranks.
    """
    if is_sharded(model):
        from pretraining.fsdp import whole_copy

        return whole_copy(model, world)
    return model if world.is_main else None


def share(tensor: torch.Tensor) -> torch.Tensor:
    """Overwrite `tensor` with rank 0's, in place, and return it; without a world, as it is. Collective.

    For what each rank could compute alone but must not compute differently, such as GaLore's projector: an SVD
    is unique only up to signs, and up to rotations where singular values are equal.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.broadcast(tensor, src=0)
    return tensor


@contextlib.contextmanager
def open_world(device: str = "auto") -> Iterator[World]:
    """The world that torchrun's environment describes; SINGLE when this process was started alone.

    gloo on the CPU; on CUDA one GPU each, NCCL for tensors there and gloo for numbers. Everything made of it
    (wrapped models, optimizers) must be out of scope when the block ends: keep it inside a function called
    here. A command that opened a world ends with `elastic.leave`. Raises UserError for a broken environment
    and for more processes than GPUs.
    """
    if not launched():
        yield SINGLE
        return
    rank, size, local = (_number(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    place = pick_device(device)
    if place.type == "mps" and size > 1:
        raise UserError("several processes cannot share Apple's GPU: use device=cpu, or one process")
    if place.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} of this machine has no GPU of its own ({torch.cuda.device_count()} found): "
                f"start --nproc-per-node {torch.cuda.device_count()}, or use device=cpu"
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo", timeout=TIMEOUT)
    world = World(rank, size, local, place)
    try:
        yield world
    except BaseException:
        if (
            place.type != "cuda"
        ):  # NCCL would wait here for ranks that are not coming; the process ends anyway
            dist.destroy_process_group()
        raise
    gc.collect()  # a wrapped model in a reference cycle must be gone before its group is
    world.barrier()
    dist.destroy_process_group()


def _number(name: str) -> int:
    """A whole number of torchrun's environment. Raises UserError."""
    text = os.environ.get(name, "0" if name == "LOCAL_RANK" else "")
    if not text.isdigit():
        raise UserError(f"the environment's {name} is {text!r}, not a number: start this with torchrun")
    return int(text)
