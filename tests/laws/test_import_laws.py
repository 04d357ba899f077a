"""LG2: Llama, Mistral, Qwen2, DeepSeek and llama2.c weights compute here what they compute at home."""

from __future__ import annotations

import json

import pytest
import torch
from import_checks import (
    CASES,
    check_import_parity,
    check_llama2c_parity,
    count,
    llama2c_pair,
    tiny_reference,
)
from safetensors.torch import load_file, save_file

from gpt_model import GPT, Sampling, generate
from gpt_model.import_llama2c import read_pieces

GREEDY = Sampling(temperature=0.0)


@pytest.mark.parametrize("case", CASES)
def test_imported_weights_give_transformers_logits(case, tmp_path):
    reference = tiny_reference(case)
    reference.save_pretrained(tmp_path)
    check_import_parity(reference, tmp_path)
    assert GPT.from_pretrained(tmp_path).num_parameters() == count(reference)


def test_what_was_imported_can_be_saved_and_loaded_again(tmp_path):
    for case in ("llama-yarn-all", "qwen2-schedule", "deepseek-v3-yarn-mscale"):
        reference = tiny_reference(case)
        reference.save_pretrained(tmp_path / case)
        GPT.from_pretrained(tmp_path / case).save_pretrained(tmp_path / "ours")
        check_import_parity(reference, tmp_path / "ours")


@pytest.mark.parametrize("case", ["llama-yarn", "mistral", "llama3"])
def test_configs_of_older_versions_mean_the_same(case, tmp_path):
    """Before version 5 of transformers: rope_theta at the top, rope_scaling with "type", no head_dim."""
    reference = tiny_reference(case)
    reference.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    recipe = fields.pop("rope_parameters")
    fields["rope_theta"], kind = recipe.pop("rope_theta"), recipe.pop("rope_type")
    fields["rope_scaling"] = None if kind == "default" else {"type": kind, **recipe}
    fields.pop("head_dim")
    path.write_text(json.dumps(fields), encoding="utf-8")
    check_import_parity(reference, tmp_path)


def test_a_head_that_differs_is_kept_although_the_config_calls_it_tied(tmp_path):
    reference = tiny_reference("llama")
    reference.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(
        json.dumps({**fields, "tie_word_embeddings": True}), encoding="utf-8"
    )
    check_import_parity(reference, tmp_path)


def test_a_head_that_is_stored_twice_is_tied(tmp_path):
    reference = tiny_reference("llama-tied")
    reference.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    check_import_parity(reference, tmp_path)
    assert GPT.from_pretrained(tmp_path).config.tie_weights


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_a_llama2c_file_gives_the_logits_of_the_llama_it_was_written_from(tied, kv_heads, tmp_path):
    reference = llama2c_pair(tmp_path / "model.bin", tied=tied, kv_heads=kv_heads)
    check_llama2c_parity(reference, tmp_path / "model.bin")
    assert GPT.from_pretrained(tmp_path / "model.bin").num_parameters() == count(reference)


# Real weights -----------------------------------------------------------------------------------------


def test_stories260k_tells_its_golden_story(shared_data):
    folder = shared_data / "weights" / "stories260K"
    golden = json.loads((folder / "GOLDEN.json").read_text(encoding="utf-8"))
    model = GPT.from_pretrained(folder / "stories260K.bin")
    sizes = {key: value for key, value in golden["model"].items() if hasattr(model.config, key)}
    assert {key: getattr(model.config, key) for key in sizes} == sizes
    pieces = read_pieces(folder / "tok512.bin")
    assert len(pieces) == model.config.vocab_size
    # llama2.c writes 256 tokens unless told otherwise, and the golden text ends there.
    (ids,) = generate(model, [[1]], max_new_tokens=256, sampling=GREEDY, stop_ids=(1,))
    text = b"".join(pieces[i][1] for i in ids).decode("utf-8").removeprefix(" ")
    assert text == golden["greedy"]["text"]


def test_tinystories_656k_gives_its_golden_logits_and_ids(shared_data):
    folder = shared_data / "weights" / "tinystories-656k"
    model = GPT.from_pretrained(folder)
    for case in json.loads((folder / "GOLDEN.json").read_text(encoding="utf-8")):
        with torch.no_grad():
            last = model(torch.tensor([case["prompt_ids"]])).logits[0, -1]
        best = last.topk(5)
        assert best.indices.tolist() == [i for i, _ in case["last_logits_top5"]]
        for value, (_, wanted) in zip(best.values.tolist(), case["last_logits_top5"]):
            assert abs(value - wanted) < 1e-4  # the golden numbers have four decimals
        (new,) = generate(model, [case["prompt_ids"]], max_new_tokens=60, sampling=GREEDY)
        assert case["prompt_ids"] + new == case["greedy60_ids"], case["prompt"]
