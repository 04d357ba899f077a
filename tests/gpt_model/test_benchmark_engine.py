"""The engine's benchmark: the plumbing, on a model that takes no time."""

import json

import pytest

from gpt_model import benchmark_engine
from utils.cli import run_main

TINY = ["models=[debug]", "requests=3", "prompt=[2,6]", "new=[2,4]", "probes=2", "rounds=1"]


def test_it_serves_both_ways_and_measures_the_wait(tmp_path, capsys):
    out = tmp_path / "engine.json"
    assert run_main(benchmark_engine.main, [*TINY, f"out={out}"]) == 0
    result = json.loads(out.read_text())
    own = result["figures"]["models"]["debug"]
    assert own["new_tokens"] == 2 + 3 + 4 and own["prompt_tokens"] == 2 + 4 + 6
    assert set(own["served"]["candidates"]) == {"one_after_another", "together"}
    assert own["first_token"]["others"] == 2 and own["first_token"]["prompt_tokens"] == 4
    assert 0 < own["all_at_once"]["median_s"] <= own["all_at_once"]["last_s"]
    assert own["equal_tokens"] == 1.0, "the debug model's logits are not that close"
    assert "requests=3" in result["command"] and "x sooner" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["models=[]"], "models=[]"),
        (["rounds=0"], "rounds is 0"),
        (["prompt=[5,2]"], "prompt=[5, 2]"),
        (["dtype=int4"], "dtype"),
        ([*TINY, "new=[30,40]"], "block_size 32"),
    ],
    ids=str,
)
def test_bad_settings_end_with_one_line(words, message, capsys):
    assert run_main(benchmark_engine.main, words) == 2
    assert message in capsys.readouterr().err
