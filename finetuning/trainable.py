"""What of a pretrained model learns: all of it, the last blocks, the head alone, or its adapters.

Freezing is one flag on a parameter: the optimizer takes only what requires a gradient
(`pretraining.optimizers.trainable`) and autograd stops where nothing below needs one, so the last block alone also
costs a fraction of the backward pass.
What stands around a GPT, such as a classification head, is new and always trains.

| tune | what learns inside the GPT |
|---|---|
| `all` | everything |
| `last-N` | the last N blocks, the final norm, and an untied head |
| `head` | the head alone, where nothing stands around the GPT; a tied one is the token table |
| `lora` | the active adapter |

Left out: other learning rates by depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from utils.errors import UserError

WAYS = "all, last-N (such as last-1), head or lora"


def freeze_for(model: nn.Module, tune: str) -> tuple[int, int]:
    """Set `requires_grad` throughout `model` as `tune` says; returns (numbers that train, numbers in all).

    `model` is a GPT or has one inside. Numbers of a quantised matrix are counted as the matrix has them. Raises
    UserError for an unknown way, more blocks than there are, `lora` without an adapter, and quantised matrices that
    would have to learn.
    """
    gpt = backbone(model)
    inside = {id(p) for p in gpt.parameters()}
    around = [p for p in model.parameters() if id(p) not in inside]
    learning = _learning(gpt, tune, alone=not around)
    _need_floats(gpt, tune, learning)
    for parameter in gpt.parameters():
        parameter.requires_grad_(id(parameter) in learning and parameter.is_floating_point())
    for parameter in around:
        parameter.requires_grad_(True)
    return count_numbers(model)


def _learning(gpt: Any, tune: str, *, alone: bool) -> set[int]:
    """The ids of the parameters inside the GPT that `tune` names."""
    if tune == "all":
        return _ids(gpt.parameters())
    if tune == "lora":
        return _active_adapter(gpt)
    if tune == "head":
        return _ids(_head(gpt).parameters()) if alone else set()
    last = re.fullmatch(r"last-(\d+)", tune)
    if last is None:
        raise UserError(f"tune is {tune!r}: choose {WAYS}")
    count, blocks = int(last.group(1)), list(gpt.blocks)
    if not 1 <= count <= len(blocks):
        raise UserError(
            f"tune is {tune!r}, but the model has {len(blocks)} blocks: choose last-1 … last-{len(blocks)}"
        )
    parts: list[nn.Module] = [*blocks[-count:], gpt.final_norm]
    if alone and gpt.head is not None:
        parts.append(gpt.head)
    return {key for part in parts for key in _ids(part.parameters())}


def _need_floats(gpt: nn.Module, tune: str, learning: set[int]) -> None:
    from gpt_model.quantized_layers import QuantizedLinear

    for path, module in gpt.named_modules():
        if isinstance(module, QuantizedLinear) and (tune == "all" or _ids(module.parameters()) & learning):
            raise UserError(
                f"tune is {tune!r}, but {path} is quantised and cannot learn: use an adapter, tune=lora"
            )


def _active_adapter(gpt: nn.Module) -> set[int]:
    from finetuning.lora import active_adapter, adapters_of, lora_parameters

    if not adapters_of(gpt):
        raise UserError(
            "tune is 'lora', but the model has no adapter: call apply_lora(model, LoRAConfig()) first"
        )
    name = active_adapter(gpt)
    return _ids(lora_parameters(gpt, name).values()) if name is not None else set()


def _head(gpt: Any) -> nn.Module:
    return gpt.token_embedding if gpt.head is None else gpt.head


def _ids(parameters: Iterable[nn.Parameter]) -> set[int]:
    return {id(p) for p in parameters}


def backbone(model: nn.Module) -> Any:
    """The GPT that `model` is or has inside; the model itself where there is none."""
    from gpt_model.gpt import GPT

    return next((module for module in model.modules() if isinstance(module, GPT)), model)


def count_numbers(model: nn.Module) -> tuple[int, int]:
    """(numbers that train, numbers in all): parameters, and what quantised matrices stand for; each once."""
    from gpt_model.quantized_layers import QuantizedLinear

    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    total += sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, QuantizedLinear))
    return learning, total
