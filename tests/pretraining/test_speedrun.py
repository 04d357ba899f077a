"""The speedrun: its text and recipes, a run that costs what it says, a table filled in pieces, a signed board."""

from __future__ import annotations

import json
import random
import time

import numpy as np
import pytest
import speedrun_checks as checks

from pretraining import speedrun, speedrun_board, speedrun_run, speedrun_text
from pretraining.speedrun_recipes import KNOWN, LADDER, ladder, recipe_named
from pretraining.speedrun_text import characters
from utils.errors import RunFailure, UserError
from utils.files import sha256_bytes

SHAPE = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.block_size=16", "model.ngram_rows=[]"]
SMALL = [*SHAPE, "training.batch_size=4", "threads=1"]
BUDGETS = ["budget=tokens=200", "ladder_budget=tokens=100", "short_budget=tokens=150", "many_seeds=[0,1]"]


@pytest.fixture
def text(tmp_path):
    words = ["the", "king", "and", "queen", "went", "to", "war", "with", "all", "their", "men", "today"]
    drawn = random.Random(0)
    path = tmp_path / "little.txt"
    path.write_text(" ".join(drawn.choice(words) for _ in range(500)), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def threads():
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# text ---------------------------------------------------------------------------------------------------


def test_the_split_is_nine_tenths_to_the_character(text):
    whole = text.read_text()
    cut = characters(str(text))
    assert cut.write(cut.train) + cut.write(cut.val) == whole
    assert len(cut.train) == int(0.9 * len(whole)) and cut.alphabet == "".join(sorted(set(whole)))
    assert cut.sha256 == sha256_bytes(whole.encode()) and cut.about()["val"] == len(cut.val)


def test_what_settings_are_chosen_on_is_never_what_is_reported(text):
    reported, tuned = characters(str(text)), characters(str(text), "dev")
    assert np.array_equal(np.concatenate((tuned.train, tuned.val)), reported.train)
    assert tuned.alphabet == reported.alphabet


def test_letters_of_all_planes_are_one_token_each(tmp_path):
    path = tmp_path / "signs.txt"
    path.write_text("aé漢😀" * 50, encoding="utf-8")
    cut = characters(str(path))
    assert len(cut.train) + len(cut.val) == 200 and cut.alphabet == "aé漢😀"


def test_the_built_in_corpora_are_there_and_as_long(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path))
    monkeypatch.setattr(speedrun_text, "LENGTH", 4000)
    cut = characters("auto")
    assert cut.name == "storyland" and len(cut.train) + len(cut.val) == 4000
    with pytest.raises(UserError, match=r"tinyshakespeare is not in .*SCRATCHBOOK_DATA.*corpus=storyland"):
        characters("tinyshakespeare")


def test_tinyshakespeare_is_known_by_its_sum(shared_data):
    cut = characters(str(shared_data / "text" / "tinyshakespeare.txt"))
    assert (cut.name, len(cut.alphabet), len(cut.train), len(cut.val)) == (
        "tinyshakespeare",
        65,
        1003854,
        111540,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["corpus=nowhere.txt"], "corpus 'nowhere.txt' is no file"),
        (["part=test"], "part is 'test': choose val"),
        (["budget=minutes=3"], "budget is 'minutes=3': write seconds=180"),
        (["budget=seconds=-1"], "budget is 'seconds=-1'"),
        (["recipe=wds"], "recipe is 'wds': did you mean 'wsd'"),
        (["seeds=[1,1]"], r"seeds=\[1, 1\]: give at least one, each once"),
        (["threads=0"], "threads is 0: the least is 1"),
        (["--leaderboard"], "whose row it is: give name="),
        (["--leaderboard", "name=me", "part=dev"], "part=dev is for tuning"),
        (["training.lr=fast"], "lr"),
        (["model.n_heads=2"], "unknown model setting n_heads"),
        (["race"], "unknown word 'race'"),
        (["measure", "recipe=plain"], "measure trains every recipe"),
        (["measure", "model.n_layer=1"], "give out=FILE"),
    ],
)
def test_bad_input_is_one_line(words, said, text):
    corpus = [] if any("corpus" in word for word in words) else [f"corpus={text}"]
    with pytest.raises(UserError, match=said) as caught:
        speedrun.main([*words, *corpus, "threads=1"] if "threads=0" not in words else [*words, *corpus])
    assert "\n" not in str(caught.value)


# recipes ------------------------------------------------------------------------------------------------


def test_each_rung_changes_something_and_nothing_twice():
    checks.check_ladder()


def test_every_recipe_is_a_model_and_a_training_that_exist():
    for name in [*(rung.name for rung in LADDER), *KNOWN, "best"]:
        checks.check_recipe(recipe_named(name))


def test_a_hash_is_of_settings_and_not_of_names():
    best = recipe_named("best")
    assert best.hash == ladder()[-1].hash and best.changed({}, {}) is best
    other = best.changed({}, {"lr": 1.0})
    assert other.hash != best.hash and other.name == f"{best.name}*"
    assert other.changed({}, {"lr": best.training["lr"]}).hash == best.hash


# runs ---------------------------------------------------------------------------------------------------


def test_a_budget_of_seconds_is_wall_time_in_training(text):
    recipe = recipe_named("best").changed(checks.TINY, {"batch_size": 4, "dtype": "fp32"})
    started = time.perf_counter()
    row = speedrun_run.run_one(recipe, characters(str(text)), "seconds=0.3", 0, bar=False)
    assert row["seconds"] >= 0.3 and row["seconds"] <= time.perf_counter() - started
    assert row["steps"] > 1 and row["characters_judged"] == len(characters(str(text)).val) - 1
    assert row["curve"][-1][0] == pytest.approx(row["seconds"], abs=1e-3) and row["skipped"] == 0


def test_a_budget_of_tokens_is_counted_and_its_score_is_repeated_exactly(text):
    cut = characters(str(text))
    recipe = recipe_named("plain").changed(checks.TINY, {"batch_size": 4})
    rows = [speedrun_run.run_one(recipe, cut, "tokens=256", 3, bar=False) for _ in range(2)]
    assert rows[0]["tokens"] == 256 and rows[0]["steps"] == 4
    assert rows[0]["loss"] == rows[1]["loss"]
    assert speedrun_run.run_one(recipe, cut, "tokens=256", 4, bar=False)["loss"] != rows[0]["loss"]


def test_a_known_recipe_ends_after_its_own_steps(text):
    recipe = recipe_named("known").changed(checks.TINY, {"batch_size": 2, "steps": 3})
    assert speedrun_run.run_one(recipe, characters(str(text)), "seconds=60", 0, bar=False)["steps"] == 3


def test_the_score_is_of_the_whole_part_in_float32(text):
    checks.check_score(characters(str(text)))


# measure ------------------------------------------------------------------------------------------------


def test_the_table_is_filled_in_pieces_and_no_row_twice(text, tmp_path, capsys, monkeypatch):
    trained = []
    real = speedrun.run_one
    monkeypatch.setattr(
        speedrun, "run_one", lambda r, t, b, s: trained.append((r.hash, b, s)) or real(r, t, b, s, bar=False)
    )
    out = tmp_path / "speedrun.json"
    words = ["measure", f"corpus={text}", *BUDGETS, *SMALL, f"out={out}"]
    assert speedrun.main([*words, "at_most=2"]) == 0
    first = json.loads(out.read_text())["figures"]
    assert len(first["rows"]) == 2 and not first["complete"] and first["scores"][0]["recipe"] == "best"
    assert speedrun.main(words) == 0
    figures = json.loads(out.read_text())["figures"]
    assert figures["complete"] and len(set(trained)) == len(trained) == len(figures["rows"])
    assert [step["name"] for step in figures["ladder"]] == [f"{rung.name}*" for rung in LADDER]
    assert all(step["loss"] for step in figures["ladder"]) and figures["ladder"][0]["gain"] is None
    assert {score["recipe"] for score in figures["scores"]} == {"best", *KNOWN}
    assert speedrun.main(words) == 0 and len(set(trained)) == len(trained)
    assert "0 of " in capsys.readouterr().out
    with pytest.raises(UserError, match=r"holds another speedrun \(changes differ\)"):
        speedrun.main([*words, "training.lr=0.1"])
    out.write_text("{}")
    with pytest.raises(UserError, match="is no results file of the speedrun"):
        speedrun.main(words)


# board --------------------------------------------------------------------------------------------------


def test_a_row_is_signed_and_a_changed_one_is_found(text, tmp_path, capsys):
    board = tmp_path / "board.json"
    words = [f"corpus={text}", "budget=tokens=100", "seeds=[0,1]", *SMALL, f"out={board}"]
    assert speedrun.main([*words, "--leaderboard", "name=Ada"]) == 0
    (entry,) = speedrun_board.read_board(board)
    assert (
        entry["name"] == "Ada" and entry["loss"]["n"] == 2 and entry["signature"] in capsys.readouterr().out
    )
    assert speedrun.main([*words, "--leaderboard", "name=Bob", "training.lr=0.001"]) == 0
    assert [e["name"] for e in speedrun_board.read_board(board)] == ["Ada", "Bob"]
    checks.check_board_notices(board)


def test_the_page_says_what_its_files_say(tmp_path):
    text = speedrun_board.PAGE.read_text(encoding="utf-8")
    assert speedrun_board.fill(text) == text, "run python -m pretraining.speedrun_board --write"
    for table in ("ladder", "scores", "board"):
        assert f"<!-- speedrun {table} -->" in text
    page = tmp_path / "PAGE.md"
    page.write_text(
        "<!-- speedrun ladder -->\nold\n<!-- /speedrun -->\n<!-- speedrun board -->\n<!-- /speedrun -->\n"
    )
    words = [
        "--page",
        str(page),
        "--result",
        str(tmp_path / "no.json"),
        "--board",
        str(tmp_path / "no2.json"),
    ]
    with pytest.raises(RunFailure, match="differs from its files"):
        speedrun_board.main(words)
    assert speedrun_board.main([*words, "--write"]) == 0 and "not measured" in page.read_text()
    assert "Nobody yet." in page.read_text() and speedrun_board.main(words) == 0
    page.write_text("<!-- speedrun weather -->\n<!-- /speedrun -->\n")
    with pytest.raises(UserError, match="a table 'weather'"):
        speedrun_board.main(words)
