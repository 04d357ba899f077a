"""Looking inside a model while it computes: the attention maps it really used, and what each head is worth.

A hook on each layer's attention sees that layer's input, and the same module is asked again for its
map. Nothing of the forward pass changes, so what is shown is what was computed (law LA9).

A map shows where a head looks, not whether that matters. `ablate_heads` takes a head away, by changing what enters
the projection after the heads, and the loss tells (Michel et al. 2019, arXiv 1905.10650). Left out: the residual
stream, MLP outputs and the logit lens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gpt_model.gpt import GPT
from utils.errors import UserError


@torch.no_grad()
def attention_maps(model: GPT, ids: Tensor) -> Tensor:
    """The maps of one text: ids (1, T) -> (n_layer, n_head, T, T); row q holds where token q looks, summing to 1.

    Every attention has them; outside a window they are 0. Computed without dropout; the model's mode is restored.
    """
    if ids.dim() != 2 or ids.size(0) != 1:
        raise UserError(f"attention_maps: ids have shape {tuple(ids.shape)}: give one text, (1, tokens)")
    maps: list[Tensor] = []

    def keep(module: Any, inputs: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        _, weights = module.forward(inputs[0], **{**kwargs, "need_weights": True})
        maps.append(weights[0])  # (n_head, T, T)

    was_training = model.training
    model.eval()
    hooks: list[Any] = []
    try:
        for block in model.blocks:
            attention: Any = block.attn
            hooks.append(attention.register_forward_pre_hook(keep, with_kwargs=True))
        model(ids.to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    return torch.stack(maps)


def visible_keys(model: GPT, length: int) -> Tensor:
    """Who may look at whom in each layer, bool (n_layer, 1, length, length): causal, and the layer's window if any."""
    places = torch.arange(length)
    attentions: list[Any] = [block.attn for block in model.blocks]
    return torch.stack([attention.visible(places, places) for attention in attentions])[:, None]


@contextmanager
def ablate_heads(
    model: GPT, heads: Iterable[tuple[int, int]], *, means: Tensor | None = None
) -> Iterator[GPT]:
    """Within this context the named (layer, head) pairs give nothing: zeros, or their usual output `means`.

    What is replaced is a head's part of the input of `out_proj`, so it works for every attention and with a
    cache. `means` (n_layer, n_head, head_dim) come from `head_means`: zero may be far from anything the model
    has ever seen, the mean is not.

        with ablate_heads(model, {(0, 3)}):
            loss = model(ids, targets=targets).loss
    """
    config = model.config
    wanted = sorted(set(heads))
    for layer, head in wanted:
        if not (0 <= layer < config.n_layer and 0 <= head < config.n_head):
            raise UserError(
                f"ablate_heads: there is no head {head} in layer {layer}: layers are 0 to {config.n_layer - 1}, "
                f"heads 0 to {config.n_head - 1}"
            )
    shape = (config.n_layer, config.n_head, config.head_dim)
    if means is not None and means.shape != shape:
        raise UserError(f"ablate_heads: means have shape {tuple(means.shape)}: give {shape}, from head_means")
    hooks: list[Any] = []
    try:
        for layer, block in enumerate(model.blocks):
            gone = [head for at, head in wanted if at == layer]
            if gone:
                put = None if means is None else means[layer, gone]
                attention: Any = block.attn
                hooks.append(attention.out_proj.register_forward_pre_hook(_replace(gone, config.n_head, put)))
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _replace(heads: list[int], n_head: int, put: Tensor | None) -> Any:
    """A hook that overwrites some heads in the input of out_proj, (B, T, n_head · head_dim)."""

    def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0].unflatten(-1, (n_head, -1)).clone()  # (B, T, n_head, head_dim)
        x[..., heads, :] = 0.0 if put is None else put.to(x)
        return (x.flatten(-2),)

    return hook


@torch.no_grad()
def head_means(model: GPT, ids: Tensor) -> Tensor:
    """The mean output of every head over all tokens of ids (B, T): (n_layer, n_head, head_dim), for `ablate_heads`."""
    means: list[Tensor] = []

    def keep(module: Any, inputs: tuple[Tensor, ...]) -> None:
        means.append(inputs[0].mean(dim=(0, 1)).view(model.config.n_head, -1))

    was_training = model.training
    model.eval()
    hooks: list[Any] = []
    try:
        for block in model.blocks:
            attention: Any = block.attn
            hooks.append(attention.out_proj.register_forward_pre_hook(keep))
        model(ids.to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    return torch.stack(means)


@torch.no_grad()
def loss_without_each_head(
    model: GPT, ids: Tensor, targets: Tensor | None = None, *, means: Tensor | None = None
) -> Tensor:
    """What each head is worth: loss without it minus loss with all, nats per token, (n_layer, n_head).

    ids (B, T); `targets` default to the next token of ids. Positive: the head helps. One forward pass a head.
    """
    if targets is None:
        if ids.size(-1) < 2:
            raise UserError("loss_without_each_head: one token has no next one: give longer ids, or targets")
        ids, targets = ids[:, :-1], ids[:, 1:]
    ids, targets = ids.to(model.device), targets.to(model.device)

    def loss() -> float:
        value = model(ids, targets=targets).loss
        assert value is not None
        return float(value)

    was_training = model.training
    model.eval()
    try:
        whole = loss()
        changes = torch.zeros(model.config.n_layer, model.config.n_head)
        for layer in range(model.config.n_layer):
            for head in range(model.config.n_head):
                with ablate_heads(model, [(layer, head)], means=means):
                    changes[layer, head] = loss() - whole
        return changes
    finally:
        model.train(was_training)
