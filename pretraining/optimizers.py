"""Optimizers by name, and which parameters they may shrink.

Weight decay pulls weights towards zero. It is for matrices (including embeddings, as in GPT-2's training);
gains and biases, the 1-D tensors, have nothing to regularise and are left alone. A tied tensor is one
parameter and appears once. AdamW: Loshchilov & Hutter, arXiv 1711.05101; torch's fused kernel is taken where
it exists. A new optimizer is one function and one line in `OPTIMIZERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pretraining.config import TrainConfig
from pretraining.muon import Muon, Together
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


def muon(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """Muon for the hidden matrices at `muon_lr`, AdamW for everything else at `lr`."""
    hidden = hidden_matrices(model)
    if not hidden:
        raise UserError("optimizer=muon finds no trainable matrix in the model's blocks: use optimizer=adamw")
    rest = {name: p for name, p in trainable(model).items() if name not in hidden}
    dtype = pick_dtype("auto", next(iter(hidden.values())).device)
    fused = fused_rows(model)
    kinds: dict[int | tuple[int, ...], list[tuple[str, nn.Parameter]]] = {}
    for name, p in sorted(hidden.items(), key=lambda item: item[0] not in fused):
        kinds.setdefault(fused.get(name, 1), []).append((name, p))
    groups: list[dict[str, Any]] = [{"params": params, "split": split} for split, params in kinds.items()]
    first = Muon(groups, config.muon_lr, config.muon_momentum, config.weight_decay, dtype=dtype)
    return Together(adamw_for(rest, config), first) if rest else Together(first)


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainConfig], AnyOptimizer]] = {"adamw": adamw, "muon": muon}


def build_optimizer(model: nn.Module, config: TrainConfig) -> AnyOptimizer:
    """The optimizer that `config.optimizer` names, each group with its peak rate in `initial_lr`."""
    if config.optimizer not in OPTIMIZERS:
        raise UserError(
            f"optimizer is {config.optimizer!r}, but there is no such one: choose {', '.join(OPTIMIZERS)}"
        )
    optimizer = OPTIMIZERS[config.optimizer](model, config)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
