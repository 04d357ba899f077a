"""Classic bugs of fast training steps, put back on purpose: each must break the law that exists to catch it."""

import fast_step_checks as laws
import pytest

from gpt_model.gpt import GPT
from pretraining import fast_loss


def must_fail(check, *arguments, **options):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments, **options)


def test_dividing_by_all_rows_instead_of_the_counted_ones_is_caught(monkeypatch):
    monkeypatch.setattr(fast_loss, "IGNORE", -12345)  # every place counts, also those without a label
    must_fail(laws.check_fast_loss_is_cross_entropy)


def test_the_logarithm_of_a_share_that_underflowed_is_caught(monkeypatch):
    def into_gradient(scores, targets, wanted):
        shares = scores.softmax(dim=-1)
        right = targets.clamp(min=0).unsqueeze(1)
        losses = -shares.gather(1, right).log()
        scores.copy_(shares.scatter_add(1, right, shares.new_full((len(shares), 1), -1.0)))
        return losses

    monkeypatch.setattr(fast_loss, "into_gradient", into_gradient)
    must_fail(laws.check_fast_loss_is_cross_entropy)


def test_forgetting_what_comes_back_is_caught(monkeypatch):
    backward = staticmethod(lambda ctx, grad: (*ctx.saved_tensors, None, None))  # as if it were always 1
    monkeypatch.setattr(fast_loss._HeadLoss, "backward", backward)
    must_fail(laws.check_fast_loss_is_cross_entropy)


def test_the_head_gradient_of_the_last_slice_alone_is_caught(monkeypatch):
    honest = fast_loss._loss_and_gradients

    def last_slice(x, weight, targets, table, wanted):
        loss, d_x, d_weight = honest(x, weight, targets, table, wanted)
        rows = max(1, min(len(x), table // len(weight)))
        if rows < len(x):
            keep = targets.clone()
            keep[: (len(x) - 1) // rows * rows] = -100
            d_weight = honest(x, weight, keep, table, wanted)[2]
        return loss, d_x, d_weight

    monkeypatch.setattr(fast_loss, "_loss_and_gradients", last_slice)
    must_fail(laws.check_fast_loss_is_cross_entropy)


def test_a_mean_over_nothing_is_caught(monkeypatch):
    honest = fast_loss._loss_and_gradients

    def unclamped(x, weight, targets, table, wanted):
        loss, d_x, d_weight = honest(x, weight, targets, table, wanted)
        return loss / (targets != -100).any(), d_x, d_weight

    monkeypatch.setattr(fast_loss, "_loss_and_gradients", unclamped)
    must_fail(laws.check_fast_loss_without_labels)


def test_softmax_in_bf16_is_caught(monkeypatch):
    monkeypatch.setattr(fast_loss, "_wide", lambda x: x.dtype)
    must_fail(laws.check_fast_loss_in_half)


def test_leaving_out_the_cap_on_the_logits_is_caught(monkeypatch):
    monkeypatch.setattr(GPT, "head_matrix", lambda self: self.token_embedding.weight)
    must_fail(laws.check_a_model_trains_alike_without_logits, logit_softcap=5.0)


def test_leaving_out_the_final_norm_is_caught(monkeypatch):
    honest = fast_loss.linear_cross_entropy

    def unnormed(x, weight, targets):
        return honest(x * 1.01, weight, targets)

    monkeypatch.setattr(fast_loss, "linear_cross_entropy", unnormed)
    must_fail(laws.check_a_model_trains_alike_without_logits)


def test_training_on_without_logits_after_the_block_is_caught(monkeypatch):
    from contextlib import contextmanager

    @contextmanager
    def forever(model, wanted=True):
        model.head_loss = fast_loss.linear_cross_entropy
        yield

    monkeypatch.setattr(fast_loss, "fast_loss", forever)
    must_fail(laws.check_a_model_trains_alike_without_logits)
