"""The race of the variants on models of a few thousand weights: fair sizes, resumable, honest arithmetic."""

import json
import statistics

import pytest
import torch

from attention_mechanisms import benchmark_harness
from gpt_model import preset
from gpt_model.costs import skeleton
from pretraining import race, race_plot, race_runners
from pretraining.race_runners import RUNNERS, runner, tabulate
from utils.cli import run_main
from utils.errors import UserError

TINY = [
    *("variants=[mha,mla]", "seeds=[0,1]", "steps=2", "batch_size=2", "max_documents=60", "vocab_size=270"),
    *(
        "model.n_layer=1",
        "model.n_embd=64",
        "model.n_head=4",
        "model.block_size=32",
        "rounds=1",
        "dtype=fp32",
    ),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(benchmark_harness.race, "__kwdefaults__", {"rounds": 1, "target_seconds": 0.0})


@pytest.mark.parametrize("name", RUNNERS)
def test_every_runner_has_the_first_ones_number_of_parameters_within_two_percent(name):
    base = preset("storyteller", vocab_size=1024)
    target = skeleton(base).num_parameters()
    shape = runner(name, base)
    assert abs(skeleton(shape).num_parameters() - target) <= 0.02 * target
    changed = {k for k, v in shape.to_dict().items() if v != base.to_dict()[k]}
    assert changed <= {*RUNNERS[name], "mlp_hidden"}, "nothing but the attention and the width may differ"


def test_the_first_runner_is_the_preset_itself():
    base = preset("storyteller", vocab_size=1024)
    assert runner("mha", base).hidden_width == base.hidden_width


def test_sizes_that_cannot_be_made_equal_are_refused():
    with pytest.raises(UserError, match="comes no nearer than"):
        runner(
            "mla", preset("debug", n_head=4, n_layer=1, n_embd=16, vocab_size=4, block_size=4, mlp_hidden=8)
        )


def test_a_race_runs_in_pieces_and_trains_nothing_twice(tmp_path, capsys, monkeypatch):
    out = tmp_path / "race.json"
    assert run_main(race.main, [*TINY, "at_most=1", f"out={out}"]) == 0
    first = json.loads(out.read_text())["figures"]
    assert not first["complete"] and [(r["variant"], r["seed"]) for r in first["models"]] == [("mha", 0)]
    assert "the same command goes on" in capsys.readouterr().out

    assert run_main(race.main, [*TINY, f"out={out}"]) == 0
    whole = json.loads(out.read_text())["figures"]
    assert whole["complete"] and len(whole["models"]) == 4
    assert whole["models"][0] == first["models"][0], "the first model was not trained again"
    assert whole["table"]["mla"]["decode_tokens_per_second"] > 0
    assert (tmp_path / "race_frontier.svg").read_text().startswith("<svg")
    assert "1 of 4 models are in" in capsys.readouterr().out

    monkeypatch.setattr(race, "train_one", lambda *a: pytest.fail("everything is there already"))
    assert run_main(race.main, [*TINY, f"out={out}"]) == 0

    assert run_main(race.main, [*TINY, "steps=3", f"out={out}"]) == 2
    assert "another race (steps differ)" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_loss_and_another_seed_another(tmp_path):
    losses = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.json"
        assert run_main(race.main, [*TINY, "variants=[mha]", f"out={out}"]) == 0
        losses.append([row["val_loss"] for row in json.loads(out.read_text())["figures"]["models"]])
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1]


def test_a_stopped_model_is_not_a_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race, "train_one", lambda *a: None)
    out = tmp_path / "race.json"
    assert run_main(race.main, [*TINY, f"out={out}"]) == 130
    assert not out.exists()


def rows(**losses):
    return [
        {"variant": name, "seed": seed, "val_loss": loss, "bits_per_byte": loss / 2, "parameters": 10,
         "mlp_hidden": 8, "tokens_per_second": 5.0}
        for name, values in losses.items()
        for seed, loss in enumerate(values)
    ]  # fmt: skip


def test_the_table_takes_differences_seed_by_seed():
    base = preset("storyteller", vocab_size=1024)
    table = tabulate(rows(mha=[2.0, 2.4, 2.2], gqa=[2.1, 2.6, 2.1]), base)
    assert table["gqa"]["difference"]["mean"] == pytest.approx((0.1 + 0.2 - 0.1) / 3)
    assert table["gqa"]["val_loss"]["sd"] == pytest.approx(statistics.stdev([2.1, 2.6, 2.1]))
    assert table["mha"]["difference"]["mean"] == 0 and table["mha"]["val_loss"]["n"] == 3
    assert table["gqa"]["share_of_mha"] == 0.5
    assert table["mha"]["cache_bytes"] == 2 * 4 * 128 * 256 * 2
    assert tabulate(rows(mha=[2.0]), base)["mha"]["val_loss"]["sd"] is None, "one seed has no spread"


def test_cache_bytes_in_the_table_are_those_of_the_models():
    from gpt_model import GPT

    base = preset("storyteller", vocab_size=300, n_layer=2, block_size=64)
    table = tabulate(rows(**{name: [1.0] for name in RUNNERS}), base)
    for name in RUNNERS:
        real = GPT(runner(name, base)).new_cache(1, dtype=torch.bfloat16).nbytes
        assert table[name]["cache_bytes"] == real, name


def test_the_frontier_keeps_what_nothing_beats():
    assert race_plot.frontier({"a": (3, 1.0), "b": (1, 2.0), "c": (2, 2.5), "d": (3, 0.5)}) == ["b", "d"]
    assert race_plot.frontier({"only": (1, 1.0)}) == ["only"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["variants=[flash]"], "variants"),
        (["variants=[]"], "variants"),
        (["seeds=[1,1]"], "each once"),
        (["steps=0"], "steps is 0"),
        (["data=nowhere.txt"], "nowhere.txt"),
        (["lr=0"], "lr"),
    ],
)
def test_bad_settings_end_with_one_line_before_anything_is_trained(words, message, tmp_path, capsys):
    assert run_main(race.main, [*TINY, *words, f"out={tmp_path / 'r.json'}"]) == 2
    assert message in capsys.readouterr().err


def test_a_foreign_results_file_is_refused(tmp_path, capsys):
    out = tmp_path / "race.json"
    out.write_text("{}")
    assert run_main(race.main, [*TINY, f"out={out}"]) == 2
    assert "no results file of the race" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds no figures of a race"):
        race_plot.plot_file(out)


def test_a_text_file_races_under_its_own_name():
    assert race.RaceConfig(data="books/verdict.txt").result_file.name == "race_verdict.json"
    assert race.RaceConfig().result_file.name == "race.json"
    assert race_runners.TOLERANCE == 0.02
