"""`python -m pretraining.evaluate`: a run on its own data, a model on other text, sources apart, and bad input."""

import json
import math
import subprocess
import sys

import pytest
import recipe_checks
from training_checks import BLOCK

from pretraining import evaluate, recipe
from pretraining.pretrain_config import PretrainConfig
from utils.cli import run_main
from utils.config import load_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run on a folder of texts: (root of the runs, the run, the texts)."""
    folder = tmp_path_factory.mktemp("evaluate")
    text = recipe_checks.small_texts(folder / "text")
    overrides = [*recipe_checks.TINY, "steps=4", f"data={text}", f"runs={folder / 'runs'}"]
    return folder / "runs", recipe.train(load_config(PretrainConfig, None, overrides)), text


def judged(root, model, *words):
    return evaluate.evaluate_model(model, load_config(evaluate.EvaluateConfig, None, list(words)), root=root)


def test_a_run_is_judged_on_its_own_validation_part_and_gets_its_own_number(trained):
    root, run, _ = trained
    result = judged(root, "last", "max_tokens=null")
    recorded = run.meta["result"]
    assert list(result.rows) == ["val"]
    assert result.rows["val"].loss == pytest.approx(recorded["val"]["loss"], rel=1e-5)
    assert result.rows["val"].tokens == recorded["val"]["tokens"]
    assert result.baselines["val"] == pytest.approx(recorded["baselines"])
    assert result.rows["val"].bits_per_byte == pytest.approx(recorded["val"]["bits_per_byte"], rel=0.02)


def test_all_splits_and_sources_add_up_to_the_whole(trained):
    root, run, _ = trained
    both = judged(root, run.id, "split=all", "max_tokens=null", "baselines=false")
    assert list(both.rows) == ["train", "val"]
    apart = judged(root, f"{run.id}@4", "by=source", "max_tokens=null", "baselines=false")
    assert len(apart.rows) == 8 and all(name.endswith(".txt") for name in apart.rows)
    nats = sum(part.loss * part.tokens for part in apart.rows.values())
    assert apart.total.loss == pytest.approx(nats / sum(part.tokens for part in apart.rows.values()))


def test_a_cap_holds_for_each_source_and_costs_the_same_twice(trained):
    root, _, _ = trained
    results = [
        judged(root, "last", "by=source", "split=all", "max_tokens=20", f"batch_size={b}") for b in (1, 5, 1)
    ]
    assert {part.tokens for part in results[0].rows.values()} == {20}
    assert results[0] == results[2]
    assert results[0].total.loss == pytest.approx(results[1].total.loss, rel=1e-6)


def test_other_text_other_fields_and_shards(trained, tmp_path):
    root, run, _ = trained
    lines = [{"text": f"the fox met hen {i}. " * 3, "topic": "ab"[i % 2]} for i in range(6)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = judged(root, str(run.path), f"data={tmp_path / 't.jsonl'}", "by=topic")
    assert list(result.rows) == ["a", "b"] and result.baselines == {}
    whole = judged(root, str(run.path), f"data={tmp_path / 't.jsonl'}")
    assert list(whole.rows) == ["text"]
    recipe_checks.write_small_shards(
        recipe_checks.small_texts(tmp_path / "s"), tmp_path / "shards", tmp_path / "runs"
    )
    shards = judged(root, "last", f"data={tmp_path / 'shards'}", "max_tokens=null")
    own = judged(root, "last", "max_tokens=null")
    assert shards.rows["val"].loss == pytest.approx(own.rows["val"].loss, rel=1e-6)


def test_the_command_prints_a_table_or_json_and_writes_a_result(trained, tmp_path, capsys):
    root, run, _ = trained
    words = ["last", "--runs", str(root), "max_tokens=50"]
    assert run_main(evaluate.main, [*words, "split=all", f"out={tmp_path / 'r.json'}"]) == 0
    out = capsys.readouterr().out
    lines = out.strip().splitlines()
    assert len({len(line) for line in lines[1:]}) == 1, "the columns do not stand under each other"
    assert [line.split()[0] for line in lines[1:]] == ["part", "train", "val", "together"]
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["command"] == "python -m pretraining.evaluate last split=all max_tokens=50"
    assert saved["figures"]["total"]["tokens"] == 100
    assert run_main(evaluate.main, [*words, "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert math.isfinite(parts["val"]["loss"]) and parts["val"]["bigram"] > 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["split=vali"], "split is 'vali'"),
        (["max_tokens=0"], "max_tokens is 0"),
        ([f"block_size={BLOCK * 100}"], "block_size"),
        (["split=test"], "split is test"),
        (["by=topic", "data=/no/such/file"], "/no/such/file"),
        (["data=storyland", "split=val", "max_documents=3"], "split is val"),
    ],
)
def test_bad_input_is_one_line(words, named, trained, capsys):
    root, _, _ = trained
    assert run_main(evaluate.main, ["last", "--runs", str(root), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and "\n" not in error, error


def test_a_model_without_its_recipe_needs_a_text(trained, tmp_path, capsys):
    root, run, _ = trained
    (folder,) = run.path.glob("checkpoints/step_*4")
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    assert run_main(evaluate.main, [str(copy)]) == 2
    assert "name a text with data=FILE" in capsys.readouterr().err


def test_help_costs_no_torch():
    code = (
        "import sys; from pretraining.evaluate import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    code += "assert 'torch' not in sys.modules"
    assert (
        "max_tokens=100000"
        in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
