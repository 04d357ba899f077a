"""Tables of measured figures: found by their form, never a number where nobody measured."""

import json

import pytest

from gpt_model import decode_results as results
from utils.errors import UserError
from utils.timing import compare, write_result


def put(folder, name, figures, **more):
    content = {
        "name": name,
        "figures": figures,
        "command": "python -m x",
        "date": "2026-11-20T10:00:00",
        **more,
    }
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def comparison(**speedups):
    rows = {"eager": {"median_s": 0.01, "speedup": 1.0, "speedup_min": 1.0, "speedup_max": 1.0}}
    for name, (ratio, low, high) in speedups.items():
        rows[name] = {"median_s": 0.01 / ratio, "speedup": ratio, "speedup_min": low, "speedup_max": high}
    return {"baseline": "eager", "candidates": rows}


@pytest.mark.parametrize("name", sorted(results.COMMANDS))
def test_what_is_missing_says_how_to_measure_it_and_holds_no_number(tmp_path, name):
    words = {
        results.speed_table(name, tmp_path),
        results.where_measured(name, tmp_path),
        results.not_measured(name),
    }
    assert words == {f"{name}: not measured: run `{results.COMMANDS[name]}`"}
    assert results.read(name, tmp_path) is None and results.speedups(name, tmp_path) == {}
    assert "not measured" in results.waits(tmp_path) and "not measured" in results.perplexities(tmp_path)


def test_comparisons_are_found_at_any_depth_and_told_by_all_rounds(tmp_path):
    figures = {
        "threads": 2,
        "gpt2": {"bf16": {"step": comparison(compiled=(2.0, 1.5, 2.5), other=(1.1, 0.9, 1.2))}},
    }
    put(tmp_path, "decode", figures, hardware={"cpu": "a CPU"})
    assert results.speedups("decode", tmp_path) == {
        "gpt2 bf16 step: compiled": (2.0, 1.5, 2.5),
        "gpt2 bf16 step: other": (1.1, 0.9, 1.2),
    }
    table = results.speed_table("decode", tmp_path)
    assert "| gpt2 bf16 step | compiled | 5.00 | 2.00 (1.50 to 2.50) | faster |" in table
    assert "| other | 9.09 | 1.10 (0.90 to 1.20) | not told apart |" in table
    assert "| eager | 10.00 | 1 | compared with |" in table
    assert results.where_measured("decode", tmp_path) == "`python -m x`, 2 threads of a CPU, 2026-11-20"


def test_a_real_comparison_is_read_back(tmp_path):
    timed = compare({"one": lambda: None, "two": lambda: sum(range(1000))}, rounds=2)
    write_result(tmp_path / "decode.json", name="decode", figures={"here": timed}, command="python -m y")
    assert list(results.speedups("decode", tmp_path)) == ["here: two"]
    assert results.speedups("decode", tmp_path)["here: two"][0] == timed["candidates"]["two"]["speedup"]


def test_rows_without_a_ratio_are_compared_round_by_round_with_the_first(tmp_path):
    rows = {
        "theirs": {"median_s": 0.4, "seconds": [0.4, 0.4, 0.6]},
        "ours": {"median_s": 0.2, "seconds": [0.2, 0.1, 0.2]},
    }
    put(tmp_path, "decode", {"batch 1": rows, "note": {"median_s": 1.0}})
    assert results.speedups("decode", tmp_path) == {"batch 1: ours": pytest.approx((3.0, 2.0, 4.0))}
    assert "| batch 1 | ours | 200.00 | 3.00 (2.00 to 4.00) | faster |" in results.speed_table(
        "decode", tmp_path
    )


def test_rows_of_unequal_rounds_have_times_and_no_ratio(tmp_path):
    rows = {"a": {"median_s": 0.4, "seconds": [0.4]}, "b": {"median_s": 0.2}}
    put(tmp_path, "decode", {"x": rows})
    assert results.speedups("decode", tmp_path) == {}
    assert "| x | b | 200.00 | not compared |  |" in results.speed_table("decode", tmp_path)


def test_waits_and_perplexities_are_tables(tmp_path):
    wait = {"others": 15, "alone_s": 0.02, "beside_s": 0.05, "ratio": 2.5}
    put(
        tmp_path,
        "engine",
        {"models": {"gpt2": {"first_token": wait, "served": comparison(together=(3.0, 2.9, 3.2))}}},
    )
    assert "| gpt2 | 15 | 20 | 50 | 2.50 |" in results.waits(tmp_path)
    assert list(results.speedups("engine", tmp_path)) == ["models gpt2 served: together"]
    put(
        tmp_path,
        "quantization",
        {"int8": {"perplexity": 2.5, "weight_bytes": 1234567}, "int4": {"perplexity": 2.6}},
    )
    table = results.perplexities(tmp_path)
    assert "| int8 | 1,234,567 | 2.5000 |" in table and "| int4 |  | 2.6000 |" in table


def test_a_file_of_another_kind_and_an_unknown_name_are_one_line(tmp_path):
    (tmp_path / "decode.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"decode\.json is no results file: measure again with python -m gpt_model"
    ):
        results.speed_table("decode", tmp_path)
    with pytest.raises(UserError, match="choose one of decode, engine, quantization"):
        results.read("speed", tmp_path)
