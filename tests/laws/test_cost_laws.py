"""LG4 for attention: bytes, weights and FLOPs that a formula gives are those that the code really takes."""

import cost_checks


def test_cache_bytes_are_those_allocated_for_200_random_configurations():
    cost_checks.check_cache_bytes(200)


def test_a_token_adds_what_the_formula_says_and_a_full_window_nothing():
    cost_checks.check_bytes_of_one_more_token()


def test_weights_are_the_parameters_of_the_modules():
    cost_checks.check_weights()


def test_flops_equal_torchs_counter():
    cost_checks.check_flops()


def test_visible_pairs_are_those_of_the_mask():
    cost_checks.check_visible_pairs()


def test_gpt2_small_in_bf16_takes_the_bytes_that_everyone_quotes():
    cost_checks.check_gpt2_small()
