"""Evaluation: sums over tokens, caps that mean the same everywhere, bytes of what was predicted."""

import evaluation_checks as laws


def test_a_loss_is_a_sum_over_tokens_not_a_mean_of_means():
    laws.check_loss_is_a_sum_over_tokens()


def test_a_cap_asks_for_the_same_tokens_whatever_the_batch_size():
    laws.check_a_cap_asks_for_the_same_tokens()


def test_bits_per_byte_divide_by_the_bytes_that_were_predicted():
    laws.check_bits_per_byte_count_the_predicted_text()


def test_perplexity_does_not_overflow():
    laws.check_perplexity_does_not_overflow()


def test_evaluating_changes_nothing():
    laws.check_evaluating_changes_nothing()
