"""Classic bugs of quantised weights, put back one at a time: a law must catch each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_checks import build
from quantization_checks import (
    check_engines,
    check_groups,
    check_model,
    check_nibbles,
    check_rows,
    check_scales_stay_wide,
    check_tie,
)
from torch import nn

from gpt_model import int_codes, quantization, quantized_layers
from gpt_model.int_codes import nonzero
from gpt_model.quantized_layers import Int4Linear, Int8Embedding, Int8Linear, QuantizedLinear

Patch = pytest.MonkeyPatch


def one_scale_for_the_tensor(patch: Patch) -> None:
    def quantize(weight: Any) -> Any:
        scale = (weight.abs().max() / 127).expand(weight.size(0))
        return (weight / nonzero(scale)[:, None]).round().to(torch.int8), scale

    patch.setattr(int_codes, "quantize_rows", quantize)


def largest_code_wraps(patch: Patch) -> None:
    def quantize(weight: Any) -> Any:
        scale = weight.abs().amax(dim=1) / 128
        codes = (weight / nonzero(scale)[:, None]).round().to(torch.int32)
        return ((codes + 128) % 256 - 128).to(torch.int8), scale

    patch.setattr(int_codes, "quantize_rows", quantize)


def cut_off_not_rounded(patch: Patch) -> None:
    def quantize(weight: Any) -> Any:
        scale = weight.abs().amax(dim=1) / 127
        return (weight / nonzero(scale)[:, None]).to(torch.int8), scale

    patch.setattr(int_codes, "quantize_rows", quantize)


def last_group_filled_with_zeros(patch: Patch) -> None:
    real = int_codes.quantize_groups

    def quantize(weight: Any, group: int) -> Any:
        return real(nn.functional.pad(weight, (0, -weight.size(1) % group)), group)

    patch.setattr(int_codes, "quantize_groups", quantize)


def nibbles_swapped_when_read(patch: Patch) -> None:
    def unpack(packed: Any) -> Any:
        return torch.stack((packed >> 4, packed & 15), dim=-1).flatten(-2)

    patch.setattr(quantized_layers, "unpack_nibbles", unpack)


def nibbles_swapped_when_written(patch: Patch) -> None:
    patch.setattr(quantized_layers, "pack_nibbles", lambda codes: codes[..., 1::2] | (codes[..., 0::2] << 4))


def scale_follows_to_bf16(patch: Patch) -> None:
    patch.setattr(QuantizedLinear, "_apply", nn.Module._apply)


def kernel_forgets_the_bias(patch: Patch) -> None:
    def forward(self: Any, x: Any) -> Any:
        return self.packed(x) if self.engine == "torch" else self.by_the_book(x)

    patch.setattr(QuantizedLinear, "forward", forward)


def book_forgets_the_bias(patch: Patch) -> None:
    patch.setattr(Int8Linear, "by_the_book", lambda self, x: nn.functional.linear(x, self.weight.to(x.dtype)))


def embedding_loses_its_scale(patch: Patch) -> None:
    patch.setattr(Int8Embedding, "forward", lambda self, ids: self.head[0].codes[ids].to(self.like.dtype))


def the_head_is_left_out(patch: Patch) -> None:
    real = quantization.quantize

    def quantize(model: Any, mode: str, **options: Any) -> Any:
        table, head = model.token_embedding, model.head
        small = real(model, mode, **options)
        small.token_embedding, small.head = table, head
        return small

    import quantization_checks

    patch.setattr(quantization_checks, "quantize", quantize)


def engines(kind: type[QuantizedLinear]) -> Any:
    return lambda: check_engines(kind, torch.float32, rows=2, columns=100, outputs=17)


ROWS: list[tuple[Any, Any, str]] = [
    (one_scale_for_the_tensor, check_rows, "half a step"),
    (largest_code_wraps, check_rows, "wraps"),
    (cut_off_not_rounded, check_rows, "half a step"),
    (last_group_filled_with_zeros, lambda: check_groups(torch.rand(4, 20) + 5, 16), "no filling"),
    (nibbles_swapped_when_read, check_nibbles, "changed places"),
    (nibbles_swapped_when_written, check_nibbles, "changed places"),
    (scale_follows_to_bf16, check_scales_stay_wide, "float32"),
    (scale_follows_to_bf16, lambda: check_scales_stay_wide(Int4Linear), "float32"),
    (kernel_forgets_the_bias, engines(Int8Linear), "engine torch"),
    (kernel_forgets_the_bias, engines(Int4Linear), "engine torch"),
    (book_forgets_the_bias, engines(Int8Linear), "engine book"),
    (book_forgets_the_bias, lambda: check_model(build(), "int8"), "a bias"),
    (embedding_loses_its_scale, lambda: check_tie(build()), "other numbers"),
    (the_head_is_left_out, lambda: check_model(build(), "int8"), "the head"),
    (the_head_is_left_out, lambda: check_tie(build()), "one table"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()
