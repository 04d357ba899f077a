"""The decode benchmark: equal before timed, every part written down, on a model that takes no time."""

import json
from pathlib import Path

import pytest
import torch

from attention_mechanisms import benchmark_harness
from gpt_model import benchmark, benchmark_decode
from gpt_model.decode_step import DecodeStep
from utils.cli import run_main

TINY = ["preset=debug", "prompt=5", "new=6", "rounds=2", "compile=false"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(benchmark_harness.bandwidth, "__kwdefaults__", {"nbytes": 2**14, "rounds": 1})


def run(out: Path, *words: str) -> dict:
    assert run_main(benchmark.main, [*TINY, f"out={out}", *words]) == 0
    return json.loads(out.read_text())


def test_every_part_and_precision_is_measured_beside_transformers(tmp_path, capsys):
    figures = run(tmp_path / "decode.json", "peers=[transformers]")["figures"]
    assert set(figures["parts"]) == {"batch1", "batch8", "uncached"}
    for part in ("batch1", "batch8"):
        own = figures["parts"][part]
        assert set(own["candidates"]) == {"transformers", *(f"{m} eager" for m in benchmark.MODES)}
        assert own["candidates"]["transformers"]["rows_parted_at_ties"] == 0
        for mode in benchmark.MODES:
            row, ratio = own["candidates"][f"{mode} eager"], own["ratios"][f"{mode} eager over transformers"]
            assert ratio["min"] <= ratio["median"] <= ratio["max"]
            assert row["tokens_per_s"] == pytest.approx(own["batch"] * 6 / row["median_s"])
            assert row["share_of_memory"] > 0
        assert own["candidates"]["int8 eager"]["bytes_read"] < own["candidates"]["bf16 eager"]["bytes_read"]
    rows = {(g["part"], g["goal"]): g for g in figures["goals"]}
    assert rows["batch1", "fp32 eager over transformers"]["measured"]
    assert not rows["batch1", "fp32 compiled over transformers"]["measured"]
    said = capsys.readouterr().out
    assert "batch1: fp32 compiled over transformers at least 2.2: not measured" in said


def test_a_part_that_is_not_measured_now_keeps_its_figures(tmp_path):
    out = tmp_path / "decode.json"
    first = run(out, "parts=[batch1]", "modes=[fp32]", "peers=[]")["figures"]["parts"]["batch1"]
    again = run(out, "parts=[batch8]", "modes=[fp32]", "peers=[]")["figures"]["parts"]
    assert again["batch1"] == first and "batch8" in again


def test_nothing_is_timed_that_computes_something_else(tmp_path, monkeypatch, capsys):
    real = DecodeStep.__call__

    def wrong(self, ids, cache=None):
        return real(self, ids, cache).roll(1, dims=-1)

    monkeypatch.setattr(DecodeStep, "__call__", wrong)
    for mode in benchmark.MODES:
        words = [*TINY, "parts=[batch1]", f"modes=[{mode}]", "peers=[]", f"out={tmp_path / 'd.json'}"]
        assert run_main(benchmark.main, words) == 1
        assert "nothing was timed" in capsys.readouterr().err
    assert not (tmp_path / "d.json").exists()


def test_a_peer_with_other_weights_is_noticed(tmp_path, monkeypatch, capsys):
    from gpt_model import benchmark_peers

    def other(name, model, batch, capacity):
        return lambda ids, new: torch.zeros(len(ids), new, dtype=torch.long), ""

    monkeypatch.setattr(benchmark_peers, "make_peer", other)
    words = [*TINY, "parts=[batch1]", "modes=[fp32]", "peers=[transformers]", f"out={tmp_path / 'd.json'}"]
    assert run_main(benchmark.main, words) == 1
    assert "writes another token than the model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("parts=[batch2]", "parts=['batch2'] must name some of"),
        ("peers=[vllm]", "peers=['vllm'] must name some of"),
        ("new=1", "new is 1"),
        ("prompt=5000", "block_size is"),
        ("modes=[]", "give at least one"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, capsys, word, says):
    assert run_main(benchmark.main, [*TINY, f"out={tmp_path / 'd.json'}", word]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_the_bytes_of_a_step_are_those_of_its_weights():
    from gpt_model import GPT, preset

    model = GPT(preset("debug"))
    inside = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "position" not in name)
    inside += sum(p.numel() for name, p in model.named_parameters() if p.dim() == 1 and "norm" not in name)
    assert benchmark_decode.linear_bytes(model) == 4 * inside
