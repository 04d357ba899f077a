"""The command that measures speculative decoding: what it writes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from gpt_model.benchmark_speculative import main
from utils.errors import UserError

SMALL = [
    *(
        "ckpt=assets",
        "documents=30",
        "prompts=2",
        "prompt_tokens=6",
        "new=10",
        "rounds=1",
        "draft_tokens=[2]",
    ),
]


def test_the_command_measures_every_draft_and_finds_equal_greedy_texts(tmp_path, capsys):
    out = tmp_path / "speculative.json"
    assert main([*SMALL, "draft=none,ngram,lookup,layers:1,assets", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "ngram, 2 guesses" in printed and str(out) in printed
    rows = json.loads(out.read_text())["figures"]["rows"]
    assert [row["temperature"] for row in rows] == [0.0] * 6 + [0.8] * 6
    ways = {row["way"]: row for row in rows if row["temperature"] == 0}
    assert set(ways) == {
        "plain",
        *(f"{name}, 2 guesses" for name in ("none", "ngram", "lookup", "layers:1", "assets")),
    }
    for way, row in ways.items():
        assert row["tokens_per_second"] > 0
        assert way == "plain" or row["same_texts"] == 1, f"{way}: greedy texts differ from plain ones"
    assert ways["assets, 2 guesses"]["acceptance_rate"] == 1, "the model agrees with itself"
    assert ways["none, 2 guesses"]["tokens_per_pass"] == 1
    table = ways["ngram, 2 guesses"]
    assert table["acceptance_rate"] > 0 and table["tokens_per_pass"] > 1, (
        "a table of its texts is sometimes right"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["draft=layers:x"], "layers:1"),
        (["draft=layers:9"], "9 layers"),
        (["new=400"], "block_size"),
        (["prompts=0"], "prompts"),
        (["draft_tokens=[]"], "draft_tokens"),
        (["draft=nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, message, tmp_path):
    with pytest.raises(UserError, match=message):
        main([*SMALL, f"out={tmp_path / 'x.json'}", *words])
    assert not list(tmp_path.iterdir())
