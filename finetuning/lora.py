"""LoRA: teach a model by a low-rank change of its matrices, and leave the matrices themselves alone.

The idea: a finetuned matrix is W + ΔW, and ΔW turns out to have few directions that matter. So write it as a product
of two thin matrices, ΔW = (alpha / r) · B A with A (r, in) and B (out, r), and train those. B starts at zero: the
adapted model begins as exactly the model it was. What trains and is saved is r · (in + out) numbers instead of
in · out; for serving, ΔW is added into W and costs nothing.

    config = LoRAConfig(r=8, alpha=16.0)
    apply_lora(model, config)              # frozen base, A and B train; the Trainer needs no other change
    merge_lora(model)                      # W + ΔW in one matrix; unmerge_lora gives the base back, bit for bit
    set_adapter(model, None)               # the base; set_adapter(model, "poet") another adapter

Hu et al., arXiv 2106.09685, §4. rsLoRA, alpha / √r, keeps the size of the change independent of r (arXiv 2312.03732).
DoRA trains the length of each row apart from its direction (arXiv 2402.09353, §4). The layer is in `lora_layers`, files
in `adapters`, what else may be trained in `trainable`, a 4-bit base in `qlora`. Left out: adapters of embeddings,
several adapters at once, ranks that differ from layer to layer. Notebook 03 of this chapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from utils.errors import UserError, closest, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from finetuning.lora_layers import LoRALinear

    M = TypeVar("M", bound=nn.Module)

ALL = "all"
_NAME = re.compile(r"[A-Za-z_][\w-]*")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class LoRAConfig:
    """What an adapter is made of. The change of a matrix is `scale` · B A."""

    r: int = _key(8, "rank: how many directions a matrix may change in")
    alpha: float = _key(16.0, "the change is scaled by alpha / r")
    dropout: float = _key(0.0, "on what A reads, while training")
    targets: tuple[str, ...] = _key(
        (ALL,), "which linear maps: all of the blocks, or names such as qkv_proj, attn.out_proj, up_proj"
    )
    rslora: bool = _key(False, "scale by alpha / sqrt(r) instead")
    dora: bool = _key(False, "train the length of each row apart from its direction")

    def __post_init__(self) -> None:
        if self.r < 1:
            raise UserError(f"lora r is {self.r}: a rank is at least 1, 8 is usual")
        if not self.alpha > 0:
            raise UserError(f"lora alpha is {self.alpha}: it is positive, usually r or 2 r")
        if not 0 <= self.dropout < 1:
            raise UserError(f"lora dropout is {self.dropout}: it lies in [0, 1), set 0")
        if not self.targets:
            raise UserError("lora targets is empty: name linear maps such as qkv_proj, or all")

    @property
    def scale(self) -> float:
        """What B A is multiplied with.

        >>> LoRAConfig(r=8, alpha=16).scale, LoRAConfig(r=16, alpha=16, rslora=True).scale
        (2.0, 4.0)
        """
        return self.alpha / (self.r**0.5 if self.rslora else self.r)


def apply_lora(model: M, config: LoRAConfig, *, name: str = "default", seed: int | None = None) -> M:
    """Put an adapter on every target of `model`, in place, freeze all else, and make it the active one.

    A is drawn as in the paper's code (uniform, ± 1/√in) from `seed`, or from torch's generator; B is zero, so the
    model computes what it did before. A second call with another `name` adds a second adapter. What lies outside a GPT
    (a classification head around it) goes on training. Raises UserError for a name in use and a target not found.
    """
    import torch

    from finetuning.adapters import adapt_class
    from finetuning.lora_layers import LoRALinear
    from finetuning.trainable import freeze_for

    if not _NAME.fullmatch(name):
        raise UserError(f"adapter name is {name!r}: use letters, digits, _ and -")
    if name in adapters_of(model):
        raise UserError(f"the model has an adapter {name!r} already: give this one another name")
    _need_unmerged(model, "add an adapter")
    generator = torch.default_generator if seed is None else torch.Generator().manual_seed(seed)
    for path, module in find_targets(model, config.targets).items():
        if not isinstance(module, LoRALinear):
            module = LoRALinear(module)
            parent, _, own = path.rpartition(".")
            setattr(model.get_submodule(parent), own, module)
        module.add(name, config, generator)
    adapt_class(model)
    set_adapter(model, name)
    freeze_for(model, "lora")
    return model


def find_targets(model: nn.Module, targets: tuple[str, ...]) -> dict[str, nn.Module]:
    """The linear maps that `targets` name, by path. Raises UserError for a name that fits none.

    `all` is every linear map inside the blocks; a name fits the end of a path, so `out_proj` is that of attention and
    that of the feed-forward layer, and `mlp.out_proj` the latter alone.
    """
    linear = dict(linear_maps(model))
    found: dict[str, nn.Module] = {}
    for target in targets:
        if target == ALL:
            fits = {path: m for path, m in linear.items() if "blocks." in path} or linear
        else:
            fits = {path: m for path, m in linear.items() if f".{path}".endswith(f".{target}")}
        if not fits:
            known = sorted({path.rpartition(".")[2] for path in linear})
            hint = did_you_mean(closest(target, known))
            raise UserError(f"lora target {target!r} fits no linear map: {hint}there are {', '.join(known)}")
        found |= fits
    return {path: module for path, module in linear.items() if path in found}


def linear_maps(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of every linear map, plain, quantised or adapted; not what an adapted one is made of."""
    from torch import nn

    from finetuning.lora_layers import LoRALinear
    from gpt_model.quantized_layers import QuantizedLinear

    inside: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if inside and path.startswith(inside):
            continue
        if isinstance(module, nn.Linear | QuantizedLinear):
            if isinstance(module, LoRALinear):
                inside = (*inside, f"{path}.")
            yield path, module


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted maps of a model, by path."""
    from finetuning.lora_layers import LoRALinear

    return {path: module for path, module in model.named_modules() if isinstance(module, LoRALinear)}


def adapters_of(model: nn.Module) -> dict[str, LoRAConfig]:
    """The adapters that a model has, by name, in the order in which they came."""
    return {name: config for layer in lora_layers(model).values() for name, config in layer.settings.items()}


def active_adapter(model: nn.Module) -> str | None:
    """The adapter that is in use, or None: the base."""
    return next((layer.active for layer in lora_layers(model).values() if layer.active is not None), None)


def lora_parameters(model: nn.Module, name: str | None = None) -> dict[str, nn.Parameter]:
    """A, B (and DoRA's lengths) by their full names: of the adapter `name`, or of all."""
    found = {}
    for path, layer in lora_layers(model).items():
        for own, parameter in layer.adapter_parameters(name).items():
            found[f"{path}.{own}"] = parameter
    return found


def set_adapter(model: M, name: str | None) -> M:
    """Use the adapter `name` from now on, and train it alone; None is the base, with nothing to train.

    Raises UserError for a name that the model does not have, and while an adapter is merged.
    """
    known = adapters_of(model)
    if name is not None and name not in known:
        hint = did_you_mean(closest(name, known))
        raise UserError(f"the model has no adapter {name!r}: {hint}there are {', '.join(known) or 'none'}")
    _need_unmerged(model, "change the adapter")
    for layer in lora_layers(model).values():
        layer.active = name if name in layer.settings else None
        for own in layer.settings:
            for parameter in layer.adapter_parameters(own).values():
                parameter.requires_grad_(own == name)
    return model


def merge_lora(model: M, *, into: str = "auto") -> M:
    """Add the active adapter into the matrices, so that it costs nothing to run. A second time changes nothing.

    `into` is how precise the sum is kept: fp32, bf16, nf4, or auto: the base's own precision, and bf16 where the base
    is in 4 bits. Rounding the sum to 4 bits again loses a good part of the change, and all of it where it is small
    (`qlora.merge_cost` measures it). The base stays in memory for `unmerge_lora`; `unload_lora` lets go of it.
    """
    for layer in lora_layers(model).values():
        layer.merge(into)
    return model


def unmerge_lora(model: M) -> M:
    """Undo `merge_lora`: the base is the one from before, bit for bit. Without a merge nothing happens."""
    for layer in lora_layers(model).values():
        layer.unmerge()
    return model


def unload_lora(model: M) -> M:
    """Put ordinary linear maps back in place of the adapted ones: with the adapter if it is merged, else the base."""
    from finetuning.adapters import plain_class

    for path, layer in lora_layers(model).items():
        parent, _, own = path.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.base)
    plain_class(model)
    return model


def is_merged(model: nn.Module) -> bool:
    """Whether an adapter is merged into the matrices now."""
    return any(layer.merged for layer in lora_layers(model).values())


def _need_unmerged(model: nn.Module, what: str) -> None:
    if is_merged(model):
        raise UserError(f"an adapter is merged into the model: call unmerge_lora(model) before you {what}")
