"""Looking inside a model while it computes: the attention maps it really used.

A hook on each layer's attention sees that layer's input, and the same module is asked again for its
map. Nothing of the forward pass changes, so what is shown is what was computed (law LA9). Left out:
the residual stream, MLP outputs and the logit lens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpt_model.gpt import GPT


@torch.no_grad()
def attention_maps(model: GPT, ids: Tensor) -> Tensor:
    """The maps of one text: ids (1, T) -> (n_layer, n_head, T, T); row q holds where token q looks, summing to 1.

    Computed without dropout; the model's mode is restored.
    """
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
