"""Layers whose weights are small integers: `Int8Linear`, `Int4Linear`, and the table of a tied head.

The idea: a decoded token reads every weight once, so a quarter of the bytes is up to four times the speed, if the
integers become numbers only on their way into the multiplier. Two engines compute the same product:

    book    turn the codes into numbers, multiply: three lines, any device and dtype; right for many rows (prefill),
            for few rows slower than floats, because the numbers are written to memory and read again
    torch   torch's own kernels for packed weights (CPU), which convert in registers: right for few rows
    auto    torch where its kernel is fast: bf16 on a CPU, up to `PACKED_ROWS` rows; else book

Activations keep their precision: only weights are quantised ("weight-only"). Left out on purpose: gradients.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_model.int_codes import (
    GROUP,
    dequantize_groups,
    dequantize_rows,
    pack_nibbles,
    pad_columns,
    quantize_groups,
    quantize_rows,
    unpack_nibbles,
)
from utils.errors import UserError

ENGINES = ("auto", "book", "torch")
PACKED_ROWS = 16  # rows of activations up to which a packed kernel is taken
TORCH_GROUPS = (32, 64, 128, 256)  # what torch's int4 kernel knows


def has_torch_kernel(name: str) -> bool:
    """Whether this torch has the packed kernel `int8` or `int4` for a CPU."""
    names = {
        "int8": ("_weight_int8pack_mm",),
        "int4": ("_weight_int4pack_mm_for_cpu", "_convert_weight_to_int4pack_for_cpu"),
    }
    return all(hasattr(torch.ops.aten, op) for op in names[name])


class QuantizedLinear(nn.Module):
    """What both layers share: x (…, K) -> (…, N), engines, and that scales stay in float32.

    A scale that followed the model to bf16 would be off by up to 1/512, and with it every weight of its row.
    """

    kind: str
    out_features: int
    in_features: int
    bias: nn.Parameter | None
    _blocked: Any

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, engine: str) -> None:
        super().__init__()
        if engine not in ENGINES:
            raise UserError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
        if engine == "torch" and not has_torch_kernel(self.kind):
            raise UserError(
                f"this torch ({torch.__version__}) has no packed {self.kind} kernel: choose engine=book"
            )
        self.in_features, self.out_features, self.engine = in_features, out_features, engine
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The numbers that the codes stand for, float32 (N, K): a new tensor at each call."""
        raise NotImplementedError

    def packed(self, rows: Tensor) -> Tensor:
        """The product by torch's kernel: rows (R, K) -> (R, N), without the bias."""
        raise NotImplementedError

    def by_the_book(self, x: Tensor) -> Tensor:
        """The product by turning the codes into numbers first."""
        return F.linear(x, self.weight.to(x.dtype), self.bias)

    def engine_for(self, rows: int, dtype: torch.dtype, device: torch.device) -> str:
        """Which engine multiplies so many rows."""
        if self.engine != "auto":
            return self.engine
        fast = device.type == "cpu" and dtype == torch.bfloat16 and has_torch_kernel(self.kind)
        return "torch" if fast and rows <= PACKED_ROWS else "book"

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        if self.engine_for(len(rows), x.dtype, x.device) == "book":
            return self.by_the_book(x)
        y = self.packed(rows).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def _apply(self, fn: Any, recurse: bool = True) -> "QuantizedLinear":
        """After `.to(...)`: scales and middles are float32 as before, wherever they have moved."""
        self._blocked = None
        kept = {name: value for name, value in self._buffers.items() if value is not None}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            now = self._buffers[name]
            if now is not None and now.dtype != before.dtype:
                self._buffers[name] = before.to(now.device)
        return self

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {self.kind}, engine={self.engine}"


class Int8Linear(QuantizedLinear):
    """A linear map in int8, one scale for each output: codes (N, K), scale (N,)."""

    kind = "int8"
    codes: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, engine: str = "auto") -> None:
        super().__init__(weight.size(1), weight.size(0), bias, engine)
        codes, scale = quantize_rows(weight.detach())
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self._blocked: Tensor | None = None  # the codes as torch's kernel reads them

    @property
    def weight(self) -> Tensor:
        return dequantize_rows(self.codes, self.scale)

    def by_the_book(self, x: Tensor) -> Tensor:
        # One scale for a whole output may as well multiply the sum; codes are exact in every floating dtype.
        y = F.linear(x, self.codes.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias

    def blocked(self) -> Tensor:
        """The codes as torch's kernel reads them.

        It reads columns by sixteen, and past the end where they are no multiple of it (torch 2.13: a crash).
        """
        if self._blocked is None:
            self._blocked = pad_columns(self.codes, self.in_features + -self.in_features % 16)
        return self._blocked

    def packed(self, rows: Tensor) -> Tensor:
        codes = self.blocked()
        rows = pad_columns(rows, codes.size(1)).contiguous()
        return torch.ops.aten._weight_int8pack_mm(rows, codes, self.scale.to(rows.dtype))


class Int4Linear(QuantizedLinear):
    """A linear map in int4, one scale and middle for each group: packed (N, K'/2), scale, middle (N, K'/group)."""

    kind = "int4"
    codes: Tensor
    scale: Tensor
    middle: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, group: int = GROUP, engine: str = "auto"
    ) -> None:
        super().__init__(weight.size(1), weight.size(0), bias, engine)
        if engine == "torch" and group not in TORCH_GROUPS:
            raise UserError(
                f"group is {group}: torch's int4 kernel knows {', '.join(map(str, TORCH_GROUPS))}"
            )
        codes, scale, middle = quantize_groups(weight.detach(), group)
        self.group = group
        self.register_buffer("codes", pack_nibbles(codes))
        self.register_buffer("scale", scale)
        self.register_buffer("middle", middle)
        self._blocked: tuple[Tensor, Tensor] | None = None  # torch's own layout, made at first use

    @property
    def weight(self) -> Tensor:
        return dequantize_groups(unpack_nibbles(self.codes), self.scale, self.middle, self.in_features)

    def engine_for(self, rows: int, dtype: torch.dtype, device: torch.device) -> str:
        if self.engine == "auto" and self.group not in TORCH_GROUPS:
            return "book"
        return super().engine_for(rows, dtype, device)

    def packed(self, rows: Tensor) -> Tensor:
        if self._blocked is None or self._blocked[1].dtype != rows.dtype:
            self._blocked = blocked_layout(self.codes, self.scale, self.middle, rows.dtype)
        blocked, scale_middle = self._blocked
        rows = pad_columns(rows, 2 * self.codes.size(1)).contiguous()
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, blocked, self.group, scale_middle)
        return product[:, : self.out_features]


def blocked_layout(codes: Tensor, scale: Tensor, middle: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What torch's int4 kernel for CPUs reads: its own order of the codes, and (groups, N, 2) scales with middles.

    It takes rows by sixteen, so a last block is filled with rows of zeros.
    """
    missing = -codes.size(0) % 16
    codes, scale, middle = (F.pad(part, (0, 0, 0, missing)) for part in (codes, scale, middle))
    blocked = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unpack_nibbles(codes).int(), 2)
    both = torch.stack((scale, middle), dim=-1).transpose(0, 1).to(dtype)
    return blocked, both.contiguous()


class Int8Embedding(nn.Module):
    """The table of a model whose head is tied to it: one int8 table, read by rows here and as a whole by the head."""

    like: Tensor

    def __init__(self, head: Int8Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.head = [head]  # in a list: the head is registered once, as the model's
        self.register_buffer("like", torch.empty(0, dtype=dtype), persistent=False)  # follows `.to(dtype)`

    @property
    def weight(self) -> Tensor:
        """The whole table as numbers, (vocab_size, n_embd): a new tensor at each call."""
        return self.head[0].weight.to(self.like.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        head = self.head[0]
        codes, scale = F.embedding(ids, head.codes), head.scale[ids]
        return (codes * scale[..., None]).to(self.like.dtype)
