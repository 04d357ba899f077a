"""A linear map for a few rows: the same product, its weight laid out so that reading it is all that takes time.

The idea: while decoding, a weight matrix meets one row for each sequence. Each number is read once and used once (or a
few times), so memory bounds the product, and a general matrix product, made for many rows, stays far from that bound.
Which form comes nearest on a CPU (x86 with AVX-512, torch 2.13; figures: `results/decode.json`):

    float32, bf16       oneDNN's product with the weight packed beforehand into blocks; without oneDNN, for one
                        float32 row, x @ W with W kept as (K, N), which F.linear has as (N, K)
    int8, int4          torch's packed kernels (`quantized_layers`)
    compiled, one row   (weight * x).sum(-1): Inductor makes one loop of it that converts, multiplies and adds while
                        it reads, whatever the precision, and reaches memory's rate
    compiled, more      the packed product, called from the compiled code

`lay_out` chooses. What is laid out anew is a second copy of the weights: a step that lives long may outlive its model.
Left out on purpose: GPUs, whose library has such kernels (`F.linear` is taken there).
"""

import functools
import itertools
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from gpt_model.int_codes import pad_columns
from gpt_model.quantized_layers import Int4Linear, Int8Linear, QuantizedLinear


class Transposed(nn.Module):
    """x @ W + b with W kept as (K, N): for one float32 row the BLAS then adds up whole rows of W."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.columns, self.bias = weight.t().contiguous(), bias  # (K, N)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.size(-1))
        y = rows @ self.columns if self.bias is None else torch.addmm(self.bias, rows, self.columns)
        return y.view(*x.shape[:-1], -1)


class Packed(nn.Module):
    """oneDNN's product with a weight in its own blocked order, packed once for this number of rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        super().__init__()
        self.blocked = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        self.bias, self.out_features = bias, weight.size(0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.blocked, self.bias, "none", [], "")


class PackedInt8(nn.Module):
    """`Int8Linear` by torch's kernel for bf16, with nothing left to look up at each call."""

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        self.out_features, self.in_features = layer.out_features, layer.in_features
        self.codes, self.bias = layer.blocked(), cast(layer.bias, torch.bfloat16)
        self.scale = layer.scale.to(torch.bfloat16)
        self.product = torch.ops.aten._weight_int8pack_mm.default

    def forward(self, x: Tensor) -> Tensor:
        rows = pad_columns(x.reshape(-1, self.in_features), self.codes.size(1))
        y = self.product(rows, self.codes, self.scale)
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], self.out_features)


class Opaque(nn.Module):
    """A linear map that a compiled program calls as it is: a packed weight is no tensor that a compiler knows."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.out_features, self.handle, self.operator = layer.out_features, next(_HANDLES), opaque_operator()
        self.layer = [layer]  # in a list: not for the compiler to look into
        _LAYERS[self.handle] = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.operator(x, self.handle, self.out_features)


_HANDLES = itertools.count()
_LAYERS: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()


@functools.cache
def opaque_operator() -> Any:
    """The operator behind `Opaque`, registered with torch at first use."""
    library = torch.library.Library("scratchbook", "DEF")
    library.define("linear(Tensor x, int handle, int outputs) -> Tensor")
    library.impl("linear", lambda x, handle, outputs: _LAYERS[handle](x), "CPU")
    fake = lambda x, handle, outputs: x.new_empty(*x.shape[:-1], outputs)  # noqa: E731
    torch.library.register_fake("scratchbook::linear", fake, lib=library)
    _LIBRARIES.append(library)
    return torch.ops.scratchbook.linear.default


_LIBRARIES: list[Any] = []  # an operator lives as long as its library


class MultiplyAndSum(nn.Module):
    """(weight * x).sum(-1), weights of any storage, sums in float32. To be compiled: eagerly it writes all products."""

    codes: Tensor
    scale: Tensor
    low: Tensor  # int4: what code 0 stands for, in each group

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.kind = layer.kind if isinstance(layer, QuantizedLinear) else "float"
        self.bias = cast(layer.bias, dtype)
        if isinstance(layer, QuantizedLinear):
            stored: Any = layer
            self.codes, self.scale = stored.codes, stored.scale
            if isinstance(layer, Int4Linear):
                self.low = layer.middle - 8 * layer.scale
        else:
            self.codes = cast(layer.weight, dtype).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        dtype, wide = x.dtype, torch.promote_types(x.dtype, torch.float32)
        x = barrier(x.to(wide))  # once for all rows of the matrix
        if self.kind == "int4":
            y = self.by_groups(x)
        else:
            y = (self.codes.to(wide) * x.unsqueeze(-2)).sum(-1)  # (…, N)
            if self.kind == "int8":
                y = y * self.scale
        y = y if self.bias is None else y + self.bias
        return barrier(y.to(dtype))

    def by_groups(self, x: Tensor) -> Tensor:
        """int4: each byte gives two numbers, which meet the even and the odd columns of x."""
        groups = self.scale.size(1)
        pairs = pad_columns(x, 2 * self.codes.size(1)).unflatten(
            -1, (groups, -1, 2)
        )  # (…, groups, group / 2, 2)
        even, odd = (barrier(pairs[..., i]).unsqueeze(-3) for i in (0, 1))  # (…, 1, groups, group / 2)
        codes = self.codes.unflatten(1, (groups, -1))  # (N, groups, group / 2)
        scale, low = self.scale[..., None], self.low[..., None]  # (N, groups, 1)
        first, second = (codes & 15).to(x.dtype) * scale + low, (codes >> 4).to(x.dtype) * scale + low
        return (first * even + second * odd).sum((-1, -2))


def cast(tensor: Any, dtype: torch.dtype) -> Any:
    """A parameter as a plain tensor of this dtype, the same memory where it is that already; None stays None."""
    return None if tensor is None else tensor.detach().to(dtype)


def barrier(x: Tensor) -> Tensor:
    """x itself, but written to memory before it is used.

    Inductor would rather compute a norm or a GELU again for every row of the matrix that follows than store 768
    numbers once. A view by strides needs memory to look at, so it ends the fusion; eagerly it costs nothing.
    """
    x = x.contiguous()
    return torch.as_strided(x, x.size(), x.stride())


def has_packing(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this dtype here."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def lay_out(layer: Any, dtype: torch.dtype, rows: int, *, compiled: bool) -> nn.Module:
    """`layer` (nn.Linear or quantised) in the form that reads fastest for `rows` rows computed in `dtype`."""
    quantized = isinstance(layer, Int8Linear | Int4Linear)
    on_cpu = (layer.scale if quantized else layer.weight).device.type == "cpu"
    if on_cpu and compiled and rows == 1:
        return MultiplyAndSum(layer, dtype)
    if quantized:
        by_kernel = layer.engine_for(rows, dtype, layer.scale.device) == "torch"
        if isinstance(layer, Int8Linear) and by_kernel and dtype == torch.bfloat16:
            layer = PackedInt8(layer)
    else:
        weight, bias = cast(layer.weight, dtype), cast(layer.bias, dtype)
        if on_cpu and has_packing(dtype):
            layer = Packed(weight, bias, rows)
        elif on_cpu and rows == 1 and dtype == torch.float32:
            return Transposed(weight, bias)
        else:
            return plain_linear(weight, bias)
    return Opaque(layer) if on_cpu and compiled else layer


def plain_linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """An nn.Linear around a weight (N, K) that is there already."""
    layer = nn.Linear(weight.size(1), weight.size(0), bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
    return layer
