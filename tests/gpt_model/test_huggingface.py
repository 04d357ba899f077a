"""Names and folders of Hugging Face models: the cache, being offline, and configurations we refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt_model import GPT
from gpt_model.huggingface import config_from_huggingface
from utils.errors import UserError


@pytest.fixture
def gpt2_folder(tmp_path):
    """A tiny random GPT-2 as transformers saves it."""
    transformers = pytest.importorskip("transformers", reason="the hf extra is not installed")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def test_a_name_is_found_in_the_cache_also_under_its_owner(gpt2_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = tmp_path / "cache" / "models--openai-community--gpt2" / "snapshots" / "607a30d7"
    snapshot.parent.mkdir(parents=True)
    gpt2_folder.rename(snapshot)
    for name in ("gpt2", "openai-community/gpt2"):
        assert GPT.from_pretrained(name).config.n_embd == 8


def test_a_name_that_is_not_there_offline_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set: put its config\.json and model.safetensors"):
        GPT.from_pretrained("gpt2")


def test_shards_and_old_bin_files_give_the_same_model(gpt2_folder, tmp_path):
    expected = GPT.from_pretrained(gpt2_folder).state_dict()
    tensors = load_file(gpt2_folder / "model.safetensors")
    config = (gpt2_folder / "config.json").read_text()
    names = sorted(tensors)
    for folder in ("shards", "bin"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(config)
    shards = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, tmp_path / "shards" / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (tmp_path / "shards" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    torch.save(tensors, tmp_path / "bin" / "pytorch_model.bin")
    for folder in ("shards", "bin"):
        got = GPT.from_pretrained(tmp_path / folder).state_dict()
        assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_pickle_that_runs_code_is_refused(gpt2_folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-here"), "w"))

    (gpt2_folder / "model.safetensors").unlink()
    torch.save({"wte.weight": Evil()}, gpt2_folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read safely") as caught:
        GPT.from_pretrained(gpt2_folder)
    assert not (tmp_path / "was-here").exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "bert"},
        {"activation_function": "tanh"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
    ],
)
def test_a_config_that_would_compute_something_else_is_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        config_from_huggingface({"model_type": "gpt2", **change})


def test_importing_the_packages_costs_nothing_and_using_them_needs_no_transformers():
    code = (
        "import sys, attention_mechanisms, gpt_model\n"
        "assert 'torch' not in sys.modules, 'torch came with the package'\n"
        "from gpt_model import GPT, generate, load_model, preset\n"
        "assert 'torch' in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
