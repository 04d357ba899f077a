"""`finetuning.benchmark_instructions`: row by row, nothing twice, and the figures that the rows make."""

import json

import pytest

from finetuning import benchmark_instructions as benchmark
from finetuning import instruction_results
from finetuning.recipes import recipe, spaced_bpe
from utils.errors import RunFailure, UserError


def row(seed, arm, right, **more):
    hits = right.count("1")
    share = {"hits": hits, "total": len(right), "value": hits / len(right), "low": 0.0, "high": 1.0}
    return {"seed": seed, "arm": arm, "overall": share, "by_kind": {"copy": share}, "right": right, **more}


def test_figures_are_means_over_seeds_and_pairs_within_them():
    rows = [row(s, "base", "0000000000") for s in (1, 2, 3)]
    rows += [row(s, "sft", "1" * k + "0" * (10 - k), perplexity=2.5) for s, k in ((1, 8), (2, 9), (3, 10))]
    found = benchmark.analyse(rows)
    assert found["overall"]["sft"]["value"] == pytest.approx(0.9) == found["reached"]
    assert found["overall"]["sft"]["low"] == pytest.approx(0.9 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert found["differences"]["1"]["sft over base"]["value"] == pytest.approx(0.8)
    assert found["mean_differences"]["sft over base"]["value"] == pytest.approx(0.9)
    assert "dpo over sft" not in found["differences"]["1"]
    assert found["by_kind"]["copy"] == {"base": 0.0, "sft": pytest.approx(0.9)}
    assert (
        "| sft | 90.0 % |" in found["table"]
        and "80.0, 90.0, 100.0" in found["table"]
        and "2.50" in found["table"]
    )
    assert found["pairs_in_order"] is None
    json.dumps(found, allow_nan=False)


def test_held_out_pairs_in_order_are_a_column():
    rows = [row(s, "dpo", "11", pairs_in_order=share) for s, share in ((1, 0.9), (2, 1.0))]
    found = benchmark.analyse(rows)
    assert found["pairs_in_order"]["value"] == pytest.approx(0.95) and "| 95.0% |" in found["table"]


def test_the_interval_of_a_share_ends_where_shares_end():
    found = benchmark.analyse([row(s, "sft", right) for s, right in ((1, "1111"), (2, "1111"), (3, "1101"))])
    assert found["overall"]["sft"]["high"] > 1 and "to 100.0 %" in found["table"]


def test_one_seed_has_no_interval_and_says_so():
    assert "one seed" in benchmark.analyse([row(1, "base", "01")])["table"]


def test_rows_are_written_at_once_and_made_once(tmp_path, monkeypatch, capsys):
    made = []

    def measured(config, arm, seed, folder, asked):
        made.append((seed, arm))
        return row(seed, arm, "01" * 10)

    monkeypatch.setattr(benchmark, "measure", measured)
    words = [f"out={tmp_path / 'x.json'}", "seeds=[1,2]", "requests=17"]
    assert benchmark.main([*words, "at_most=3"]) == 0
    assert "the same command goes on" in capsys.readouterr().err
    figures = json.loads((tmp_path / "x.json").read_text())["figures"]
    assert len(figures["rows"]) == 3 and not figures["complete"]
    assert benchmark.main(words) == 0 and benchmark.main(words) == 0
    assert made == [(s, arm) for s in (1, 2) for arm in benchmark.ARMS], "nothing is made twice"
    result = json.loads((tmp_path / "x.json").read_text())
    assert result["figures"]["complete"] and "seeds=[1,2]" in result["command"]
    assert "goal:" in capsys.readouterr().out
    with pytest.raises(UserError, match="requests"):
        benchmark.main([*words[:2], "requests=34"])


def test_every_arm_is_the_command_that_one_would_type(tmp_path):
    config = benchmark.InstructionsBenchmark(sft_words=("batch_size=2",))
    base = benchmark.stage_of(config, "base", 7, tmp_path, None)
    sft = benchmark.stage_of(config, "sft", 7, tmp_path, tmp_path / "base")
    dpo = benchmark.stage_of(config, "dpo", 7, tmp_path, tmp_path / "sft")
    assert "pretraining.train" in base.words and "seed=7" in base.words and "minutes=10" in base.words
    assert f"ckpt={tmp_path / 'base'}" in sft.words and sft.words[-1] == "batch_size=2"
    assert "epochs=1" in dpo.words
    assert "finetuning.preference.dpo" in dpo.words and f"ckpt={tmp_path / 'sft'}" in dpo.words


def test_a_stage_that_fails_says_its_last_words(tmp_path):
    import sys

    stage = benchmark.Stage(
        "base", "pretrain", [sys.executable, "-c", "print('error: no text'); raise SystemExit(2)"]
    )
    with pytest.raises(RunFailure, match=r"base failed.*no text"):
        benchmark.run_stage(stage, tmp_path)
    quiet = benchmark.Stage("base", "pretrain", [sys.executable, "-c", "pass"])
    with pytest.raises(RunFailure, match="no complete run"):
        benchmark.run_stage(quiet, tmp_path / "b")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["seeds=[]"], "at least one"),
        (["seeds=[1,1]"], "each once"),
        (["arms=[base,tuned]"], "tuned"),
        (["minutes=0"], "positive"),
        (["requests=16"], "17 kinds"),
    ],
)
def test_a_benchmark_that_cannot_be_is_refused(words, says, tmp_path):
    with pytest.raises(UserError, match=says):
        benchmark.main([*words, f"out={tmp_path / 'x.json'}"])


def test_a_name_is_one_token_wherever_it_stands():
    from pretraining.pretrain_config import PretrainConfig
    from working_with_text_data import story_corpus
    from working_with_text_data.storyland.world import GENDER

    tokenizer = spaced_bpe(story_corpus(n_stories=1500, seed=3), PretrainConfig(vocab_size=1500))
    assert all(
        tokenizer.encode_ordinary(name) == tokenizer.encode_ordinary(f"I saw {name}")[-1:] for name in GENDER
    )


def test_recipes_are_configs_of_their_commands():
    from finetuning.instruction.train import InstructionConfig
    from pretraining.pretrain_config import PretrainConfig
    from utils.config import load_config

    base = load_config(PretrainConfig, recipe("storyland_base"), ["minutes=1"])
    assert base.tokenizer == "finetuning.recipes:spaced_bpe" and base.optimizer == "muon"
    assert load_config(InstructionConfig, recipe("storyland_sft"), ["minutes=1"]).requests > 10_000
    with pytest.raises(UserError, match="storyland_base, storyland_sft"):
        recipe("nothing")


@pytest.mark.slow
def test_the_whole_way_in_small(tmp_path):
    out = tmp_path / "small.json"
    base = [
        "data_options.n_bytes=60000",
        "vocab_size=420",
        "steps=2",
        "copy_first=0",
        "copy_until=0",
        "batch_size=2",
    ]
    base += ["val_fraction=0.2", "model.n_layer=1", "model.n_embd=32", "model.n_head=2"]
    sft = ["steps=2", "batch_size=2", "requests=60", "held_out=17"]
    dpo = ["steps=2", "batch_size=2", "pairs=8", "held_out=4", "asked=0", "drawn=0", "source=generator"]
    words = [f"base_words={base}", f"sft_words={sft}", f"dpo_words={dpo}"]
    words = [w.replace("'", "").replace(" ", "") for w in words]
    more = [
        f"out={out}",
        f"runs={tmp_path / 'runs'}",
        "seeds=[1]",
        "requests=17",
        "shots=1",
        "val_tokens=300",
    ]
    assert benchmark.main([*words, *more]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert [r["arm"] for r in figures["rows"]] == list(benchmark.ARMS) and figures["complete"]
    tuned = next(r for r in figures["rows"] if r["arm"] == "sft")
    assert tuned["steps"] == 2 and tuned["cpu_seconds"] > 0 and tuned["perplexity"] > 1


def test_a_notebook_reads_what_was_measured_or_nothing(tmp_path):
    assert instruction_results.read_results(tmp_path / "none.json") is None
    rows = [row(s, "sft", "1110") for s in (1, 2)]
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"figures": {"complete": False, "rows": rows}}))
    assert instruction_results.read_results(path) is None, "half of a table is no table"
    path.write_text(json.dumps({"figures": {"complete": True, "rows": rows, **benchmark.analyse(rows)}}))
    found = instruction_results.kind_intervals(instruction_results.read_results(path), ["sft", "dpo"])
    assert set(found) == {"sft"} and found["sft"]["copy"][0] == 0.75 and list(found["sft"])[-1] == "all"
    low, high = found["sft"]["copy"][1:]
    assert low < 0.75 < high
    assert instruction_results.kind_intervals(None, ["sft"]) == {}
