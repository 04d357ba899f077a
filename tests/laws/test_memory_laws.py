"""LG4 for what a model needs: bytes of training and decoding as allocated, FLOPs of a step as torch counts, MFU."""

from __future__ import annotations

import memory_checks
import pytest

from gpt_model.config import CHOICES


def test_activations_are_the_bytes_that_stay_allocated_between_forward_and_backward():
    memory_checks.check_activations()


@pytest.mark.parametrize("mlp", CHOICES["mlp"])
def test_every_feed_forward_keeps_what_the_formula_says(mlp):
    memory_checks.check_activations(trials=3, seed=7, mlp=mlp)


@pytest.mark.parametrize("norm", CHOICES["norm"])
def test_every_norm_keeps_what_the_formula_says(norm):
    memory_checks.check_activations(trials=3, seed=8, norm=norm)


def test_weights_gradients_and_optimizer_state_are_exact():
    memory_checks.check_states_are_exact()


def test_the_peak_of_a_step_is_all_at_once():
    memory_checks.check_peak_of_a_step()


def test_decoding_memory_is_exact():
    memory_checks.check_decoding_memory()


def test_a_training_step_is_three_forward_passes_by_torchs_counter():
    memory_checks.check_training_flops()


def test_a_decode_step_by_torchs_counter():
    memory_checks.check_decode_flops()


def test_mfu_of_gpt2_by_hand():
    memory_checks.check_mfu_by_hand()


def test_only_hardware_of_the_table_has_a_peak():
    memory_checks.check_hardware_names()
