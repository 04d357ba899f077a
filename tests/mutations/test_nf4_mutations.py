"""Classic bugs of a base in four bits, put back one at a time: a law must catch each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nf4_checks import (
    check_bytes,
    check_codes,
    check_constants_in_bytes,
    check_constants_stay_wide,
    check_equals_bitsandbytes,
    check_error,
    check_exact_on_codes,
    check_layer,
    check_merge_cost,
    check_merge_of_four_bits,
    check_nearest,
    check_nothing_wide_is_kept,
)
from torch import Tensor, nn

from finetuning import lora_layers, nf4, qlora
from finetuning.nf4 import Blocks, byte_values, nf4_codes
from gpt_model.int_codes import nonzero, unpack_nibbles

Patch = pytest.MonkeyPatch
REAL_QUANTIZE = nf4.quantize_nf4


def own_table(patch: Patch, table: Tensor) -> None:
    pairs = table[unpack_nibbles(torch.arange(256, dtype=torch.uint8)[:, None]).int()]
    patch.setattr(nf4, "nf4_codes", lambda: table)
    patch.setattr(nf4, "byte_values", lambda device: pairs)


def even_codes(patch: Patch) -> None:
    own_table(patch, torch.linspace(-1, 1, 16))


def symmetric_quantiles_without_a_zero(patch: Patch) -> None:
    probability = torch.linspace(0.5 / 16, 1 - 0.5 / 16, 16, dtype=torch.float64)
    values = torch.erfinv(2 * probability - 1)
    own_table(patch, (values / values.max()).float())


def code_below_not_nearest(patch: Patch) -> None:
    def nearest(values: Tensor) -> Tensor:
        return (
            (torch.bucketize(values.contiguous(), nf4_codes(), right=True) - 1).clamp(0, 15).to(torch.uint8)
        )

    patch.setattr(nf4, "nearest_codes", nearest)


def one_constant_for_the_matrix(patch: Patch) -> None:
    def quantize(weight: Tensor, *, block: int = 64, double: bool = True) -> Blocks:
        real = REAL_QUANTIZE(weight, block=block, double=False)
        largest = weight.abs().max()
        codes = nf4.nearest_codes((weight / largest).flatten())
        packed = codes[0::2] | (codes[1::2] << 4)
        return Blocks(packed, largest.expand(len(real.absmax)).clone(), None, None, real.shape, block)

    patch.setattr(nf4, "quantize_nf4", quantize)


def nibbles_swapped(patch: Patch) -> None:
    pairs = byte_values(torch.device("cpu")).flip(1)
    patch.setattr(nf4, "byte_values", lambda device: pairs)


def mean_not_taken_away(patch: Patch) -> None:
    def quantize(absmax: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        filled = torch.cat((absmax, absmax[-1:].expand(-len(absmax) % 256))).view(-1, 256)
        step = filled.abs().amax(dim=1) * 2 / 255
        codes = (filled / nonzero(step)[:, None]).round().clamp(-128, 127) + 128
        return codes.to(torch.uint8).flatten()[: len(absmax)], step, torch.zeros_like(step)

    patch.setattr(nf4, "quantize_constants", quantize)


def constants_in_float64(patch: Patch) -> None:
    def quantize(weight: Tensor, *, block: int = 64, double: bool = True) -> Blocks:
        real = REAL_QUANTIZE(weight, block=block, double=double)
        real.absmax = real.absmax.double()
        return real

    patch.setattr(nf4, "quantize_nf4", quantize)


def one_code_a_byte(patch: Patch) -> None:
    def quantize(weight: Tensor, *, block: int = 64, double: bool = True) -> Blocks:
        real = REAL_QUANTIZE(weight, block=block, double=double)
        real.packed = unpack_nibbles(real.packed[None])[0]
        return real

    patch.setattr(nf4, "quantize_nf4", quantize)


def constants_follow_the_model(patch: Patch) -> None:
    patch.setattr(qlora.NF4Linear, "_apply", nn.Module._apply)


def gradient_straight_through(patch: Patch) -> None:
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, layer: Any) -> Tensor:
            ctx.columns = layer.in_features
            return x @ layer.weight.t()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            return nn.functional.pad(grad, (0, ctx.columns))[..., : ctx.columns], None

    patch.setattr(qlora, "_Product", Product)


def floats_kept_for_backward(patch: Patch) -> None:
    class Product:
        apply = staticmethod(lambda x, layer: nn.functional.linear(x, layer.weight))

    patch.setattr(qlora, "_Product", Product)


def bias_learns(patch: Patch) -> None:
    real = qlora.NF4Linear.__init__

    def init(self: Any, *args: Any, **kinds: Any) -> None:
        real(self, *args, **kinds)
        self.bias.requires_grad_(True)

    patch.setattr(qlora.NF4Linear, "__init__", init)


def merged_back_into_four_bits(patch: Patch) -> None:
    real = qlora.stored_as
    patch.setattr(qlora, "stored_as", lambda weight, into, base: real(weight, "nf4", base))


def unmerged_to_what_was_merged(patch: Patch) -> None:
    patch.setattr(lora_layers.LoRALinear, "unmerge", lambda self: self._before.clear())


def cost_against_the_weights(patch: Patch) -> None:
    """An error that looks small, because it is divided by the weights and not by what was learned."""
    real = qlora.merge_cost
    patch.setattr(qlora, "merge_cost", lambda model: {into: cost / 10 for into, cost in real(model).items()})


CASES: dict[Any, Any] = {
    even_codes: check_codes,
    symmetric_quantiles_without_a_zero: check_exact_on_codes,
    code_below_not_nearest: check_nearest,
    one_constant_for_the_matrix: lambda: check_error(False),
    nibbles_swapped: check_exact_on_codes,
    mean_not_taken_away: check_constants_in_bytes,
    constants_in_float64: check_bytes,
    one_code_a_byte: check_bytes,
    constants_follow_the_model: check_constants_stay_wide,
    gradient_straight_through: lambda: check_layer("book"),
    floats_kept_for_backward: check_nothing_wide_is_kept,
    bias_learns: lambda: check_layer("book"),
    merged_back_into_four_bits: check_merge_of_four_bits,
    unmerged_to_what_was_merged: check_merge_of_four_bits,
    cost_against_the_weights: check_merge_cost,
}


@pytest.mark.parametrize("mutate", CASES, ids=lambda mutate: mutate.__name__)
def test_a_law_of_four_bits_catches(mutate, monkeypatch):
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        CASES[mutate]()


def test_codes_off_by_a_neighbour_are_not_bitsandbytes(monkeypatch):
    code_below_not_nearest(monkeypatch)
    with pytest.raises(AssertionError, match="codes differ"):
        check_equals_bitsandbytes()
