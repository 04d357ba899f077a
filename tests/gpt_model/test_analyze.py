"""The commands that count: analyze (one model, two models), the tours, and what the numbers add up to."""

from __future__ import annotations

import json

import pytest

from gpt_model import GPT, analyze, gpt_gqa, gpt_mla, gpt_swa, parameter_tree, preset, tour
from gpt_model.config import PRESETS
from utils.errors import UserError


def leaves(part):
    return [part] if part.shape else [leaf for child in part.children for leaf in leaves(child)]


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_tree_adds_up_at_every_node(name):
    tree = parameter_tree(preset(name))

    def check(part):
        if part.children:
            below = sum(child.count for child in part.children)
            assert part.count == below * part.copies, part.name
        for child in part.children:
            check(child)

    check(tree)
    assert tree.count == analyze.analysis(preset(name))["parameters"]["total"]


def test_the_leaves_of_the_tree_are_the_tensors_of_the_model():
    model = GPT(preset("debug", n_layer=3, tie_weights=False))
    tree = parameter_tree(model.config)
    blocks = next(part for part in tree.children if part.name == "blocks")
    assert blocks.copies == 3
    outside = sum(len(leaves(part)) for part in tree.children if part is not blocks)
    assert outside + 3 * len(leaves(blocks)) == len(list(model.parameters()))


def test_gpt2_small_is_explained_to_the_last_parameter(capsys):
    assert analyze.main(["gpt2"]) == 0
    out = capsys.readouterr().out
    for line in (
        "124,439,808 total = 38,597,376 token embedding + 786,432 position embedding + 85,056,000 non-embedding",
        "85,056,000 non-embedding = 12 blocks × 7,087,872 + 1,536 final_norm",
        "7,087,872 a block = 7,077,888 in matrices + 9,984 in biases and gains",
        "untied, the total would be 163,037,184",
        "2304 × 768",
        "0.00408",
    ):
        assert line in out, line
    assert 12 * 7_087_872 + 1_536 == 85_056_000 and 12 * 768**2 == 7_077_888 and 13 * 768 == 9_984


def test_two_configurations_stand_side_by_side(capsys):
    assert analyze.main(["gpt2", "gpt2", "attention=gqa", "n_kv_head=4", "context=512", "dtype=bf16"]) == 0
    out = capsys.readouterr().out
    assert "settings that differ" in out and "second / first" in out
    rows = {
        line.split("│")[1].strip(): line.split("│")[2:5] for line in out.splitlines() if line.count("│") == 5
    }
    assert [cell.strip() for cell in rows["cache of one row"]] == ["18.0 MiB", "6.0 MiB", "0.333"]
    assert [cell.strip() for cell in rows["attention"]][:1] in (["mha"], ["28,348,416"])
    assert "block_size" not in rows, "what is equal is not listed"


def test_the_numbers_come_as_json_too(capsys):
    assert analyze.main(["debug", "--json", "batch=2"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["parameters"]["total"] == 8128 and one["asked"]["batch"] == 2
    assert analyze.main(["debug", "tiny", "--json"]) == 0
    two = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in two] == ["debug", "tiny"]
    assert two[0]["asked"]["context"] == 32, "both are asked for a context that both can read"


def test_mfu_needs_a_known_peak_and_a_speed():
    asked = {"dtype": "bf16", "context": 1024, "tokens_per_second": 578_500.0}
    known = analyze.analysis(preset("gpt2"), analyze.AnalyzeConfig(hardware="NVIDIA H200", **asked))["speed"]
    assert known["MFU"] == "50.0 %" and known["peak, FLOP/s"] == 989.5e12
    unknown = analyze.analysis(preset("gpt2"), analyze.AnalyzeConfig(hardware="Abacus 3", **asked))["speed"]
    assert unknown["MFU"] == unknown["peak, FLOP/s"] == unknown["tokens/s at 100 %"] == "peak unknown"
    silent = analyze.analysis(preset("gpt2"), analyze.AnalyzeConfig(hardware="NVIDIA H200", dtype="bf16"))[
        "speed"
    ]
    assert silent["MFU"] == "no speed given"


def test_a_checkpoint_can_be_laid_open_too(tmp_path, capsys):
    GPT(preset("debug")).save_pretrained(tmp_path / "mine")
    assert analyze.main([str(tmp_path / "mine"), "debug", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["parameters"] == second["parameters"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "0 models were named"),
        (["gpt2", "tiny", "debug"], "3 models were named"),
        (["n_layer=3", "gpt2"], "stands before any model"),
        (["gtp2"], "unknown preset 'gtp2': did you mean 'gpt2'"),
        (["gpt2", "layers=3"], "unknown model setting layers"),
        (["gpt2", "dtype=int4"], "dtype is 'int4': choose one of fp32, bf16, fp16"),
        (["gpt2", "batch=0"], "batch is 0: it must be above 0"),
        (["gpt2", "optimizer=lion"], "optimizer is 'lion': choose one of adamw"),
        (["debug", "context=4096"], "1 to block_size 32 tokens"),
        (["gpt2", "--set", "batch=none"], "batch"),
    ],
)
def test_bad_words_are_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        analyze.main(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("module", "attention"), [(gpt_gqa, "gqa"), (gpt_mla, "mla"), (gpt_swa, "swa")])
def test_a_tour_builds_counts_writes_and_weighs_the_cache(module, attention, capsys):
    assert module.main(["llama-tiny", "n_layer=2", "--new-tokens", "3"]) == 0
    out = capsys.readouterr().out
    model = module.build("llama-tiny", n_layer=2)
    assert model.config.attention == attention
    assert f"{model.num_parameters():,} parameters" in out and "the weights are random" in out
    (row,) = (line for line in out.splitlines() if line.startswith(f"│ {attention} "))
    at_the_end = int(row.split("│")[-2].split("(")[0].replace(",", ""))
    import torch

    assert at_the_end == model.new_cache(1, 512, torch.bfloat16).nbytes
    share = float(row.split("(")[-1].split(")")[0])
    assert 0 < share < 1, "the whole point of the variant"


def test_the_plain_tour_shows_all_attentions(capsys):
    assert tour.take_tour("mha", ["debug", "--new-tokens", "2"]) == 0
    out = capsys.readouterr().out
    assert all(f"│ {name} " in out for name in ("mha", "gqa", "mla", "swa")) and "8,128 parameters" in out


def test_a_tour_refuses_what_it_is_not(monkeypatch):
    with pytest.raises(UserError, match="attention is mla but gpt_gqa is gqa"):
        gpt_gqa.main(["debug", "attention=mla"])
    with pytest.raises(UserError, match="--new-tokens is 99: give 1 to 31"):
        gpt_swa.main(["debug", "--new-tokens", "99"])
    monkeypatch.setattr(tour.os, "sysconf", lambda name: 2**12)
    with pytest.raises(UserError, match=r"llama-7b takes 22.1 GiB .* this machine has 0.0"):
        gpt_gqa.main(["llama-7b"])


def test_a_folder_of_transformers_can_be_laid_open_too(tmp_path, capsys):
    config = {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50257}
    config |= {"n_positions": 1024, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()  # never opened: everything follows from the configuration
    assert analyze.main([str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"]["total"] == 124_439_808
