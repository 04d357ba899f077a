"""The benchmarks of adapters and of four bits at their smallest: every figure is there, with its command."""

from __future__ import annotations

import json

import pytest

from finetuning import benchmark_lora, benchmark_nf4
from utils.errors import UserError

COST = ["preset=debug", "tokens=16", "rounds=1", "lora.r=2", "device=cpu"]
QUALITY = [
    *("ckpt=assets", "seeds=[1]", "steps=2", "requests=40", "held_out=17", "lora.r=2", "device=cpu"),
    *("full_words=[batch_size=2]", "lora_words=[optimizer=adamw,batch_size=2]"),
]


def test_cost_counts_every_way(tmp_path, capsys):
    assert benchmark_lora.main(["part=cost", *COST, f"out={tmp_path / 'lora.json'}"]) == 0
    written = json.loads((tmp_path / "lora.json").read_text())
    ways = written["figures"]["cost"]["ways"]
    assert list(ways) == ["full", "lora", "qlora"]
    assert ways["full"]["share"] == 1.0 and ways["lora"]["trainable"] == ways["qlora"]["trainable"]
    assert (
        ways["lora"]["numbers"]
        == ways["full"]["numbers"] + ways["lora"]["trainable"]
        == ways["qlora"]["numbers"]
    )
    assert ways["full"]["optimizer_bytes"] >= 8 * ways["full"]["numbers"]
    assert ways["lora"]["optimizer_bytes"] < 8 * ways["lora"]["trainable"] + 4096
    assert ways["qlora"]["weight_bytes"] < ways["lora"]["weight_bytes"]
    assert all(row["seconds_per_step"] > 0 and row["step_bytes"] > 0 for row in ways.values())
    assert "lora.r=2" in written["command"] and "qlora" in capsys.readouterr().out


def test_quality_is_written_row_by_row_and_goes_on(tmp_path, capsys):
    words = ["part=quality", *QUALITY, f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'lora.json'}"]
    assert benchmark_lora.main([*words, "ways=[full,lora]"]) == 0
    first = json.loads((tmp_path / "lora.json").read_text())["figures"]
    assert [(r["way"], r["seed"]) for r in first["rows"]] == [("full", 1), ("lora", 1)]
    assert benchmark_lora.main([*words, "ways=[full,lora,qlora]"]) == 0
    figures = json.loads((tmp_path / "lora.json").read_text())["figures"]
    assert figures["rows"][:2] == first["rows"] and figures["rows"][2]["way"] == "qlora"
    assert figures["quality"]["lora"]["over_full"]["count"] == 1
    assert "goal: within 2% of full tuning" in capsys.readouterr().out
    with pytest.raises(UserError, match="rows of other settings"):
        benchmark_lora.main([*words, "steps=3"])


def test_settings_that_mean_nothing_are_refused():
    for settings, why in (
        ({"ways": ("lora",)}, "begin with full"),
        ({"seeds": (1, 1)}, "each once"),
        ({"part": "all"}, "choose cost"),
        ({"steps": 0}, "least is 1"),
    ):
        with pytest.raises(UserError, match=why):
            benchmark_lora.LoRABenchmark(**settings)


def test_four_bits_are_measured_and_say_their_goals(tmp_path, capsys):
    words = ["documents=3", "normals=256", "rounds=1", f"out={tmp_path / 'nf4.json'}"]
    assert benchmark_nf4.main(words) == 0
    figures = json.loads((tmp_path / "nf4.json").read_text())["figures"]
    bell, modes = figures["bell_curve"], figures["modes"]
    assert (
        abs(bell["nf4"] - 0.0919) < 0.003 and bell["nf4"] < bell["even"] < 0.11 and 0.08 < bell["int4"] < 0.1
    )
    assert modes["nf4"]["bits"] == 4.5 and modes["nf4_double"]["bits"] < 4.14
    assert 0 < modes["nf4_double"]["growth"] < 0.5 and modes["float"]["growth"] == 0
    assert set(figures["speed"]["candidates"]) >= {"float", "book"}
    assert capsys.readouterr().out.count("goal") == 3
