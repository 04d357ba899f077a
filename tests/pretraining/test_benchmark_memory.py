"""The command that measures what activation checkpointing saves: it runs small, and refuses to time what is wrong."""

import json

import pytest
import torch

from pretraining import activation_checkpointing, benchmark_memory
from utils.cli import run_main


def test_a_small_measurement_says_goal_and_reached(tmp_path, capsys):
    out = tmp_path / "memory.json"
    words = ["preset=debug", "model.n_layer=8", "rounds=1", "batch_size=2", "device=cpu", f"out={out}"]
    assert run_main(benchmark_memory.main, words) == 0
    assert "goal 2 × less memory, reached" in capsys.readouterr().out
    result = json.loads(out.read_text())
    figures = result["figures"]
    assert figures["peak_bytes"]["checkpointed"] < figures["peak_bytes"]["plain"]
    assert figures["memory_ratio"] == figures["peak_bytes"]["plain"] / figures["peak_bytes"]["checkpointed"]
    assert "model={n_layer:8}" in result["command"] or "n_layer" in result["command"]


def test_wrong_gradients_are_not_timed(tmp_path, monkeypatch, capsys):
    honest = activation_checkpointing._again_in_backward

    def wrong(block, forward, *args, **kwargs):
        return honest(block, forward, *args, **kwargs) * torch.tensor(1.01)

    monkeypatch.setattr(activation_checkpointing, "_again_in_backward", wrong)
    words = ["preset=debug", "rounds=1", "device=cpu", f"out={tmp_path / 'x.json'}"]
    assert run_main(benchmark_memory.main, words) == 1
    assert "gradients differ" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("bad", ["preset=huge", "batch_size=two", "device=tpu"])
def test_bad_input_is_one_line(bad, capsys):
    assert run_main(benchmark_memory.main, [bad]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
