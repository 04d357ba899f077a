"""The benchmark's plumbing on a tiny model; what it measures is kept as JSON and never asserted."""

import json

import pytest
import torch

from gpt_model.mfu import flops_per_token
from pretraining import benchmark, plain_loop, step_candidates
from utils.cli import run_main
from utils.errors import UserError

SMALL = ["shapes=[tiny]", "rounds=1", "threads=1", "peers=[]"]


def test_it_compares_losses_before_it_times_and_writes_a_result(tmp_path, capsys):
    out = tmp_path / "fast_step.json"
    assert run_main(benchmark.main, [*SMALL, f"out={out}"]) == 0
    result = json.loads(out.read_text())
    row = result["figures"]["shapes"]["tiny"]
    assert result["command"].startswith("python -m pretraining.benchmark shapes=[tiny]")
    assert row["candidates"].keys() == {"plain", *benchmark.ALL}
    assert row["worst_relative_loss_difference"].keys() == row["candidates"].keys()
    assert max(row["worst_relative_loss_difference"].values()) <= benchmark.TOLERANCE["bf16"]
    assert row["candidates"]["plain"]["speedup"] == 1.0 and row["ceiling"]["bf16"] > 0
    assert row["flops_per_token"] == flops_per_token(benchmark.shape_of("tiny"), 16)
    assert result["figures"]["gpu"] == "not measured"
    printed = capsys.readouterr().out
    assert "tokens/s" in printed and "of peak" in printed


def test_figures_of_a_shape_that_is_not_measured_now_are_kept(tmp_path, monkeypatch):
    out = tmp_path / "fast_step.json"
    out.write_text(json.dumps({"figures": {"shapes": {"medium": {"shape": "medium", "date": "before"}}}}))
    row = {"candidates": {"plain": {"gflops": 1.0}}, "gemm_peak_gflops": {"fp32": 2.0, "bf16": 4.0}}
    monkeypatch.setattr(benchmark, "measure", lambda name, config, peaks: dict(row))
    monkeypatch.setattr(benchmark, "gemm_peaks", lambda *sizes: row["gemm_peak_gflops"])
    monkeypatch.setattr(benchmark, "table", str)
    assert run_main(benchmark.main, [*SMALL, f"out={out}"]) == 0
    shapes = json.loads(out.read_text())["figures"]["shapes"]
    assert shapes["medium"]["date"] == "before" and shapes["tiny"]["ceiling"] == {"fp32": 2.0, "bf16": 4.0}


def test_on_a_gpu_the_peers_run_as_their_users_run_them_there(tmp_path, monkeypatch, capsys):
    """In bf16 and compiled: a plain loop in float32 would be a straw man where nobody trains so."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.append(type(model)) or model)
    monkeypatch.setattr(benchmark, "peers_in_half", lambda device: True)
    monkeypatch.setattr(benchmark, "STEPS", {"tiny": benchmark.STEPS["gpu"]})
    monkeypatch.setattr("pretraining.compiling.missing_compiler", lambda device: None)
    out = tmp_path / "gpu.json"
    assert run_main(benchmark.main, [*SMALL, f"out={out}"]) == 0, capsys.readouterr().err
    row = json.loads(out.read_text())["figures"]["shapes"]["tiny"]
    assert row["candidates"].keys() == {"plain", "plain compiled", "ours", "compiled"}
    assert plain_loop.PlainGPT in asked, "the plain loop was not compiled"
    peak, plain = row["gemm_peak_gflops"], row["candidates"]["plain"]
    assert plain["mfu"] == pytest.approx(plain["gflops"] / peak["bf16"]), (
        "MFU against another precision's peak"
    )
    assert row["worst_relative_loss_difference"]["plain compiled"] == 0.0


@pytest.mark.parametrize("half", [False, True])
def test_the_plain_loop_in_half_precision_rounds_and_learns_alike(half):
    model = step_candidates.initial_model(benchmark.shape_of("tiny"), 0)
    ids = torch.randint(48, (2, 17), generator=torch.Generator().manual_seed(0))
    batches = iter([(ids[:, :-1], ids[:, 1:])] * 4)
    plain, seen = plain_loop.plain_like(model), []
    plain.blocks[0].qkv_proj.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = plain_loop.plain_step(plain, batches, 1e-2, half=half)
    losses = [step() for _ in range(4)]
    assert set(seen) == {torch.bfloat16 if half else torch.float32} and losses[-1] < losses[0]
    assert {p.dtype for p in plain.parameters()} == {torch.float32}


def test_two_loops_that_do_not_agree_are_not_timed(tmp_path, monkeypatch, capsys):
    honest = step_candidates.ours
    monkeypatch.setattr(benchmark, "STEPS", {"tiny": ("ours fp32",)})

    def other(*arguments):
        candidate = honest(*arguments)
        candidate.step = lambda: 1.0
        return candidate

    monkeypatch.setattr(step_candidates, "ours", other)
    assert run_main(benchmark.main, [*SMALL, f"out={tmp_path / 'x.json'}"]) == 1
    assert "nothing was timed" in capsys.readouterr().err and not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("words", [["shapes=[huge]"], ["peers=[mine]"], ["rounds=0"], ["shapes=[gpu]"]])
def test_bad_settings_are_one_line(words, capsys):
    assert run_main(benchmark.main, words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("bias", [True, False])
def test_the_plain_model_computes_what_ours_does(bias):
    from dataclasses import replace

    shape = replace(benchmark.shape_of("tiny"), bias=bias)
    model = step_candidates.initial_model(shape, 3).double()
    plain = plain_loop.plain_like(model).double()
    ids, labels = torch.randint(48, (2, 3, 16), generator=torch.Generator().manual_seed(0))
    labels[0, 3:7] = -100
    with torch.no_grad():
        assert abs(float(plain(ids, labels)) - float(model(ids, targets=labels).loss)) < 1e-12
    assert sum(p.numel() for p in plain.parameters()) == model.num_parameters()


def test_the_plain_loop_refuses_what_it_does_not_know():
    from gpt_model.config import preset
    from gpt_model.gpt import GPT

    with pytest.raises(UserError, match="GPT-2's architecture"):
        plain_loop.plain_like(GPT(preset("debug", norm="rmsnorm")))


def test_a_rung_is_what_the_trainer_does():
    """Three steps as they are measured, and three of Trainer.fit, leave the same weights to the last bit."""
    from pretraining.config import TrainConfig
    from pretraining.trainer import Trainer
    from working_with_text_data.windows import BatchLoader

    def batches():
        return BatchLoader(list(range(48)) * 20, 2, 16)

    model = step_candidates.initial_model(benchmark.shape_of("tiny"), 3)
    measured = step_candidates.ours(model, batches(), step_candidates.Rung())
    with measured.settings():
        for _ in range(3):
            measured.step()
    config = TrainConfig(
        steps=3,
        lr=step_candidates.LR,
        device="cpu",
        schedule="constant",
        warmup=0.0,
        eval_every=0,
        save_every=0,
    )
    trained = Trainer(model, config, batches())
    trained.fit()
    for one, other in zip(measured.parameters, trained.parameters, strict=True):
        assert torch.equal(one, other)
