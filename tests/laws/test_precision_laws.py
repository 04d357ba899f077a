"""LP10, LP11, LP1, LP5: half precision, recomputed activations, compiled models, and the figures of a run."""

import os

import compile_checks
import precision_checks as checks
import pytest
import torch
from training_checks import BASE, Watch, replace, tiny_model, tiny_trainer

from attention_mechanisms.registry import ATTENTIONS
from pretraining import compiling, gradients
from pretraining.activation_checkpointing import checkpointed_blocks
from pretraining.compiling import missing_compiler
from utils.errors import UserError


def test_the_loss_scale_follows_torchs_grad_scaler():
    checks.check_scale_follows_torch()


def test_fp16_training_equals_torchs_autocast_and_grad_scaler():
    checks.check_fp16_equals_torch_amp()


def test_small_gradients_survive_fp16():
    checks.check_small_gradients_survive_fp16()


def test_an_overflow_lowers_the_scale_and_training_goes_on(tmp_path):
    checks.check_overflow_lowers_the_scale(tmp_path)


def test_loss_and_gradients_stay_fp32_under_fp16():
    model, seen = tiny_model(), []
    model.blocks[0].attn.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    x, y = checks.one_batch()
    gradients.accumulate(model, [(x, y)], dtype=torch.float16, scale=2.0**10)
    assert seen == [torch.float16], "autocast did not reach the model: nothing was tested"
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.float16):
        assert model(x, targets=y).loss.dtype == torch.float32


def test_fp16_is_within_one_percent_of_fp32_at_step_50():
    losses = {}
    for dtype in ("fp32", "fp16"):
        watch = Watch()
        tiny_trainer(replace(BASE, steps=50, dtype=dtype, warmup=5), callbacks=(watch,)).fit()
        losses[dtype] = sum(row[1] for row in watch.rows[45:]) / 5
    assert losses["fp32"] < 4.0, "the reference did not learn: comparing two flat lines proves nothing"
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=0.01) and losses["fp16"] != losses["fp32"]


def test_fp16_with_a_moving_scale_resumes_to_the_bit(tmp_path):
    checks.check_fp16_resumes_exactly(tmp_path)


def test_recomputed_activations_resume_to_the_bit(tmp_path):
    checks.check_checkpointed_run_resumes_exactly(tmp_path)


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
def test_recomputed_gradients_are_equal_for_every_attention(attention):
    checks.check_checkpointed_gradients_are_equal(attention)


def test_recomputed_gradients_are_equal_under_autocast():
    checks.check_checkpointed_gradients_are_equal("mha", torch.bfloat16)


def test_recomputing_saves_memory():
    checks.check_checkpointing_saves_memory()


def test_a_model_without_blocks_cannot_recompute_them():
    with pytest.raises(UserError, match=r"needs model\.blocks"), checkpointed_blocks(torch.nn.Linear(2, 2)):
        pass


@pytest.mark.slow
def test_a_compiled_run_keeps_its_curve_and_its_names(tmp_path):
    missing = missing_compiler(torch.device("cpu"))
    if missing is not None:
        pytest.skip(f"torch.compile needs {missing}")
    compile_checks.check_compiled_run(tmp_path)


def test_without_a_compiler_training_runs_eagerly_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "a C++ compiler, which is not found")
    compile_checks.check_without_a_compiler(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="how a compiler is found there is torch's own business")
def test_a_missing_compiler_is_found_out_before_the_first_step():
    import torch._inductor.config as inductor

    compile_checks.check_compiler_question()
    before = missing_compiler(torch.device("cpu"))
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        assert "C++ compiler" in str(missing_compiler(torch.device("cpu")))
    assert missing_compiler(torch.device("cpu")) == before


@pytest.mark.skipif(os.name == "nt", reason="the broken compiler is a shell script")
def test_a_compiler_that_fails_at_the_first_step_is_one_line_and_training_goes_on(tmp_path):
    compile_checks.check_a_broken_compiler(tmp_path)


def test_an_error_of_the_model_is_not_taken_for_the_compilers(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def wrapped(*arguments, **named):
        raise TorchDynamoException("as torch wraps what it meets while tracing")

    def broken(*arguments, **named):
        raise ValueError("ids out of range")

    said = []
    monkeypatch.setattr(torch, "compile", lambda model: wrapped)
    with pytest.raises(ValueError, match="ids out of range"):
        compiling.CompiledOrEager(broken, said.append)(1)
    assert said == []


def test_update_ratios_are_what_a_copy_of_all_weights_says(tmp_path):
    checks.check_update_ratio_by_hand(tmp_path)


def test_update_ratios_of_large_tensors_are_sampled():
    checks.check_update_ratio_is_sampled()


def test_mfu_by_hand():
    checks.check_mfu_by_hand()


def test_callback_points_come_in_order(tmp_path):
    checks.check_points_come_in_order(tmp_path)


def test_epoch_cadences_do_not_depend_on_a_resume(tmp_path):
    checks.check_epoch_cadences(tmp_path)


def test_deterministic_mode_ends_with_the_run():
    from pretraining.callbacks import Callback

    modes = []

    class Look(Callback):
        def on_step_end(self, trainer, record):
            modes.append(torch.are_deterministic_algorithms_enabled())

    tiny_trainer(replace(BASE, steps=1, deterministic=True), callbacks=(Look(),)).fit()
    assert modes == [True] and not torch.are_deterministic_algorithms_enabled()
