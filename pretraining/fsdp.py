"""Fully sharded data parallel (FSDP2): every rank keeps 1/N of the weights, gradients and optimizer state.

DDP keeps all of it N times. Here a block's weights are gathered just before they are used and dropped just
after; in backward they are gathered again, and the gradients go back as shards (reduce-scatter). Memory falls
by N, traffic rises from 2 to 3 times the weights a step. torch's `fully_shard`, block by block, so that never
more than a block or two is whole; each parameter becomes a DTensor, which knows its shard and its full shape.
Rajbhandari et al., arXiv 1910.02054 (ZeRO stage 3); Zhao et al., arXiv 2304.11277. Left out: CPU offloading,
sharding inside a node with copies across nodes (HSDP). Explained in notebook 04_many_processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from utils.errors import UserError
from utils.seeding import preserved_rng

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
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def whole(value: Any) -> Any:
    """A shard put together again, on every rank; anything else as it is. Collective for shards."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(tree: Any, keep: bool = True) -> Any:
    """A nested state with its shards put together, tensor by tensor, on the CPU. Collective.

    Ranks that do not `keep` take part and get None in their place: one copy of the whole is enough.
    """
    if isinstance(tree, DTensor):
        full = tree.full_tensor()
        return full.cpu() if keep else None
    if isinstance(tree, dict):
        return {key: gathered(item, keep) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(gathered(item, keep) for item in tree)
    return tree


def scattered(optimizer: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's whole state (`gathered`) cut like its parameters, for `load_state_dict`. No communication.

    A tensor with the shape of its parameter becomes a shard of the same kind; steps and the like stay.
    """
    if "parts" in saved:  # several optimizers that step as one
        parts = [scattered(own, part) for own, part in zip(optimizer.parts, saved["parts"], strict=True)]
        return {**saved, "parts": parts}
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    owners = [p for group in optimizer.param_groups for p in group["params"]]
    owner = dict(zip(numbers, owners, strict=True))
    state = {
        number: {name: _cut_like(owner[number], value) for name, value in values.items()}
        for number, values in saved["state"].items()
    }
    return {**saved, "state": state}


def _cut_like(parameter: torch.Tensor, value: Any) -> Any:
    """`value` as a shard of `parameter`'s kind, if both have one shape; every rank holds the whole value."""
    if not (isinstance(parameter, DTensor) and isinstance(value, torch.Tensor)):
        return value
    if value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def load_whole(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy whole tensors into a sharded model, each rank its own part; a tied tensor may be there once.

    Raises UserError naming a tensor that is missing, unexpected or of another shape.
    """
    own = model.state_dict(keep_vars=True)  # puts the shards in place
    loaded = set()
    with torch.no_grad():
        for name, value in tensors.items():
            if name not in own or own[name].shape != value.shape:
                raise UserError(f"the weights do not fit this model: {name} is unknown or has another shape")
            own[name].copy_(_cut_like(own[name], value))
            loaded.add(id(own[name]))
    missing = [name for name, tensor in own.items() if id(tensor) not in loaded]
    if missing:
        raise UserError(f"the weights do not fit this model: {missing[0]} is missing ({len(missing)} in all)")


def whole_copy(model: Any, world: World) -> Any:
    """The whole of a sharded model, on rank 0's CPU; None elsewhere. Collective."""
    tensors = gathered(model.state_dict(), keep=world.is_main)
    if not world.is_main:
        return None
    kind = type(model).__bases__[1]  # the class that `fully_shard` has made a subclass of
    with preserved_rng():
        copy = kind(model.config)
    copy.load_state_dict(tensors)
    return copy.train(model.training)
