"""LG1 GPT-2 parity, LG4 counts, LG5 learning, LG6 tying, LG7 initialisation."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
import torch
from model_checks import ALL_VARIANTS, assert_close, build, some_ids, variant_id
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from weight_checks import (
    check_gpt2_parity,
    check_ignored_targets,
    check_init_std,
    check_loss_at_init,
    check_one_batch_is_overfitted,
    check_tied_once,
    rewrite_weights,
    tiny_gpt2,
)

from gpt_model import GPT, GPTConfig, Sampling, generate, preset
from gpt_model.config import CHOICES
from gpt_model.costs import cache_bytes, forward_flops, parameter_breakdown
from utils.errors import UserError

all_variants = pytest.mark.parametrize("variant", ALL_VARIANTS, ids=variant_id)

# LG1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n_embd": 32, "n_head": 2, "n_layer": 3},
        {"n_inner": 40},
        {"layer_norm_epsilon": 1e-3},
        {"activation_function": "gelu"},
        {"activation_function": "relu"},
        {"tie_word_embeddings": False},
    ],
    ids=str,
)
def test_imported_gpt2_weights_give_transformers_logits(tmp_path, fields):
    reference = tiny_gpt2(**fields)
    reference.save_pretrained(tmp_path)
    check_gpt2_parity(reference, tmp_path)


def test_imported_gpt2_weights_in_every_backend(tmp_path):
    reference = tiny_gpt2(seed=3)
    reference.save_pretrained(tmp_path)
    ids = some_ids(2, 16, vocab=31)
    with torch.no_grad():
        expected = reference(ids).logits
        weights = GPT.from_pretrained(str(tmp_path))
        for backend in ("manual", "sdpa"):
            model = GPT(GPTConfig.from_dict({**weights.config.to_dict(), "attn_backend": backend})).eval()
            model.load_state_dict(weights.state_dict())
            assert_close(model(ids).logits, expected, 1e-5, f"backend {backend} differs from transformers")


def test_gpt2_files_without_prefix_or_with_mask_buffers_are_read_too(tmp_path):
    reference = tiny_gpt2(seed=1)
    reference.save_pretrained(tmp_path / "saved")

    def without_prefix(tensors):
        return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}

    def with_buffers(tensors):
        mask = torch.ones(16, 16).tril().view(1, 1, 16, 16)
        extra = {f"transformer.h.{i}.attn.bias": mask.clone() for i in range(2)}
        extra |= {f"transformer.h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
        return {**tensors, **extra}

    for name, change in (("bare", without_prefix), ("buffers", with_buffers)):
        check_gpt2_parity(reference, rewrite_weights(tmp_path / "saved", tmp_path / name, change))


@pytest.mark.parametrize(
    "field", [{"scale_attn_by_inverse_layer_idx": True}, {"activation_function": "silu"}], ids=str
)
def test_a_gpt2_that_computes_something_else_is_refused_by_name(tmp_path, field):
    tiny_gpt2(**field).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=next(iter(field))):
        GPT.from_pretrained(str(tmp_path))


def test_a_missing_a_surplus_or_a_misshapen_gpt2_weight_is_named(tmp_path):
    tiny_gpt2().save_pretrained(tmp_path / "saved")
    name = "transformer.h.1.mlp.c_fc.weight"
    changes = {
        "missing": lambda t: {k: v for k, v in t.items() if k != name},
        "surplus": lambda t: {**t, name.replace("c_fc", "c_extra"): torch.zeros(3)},
        "misshapen": lambda t: {**t, name: torch.zeros(24, 95)},
    }
    for kind, change in changes.items():
        folder = rewrite_weights(tmp_path / "saved", tmp_path / kind, change)
        with pytest.raises(UserError) as caught:
            GPT.from_pretrained(str(folder))
        assert "mlp" in str(caught.value) and "\n" not in str(caught.value), f"{kind}: {caught.value}"


# LG4 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_gpt2_presets_have_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        model = GPT(preset(name))
    assert model.num_parameters() == count
    width, layers = model.config.n_embd, model.config.n_layer
    # By hand: 12 n^2 weights and 13 n biases and gains a block, and the last norm.
    assert model.num_parameters(non_embedding=True) == layers * (12 * width**2 + 13 * width) + 2 * width


@all_variants
def test_num_parameters_counts_each_storage_once(variant):
    for tie in (True, False):
        model = build(tie_weights=tie, **variant)
        storages = {p.untyped_storage().data_ptr(): p.numel() for p in model.parameters()}
        assert model.num_parameters() == sum(storages.values())


@all_variants
def test_the_breakdown_sums_to_the_whole(variant):
    for tie in (True, False):
        model = build(tie_weights=tie, **variant)
        parts = parameter_breakdown(model.config)
        assert sum(parts.values()) == sum(p.numel() for p in model.parameters()), parts
        assert parts["token embedding"] == model.config.vocab_size * model.config.n_embd
        assert parts["output head"] == (0 if tie else model.config.vocab_size * model.config.n_embd)


@pytest.mark.parametrize("mlp", CHOICES["mlp"])
@pytest.mark.parametrize("position", CHOICES["position"])
def test_flops_equal_torchs_own_counter(position, mlp):
    model = build(position=position, mlp=mlp, attn_backend="manual")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(some_ids(3, 11))
    assert forward_flops(model.config, 3, 11) == counter.get_total_flops()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_estimate_of_a_cache_is_what_it_allocates(dtype):
    model = build(n_layer=3, n_head=4, n_embd=32)
    cache = model.new_cache(2, 10, dtype)
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in cache.tensors()}
    assert cache_bytes(model.config, 2, 10, dtype) == cache.nbytes == sum(held.values())


# LG5 ------------------------------------------------------------------------------------------------


@all_variants
def test_an_untrained_model_is_as_good_as_guessing(variant):
    for tie in (True, False):
        check_loss_at_init(build(loud=False, tie_weights=tie, vocab_size=97, n_embd=64, **variant))


@all_variants
def test_one_batch_can_be_learned_by_heart(variant):
    check_one_batch_is_overfitted(build(loud=False, n_embd=32, **variant))


def test_ignored_targets_do_not_count():
    check_ignored_targets(build())


# LG6 ------------------------------------------------------------------------------------------------


def test_a_tied_head_is_one_storage_saved_once_that_survives_load_and_to(tmp_path):
    check_tied_once(build(tie_weights=True), tmp_path)


def test_an_untied_head_is_two_weights_and_both_are_saved(tmp_path):
    model = build(tie_weights=False)
    model.save_pretrained(tmp_path)
    saved = load_file(str(tmp_path / "model.safetensors"))
    assert sum(t.numel() for t in saved.values()) == model.num_parameters()
    again = GPT.load(tmp_path).eval()
    ids = some_ids(2, 9)
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert again.num_parameters() == build(tie_weights=True).num_parameters() + model.config.vocab_size * 16


@all_variants
def test_saved_and_loaded_gives_bitwise_equal_logits(variant, tmp_path):
    model = build(**variant)
    model.save_pretrained(tmp_path)
    again = GPT.load(tmp_path).eval()
    assert again.config == model.config
    ids = some_ids(2, 9)
    assert torch.equal(again(ids).logits, model(ids).logits)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model.safetensors", "config.json"} <= names
    json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))


# LG7 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mlp", CHOICES["mlp"])
@pytest.mark.parametrize("position", CHOICES["position"])
def test_weights_start_at_gpt2s_scale(position, mlp):
    sizes = {"n_layer": 3, "n_embd": 192, "n_head": 4, "block_size": 256, "vocab_size": 500}
    for tie in (True, False):
        check_init_std(build(loud=False, position=position, mlp=mlp, tie_weights=tie, **sizes))


# LG1 on real weights ---------------------------------------------------------------------------------


def tensor_from_json(entry) -> torch.Tensor:
    """A base64 float32 tensor of the shared JSON files; the data may be padded beyond the shape."""
    flat = torch.frombuffer(bytearray(base64.b64decode(entry["data"])), dtype=torch.float32)
    return flat.view(entry["shape"]).clone()


@pytest.fixture(scope="module")
def sorter(shared_data, tmp_path_factory):
    """minGPT's sorting model, rewritten as a GPT-2 folder (its linear weights are (out, in)) and imported."""
    source = shared_data / "weights" / "minGPT-sort"
    entries = json.loads((source / "gpt-nano-sort-model.json").read_text(encoding="utf-8"))
    sizes = entries.pop("config")
    tensors = {name: tensor_from_json(entry) for name, entry in entries.items()}
    for name in tensors:
        if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            tensors[name] = tensors[name].T.contiguous()
    folder = tmp_path_factory.mktemp("sorter")
    save_file(tensors, str(folder / "model.safetensors"))
    config = {"model_type": "gpt2", "n_positions": sizes["block_size"], "tie_word_embeddings": False}
    config |= {key: sizes[key] for key in ("n_layer", "n_head", "n_embd", "vocab_size")}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    golden = json.loads((source / "gpt-nano-sort-t0-partials.json").read_text(encoding="utf-8"))
    golden.pop("config")
    return GPT.from_pretrained(str(folder)), {name: tensor_from_json(entry) for name, entry in golden.items()}


def test_the_real_sorting_model_has_85728_parameters(sorter):
    model, _ = sorter
    assert model.num_parameters() == 85_728


def test_the_real_sorting_model_reproduces_its_activations(sorter):
    model, golden = sorter
    block = model.blocks[0]
    seen: dict[str, torch.Tensor] = {}

    def output(name):
        return lambda _module, _inputs, out: seen.__setitem__(name, out)

    def both(before, after):
        return lambda _module, inputs, out: seen.update({before: inputs[0], after: out})

    hooks = [
        model.token_embedding.register_forward_hook(output("tok_emb")),
        block.norm_1.register_forward_hook(both("x", "ln1")),
        block.attn.qkv_proj.register_forward_hook(output("qkv")),
        block.attn.out_proj.register_forward_hook(both("y", "yProj")),
        block.norm_2.register_forward_hook(both("attnResid", "ln2")),
        block.mlp.up_proj.register_forward_hook(output("fc")),
        block.mlp.out_proj.register_forward_hook(both("gelu", "mlp")),
        *(model.blocks[i].register_forward_hook(output(f"block{i}")) for i in range(3)),
        model.final_norm.register_forward_hook(output("ln_f")),
    ]
    with torch.no_grad():
        seen["lm_head"] = model(golden["idx"].long()).logits
        for hook in hooks:
            hook.remove()
        seen["q"], seen["k"], seen["v"] = block.attn.project(seen["ln1"])
        _, seen["attSm"] = block.attn(seen["ln1"], need_weights=True)
    seen["probs"] = seen["lm_head"].softmax(-1)
    seen["mlpResid"] = seen["attnResid"] + seen["mlp"]
    seen["pos_emb"] = (seen["x"] - seen["tok_emb"])[:1]
    assert set(golden) - set(seen) == {"idx", "att"}
    for name in golden.keys() & seen.keys():
        assert_close(seen[name], golden[name], 2e-6, f"activation {name} of minGPT's sorting model")


def test_the_real_sorting_model_sorts_all_729_inputs(sorter):
    model, _ = sorter
    inputs = [list(digits) for digits in itertools.product(range(3), repeat=6)]
    answers = generate(model, inputs, max_new_tokens=6, sampling=Sampling(temperature=0.0))
    wrong = [(given, got) for given, got in zip(inputs, answers) if got != sorted(given)]
    assert not wrong, f"{len(wrong)} of 729 are not sorted, the first {wrong[0]}"
