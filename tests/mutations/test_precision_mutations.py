"""Bugs of half precision, recomputation, compiling and metrics, put back: each must break the law against it."""

import math
import os
from contextlib import contextmanager
from functools import partial

import compile_checks
import precision_checks as laws
import pytest
import torch

from pretraining import (
    activation_checkpointing,
    compiling,
    gradients,
    precision,
    throughput,
    trainer,
    training_state,
)


def must_fail(check, *arguments):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments)


# ---------------------------------------------------------------- the loss scale


def test_a_count_that_survives_an_overflow_is_caught(monkeypatch):
    honest = precision.LossScaler.update

    def update(self, finite):
        kept = self.good_steps
        honest(self, finite)
        if not finite:
            self.good_steps = kept

    monkeypatch.setattr(precision.LossScaler, "update", update)
    must_fail(laws.check_scale_follows_torch)


def test_a_scale_that_never_grows_is_caught(monkeypatch):
    monkeypatch.setattr(precision, "GROWTH", 1.0)
    must_fail(laws.check_scale_follows_torch)


def test_clipping_before_unscaling_is_caught(monkeypatch):
    """The norm of scaled gradients is always above the limit: every step is clipped to nothing."""
    clip, unscale = trainer.clip_gradients, precision.LossScaler.unscale
    scalers = []

    def late(self, parameters):
        scalers.append(self)

    def early_clip(parameters, limit):
        parameters = list(parameters)
        norm = clip(parameters, limit)
        unscale(scalers[-1], parameters)
        return norm

    monkeypatch.setattr(precision.LossScaler, "unscale", late)
    monkeypatch.setattr(trainer, "clip_gradients", early_clip)
    must_fail(laws.check_fp16_equals_torch_amp)


def test_never_unscaling_is_caught(monkeypatch):
    monkeypatch.setattr(precision.LossScaler, "unscale", lambda self, parameters: None)
    must_fail(laws.check_fp16_equals_torch_amp)
    must_fail(laws.check_small_gradients_survive_fp16)


def test_fp16_without_a_scale_is_caught(monkeypatch):
    honest = gradients.accumulate
    monkeypatch.setattr(gradients, "accumulate", lambda *a, scale=1.0, **k: honest(*a, scale=1.0, **k))
    monkeypatch.setattr(precision.LossScaler, "unscale", lambda self, parameters: None)
    must_fail(laws.check_small_gradients_survive_fp16)


def test_a_scale_that_does_not_give_way_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "BACKOFF", 1.0)
    must_fail(laws.check_overflow_lowers_the_scale, tmp_path)


def test_stepping_on_an_overflow_is_caught(monkeypatch, tmp_path):
    def usable(self, loss, norm, tokens):
        self.now.skipped_nonfinite += not math.isfinite(norm)
        return True

    monkeypatch.setattr(trainer.Trainer, "_usable", usable)
    must_fail(laws.check_overflow_lowers_the_scale, tmp_path)


def test_a_resume_that_forgets_the_scale_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(precision.LossScaler, "load_state_dict", lambda self, state: None)
    must_fail(laws.check_fp16_resumes_exactly, tmp_path)


# ---------------------------------------------------------------- recomputation


def test_recomputing_with_other_dropout_masks_is_caught(monkeypatch, tmp_path):
    honest = activation_checkpointing.checkpoint
    monkeypatch.setattr(activation_checkpointing, "checkpoint", partial(honest, preserve_rng_state=False))
    must_fail(laws.check_checkpointed_gradients_are_equal, "mha")


def test_a_flag_that_does_nothing_is_caught(monkeypatch):
    @contextmanager
    def nothing(model, wanted=True):
        yield

    monkeypatch.setattr(activation_checkpointing, "checkpointed_blocks", nothing)
    must_fail(laws.check_checkpointing_saves_memory)


def test_blocks_left_changed_are_caught(monkeypatch):
    @contextmanager
    def forgetful(model, wanted=True):
        for block in model.blocks:
            block.forward = partial(activation_checkpointing._again_in_backward, block, block.forward)
        yield

    monkeypatch.setattr(activation_checkpointing, "checkpointed_blocks", forgetful)
    must_fail(laws.check_checkpointed_gradients_are_equal, "mha")


# ---------------------------------------------------------------- compiling


def test_a_compiler_error_at_the_first_step_is_caught(monkeypatch, tmp_path):
    """No question asked: torch.compile is called although there is no compiler."""
    monkeypatch.setattr(trainer, "compile_model", lambda model, device, say: model)  # and silent about it
    must_fail(compile_checks.check_without_a_compiler, tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="the broken compiler is a shell script")
def test_trusting_a_compiler_that_was_found_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(compiling, "CompiledOrEager", lambda model, say: torch.compile(model))
    must_fail(compile_checks.check_a_broken_compiler, tmp_path)


def test_falling_back_in_silence_is_caught(monkeypatch, tmp_path):
    honest = compiling.CompiledOrEager
    monkeypatch.setattr(compiling, "CompiledOrEager", lambda model, say: honest(model, lambda line: None))
    must_fail(compile_checks.check_a_broken_compiler, tmp_path)


def test_compiling_in_place_of_the_model_is_caught(monkeypatch, tmp_path):
    """The names of a model that was replaced by its compiled self, without the wait for a compiler."""
    honest = training_state.trainable
    monkeypatch.setattr(
        training_state, "trainable", lambda model: {f"_orig_mod.{k}": v for k, v in honest(model).items()}
    )
    monkeypatch.setattr(compiling.torch, "compile", lambda model: model)
    must_fail(compile_checks.check_compiled_run, tmp_path, 2)


# ---------------------------------------------------------------- figures


def test_an_update_measured_against_the_new_weights_is_caught(monkeypatch, tmp_path):
    from pretraining.update_ratio import UpdateRatio

    honest = UpdateRatio._numbers
    monkeypatch.setattr(UpdateRatio, "_numbers", lambda self, group: [t * 0 + 1 for t in honest(self, group)])
    must_fail(laws.check_update_ratio_by_hand, tmp_path)


def test_mfu_of_labelled_tokens_only_is_caught(monkeypatch):
    def count(self, now, micro_batches, seconds):
        now.window_seconds += seconds
        now.window_computed += self.devices * sum(int((y != -100).sum()) for _, y in micro_batches)
        self.context = micro_batches[-1][0].size(-1)

    monkeypatch.setattr(throughput.Throughput, "count", count)
    must_fail(laws.check_mfu_by_hand)


def test_an_evaluation_by_epochs_counted_since_the_resume_is_caught(monkeypatch, tmp_path):
    from pretraining.budget import Budget

    honest, started = Budget.crosses, {}

    def crosses(self, step, epochs):
        start = started.setdefault(id(self), step - 1)
        return honest(self, step - start, epochs)

    monkeypatch.setattr(Budget, "crosses", crosses)
    must_fail(laws.check_epoch_cadences, tmp_path)


def test_a_point_that_is_never_called_is_caught(monkeypatch, tmp_path):
    from pretraining.journal import Journal

    honest = Journal.call
    monkeypatch.setattr(
        Journal, "call", lambda self, point, *rest: None if point == "on_log" else honest(self, point, *rest)
    )
    must_fail(laws.check_points_come_in_order, tmp_path)


def test_the_checks_pass_on_the_code_as_it_is(tmp_path):
    """Without this a check that always fails would make every mutation look caught."""
    laws.check_scale_follows_torch()
    laws.check_small_gradients_survive_fp16()
    laws.check_mfu_by_hand()
    laws.check_checkpointed_gradients_are_equal("mha", torch.float32)
