"""The server's benchmark: the plumbing, with few chats; how long anything took is nobody's failure."""

import json

import pytest

from chat_ui import benchmark
from utils.cli import run_main


@pytest.mark.slow
def test_it_talks_to_a_real_server_and_finds_nobody_left(tmp_path, capsys):
    out = tmp_path / "server.json"
    words = ["rounds=2", "chats=3", "new=8", "stopped=5", f"out={out}"]
    assert run_main(benchmark.main, words) == 0
    result = json.loads(out.read_text())
    figures = result["figures"]
    together = figures["together"]
    assert together["finished"] == 3 and 3 <= together["tokens"] <= 24
    assert 0 < figures["first_token_alone"]["median_s"] <= figures["first_token_alone"]["max_s"]
    assert together["health"]["count"] >= 1 and figures["memory"]["stopped_chats"] == 5
    assert "chats=3" in result["command"] and "3 of 3 chats" in capsys.readouterr().out


def test_a_spread_is_of_what_was_measured():
    found = benchmark.spread([0.3, 0.1, 0.2])
    assert found == {"median_s": 0.2, "p99_s": 0.3, "max_s": 0.3, "count": 3}
    many = benchmark.spread([float(n) for n in range(200)])
    assert (many["p99_s"], many["max_s"]) == (198.0, 199.0)


def test_what_cannot_be_measured_is_one_line(capsys):
    for words, message in (
        (["rounds=0"], "rounds is 0"),
        (["chats=65"], "64 answers at a time"),
        (["chats=2", "ckpt=no-such-model"], "did not start"),
    ):
        assert run_main(benchmark.main, words) in (1, 2)
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1, said
