"""LA1, LA2, LA8 on the whole model, and LG1, LG4 to LG7: what every GPT of this book must obey."""

from __future__ import annotations

import base64
import itertools
import json
import math

import pytest
import torch
from model_checks import (
    ALL_VARIANTS,
    CACHE_VARIANTS,
    assert_close,
    build,
    check_crop_and_reset,
    check_cuts,
    check_every_way_to_cut_8,
    check_gpt2_parity,
    check_init_std,
    check_left_padding,
    check_loss_at_init,
    check_model_gradient_is_causal,
    check_model_is_causal,
    check_one_batch_is_overfitted,
    check_random_cuts_of_64,
    check_tied_once,
    check_two_sessions,
    check_unused_slots_do_not_matter,
    feed,
    random_cut,
    rewrite_weights,
    some_ids,
    tiny_gpt2,
    variant_id,
)
from safetensors.torch import load_file, save_file

from gpt_model import GPT, GPTConfig, Sampling, generate, preset
from gpt_model.config import CHOICES
from utils.errors import UserError

all_variants = pytest.mark.parametrize("variant", ALL_VARIANTS, ids=variant_id)
cache_variants = pytest.mark.parametrize("variant", CACHE_VARIANTS, ids=variant_id)

# LA1 ------------------------------------------------------------------------------------------------


@all_variants
def test_no_logit_depends_on_a_later_token(variant):
    model = build(**variant)
    check_model_is_causal(model)
    check_model_gradient_is_causal(model)


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
def test_no_logit_depends_on_a_later_token_while_training(backend):
    model = build(attn_backend=backend, dropout=0.0).train()
    check_model_is_causal(model)


# LA2 ------------------------------------------------------------------------------------------------


@cache_variants
def test_all_128_ways_of_feeding_8_tokens_give_the_uncached_logits(variant):
    check_every_way_to_cut_8(build(**variant))


@cache_variants
def test_random_cuts_of_64_tokens_give_the_uncached_logits(variant):
    check_random_cuts_of_64(build(**variant))


@all_variants
def test_one_token_at_a_time_gives_the_uncached_logits(variant):
    check_cuts(build(**variant), some_ids(2, 8), [[1] * 8, [5, 1, 1, 1]], slots=8, rows=2)


@cache_variants
def test_a_cache_larger_than_needed_gives_the_same_logits(variant):
    model = build(**variant)
    check_cuts(model, some_ids(2, 8), [[3, 5], [1] * 8], slots=40, rows=2)
    check_cuts(model, some_ids(2, 8), [[3, 5], [1] * 8], slots=11, rows=5)


@cache_variants
def test_unused_slots_filled_with_nan_change_nothing(variant):
    check_unused_slots_do_not_matter(build(**variant))


@cache_variants
def test_crop_goes_back_and_reset_starts_anew(variant):
    check_crop_and_reset(build(**variant))


@cache_variants
def test_two_interleaved_sessions_do_not_see_each_other(variant):
    check_two_sessions(build(**variant))


@cache_variants
def test_a_full_cache_refuses_one_more_token_and_names_both_numbers(variant):
    model = build(**variant)
    cache = model.new_cache(1, 11)
    feed(model, some_ids(1, 11), (4, 7), cache)
    for extra in (1, 3):
        with pytest.raises(UserError) as caught:
            model(some_ids(1, extra), cache=cache)
        message = str(caught.value)
        assert "11" in message and str(11 + extra) in message and "\n" not in message, message
        assert cache.length == 11, "a refused token must leave the cache as it was"
    cache.crop(10)
    ids = some_ids(1, 11)
    assert_close(model(ids[:, 10:], cache=cache).logits, model(ids).logits[:, 10:], 1e-5, "after a refusal")


def test_a_batch_larger_than_its_cache_is_refused():
    model = build()
    with pytest.raises(UserError, match="2"):
        model(some_ids(2, 3), cache=model.new_cache(1, 8))


def test_cached_equals_uncached_to_1e_10_in_float64():
    model = build(position="rope").double()
    ids = some_ids(2, 64)
    with torch.no_grad():
        cached = feed(model, ids, random_cut(64, 1), model.new_cache(2, 64, dtype=torch.float64))
        assert_close(cached, model(ids).logits, 1e-10, "an fp32 detour in the cache or in the positions")


def test_nbytes_is_what_the_cache_holds():
    model = build(n_layer=3, n_head=4, n_embd=32)
    assert model.new_cache(2, 10).nbytes == 2 * 3 * 2 * 10 * 32 * 4  # k and v, layers, rows, slots, width, fp32


# LA8 ------------------------------------------------------------------------------------------------


@all_variants
def test_a_left_padded_batch_gives_each_row_its_single_run(variant):
    check_left_padding(build(**variant))


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
def test_a_row_of_padding_alone_gives_no_nan_and_no_nan_gradient(backend):
    model = build(attn_backend=backend)
    mask = torch.tensor([[0] * 6, [0, 0, 1, 1, 1, 1]])
    logits = model(some_ids(2, 6), attention_mask=mask).logits
    assert bool(torch.isfinite(logits).all()), "a fully masked row gave NaN"
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()), f"a fully masked row gave a NaN gradient in {name}"


# LG1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{}, {"n_embd": 32, "n_head": 2, "n_layer": 3}, {"n_inner": 40}, {"layer_norm_epsilon": 1e-3}],
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


# LG5 ------------------------------------------------------------------------------------------------


@all_variants
def test_an_untrained_model_is_as_good_as_guessing(variant):
    for tie in (True, False):
        check_loss_at_init(build(loud=False, tie_weights=tie, vocab_size=97, n_embd=64, **variant))


@all_variants
def test_one_batch_can_be_learned_by_heart(variant):
    check_one_batch_is_overfitted(build(loud=False, n_embd=32, **variant))


def test_ignored_targets_do_not_count():
    model = build()
    ids, targets = some_ids(2, 6), some_ids(2, 6, seed=1)
    targets[0, :4] = -100
    targets[1, 2] = -100
    output = model(ids, targets=targets)
    log_p = torch.log_softmax(output.logits.double(), dim=-1)
    kept = [-log_p[b, t, targets[b, t]] for b, t in itertools.product(range(2), range(6)) if targets[b, t] >= 0]
    assert math.isclose(output.loss.item(), (sum(kept) / len(kept)).item(), abs_tol=1e-6)


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
