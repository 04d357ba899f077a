"""From a short name to a model: runs, pointers, folders, and files that are damaged."""

from __future__ import annotations

import os

import pytest
import torch

from gpt_model import GPT, load_model, preset, sample
from gpt_model import loading as loading_module
from utils.cli import run_main
from utils.errors import UserError
from utils.runs import Run
from working_with_text_data.byte_tokenizer import ByteTokenizer

SHAPE = preset("debug", vocab_size=ByteTokenizer().vocab_size, n_layer=1)


def write_checkpoint(folder, bias=0.0):
    """A checkpoint that can be told apart by its first weight."""
    model = GPT(SHAPE)
    with torch.no_grad():
        model.token_embedding.weight[0, 0] = bias
    model.save_pretrained(folder)
    ByteTokenizer().save(folder / "tokenizer.json")
    return folder


def mark(loaded):
    return loaded.model.token_embedding.weight[0, 0].item()


@pytest.fixture
def run(tmp_path):
    """A run with two steps; `last` is the second, `best` the first."""
    run = Run.create("pretraining", {}, root=tmp_path / "runs")
    steps = run.path / "checkpoints"
    for step in (1, 2):
        write_checkpoint(steps / f"step_{step:06d}", bias=float(step))
    (steps / "last").write_text("step_000002\n")
    (steps / "best").write_text("step_000001\n")
    run.finish("complete")
    return run


def test_a_folder_a_file_a_run_and_its_id_all_lead_to_the_checkpoint(run, tmp_path):
    step = run.path / "checkpoints" / "step_000002"
    for ref in (step, step / "model.safetensors", run.path, run.path / "checkpoints", run.id, "last"):
        loaded = load_model(ref, root=tmp_path / "runs")
        assert loaded.path.name == "step_000002" and mark(loaded) == 2.0
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("hé")) == "hé"
    assert loaded.config == SHAPE and not loaded.model.training
    assert mark(load_model("best", root=tmp_path / "runs")) == 1.0


def test_last_passes_over_newer_runs_without_a_checkpoint(run, tmp_path):
    Run.create("evaluate", {}, root=tmp_path / "runs").finish("complete")
    assert mark(load_model("last", root=tmp_path / "runs")) == 2.0


def test_a_pointer_to_a_removed_step_falls_back_to_the_newest_that_is_there(run):
    (run.path / "checkpoints" / "last").write_text("step_000009\n")
    os.utime(run.path / "checkpoints" / "step_000001", (1, 1))
    assert load_model(run.path).path.name == "step_000002"


def test_a_save_in_progress_is_no_checkpoint(tmp_path):
    write_checkpoint(tmp_path / ".step_000003.ab12.tmp")
    with pytest.raises(UserError, match="no checkpoint in"):
        load_model(tmp_path)


def test_what_does_not_exist_says_where_it_looked(tmp_path):
    for ref in ("last", "best", "20200101-000000-none"):
        with pytest.raises(UserError, match="runs"):
            load_model(ref, root=tmp_path / "runs")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_file_cut_short_is_one_line_that_names_it(tmp_path, name, keep):
    folder = write_checkpoint(tmp_path / "cut")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError) as caught:
        load_model(folder)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_shape_or_name_are_named(tmp_path):
    folder = write_checkpoint(tmp_path / "mixed")
    GPT(preset("debug", vocab_size=SHAPE.vocab_size, n_layer=2)).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"unexpected blocks\.1"):
        load_model(folder)


def test_a_tokenizer_in_hugging_faces_format_is_left_alone(tmp_path):
    folder = write_checkpoint(tmp_path / "hf")
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE", "vocab": {}}}')
    assert load_model(folder).tokenizer is None


def test_assets_that_are_not_there_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(loading_module, "ASSETS", tmp_path)
    with pytest.raises(UserError, match="committed model is missing"):
        load_model("assets")


# The command ----------------------------------------------------------------------------------------


def test_the_command_continues_a_prompt_and_a_seed_repeats_it(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / "model")
    arguments = ["--ckpt", str(folder), "--prompt", "ab", "--max-new-tokens", "8", "--seed", "1"]
    texts = []
    for extra in ([], [], ["--stream"], ["--num-samples", "2"]):
        assert sample.main([*arguments, *extra]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2] and texts[0].startswith("ab") and len(texts[0]) > 3
    first, second = texts[3].split("-" * 40 + "\n")
    assert first == texts[0] != second, "each sample has its own seed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ckpt", "no-such-run"], "no-such-run"),
        (["--temperature", "-1"], "temperature is -1"),
        (["--top-p", "2"], "top_p is 2"),
        (["--num-samples", "0"], "--num-samples is 0"),
        (["--prompt", "x" * 33], "block_size is 32"),
        (["--prompt", "x" * 20, "--on-overflow", "error"], "block_size is 32"),
    ],
)
def test_bad_input_ends_with_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("SCRATCHBOOK_RUNS", str(tmp_path / "runs"))
    folder = write_checkpoint(tmp_path / "model")
    assert run_main(sample.main, ["--ckpt", str(folder), "--prompt", "ab", *arguments]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and message in captured and captured.count("\n") == 1


def test_a_name_on_the_hub_is_found_in_the_cache_with_its_tokenizer(tmp_path, monkeypatch):
    from working_with_text_data import train_bpe
    from working_with_text_data.huggingface_export import export_tokenizer_json

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("openai-community--gpt2", "someone--tiny"):
        snapshot = write_checkpoint(tmp_path / f"models--{name}" / "snapshots" / "abc")
        export_tokenizer_json(train_bpe("low lower lowest " * 9, 260), snapshot / "tokenizer.json")
    for ref in ("gpt2", "openai-community/gpt2", "someone/tiny"):
        loaded = load_model(ref, root=tmp_path / "runs")
        assert loaded.path.name == "abc" and loaded.tokenizer.decode(loaded.tokenizer.encode("low")) == "low"
    for ref in ("gpt2-xl", "someone/else"):
        with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
            load_model(ref, root=tmp_path / "runs")
    with pytest.raises(UserError, match="neither a folder nor a run"):
        load_model("no-such-run", root=tmp_path / "runs")


def test_a_llama2c_file_is_a_model_without_a_tokenizer(tmp_path):
    from import_checks import llama2c_pair

    llama2c_pair(tmp_path / "model.bin", tied=True)
    loaded = load_model(tmp_path / "model.bin")
    assert loaded.tokenizer is None and loaded.config.rope_layout == "interleaved"
