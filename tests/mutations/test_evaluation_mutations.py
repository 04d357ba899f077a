"""Classic mistakes of evaluation, put back on purpose: each must break its law."""

import math

import evaluation_checks as laws
import numpy as np
import pytest
import torch

from pretraining import evaluation, source_evaluation
from pretraining.source_evaluation import PartResult


def must_fail(check):
    with pytest.raises(AssertionError):
        check()


def test_the_mean_of_means_is_caught(monkeypatch):
    def together(parts):
        parts = list(parts)
        tokens = sum(part.tokens for part in parts)
        return PartResult(sum(part.loss for part in parts) / len(parts) * tokens, tokens)

    monkeypatch.setattr(source_evaluation, "together", together)
    must_fail(laws.check_loss_is_a_sum_over_tokens)


def test_the_mean_over_batches_is_caught(monkeypatch):
    def evaluate(model, batches, **kinds):
        with evaluation.evaluating(model):
            losses = [(float(model(x, targets=y).loss), int((y != -100).sum())) for x, y in batches]
        mean = sum(loss for loss, _ in losses) / len(losses)
        return evaluation.EvalResult(mean, sum(n for _, n in losses), math.exp(mean))

    monkeypatch.setattr(source_evaluation, "evaluate", evaluate)
    must_fail(laws.check_loss_is_a_sum_over_tokens)


def test_a_last_window_that_is_dropped_is_caught(monkeypatch):
    class Whole(evaluation.EvalBatches):
        def __init__(self, tokens, block_size, batch_size, max_tokens=None):
            super().__init__(tokens, block_size, batch_size, max_tokens)
            self.predictions = max(1, self.predictions // block_size * block_size)

    monkeypatch.setattr(source_evaluation, "EvalBatches", Whole)
    must_fail(laws.check_loss_is_a_sum_over_tokens)


def test_a_cap_in_whole_batches_is_caught(monkeypatch):
    class ByBatches(evaluation.EvalBatches):
        def __init__(self, tokens, block_size, batch_size, max_tokens=None):
            super().__init__(tokens, block_size, batch_size)
            if max_tokens is not None:
                size = block_size * batch_size
                self.predictions = min(self.predictions, -(-max_tokens // size) * size)

    monkeypatch.setattr(source_evaluation, "EvalBatches", ByBatches)
    must_fail(laws.check_a_cap_asks_for_the_same_tokens)


def test_a_random_slice_is_caught(monkeypatch):
    rng = np.random.default_rng(0)

    class Somewhere(evaluation.EvalBatches):
        def __init__(self, tokens, block_size, batch_size, max_tokens=None):
            count = min(len(tokens) - 1, max_tokens or len(tokens))
            start = int(rng.integers(len(tokens) - count))
            super().__init__(tokens[start : start + count + 1], block_size, batch_size)

    monkeypatch.setattr(source_evaluation, "EvalBatches", Somewhere)
    must_fail(laws.check_a_cap_asks_for_the_same_tokens)


def test_counting_special_tokens_as_text_is_caught(monkeypatch):
    def byte_lengths(tokenizer):
        return np.asarray([len(tokenizer.token_bytes(i)) or 1 for i in range(tokenizer.vocab_size)])

    monkeypatch.setattr(source_evaluation, "byte_lengths", byte_lengths)
    must_fail(laws.check_bits_per_byte_count_the_predicted_text)


def test_counting_characters_for_bytes_is_caught(monkeypatch):
    honest = evaluation.byte_lengths

    def byte_lengths(tokenizer):
        sizes = honest(tokenizer)
        sizes[128:192] = 0  # continuation bytes of UTF-8 begin no character
        return sizes

    monkeypatch.setattr(source_evaluation, "byte_lengths", byte_lengths)
    must_fail(laws.check_bits_per_byte_count_the_predicted_text)


def test_a_plain_exponential_is_caught(monkeypatch):
    for module in (evaluation, source_evaluation):
        monkeypatch.setattr(module, "perplexity", lambda loss: math.exp(loss))
    must_fail(laws.check_perplexity_does_not_overflow)


def test_evaluating_with_dropout_is_caught(monkeypatch):
    def evaluate(model, batches, **kinds):
        losses = [(float(model(x, targets=y).loss.detach()), int((y != -100).sum())) for x, y in batches]
        tokens = sum(n for _, n in losses)
        loss = sum(value * n for value, n in losses) / tokens
        return evaluation.EvalResult(loss, tokens, math.exp(loss))

    monkeypatch.setattr(source_evaluation, "evaluate", evaluate)
    assert torch.is_grad_enabled()
    must_fail(laws.check_evaluating_changes_nothing)
