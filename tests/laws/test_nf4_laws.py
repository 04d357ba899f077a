"""LF7: four bits a weight are the paper's and bitsandbytes', cost what is said, and an adapter learns on them."""

from __future__ import annotations

import pytest
import torch
from lora_checks import KINDS, RECIPE, model_of, trainer_of
from nf4_checks import (
    check_bytes,
    check_codes,
    check_constants_in_bytes,
    check_constants_stay_wide,
    check_engines_agree,
    check_equals_bitsandbytes,
    check_error,
    check_exact_on_codes,
    check_layer,
    check_merge_cost,
    check_merge_of_four_bits,
    check_nearest,
    check_nothing_wide_is_kept,
)

from finetuning.lora import apply_lora, lora_parameters
from finetuning.nf4 import quantize_nf4
from finetuning.qlora import ENGINES, merge_cost, quantize_base
from finetuning.trainable import count_numbers, freeze_for
from utils.errors import UserError


def test_the_sixteen_values_are_the_papers():
    check_codes()


def test_each_weight_becomes_the_nearest_code_of_its_block():
    check_nearest()


def test_code_values_come_back_exactly():
    check_exact_on_codes()


@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
def test_the_error_on_a_bell_curve_is_the_known_one(double):
    check_error(double)


def test_constants_in_bytes_are_within_half_a_step():
    check_constants_in_bytes()


def test_bits_are_counted_from_what_is_kept():
    check_bytes()


def test_codes_are_bitsandbytes_own():
    check_equals_bitsandbytes()


@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_layer_multiplies_with_what_its_codes_stand_for(engine, double):
    check_layer(engine, double)


def test_no_float_matrix_waits_for_the_backward_pass():
    check_nothing_wide_is_kept()


def test_constants_keep_their_precision():
    check_constants_stay_wide()


def test_a_merge_of_four_bits_goes_to_bf16():
    check_merge_of_four_bits()


def test_the_cost_of_a_merge_is_measured():
    check_merge_cost()


def test_both_engines_compute_the_same_model():
    check_engines_agree()


def test_training_moves_the_adapter_and_no_code():
    model = quantize_base(apply_lora(model_of(), KINDS["lora"], seed=3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    total = count_numbers(model)[1]
    assert total == count_numbers(apply_lora(model_of(), KINDS["lora"]))[1], (
        "a quantised number is still a number"
    )
    trainer_of(model, RECIPE).fit()
    own = set(lora_parameters(model))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != (name in own), name


def test_bf16_autocast_trains_on_four_bits():
    from dataclasses import replace

    model = quantize_base(apply_lora(model_of(), KINDS["dora"], seed=3))
    before = {name: p.detach().clone() for name, p in lora_parameters(model).items()}
    trainer_of(model, replace(RECIPE, dtype="bf16")).fit()
    for name, parameter in lora_parameters(model).items():
        assert parameter.dtype == torch.float32 and not torch.equal(parameter, before[name]), name


def test_wrong_requests_are_one_line():
    with pytest.raises(UserError, match="choose one of book, bitsandbytes"):
        quantize_base(model_of(), engine="magic")
    model = quantize_base(model_of())
    with pytest.raises(UserError, match="quantised already"):
        quantize_base(model)
    for tune in ("all", "last-1"):
        with pytest.raises(UserError, match="quantised and cannot learn"):
            freeze_for(model, tune)
    with pytest.raises(UserError, match="even number"):
        quantize_nf4(torch.ones(2, 2), block=63)
    with pytest.raises(UserError, match="NaN or infinity"):
        quantize_nf4(torch.tensor([[float("nan"), 1.0]]))
    with pytest.raises(UserError, match="changes nothing yet"):
        merge_cost(apply_lora(model_of(), KINDS["lora"]))
