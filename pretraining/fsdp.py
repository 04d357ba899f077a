"""Fully sharded data parallel (FSDP2): every rank keeps 1/N of the weights, gradients and optimizer state.

DDP keeps all of it N times. Here a block's weights are gathered just before they are used and dropped just
after; in backward they are gathered again, and the gradients go back as shards (reduce-scatter). Memory falls
by N, traffic rises from 2 to 3 times the weights a step. torch's `fully_shard`, block by block, so that never
more than a block or two is whole; each parameter becomes a DTensor, which knows its shard and its full shape.
Rajbhandari et al., arXiv 1910.02054 (ZeRO stage 3); Zhao et al., arXiv 2304.11277. Left out: CPU offloading,
sharding inside a node with copies across nodes (HSDP). Explained in notebook 04_many_processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from utils.errors import UserError

if TYPE_CHECKING:
    from pretraining.distributed import World


def shard(model: nn.Module, world: World, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Shard `model` over all ranks, in place, block by block; returns it. Collective.

    All ranks must hold the same weights before (the same seed, or the same file). With `dtype` bf16 the gathered
    copies are bf16; shards, gradients and optimizer state stay in the weights' own precision. Raises UserError
    when this process was not started by torchrun: the shards need a process group, also for one process.
    """
    if not dist.is_initialized():
        raise UserError(
            "strategy=fsdp needs a process group: start with torchrun --nproc-per-node N -m pretraining.train …"
        )
    kind = world.device.type if world.device is not None else "cpu"
    mesh = init_device_mesh(kind, (world.size,))
    gathered = dtype if dtype == torch.bfloat16 else None
    policy = MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=torch.float32 if gathered else None)
    for block in getattr(model, "blocks", ()):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    return fully_shard(model, mesh=mesh, mp_policy=policy)


def is_sharded(model: nn.Module) -> bool:
    """Whether any parameter is a shard."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def whole(value: Any) -> Any:
    """A shard put together again, on every rank; anything else as it is. Collective for shards."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def full_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's whole state dict on the CPU, on every rank. Collective."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in model.state_dict().items()}
