"""Quantised weights: what is stored, what it means, and that every engine computes with it."""

from __future__ import annotations

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
    uneven,
)

from attention_mechanisms import ATTENTIONS
from gpt_model.quantized_layers import Int4Linear, Int8Linear, has_torch_kernel

KINDS = {"int8": Int8Linear, "int4": Int4Linear}


def test_each_number_comes_back_within_half_a_step_of_its_own_row():
    check_rows()
    check_rows(torch.full((3, 5), -7.0))
    check_rows(torch.tensor([[127.0, -127.0, 126.4], [1e-30, -1e-30, 0.0]]))


@pytest.mark.parametrize("group", [2, 16, 64, 128])
def test_each_number_comes_back_within_half_a_step_of_its_own_group(group):
    check_groups(group=group)
    check_groups(torch.randn(3, 64) + 5.0, group)  # far from zero: the middle takes it


@pytest.mark.parametrize("columns", [16, 40, 41])
def test_the_even_column_lies_in_the_low_four_bits(columns):
    check_nibbles(uneven(5, columns))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("columns", [64, 88, 100, 129])  # most are no multiple of what a register holds
@pytest.mark.parametrize("outputs", [1, 17, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_torchs_packed_kernels_give_what_the_book_gives(kind, outputs, columns, rows, dtype):
    if not has_torch_kernel(kind):
        pytest.skip(f"this torch has no packed {kind} kernel")
    check_engines(KINDS[kind], dtype, rows=rows, columns=columns, outputs=outputs)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("attention", list(ATTENTIONS))
def test_only_the_numbers_of_the_linear_maps_change(attention, mode, tied):
    check_model(build(attention=attention, position="rope", mlp="swiglu", tie_weights=tied), mode)


def test_a_tied_head_stays_tied():
    check_tie(build())


@pytest.mark.parametrize("kind", KINDS)
def test_scales_stay_in_float32(kind):
    check_scales_stay_wide(KINDS[kind])
