"""The benchmark's plumbing on a tiny model; what it measures is kept as JSON and never asserted."""

import json

from pretraining import benchmark
from utils.cli import run_main


def test_it_compares_losses_before_it_times_and_writes_a_result(tmp_path, capsys):
    out = tmp_path / "training_step.json"
    arguments = ["--preset", "debug", "--batch-size", "2", "--steps", "1", "--rounds", "2", "--threads", "1"]
    assert run_main(benchmark.main, [*arguments, "--out", str(out)]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert figures["worst_relative_loss_difference"] <= benchmark.TOLERANCE
    assert figures["candidates"].keys() == {"plain", "ours", "ours_fp32"}
    assert figures["candidates"]["plain"]["speedup"] == 1.0 and "tokens/s" in capsys.readouterr().out


def test_two_loops_that_do_not_agree_are_not_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "our_step", lambda model, batches, config: lambda: 1.0)
    out = tmp_path / "x.json"
    assert (
        run_main(benchmark.main, ["--preset", "debug", "--rounds", "1", "--steps", "1", "--out", str(out)])
        == 1
    )
    assert "nothing was timed" in capsys.readouterr().err and not out.exists()


def test_flops_follow_the_stated_convention():
    from gpt_model.config import preset
    from gpt_model.gpt import GPT

    model = GPT(preset("debug"))
    c = model.config
    matrices = sum(
        p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "position" not in name
    )
    assert benchmark.flops_per_token(model) == 6 * matrices + 12 * c.n_layer * c.n_embd * c.block_size
