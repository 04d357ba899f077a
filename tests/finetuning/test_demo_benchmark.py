"""The demo's benchmark: one real tiny walk in its own process becomes a row of its results file."""

import json

import pytest

from finetuning.demo import benchmark
from utils.errors import RunFailure

SMALL = ["model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=64", "vocab_size=300",
         "stories=2", "held_out=17", "tune_requests=60", "train.sample_seconds=0"]  # fmt: skip


@pytest.mark.slow
def test_a_budget_becomes_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    real = benchmark.run_demo
    monkeypatch.setattr(benchmark, "run_demo", lambda words, runs: real([*words, *SMALL], runs))
    assert benchmark.main(["budgets=[0.03]", f"runs={tmp_path / 'runs'}"]) == 0
    result = json.loads((tmp_path / "results" / "demo_curve.json").read_text())
    (row,) = result["figures"]["rows"]
    assert row["corpus"] == "Storyland" and row["loss"] > 0 and row["peak_memory_mib"] > 100
    assert row["wall_seconds"] >= row["minutes"] * 60
    assert result["hardware"]["cores"] >= 1


def test_a_demo_that_fails_is_a_failure_with_its_reason(tmp_path):
    with pytest.raises(RunFailure, match="minutes"):
        benchmark.run_demo(["minutes=-1"], tmp_path)
