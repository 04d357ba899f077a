"""What surrounds training is measured on a real run; seconds are kept as JSON and never asserted."""

import json

import pytest

from pretraining import benchmark_overheads
from utils.cli import run_main

SMALL = ["n_layer=1", "n_head=2", "n_embd=16", "block_size=16", "batch_size=2", "eval_tokens=64", "threads=1"]


def test_each_part_of_a_run_is_timed_as_often_as_it_happens(tmp_path, capsys):
    out = tmp_path / "overheads.json"
    assert run_main(benchmark_overheads.main, [*SMALL, "steps=5", "every=2", f"out={out}"]) == 0
    result = json.loads(out.read_text())
    figures = result["figures"]
    # two evaluations on the way, one at the last step, and the final one of the whole part
    assert figures["events"]["loader"] == figures["events"]["step"] == figures["events"]["log"] == 5
    assert figures["events"]["save"] == figures["events"]["sample"] == 3 and figures["events"]["eval"] >= 3
    assert 0 < figures["loader_share"] < 1 and 0 < figures["around_share"] < 1 and figures["save_block_s"] > 0
    assert result["command"].startswith("python -m pretraining.benchmark_overheads n_layer=1")
    assert capsys.readouterr().out.count("(goal under") == 3


def test_shares_are_seconds_over_the_steps_between_two_of_them(monkeypatch, tmp_path):
    watch = benchmark_overheads.Watch
    fixed = {"loader": 0.01, "step": 2.0, "log": 0.1, "eval": 3.0, "sample": 1.0, "save": 0.2}
    monkeypatch.setattr(watch, "typical", lambda self, name: fixed[name])
    config = benchmark_overheads.OverheadsConfig(
        n_layer=1,
        n_head=2,
        n_embd=16,
        block_size=16,
        batch_size=2,
        eval_tokens=64,
        steps=3,
        every=1,
        threads=1,
    )
    found = benchmark_overheads.measure(config)
    around = 0.1 / 10 + (3.0 + 1.0) / 200
    assert found["around_share"] == pytest.approx(around / (2.0 + around))
    assert found["loader_share"] == pytest.approx(0.005)


def test_a_run_too_short_to_evaluate_is_refused(capsys):
    assert run_main(benchmark_overheads.main, ["steps=4", "every=4"]) == 2
    assert "take more steps than every" in capsys.readouterr().err
