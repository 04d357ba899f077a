"""What is said of the variants is computed: words, tables, and "not measured" for what is missing."""

import copy
import json

import pytest

from attention_mechanisms import benchmark, benchmark_harness, race_results
from attention_mechanisms.race_results import FILES, LEVELS, VARIANTS, read, results_file
from utils.cli import run_main
from utils.errors import UserError


def ratio(low, middle, high):
    return {"median": middle, "min": low, "max": high}


def decode(**by_name):
    return {"ratios": {f"{name}_over_mha": r for name, r in by_name.items()}}


FAST, SLOW, SAME = ratio(1.4, 1.5, 1.6), ratio(0.4, 0.5, 0.6), ratio(0.9, 1.1, 1.2)
KERNELS = {
    "decode": {
        level: {"bf16": {"64": decode(gqa=FAST, mla=SLOW, swa=SAME), "exponents": {"swa": 0.0}}}
        for level in ("kernel", "layer")
    },
    "prefill": {
        "layer": {
            "bf16": {
                "64": {
                    **decode(gqa=SAME, mla=SLOW, swa=FAST),
                    "candidates": {
                        "mha": {"median_s": 0.25, "cache_bytes": 2**21, "peak_bytes": 3 * 2**20},
                        "swa": {"median_s": 0.125, "cache_bytes": 2**20, "peak_bytes": 2**20},
                    },
                },
                "exponents": {"swa": 1.0},
            }
        }
    },
}
STEP = {"tokens_per_second": 12.34, "cache_bytes": 25, "bytes_read": 100}
MODEL = {
    "bf16": {
        "contexts": {
            "64": {**decode(gqa=SAME, mla=SAME, swa=FAST), "candidates": {"mha": STEP, "swa": STEP}},
            "256": {**decode(gqa=FAST, mla=SAME, swa=FAST), "candidates": {"mha": STEP, "swa": STEP}},
        }
    }
}


def entry(losses, share, **speeds):
    mean = sum(losses) / len(losses)
    sd = 0.1 if len(losses) > 1 else None
    loss = {"mean": mean, "sd": sd, "min": min(losses), "max": max(losses), "n": len(losses)}
    return {
        "val_loss": loss,
        "cache_bytes": int(2048 * share),
        "share_of_mha": share,
        "parameters": 1000,
        **speeds,
    }


SPEEDS = {"train_step_seconds": 0.2, "train_step_tokens_per_second": 5.0, "decode_seconds": 0.004,
          "decode_tokens_per_second": 250.0}  # fmt: skip
RACE = {
    "models": [
        {"variant": name, "seed": seed, "val_loss": loss}
        for name, losses in {"mha": (2.0, 2.4, 2.2), "gqa": (2.1, 2.5, 2.3), "swa": (2.1, 2.3, 2.2)}.items()
        for seed, loss in enumerate(losses)
    ],
    "table": {
        "mha": entry((2.0, 2.4, 2.2), 1.0, **SPEEDS),
        "gqa": entry((2.1, 2.5, 2.3), 0.5, **SPEEDS),
        "swa": entry((2.1, 2.3, 2.2), 0.25, **SPEEDS),
    },
}


def test_a_missing_file_is_not_measured_everywhere(tmp_path):
    for name, (_, command) in FILES.items():
        assert read(name, tmp_path) is None
        assert race_results.where_measured(name, tmp_path) == f"not measured: run `{command}`"
    assert race_results.speedups(None, None) == {} == race_results.prefill_speedups(None)
    assert race_results.frontier_points(None) == {}
    for words in (
        race_results.speed_table({}),
        race_results.model_table(None),
        race_results.prefill_table(None),
        race_results.race_table(None),
    ):
        assert words.startswith("not measured: run `python -m ")


def test_files_are_read_where_the_benchmarks_write_them():
    from gpt_model import benchmark_attention
    from pretraining.race import RaceConfig

    assert results_file("kernels") == benchmark.RESULT
    assert results_file("model") == benchmark_attention.RESULT
    assert results_file("race") == RaceConfig().result_file
    assert results_file("race_tinyshakespeare") == RaceConfig(data="texts/tinyshakespeare.txt").result_file


def test_what_is_no_results_file_is_refused(tmp_path):
    path = results_file("race", tmp_path)
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"figures": 3}'):
        path.write_text(text)
        with pytest.raises(
            UserError, match=r"no results file: measure again with python -m pretraining\.race"
        ):
            read("race", tmp_path)
    with pytest.raises(UserError, match="no results 'rase'"):
        results_file("rase")


def test_where_and_when_it_was_measured(tmp_path):
    path = results_file("model", tmp_path)
    path.parent.mkdir(parents=True)
    result = {
        "figures": {"threads": 2},
        "command": "python -m x",
        "hardware": {"cpu": "Z80"},
        "date": "2026-01-02T03",
    }
    path.write_text(json.dumps(result))
    assert race_results.where_measured("model", tmp_path) == "`python -m x`, 2 threads of Z80, 2026-01-02"


def test_faster_is_said_only_where_every_round_agrees():
    levels = race_results.speedups(KERNELS, MODEL)
    assert tuple(levels) == LEVELS and tuple(levels["whole model"]) == VARIANTS
    alone = levels["attention alone"]
    assert race_results.say_speed(alone["gqa"]) == "faster at 64 tokens (1.50 ×)"
    assert race_results.say_speed(alone["mla"]) == "slower at 64 tokens (0.50 ×)"
    assert race_results.say_speed(levels["whole model"]["gqa"]) == (
        "faster at 256 tokens (1.50 ×); no difference at 64 tokens (1.10 ×)"
    )
    assert race_results.prefill_speedups(KERNELS)["swa"] == {64: FAST}


def test_the_speed_table_marks_what_is_faster_and_says_what_is_missing():
    lines = race_results.speed_table(race_results.speedups(KERNELS, MODEL)).splitlines()
    assert lines[0] == "|  | × mha's speed | 64 tokens | 256 tokens |" and len(lines) == 2 + 3 * 3
    assert lines[2] == "| gqa | attention alone | **1.50** (1.40 to 1.60) | not measured |"
    assert lines[4] == "| gqa | whole model | 1.10 (0.90 to 1.20) | **1.50** (1.40 to 1.60) |"


def test_the_other_tables_hold_their_numbers():
    assert "| swa | 12.3 (25% cache) | 12.3 (25% cache) |" in race_results.model_table(MODEL)
    assert "| swa | 125 ms, 1.00 MiB cache, 1 MiB peak |" in race_results.prefill_table(KERNELS)
    lines = race_results.race_table(RACE).splitlines()
    assert lines[2].startswith("| mha | 2.2000 ± 0.1000 | – | 1.000 | 250 | 5 | 1,000")
    assert "+0.1000 (95 %: +0.1000 to +0.1000, 3 seeds): worse" in lines[3]
    assert "+0.0000" in lines[4] and "not told apart" in lines[4]


def test_differences_are_taken_seed_by_seed_to_the_first_variant():
    assert race_results.losses(RACE)["gqa"] == {0: 2.1, 1: 2.5, 2: 2.3}
    compared = race_results.compare_losses(RACE)
    assert set(compared) == {"gqa", "swa"} and compared["gqa"].verdict == "worse"


def test_an_unfinished_race_is_told_without_what_it_lacks():
    race = copy.deepcopy(RACE)
    race["models"] = [row for row in race["models"] if row["seed"] == 0 and row["variant"] != "swa"]
    race["table"] = {name: entry((2.0,), 1.0) for name in ("mha", "gqa")}
    assert list(race_results.frontier_points(race)) == ["KiB of cache for a full block"]
    table = race_results.race_table(race)
    assert "nothing can be said of its noise" in table and "not measured" in table


def test_frontier_points_are_costs_and_ranges():
    points = race_results.frontier_points(RACE)
    assert points["KiB of cache for a full block"]["swa"] == (0.5, (pytest.approx(2.2), 2.1, 2.3))
    assert (
        points["ms of a decode step"]["mha"][0] == 4.0 and points["ms of a training step"]["mha"][0] == 200.0
    )


def test_it_reads_what_the_benchmark_really_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_harness.race, "__kwdefaults__", {"rounds": 1, "target_seconds": 0.0})
    monkeypatch.setattr(benchmark_harness.bandwidth, "__kwdefaults__", {"nbytes": 2**14, "rounds": 1})
    path = results_file("kernels", tmp_path)
    path.parent.mkdir(parents=True)
    words = ["rounds=1", "contexts=[9,40]", "window=8", "n_head=4", "head_dim=8", "n_kv_head=2", "kv_latent_dim=6",
             "rope_dim=4", "dtypes=[bf16]", "parts=[decode,prefill]", "flex=false", f"out={path}"]  # fmt: skip
    assert run_main(benchmark.main, words) == 0
    kernels = read("kernels", tmp_path)
    levels = race_results.speedups(kernels, None)
    assert set(levels) == set(LEVELS[:2]) and set(levels["one layer"]["mla"]) == {9, 40}
    assert race_results.prefill_table(kernels).count("peak") == 8
    assert set(race_results.prefill_speedups(kernels)["swa"]) == {9, 40}
    assert "python -m attention_mechanisms.benchmark" in race_results.where_measured("kernels", tmp_path)
