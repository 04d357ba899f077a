"""P24: a new optimizer, schedule, objective, data set or tokenizer is one function, by YAML or by decorator."""

import sys
from pathlib import Path

import pytest

from pretraining.pretrain_config import PretrainConfig
from pretraining.registries import KINDS, find_own, imported, is_path, register, resolve, table
from pretraining.schedules import Phase, lr_multiplier
from utils.config import load_config
from utils.errors import UserError

SMALL = {
    "steps": 4,
    "batch_size": 2,
    "preset": "debug",
    "eval_every": 2,
    "save_every": 0,
    "device": "cpu",
    "dtype": "fp32",
    "val_fraction": 0.2,
}


@pytest.fixture(autouse=True)
def own_parts(monkeypatch):
    """The module of the reader lies in a folder on Python's path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("own_parts", None)


def test_a_yaml_file_that_names_five_functions_trains_and_resumes(tmp_path):
    from pretraining.recipe import train

    file = tmp_path / "mine.yaml"
    keys = {
        **SMALL,
        "optimizer": "own_parts:signs",
        "schedule": "own_parts:halves",
        "objective": "own_parts:smoothed",
        "data": "own_parts:counting",
        "tokenizer": "own_parts:bytes_only",
        "runs": str(tmp_path / "runs"),
        "sample_tokens": 2,
        "model": "{block_size: 16}",
    }
    file.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
    config = load_config(PretrainConfig, file)
    run = train(config)
    assert run.status == "complete"
    rates = [row["lr"] for row in run.metrics() if row["split"] == "train"]
    assert rates[-1] == pytest.approx(config.lr / 2)
    again = train(load_config(PretrainConfig, file, ["steps=6"]), resume=run.path)
    assert again.meta["result"]["step"] == 6


def test_a_decorator_adds_a_name_to_each_kind_and_guards_it():
    for kind in KINDS:
        known = dict(table(kind))

        def mine(*arguments):
            return 1.0

        try:
            register(kind, "mine")(mine)
            assert resolve(kind, "mine") is mine
            register(kind, "mine")(mine)  # the same once more: a notebook cell that runs twice
            with pytest.raises(UserError, match=f"there already is a {kind} named 'mine'"):
                register(kind, "mine")(lambda *a: 2.0)
        finally:
            table(kind).clear()
            table(kind).update(known)


def test_a_decay_of_ones_own_gets_its_phase():
    seen = []

    def mine(q: float, phase: Phase) -> float:
        seen.append((round(q, 6), phase))
        return 0.25

    register("schedule", "quarter")(mine)
    try:
        assert lr_multiplier("quarter", 0.5, warmup=0.2, floor=0.1, cooldown=0.3, step_size=0.05) == 0.25
    finally:
        del table("schedule")["quarter"]
    assert seen == [(0.375, Phase(floor=0.1, cooldown=0.3, warmup=0.2, step=0.05))]


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("optimizer", "adam", "did you mean 'adamw'\\? choose adamw, muon"),
        ("optimizer", "nowhere_at_all:build", "finds no module 'nowhere_at_all'"),
        ("optimizer", "own_parts:sign", "has no function 'sign'.*did you mean 'signs'"),
        ("objective", "own_parts:NOT_A_FUNCTION", "has no function 'NOT_A_FUNCTION'"),
        ("schedule", "a b", "there is no such schedule"),
        ("loss", "x", "there is no registry of 'loss'"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_which_half(kind, name, words):
    with pytest.raises(UserError, match=words) as caught:
        resolve(kind, name)
    assert "\n" not in str(caught.value)


def test_a_module_that_breaks_says_why(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_part.py").write_text("import not_there_either\n")
    with pytest.raises(UserError, match=r"importing it failed.*not_there_either"):
        imported("optimizer", "broken_part:f")
    (tmp_path / "broken_too.py").write_text("1/0\n")
    with pytest.raises(UserError, match=r"importing it failed.*division"):
        imported("optimizer", "broken_too:f")


@pytest.mark.parametrize(
    ("data", "words"),
    [("own_parts:wrong", "gave a int at place 0"), ("own_parts:nothing", "gave no document")],
)
def test_data_of_the_wrong_kind_is_refused_before_a_run_exists(data, words, tmp_path):
    from pretraining.recipe import train

    with pytest.raises(UserError, match=words):
        train(PretrainConfig(**{**SMALL, "data": data, "runs": str(tmp_path)}))
    assert not list(tmp_path.iterdir())


def test_paths_of_files_and_known_tokenizers_are_not_taken_for_modules(tmp_path, monkeypatch):
    assert not any(map(is_path, ("book.txt", "C:/book.txt", "C:\\book.txt", "a-b:c", "a:b:c", "x:")))
    assert find_own("tokenizer", "tiktoken:gpt2") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c:text").write_text("a file of that name")
    assert find_own("data", "c:text") is None
