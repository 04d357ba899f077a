"""LP12 and LT10 where data meets training: recipes that run, shards like memory, streams that go on exactly."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import recipe_checks as laws

from attention_mechanisms.registry import ATTENTIONS
from gpt_model.config import preset
from gpt_model.memory import training_memory
from gpt_model.presets import PRESETS
from pretraining.pretrain_config import PretrainConfig
from utils.config import load_config

CONFIGS = sorted((Path(__file__).parents[2] / "pretraining" / "configs").glob("*.yaml"))
PROMISED = {
    *("cpu-debug", "laptop", "storyteller", "tiny-8g", "compact-8g", "small-16g", "llama-like"),
    *("gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "gpt2-debug", "gpt2-finetune"),
    *(f"attention-{name}" for name in ATTENTIONS),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return laws.small_texts(tmp_path_factory.mktemp("text"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_loads_and_runs_two_shrunken_steps(path, text, tmp_path):
    laws.check_config_runs(path, text, tmp_path)


def test_the_promised_configs_are_there_one_for_each_attention():
    assert {path.stem for path in CONFIGS} >= PROMISED


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_model_preset_runs_two_shrunken_steps(name, text, tmp_path):
    from pretraining.recipe import train

    assert train(laws.shrunken(None, text, tmp_path, f"preset={name}")).status == "complete"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_typing_mistake_in_a_config_is_named(path):
    laws.check_bad_values_are_named(path)


@pytest.mark.parametrize("name", ["tiny-8g", "compact-8g", "small-16g"])
def test_a_recipe_fits_the_memory_that_it_is_named_after(name):
    (path,) = [path for path in CONFIGS if path.stem == name]
    config = load_config(PretrainConfig, path)
    shape = preset(config.preset, **{"vocab_size": config.vocab_size, **config.model})
    gib = training_memory(shape, config.batch_size, shape.block_size).total / 2**30
    room = int(name.split("-")[1].removesuffix("g"))
    assert gib < 0.75 * room, f"{name}: a step in fp32 takes {gib:.1f} GiB, too near to {room} GB"
    (said,) = re.findall(r"([\d.]+)\s(?:GiB )?(?:even )?in fp32", path.read_text()) or re.findall(
        r"([\d.]+) GiB even in fp32", path.read_text()
    )
    assert abs(float(said) - gib) < 0.15, f"{name} says {said} GiB, the formula {gib:.1f}"


def test_the_recipes_of_the_attentions_differ_in_attention_only():
    configs = {p.stem: load_config(PretrainConfig, p) for p in CONFIGS if p.stem.startswith("attention-")}
    told = {"model": {}, "name": "", "parent": ""}
    from dataclasses import replace

    assert len({json.dumps(vars(replace(c, **told)), sort_keys=True) for c in configs.values()}) == 1


# ---------------------------------------------------------------- bad input, as a person meets it


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("learning_rate=1e-3", "learning_rate"),
        ("lr=fast", "lr"),
        ("batch_size=2.5", "batch_size"),
        ("batch_size=0", "batch_size"),
        ("steps=-1", "steps"),
        ("dtype=fp8", "dtype"),
        ("min_lr=1", "min_lr"),
        ("compile=maybe", "compile"),
        ("optimizer=adam", "optimizer"),
        ("preset=huge", "preset"),
        ("model.n_layers=2", "n_layers"),
        ("model.n_head=5", "n_head"),
        ("data=/no/such/file.txt", "/no/such/file.txt"),
        ("tokenizer=/no/such/tokenizer.json", "/no/such/tokenizer.json"),
    ],
)
def test_bad_config_is_one_line_that_names_it_and_leaves_no_run(override, named, text, tmp_path, capsys):
    from pretraining.train import main
    from utils.cli import run_main

    arguments = [*laws.SHRINK, f"data={text}", f"runs={tmp_path}", override]
    assert run_main(main, arguments) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and error.startswith("error: ") and "\n" not in error
    assert not list(tmp_path.iterdir()), "a run folder was made for a run that could not begin"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--preset", "gpt2"], "shape of a model: write preset=gpt2"),
        (["--preset", "gpt2-smal"], "did you mean"),
        (["--preset", "laptop", "--config", str(CONFIGS[0])], "give one of them"),
        (["--config", "x.yaml", "--preset", "laptop"], "give one of them"),
    ],
)
def test_a_preset_is_a_recipe_and_a_mistake_is_named(words, named, tmp_path, capsys):
    from pretraining.train import main
    from utils.cli import run_main

    assert run_main(main, [*words, f"runs={tmp_path / 'none'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and "\n" not in error, error
    assert not (tmp_path / "none").exists()


def test_a_preset_and_the_flags_of_a_shape_mean_what_they_say(text, tmp_path):
    from pretraining.train import main
    from utils.cli import run_main
    from utils.runs import find_run

    words = [
        "--preset",
        "cpu-debug",
        "--epochs",
        "5",
        "--block_size",
        "32",
        "--n_layer",
        "1",
        "--n_head",
        "2",
    ]
    words += ["--n_embd", "16", "--batch_size", "4", "--lr", "3e-4", "--eval_interval", "7", "--steps", "2"]
    small = [f"data={text}", "tokenizer=byte", f"runs={tmp_path}", "device=cpu", "sample_tokens=3", "--quiet"]
    assert run_main(main, [*words, *small]) == 0
    config = find_run("last", root=tmp_path).meta["config"]
    told = {"name": "cpu-debug", "epochs": 5, "batch_size": 4, "lr": 3e-4, "eval_every": 7, "log_every": 5}
    assert {key: config[key] for key in told} == told and config["preset"] == "tiny"
    assert config["model"] == {"n_layer": 1, "n_embd": 16, "n_head": 2, "block_size": 32}


# ---------------------------------------------------------------- LT10 and shards


def test_shards_train_like_memory(tmp_path):
    laws.check_shards_train_like_memory(tmp_path)


@pytest.mark.parametrize("kind", ["shards", "stream", "epochs"])
def test_a_resume_goes_on_with_the_batches_that_would_have_come(kind, tmp_path):
    if kind == "shards":
        laws.write_small_shards(laws.small_texts(tmp_path / "text"), tmp_path / "shards", tmp_path / "runs")
        more = [f"data={tmp_path / 'shards'}", "tokenizer=bpe"]
    else:
        more = ["streaming=true", "stream_val_tokens=200", f"buffer_windows={7 if kind == 'epochs' else 50}"]
        more += ["batch_size=16"] if kind == "epochs" else []  # more than one pass over the files
    laws.check_resume_is_exact(tmp_path, *more)


def test_a_stream_is_resumed_exactly_in_a_new_process(tmp_path):
    text = laws.small_texts(tmp_path / "text")
    overrides = [*laws.TINY, f"data={text}", f"runs={tmp_path / 'runs'}", "schedule=constant", "warmup=0"]
    overrides += ["streaming=true", "stream_val_tokens=200", "buffer_windows=9"]
    from pretraining.recipe import train

    whole = train(load_config(PretrainConfig, None, [*overrides, "steps=8"]))
    half = train(load_config(PretrainConfig, None, [*overrides, "steps=4"]))
    done = subprocess.run(
        [sys.executable, "-m", "pretraining.train", "--resume", str(half.path), "--quiet", "steps=8"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert laws.numbers(half)[-1] == laws.numbers(whole)[-1]


def test_two_ranks_of_a_stream_go_on_each_with_its_own_batches(tmp_path):
    laws.check_ranks_of_a_stream_go_on_exactly(tmp_path)


def test_a_stream_trains_on_no_document_that_it_is_judged_on(tmp_path):
    laws.check_stream_sides_are_disjoint(tmp_path)


def test_shards_of_another_vocabulary_are_refused(tmp_path):
    laws.check_other_vocabulary_is_refused(tmp_path)
