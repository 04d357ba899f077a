"""`python -m gpt_model.export`: what it prints, what it refuses in one line, and that it leaves nothing half done."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from gpt_model import GPT, GPTConfig, export_compare, export_huggingface, export_step, load_model
from gpt_model.config import CHOICES, PRESETS, preset
from gpt_model.export import TARGETS, export, main
from gpt_model.export_huggingface import family_of
from gpt_model.export_int8 import read_int8
from gpt_model.export_step import load_step, write_step
from gpt_model.export_tokenizer import check_same_ids, write_tokenizer
from gpt_model.quantization import quantize
from utils.cli import run_main
from utils.errors import RunFailure, UserError
from working_with_text_data.byte_tokenizer import ByteTokenizer

LLAMA = {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny Llama-like model with a byte tokenizer."""
    torch.manual_seed(0)
    folder = tmp_path / "ckpt"
    GPT(preset("debug", vocab_size=260, n_layer=1, **LLAMA)).save_pretrained(folder)
    ByteTokenizer().save(folder / "tokenizer.json")
    return folder


def tiny(**fields):
    return GPT(
        GPTConfig(**{"vocab_size": 20, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16, **fields})
    )


@pytest.mark.parametrize("to", TARGETS)
def test_each_target_is_written_read_back_and_told_of(to, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([f"ckpt={checkpoint}", f"to={to}", f"out={out}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "largest difference of" in said[0]
    assert said[-2].startswith(f"wrote {out} (") and said[-1].startswith("next: python -")
    files = {path.name for path in out.iterdir()}
    assert "tokenizer.json" in files
    assert files & {"model.safetensors", "step.pt2", "step.onnx"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert all(
        path.stat().st_mode & 0o777 == (out / "tokenizer.json").stat().st_mode & 0o777
        for path in out.iterdir()
    )


@pytest.mark.parametrize("to", ["hf", "torch"])
def test_the_next_command_runs(to, checkpoint, tmp_path, capsys):
    import shlex

    assert main([f"ckpt={checkpoint}", f"to={to}", f"out={tmp_path / 'out'}"]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next: "))
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-800:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=onx"], "to is 'onx': did you mean 'onnx'? choose one of hf, torch, onnx, int8"),
        (["capacity=99", "to=torch"], "capacity is 99 and batch 1: give 1 to block_size 32"),
        (["batch=0", "to=torch"], "batch 0"),
        (["tokenizer=nowhere.json"], "nowhere.json"),
    ],
)
def test_bad_settings_are_one_line(words, message, checkpoint, tmp_path, capsys):
    assert run_main(main, [f"ckpt={checkpoint}", f"out={tmp_path / 'out'}", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(checkpoint, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main([f"ckpt={checkpoint}", "to=int8", f"out={tmp_path / 'out'}"]) == 0  # an empty one is fine
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert run_main(main, [f"ckpt={checkpoint}", "to=hf", f"out={tmp_path / 'out'}"]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_a_checkpoint_without_tokenizer_can_be_exported_without_or_with_another(checkpoint, tmp_path, capsys):
    (checkpoint / "tokenizer.json").rename(tmp_path / "bytes.json")
    assert run_main(main, [f"ckpt={checkpoint}", f"out={tmp_path / 'a'}"]) == 2
    assert "has no tokenizer: name its file with tokenizer=FILE, or" in capsys.readouterr().err
    assert main([f"ckpt={checkpoint}", f"out={tmp_path / 'a'}", "tokenizer=none"]) == 0
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"config.json", "model.safetensors"}
    assert json.loads((tmp_path / "a" / "config.json").read_text())["eos_token_id"] is None
    assert main([f"ckpt={checkpoint}", f"out={tmp_path / 'b'}", f"tokenizer={tmp_path / 'bytes.json'}"]) == 0
    assert json.loads((tmp_path / "b" / "config.json").read_text())["eos_token_id"] == ByteTokenizer.eos_id


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"position": "alibi"}, "position is alibi"),
        ({"norm": "rmsnorm"}, "norm is rmsnorm"),
        ({"mlp": "swiglu"}, "mlp is swiglu"),
        ({"norm_order": "post"}, "norm_order is post"),
        ({"attention": "gqa"}, "attention is gqa"),
        ({**LLAMA, "norm": "layernorm"}, "norm is layernorm"),
        ({**LLAMA, "mlp": "gelu"}, "mlp is gelu"),
        ({**LLAMA, "norm": "groupnorm"}, "norm is groupnorm"),
        ({**LLAMA, "attention": "swa", "global_every": 2}, "global_every is 2"),
        ({**LLAMA, "attention": "swa", "attention_sinks": 2}, "attention_sinks is 2"),
        ({**LLAMA, "attention": "swa", "bias": True}, "bias is True"),
        ({**LLAMA, "attention": "mla", "bias": True}, "bias is True"),
        ({"attention": "mla"}, "attention is mla"),
    ],
    ids=str,
)
def test_what_no_layout_can_say_is_refused_by_its_name(fields, named):
    with pytest.raises(UserError, match=named) as caught:
        family_of(tiny(**fields))
    assert "\n" not in str(caught.value) and "to=torch" in str(caught.value)


def test_every_choice_of_the_configuration_is_written_or_refused():
    """A choice that is new in the configuration must not pass unseen."""
    shapes = [{}, LLAMA, {**LLAMA, "attention": "swa"}, {**LLAMA, "attention": "mla"}]
    for field, choices in CHOICES.items():
        for choice in choices:
            for shape in shapes:
                more = {"rope_factor": 2.0} if field == "rope_scaling" and choice != "none" else {}
                try:
                    model = tiny(**{**shape, field: choice, **more})
                except UserError:
                    continue  # the configuration itself says no
                try:
                    family_of(model)
                except UserError as error:
                    assert "transformers' layout" in str(error)
                else:
                    assert export_huggingface.huggingface_config(model)["model_type"] in str(
                        ("gpt2", "llama", "mistral", "deepseek_v3")
                    )


def test_a_field_that_the_layouts_do_not_know_is_not_dropped_in_silence(monkeypatch):
    known = export_huggingface.KNOWN_FIELDS - {"mlp_hidden"}
    monkeypatch.setattr(export_huggingface, "KNOWN_FIELDS", known)
    family_of(tiny())
    with pytest.raises(UserError, match="mlp_hidden is 24: transformers' layout gpt2 does not know it"):
        family_of(tiny(mlp_hidden=24))


def test_every_preset_with_released_weights_has_a_layout():
    found = {}
    for name in PRESETS:
        with torch.device("meta"):
            found[name] = family_of(GPT(preset(name, n_layer=1))).model_type
    assert found["gpt2-xl"] == "gpt2" and found["storyteller"] == "llama"
    assert {"gpt2", "llama"} <= set(found.values())


def test_an_export_that_computes_something_else_is_not_kept(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(export_compare, "SHARE", 0.0)
    real = export_huggingface.agree
    monkeypatch.setattr(export_huggingface, "agree", lambda a, b: real(a, b + 1))
    with pytest.raises(RunFailure, match="something else than the model"):
        export(load_model(checkpoint), "hf", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt"]


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="the tokenizer has 260 ids but the model's vocab_size is 259"):
        write_tokenizer(ByteTokenizer(), tmp_path, GPTConfig(vocab_size=259))


def test_other_ids_are_found_when_the_tokenizer_is_read_back(tmp_path):
    write_tokenizer(ByteTokenizer(), tmp_path, GPTConfig(vocab_size=261))
    assert check_same_ids(ByteTokenizer(), tmp_path) > 100
    with pytest.raises(RunFailure, match="transformers reads"):
        check_same_ids(ByteTokenizer(extra_special=["It"]), tmp_path)


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxscript"), ("hf", "transformers")])
def test_a_package_that_is_not_installed_is_named(to, package, checkpoint, tmp_path, monkeypatch):
    import importlib

    real = importlib.import_module

    def missing(name, *rest):
        if name == package:
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=rf"needs the package {package}, .*pip install"):
        export(load_model(checkpoint), to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sinks_cannot_be_stepped_and_a_quantised_model_not_be_exported(checkpoint, tmp_path):
    with pytest.raises(UserError, match="attention_sinks is 1"):
        write_step(tiny(attention="swa", attention_sinks=1), tmp_path / "step")
    loaded = load_model(checkpoint)
    quantize(loaded.model, "int8")
    with pytest.raises(UserError, match="the model is quantised"):
        export(loaded, "int8", tmp_path / "out")


def test_a_step_says_when_it_is_full_or_its_folder_is_none(tmp_path):
    write_step(tiny(n_layer=1), tmp_path / "step", capacity=2)
    runner = load_step(tmp_path / "step")
    for _ in range(2):
        runner.step(torch.tensor([[1]]))
    with pytest.raises(UserError, match="room for 2 tokens and all are used"):
        runner.step(torch.tensor([[1]]))
    with pytest.raises(UserError, match=r"ids have shape \(1, 2\): this step takes \(1, 1\)"):
        runner.reset()
        runner.step(torch.tensor([[1, 1]]))
    with pytest.raises(UserError, match="holds no exported step"):
        load_step(tmp_path)
    (tmp_path / "step" / "step.pt2").write_bytes(b"PK broken")
    with pytest.raises(UserError, match="is damaged or from another torch"):
        load_step(tmp_path / "step")


def test_a_large_onnx_export_keeps_its_weights_beside_the_graph(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(export_step, "LARGEST_FILE", 0)
    export(load_model(checkpoint), "onnx", tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"step.onnx", "step.onnx.data", "step.json", "tokenizer.json"}
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert load_step(tmp_path / "elsewhere").step(torch.tensor([[1]])).shape == (1, 260)


def test_an_int8_folder_is_a_checkpoint_like_any_other(checkpoint, tmp_path):
    export(load_model(checkpoint), "int8", tmp_path / "out")
    loaded = load_model(tmp_path / "out")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded.model(ids).logits, read_int8(tmp_path / "out")(ids).logits)
    assert loaded.tokenizer.decode([104]) == "h"


def test_a_damaged_int8_folder_is_one_line(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    export(load_model(checkpoint), "int8", tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith(".scale"))
    save_file({**tensors, name: tensors[name][:-1].clone()}, file)
    with pytest.raises(UserError, match=r"has shape .*, which fits no"):
        read_int8(tmp_path / "out")
    with pytest.raises(UserError, match="not scratchbook-gpt-int8"):
        read_int8(checkpoint)


def test_help_does_not_load_torch():
    code = (
        "import sys; from gpt_model.export import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False" and "to=hf" in done.stdout
