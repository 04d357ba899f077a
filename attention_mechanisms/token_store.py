"""Where a cache keeps its numbers: one preallocated tensor whose second-to-last dimension counts tokens.

`TokenStore` keeps them as they are. `Int8Store` keeps one byte a number and one scale for each vector, the
absolute maximum divided by 127: a quarter of float32 and a half of bf16, plus the scale. The rounding error of
a number is at most half a step, that is 1/254 of the largest number in its vector.

Quantising keys and values: Sheng et al. 2023 (arXiv 2303.06865, section 4.3). Left out on purpose: groups finer
than a head, and fewer than 8 bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from utils.errors import UserError


class TokenStore:
    """Numbers of shape (batch, …, slots, width), written at a slot and read from slot 0."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> None:
        # A plain tensor even when made under inference mode, so that a cache may be used anywhere.
        with torch.inference_mode(False):
            self.data = torch.zeros(tuple(shape), dtype=dtype, device=device)

    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor behind this store."""
        return (self.data,)

    def write(self, start: int, x: Tensor) -> None:
        """Put x (B, …, T, width) into the slots start … start + T - 1 of the first B rows."""
        self.data[: x.size(0), ..., start : start + x.size(-2), :] = x

    def write_slots(self, slots: Tensor, x: Tensor) -> None:
        """Put x (B, …, T, width) into the slots (T,), in any order."""
        self.data[: x.size(0)].index_copy_(-2, slots, x.to(self.data.dtype))

    def read(self, batch: int, end: int, dtype: torch.dtype) -> Tensor:
        """The slots 0 … end - 1 of the first rows: a view, in the store's own dtype."""
        return self.data[:batch, ..., :end, :]

    def read_slots(self, batch: int, slots: Tensor, dtype: torch.dtype) -> Tensor:
        """The slots (n,) of the first rows, in that order: a copy."""
        return self.data[:batch].index_select(-2, slots)

    def copy_rows(self, other: "TokenStore", rows: Tensor) -> None:
        """Row i becomes a copy of row rows[i] of another store of the same shape."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            torch.index_select(theirs, 0, rows, out=mine)

    def put_row(self, row: int, slots: Tensor, other: "TokenStore", source: int, places: Tensor) -> None:
        """The slots (n,) of a row become those at `places` (n,) of row `source` of another store; the rest 0.

        The other store may have another number of rows and slots. Zeros, because a slot that is masked is still
        multiplied by its share of 0, and 0 times what an old text or NaN left there is not always 0.
        """
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            moved = theirs[source].index_select(-2, places)
            mine[row].zero_()
            mine[row].index_copy_(-2, slots, moved.to(mine.dtype))

    def move(self, rows: int, sources: Tensor, slots: Tensor, cleared: Tensor) -> None:
        """In the first `rows` rows: what is in `sources` (n,) goes to `slots` (n,); `cleared` (m,) become 0."""
        for tensor in self.tensors():
            part = tensor[:rows]
            moved = part.index_select(-2, sources)  # a copy: the two ranges overlap
            part.index_fill_(-2, cleared, 0)
            part.index_copy_(-2, slots, moved)


class Int8Store(TokenStore):
    """The same in int8, with one float32 scale a vector. Reading gives numbers again (a copy)."""

    def __init__(self, shape: Sequence[int], device: torch.device | str) -> None:
        super().__init__(shape, torch.int8, device)
        with torch.inference_mode(False):
            self.scale = torch.zeros((*shape[:-1], 1), dtype=torch.float32, device=device)

    def tensors(self) -> tuple[Tensor, ...]:
        return self.data, self.scale

    def write(self, start: int, x: Tensor) -> None:
        codes, scale = quantize(x)
        span = slice(start, start + x.size(-2))
        self.data[: x.size(0), ..., span, :] = codes
        self.scale[: x.size(0), ..., span, :] = scale

    def write_slots(self, slots: Tensor, x: Tensor) -> None:
        codes, scale = quantize(x)
        self.data[: x.size(0)].index_copy_(-2, slots, codes)
        self.scale[: x.size(0)].index_copy_(-2, slots, scale)

    def read(self, batch: int, end: int, dtype: torch.dtype) -> Tensor:
        return (self.data[:batch, ..., :end, :] * self.scale[:batch, ..., :end, :]).to(dtype)

    def read_slots(self, batch: int, slots: Tensor, dtype: torch.dtype) -> Tensor:
        codes = self.data[:batch].index_select(-2, slots)
        return (codes * self.scale[:batch].index_select(-2, slots)).to(dtype)


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (…, width) -> codes int8 of the same shape and scales float32 (…, 1) with x ≈ codes · scale."""
    x = x.float()
    scale = x.abs().amax(dim=-1, keepdim=True) / 127
    codes = (x / scale.clamp(min=torch.finfo(torch.float32).tiny)).round()
    return codes.to(torch.int8), scale


def make_store(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> TokenStore:
    """A store for numbers of `dtype`; torch.int8 asks for quantised keys and values.

    Raises:
        UserError: a dtype that cannot hold keys and values.
    """
    if dtype == torch.int8:
        return Int8Store(shape, device)
    if not dtype.is_floating_point:
        raise UserError(f"a KV cache cannot be kept in {dtype}: use float32, bfloat16, float16 or int8")
    return TokenStore(shape, dtype, device)
