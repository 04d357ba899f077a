"""Optimizers by name, and which parameters they may shrink.

Weight decay pulls weights towards zero. It is for matrices (including embeddings, as in GPT-2's training);
gains and biases, the 1-D tensors, have nothing to regularise and are left alone. A tied tensor is one
parameter and appears once. AdamW: Loshchilov & Hutter, arXiv 1711.05101; torch's fused kernel is taken where
it exists. Muon, GaLore and 8-bit moments are for the matrices inside the blocks; all else stays with AdamW.

| name | numbers kept for an m × n matrix in a block |
|---|---|
| `adamw` | 2·m·n |
| `muon` | m·n |
| `galore`, `galore_torch` (the library) | short·r + 2·long·r, see `galore` |
| `adamw_8bit` | 2·m·n, of one byte each and a little |
| `lion`, `sgd` with momentum | m·n |

A new optimizer is one function and one line in `OPTIMIZERS`, or `module:function` in the config (`registries`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pretraining.config import TrainConfig
from pretraining.muon import Muon, Together
from pretraining.registries import resolve
from utils.device import pick_dtype
from utils.errors import UserError

AnyOptimizer = torch.optim.Optimizer | Together


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter that learns, by its first name; a tied tensor once (LP6)."""
    found = {name: p for name, p in model.named_parameters(remove_duplicate=True) if p.requires_grad}
    if not found:
        raise UserError("the model has no parameter that requires a gradient: unfreeze some before training")
    return found


def decay_groups(named: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups, disjoint and complete: tensors of 2 or more dimensions decay, the others never.

    Each group carries the names of its parameters in `param_names`, which are saved and compared on resume.
    """
    decay = [(n, p) for n, p in named.items() if p.dim() >= 2]
    plain = [(n, p) for n, p in named.items() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def adamw(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """AdamW over exact decay groups; the fused kernel where torch has one for the device."""
    return adamw_for(trainable(model), config)


def adamw_for(named: dict[str, nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW for these parameters alone."""
    kinds = {p.device.type for p in named.values()}
    floats = all(p.is_floating_point() for p in named.values())
    fused = floats and kinds <= {"cpu", "cuda", "mps", "xpu"} and _fused_works(kinds)
    return torch.optim.AdamW(
        decay_groups(named, config.weight_decay),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=fused,
    )


def _fused_works(kinds: set[str]) -> bool:
    """Whether this torch has a fused AdamW for these devices (asked of torch, not of its version)."""
    if "fused" not in inspect.signature(torch.optim.AdamW).parameters:
        return False
    try:
        for kind in kinds:
            torch.optim.AdamW([torch.zeros(1, device=kind, requires_grad=True)], fused=True)
    except RuntimeError:
        return False
    return True


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable matrices inside the blocks: what maps the residual stream to itself.

    Embeddings and the head look up or score tokens; they and all vectors are not among them.
    """
    return {name: p for name, p in trainable(model).items() if p.dim() == 2 and "blocks." in name}


def fused_rows(model: nn.Module) -> dict[str, int | tuple[int, ...]]:
    """For each matrix that is several maps stored as one: how many equal blocks of rows, or their heights."""
    found: dict[str, int | tuple[int, ...]] = {}
    for name, module in model.named_modules():
        heights = getattr(module, "qkv_rows", None)
        if heights is not None:
            found[f"{name}.qkv_proj.weight"] = len(heights) if len(set(heights)) == 1 else tuple(heights)
    return found


def for_hidden(
    name: str, model: nn.Module, config: TrainConfig, build: Callable[[dict[str, nn.Parameter]], Any]
) -> AnyOptimizer:
    """`build` for the hidden matrices, AdamW for everything else. Raises UserError where there are none."""
    hidden = hidden_matrices(model)
    if not hidden:
        raise UserError(
            f"optimizer={name} finds no trainable matrix in the model's blocks: use optimizer=adamw"
        )
    rest = {n: p for n, p in trainable(model).items() if n not in hidden}
    first = build(hidden)
    return Together(adamw_for(rest, config), first) if rest else Together(first)


def muon(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """Muon for the hidden matrices at `muon_lr`, AdamW for everything else at `lr`."""

    def build(hidden: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        dtype = pick_dtype("auto", next(iter(hidden.values())).device)
        fused = fused_rows(model)
        kinds: dict[int | tuple[int, ...], list[tuple[str, nn.Parameter]]] = {}
        for name, p in sorted(hidden.items(), key=lambda item: item[0] not in fused):
            kinds.setdefault(fused.get(name, 1), []).append((name, p))
        groups: list[dict[str, Any]] = [{"params": params, "split": split} for split, params in kinds.items()]
        return Muon(groups, config.muon_lr, config.muon_momentum, config.weight_decay, dtype=dtype)

    return for_hidden("muon", model, config, build)


def galore_group(hidden: dict[str, nn.Parameter], config: TrainConfig) -> dict[str, Any]:
    """The hidden matrices as one group, with the keys that both engines of GaLore read."""
    return {
        "params": list(hidden.items()),
        "weight_decay": config.weight_decay,
        "rank": config.galore_rank,
        "update_proj_gap": config.galore_gap,
        "scale": config.galore_scale,
        "proj_type": config.galore_proj,
    }


def galore(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """Our GaLore for the hidden matrices, AdamW for everything else, both at `lr`."""
    from pretraining.galore import Galore

    def build(hidden: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        return Galore([galore_group(hidden, config)], config.lr, (config.beta1, config.beta2), config.eps)

    return for_hidden("galore", model, config, build)


def galore_torch(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """galore-torch's AdamW for the hidden matrices; the same settings as `galore`."""
    from pretraining.galore_engine import build_galore_torch

    def build(hidden: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        betas = (config.beta1, config.beta2)
        return build_galore_torch([galore_group(hidden, config)], lr=config.lr, betas=betas, eps=config.eps)

    return for_hidden("galore_torch", model, config, build)


def adamw_8bit(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """AdamW with 8-bit moments for the hidden matrices, in 32 bits for everything else."""
    from pretraining.eight_bit import build_adamw_8bit

    def build(hidden: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        return build_adamw_8bit(decay_groups(hidden, config.weight_decay), config)

    return for_hidden("adamw_8bit", model, config, build)


def lion(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """Lion for everything, over the same decay groups. Give it a third to a tenth of AdamW's rate."""
    from pretraining.lion import Lion

    groups = decay_groups(trainable(model), config.weight_decay)
    return Lion(groups, config.lr, (config.beta1, config.beta2))


def sgd(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """torch's SGD with `momentum`. Its decay is the classical one, added to the gradient (so scaled by `lr`)."""
    groups = decay_groups(trainable(model), config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainConfig], AnyOptimizer]] = {
    "adamw": adamw,
    "muon": muon,
    "galore": galore,
    "galore_torch": galore_torch,
    "adamw_8bit": adamw_8bit,
    "lion": lion,
    "sgd": sgd,
}


def build_optimizer(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """The optimizer that `config.optimizer` names, each group with its peak rate in `initial_lr`."""
    optimizer = resolve("optimizer", config.optimizer, OPTIMIZERS)(model, config)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def state_bytes(optimizer: AnyOptimizer) -> int:
    """Bytes of all tensors that the optimizer keeps now, each storage counted once.

    Nothing is kept before the first step. Tables that many parameters share count once.
    """
    seen: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)

    visit(list(optimizer.state_dict()["state"].values()) if not isinstance(optimizer, Together) else [])
    for part in optimizer.parts if isinstance(optimizer, Together) else ():
        visit(list(part.state_dict()["state"].values()))
    return sum(seen.values())
