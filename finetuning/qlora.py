"""QLoRA: a base in four bits that is only read, and an adapter in full precision that learns on top of it.

The idea: a frozen matrix needs no gradient and no optimizer state, only to be multiplied with; so it may be stored as
coarsely as the multiplication tolerates. `NF4Linear` keeps the codes of `nf4`, makes numbers of them when it is called
and lets go of them at once. Subtle: autograd would keep those numbers for the backward pass, of every layer at the same
time, which is all the memory that was saved; so the backward pass makes them anew (`_Product`).

    quantize_base(model)                   every linear map of the blocks, before or after apply_lora
    quantize_base(model, engine="bitsandbytes")      the same codes by that library's kernels

Merging an adapter gives a matrix in bf16: the sum of a 4-bit base and a small change needs more than 4 bits, and
rounding it back puts small changes onto the old codes, which leaves nothing of them (`merge_cost` says how much).
Dettmers et al., arXiv 2305.14314, §3. Left out: paged optimizer state; 4-bit heads and embeddings.
Notebook 03 of this chapter.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from finetuning.lora_layers import LoRALinear
from finetuning.nf4 import BLOCK, Blocks, dequantize_nf4, quantize_nf4
from gpt_model.quantized_layers import QuantizedLinear
from utils.errors import UserError

M = TypeVar("M", bound=nn.Module)
ENGINES = ("book", "bitsandbytes")
PRECISIONS = ("auto", "fp32", "bf16", "nf4")


class _Product(torch.autograd.Function):
    """x Wᵀ with W made of codes in both directions; W itself has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any) -> Tensor:  # type: ignore[override]
        ctx.layer, ctx.kind = layer, x.dtype
        return x @ layer.weight.to(x.dtype).t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad @ ctx.layer.weight.to(grad.dtype), None


class NF4Linear(QuantizedLinear):
    """A frozen linear map in NF4. Activations and their gradients keep their precision."""

    kind = "nf4"
    packed_codes: Tensor
    absmax: Tensor
    step: Tensor | None
    mean: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, block: int = BLOCK, double: bool = True
    ) -> None:
        super().__init__(weight.size(1), weight.size(0), bias, "book")
        blocks = quantize_nf4(weight, block=block, double=double)
        self.block, self.two_levels = block, double
        for name in ("packed", "absmax", "step", "mean"):
            self.register_buffer("packed_codes" if name == "packed" else name, getattr(blocks, name))

    @property
    def blocks(self) -> Blocks:
        """Codes and constants as `nf4` has them."""
        shape = (self.out_features, self.in_features)
        return Blocks(self.packed_codes, self.absmax, self.step, self.mean, shape, self.block)

    @property
    def weight(self) -> Tensor:
        return dequantize_nf4(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        y = _Product.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class BitsAndBytesLinear(QuantizedLinear):
    """The same map kept and multiplied by bitsandbytes, on CPU or GPU."""

    kind = "nf4"
    packed_codes: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, block: int = BLOCK, double: bool = True
    ) -> None:
        super().__init__(weight.size(1), weight.size(0), bias, "book")
        self.block, self.two_levels = block, double
        codes, self.state = _bitsandbytes().functional.quantize_4bit(
            weight.detach(), blocksize=block, quant_type="nf4", compress_statistics=double
        )
        self.register_buffer("packed_codes", codes)

    @property
    def weight(self) -> Tensor:
        return _bitsandbytes().functional.dequantize_4bit(self.packed_codes, self.state).float()

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        y = _bitsandbytes().matmul_4bit(x, self.packed_codes.t(), quant_state=self.state)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> QuantizedLinear:
        super()._apply(fn, recurse)
        self.state.to(self.packed_codes.device)
        return self


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise UserError(
            "engine=bitsandbytes needs bitsandbytes, which is not installed: "
            "pip install -c constraints.txt -e '.[galore]', or choose engine=book"
        ) from error
    return bitsandbytes


def quantize_base(model: M, double: bool = True, engine: str = "book", *, block: int = BLOCK) -> M:
    """Put every linear map inside the blocks into NF4, in place, and freeze the model but for its adapters.

    Embeddings, norms, biases and the head keep their precision. `double` also writes the constants in bytes. Raises
    UserError for an unknown engine and for a model that holds integers already.
    """
    if engine not in ENGINES:
        raise UserError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise UserError("the model is quantised already: load it again to quantise it otherwise")
    layer = NF4Linear if engine == "book" else BitsAndBytesLinear
    found = [
        (parent, name, child)
        for path, parent in model.named_modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and "blocks." in f"{path}."
    ]
    if not found:
        raise UserError("the model has no linear map in its blocks that could be quantised")
    for parent, name, child in found:
        setattr(parent, name, layer(child.weight, child.bias, block=block, double=double))
    for own, parameter in model.named_parameters():
        if "lora_" not in own:
            parameter.requires_grad_(False)
    return model


def how_quantized(model: nn.Module) -> dict[str, Any] | None:
    """The arguments of `quantize_base` that made this model, or None."""
    for module in model.modules():
        if isinstance(module, NF4Linear | BitsAndBytesLinear):
            engine = "book" if isinstance(module, NF4Linear) else "bitsandbytes"
            return {"double": module.two_levels, "engine": engine, "block": module.block}
    return None


def stored_as(weight: Tensor, into: str, base: Any) -> Tensor:
    """`weight` rounded to a precision that it could be stored in, as numbers of the dtype that is computed in.

    Raises UserError for an unknown precision.
    """
    if into not in PRECISIONS:
        raise UserError(f"into is {into!r}: choose one of {', '.join(PRECISIONS)}")
    if into == "auto":
        into = "bf16" if isinstance(base, QuantizedLinear) else "as it is"
    if into == "bf16":
        return weight.to(torch.bfloat16).to(weight.dtype)
    if into == "nf4":
        return dequantize_nf4(quantize_nf4(weight)).to(weight.dtype)
    return weight.float() if into == "fp32" else weight


@torch.no_grad()
def merge_cost(model: nn.Module) -> dict[str, float]:
    """What a merge into bf16 and one into NF4 would lose, as shares of the change that the adapter makes.

    For each precision: ‖rounded - exact‖ / ‖ΔW‖ over all adapted matrices. Near 1 nothing is left of the change: the
    weights are rounded back to what they were (over a base in floats it can be far above).
    """
    lost = {"bf16": 0.0, "nf4": 0.0}
    change = 0.0
    for layer in (m for m in model.modules() if isinstance(m, LoRALinear)):
        if layer.merged or layer.active is None:
            continue
        exact = layer.weight.float()
        change += float((exact - layer.base.weight.float()).square().sum())
        for into in lost:
            lost[into] += float((stored_as(exact, into, layer.base) - exact).square().sum())
    if change == 0:
        raise UserError(
            "the adapter changes nothing yet (or is merged): train it, or unmerge it, before asking"
        )
    return {into: (value / change) ** 0.5 for into, value in lost.items()}


def linear_bytes(model: nn.Module) -> dict[str, float]:
    """Bytes of the linear maps' matrices in the blocks, and bytes for each of their numbers, adapters left out."""
    numbers = total = 0
    for path, module in model.named_modules():
        base = module.base if isinstance(module, LoRALinear) else module
        if "blocks." not in path or path.endswith(".base") or not hasattr(base, "in_features"):
            continue
        numbers += base.in_features * base.out_features
        if isinstance(base, NF4Linear):
            total += base.blocks.nbytes
        elif isinstance(base, BitsAndBytesLinear):
            total += base.packed_codes.nbytes + _state_bytes(base.state)
        else:
            total += base.weight.nbytes
    return {"numbers": numbers, "bytes": total, "bytes_per_number": total / numbers}


def _state_bytes(state: Any) -> int:
    """Bytes of bitsandbytes' constants, the second level's included."""
    own = state.absmax.nbytes
    if state.state2 is not None:
        own += state.state2.absmax.nbytes + 4
    return own
