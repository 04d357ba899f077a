"""Bad input of this chapter: one clear line that names the value and the limit, or defined behaviour without NaN."""

from __future__ import annotations

import pytest
import torch
from attention_checks import attention_config, make_attention
from cache_checks import FORMS, form_id
from model_checks import build, some_ids

from attention_mechanisms import (
    ATTENTIONS,
    BACKENDS,
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    attend,
    document_mask,
    padding_mask,
    window_mask,
)
from attention_mechanisms.attention import FAST
from gpt_model import GPT, GPTConfig, preset
from gpt_model.costs import skeleton
from utils.errors import UserError

forms = pytest.mark.parametrize("form", FORMS, ids=form_id)


def refuses(match, call, *args, **fields):
    """The call raises a UserError of one line that holds the words."""
    with pytest.raises(UserError, match=match) as caught:
        call(*args, **fields)
    assert "\n" not in str(caught.value), str(caught.value)


def qkv(q_len=4, k_len=4, heads=2):
    return [torch.randn(2, h, n, 4) for h, n in ((heads, q_len), (heads, k_len), (heads, k_len))]


@forms
def test_a_cache_too_small_and_a_batch_too_large_name_both_numbers(form):
    model = build(position="rope", **form)
    for ids in (some_ids(1, 9), some_ids(1, 12)):
        cache = model.new_cache(1, 8)
        refuses(rf"room for 8 tokens but 0 \+ {ids.size(1)}", model, ids, cache=cache)
        assert cache.length == 0
    cache = model.new_cache(1, 8)
    refuses("batch of 1 but 3 rows", model, some_ids(3, 2), cache=cache)
    refuses("at least 1", model.new_cache, 0)
    refuses("at least 1", model.new_cache, 1, 0)
    refuses("int32", model.new_cache, 1, 4, torch.int32)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rope", "alibi", "none"])
def test_more_tokens_than_block_size_are_refused_by_the_model(position):
    model = build(position=position, block_size=16)
    refuses("block_size is 16 but 17", model, some_ids(1, 17))
    cache = model.new_cache(1, 30)
    with torch.no_grad():
        model(some_ids(1, 15), cache=cache)
    refuses("15 of them in the cache", model, some_ids(1, 2), cache=cache)


def test_a_position_past_the_table_is_named():
    for table in (LearnedPositions(8, 4), SinusoidalPositions(8, 4)):
        refuses("position 8 is past block_size 8", table, torch.tensor([[0, 8]]))
    rope, x = RotaryPositions(4, 8), torch.zeros(1, 1, 2, 4)
    refuses("position 11 is past block_size 8", rope, x, x, torch.tensor([3, 11]))
    refuses("past block_size 8", rope, x, x, start=7)


@pytest.mark.parametrize("attention", ["gqa", "swa"])
@pytest.mark.parametrize("n_kv", [3, 5, 8])
def test_key_heads_that_do_not_divide_are_refused_with_the_choices(attention, n_kv):
    hint = f"n_kv_head is {n_kv} but n_head 4 .* choose one of 1, 2, 4"
    refuses(hint, GPTConfig, 30, n_head=4, attention=attention, n_kv_head=n_kv)
    refuses(hint, make_attention, attention, n_kv_head=n_kv)
    refuses("4 query heads cannot share 3", attend, torch.zeros(1, 4, 2, 4), *torch.zeros(2, 1, 3, 2, 4))


@pytest.mark.parametrize("attention", ["mha", "mla"])
def test_variants_without_shared_heads_refuse_n_kv_head(attention):
    refuses("n_kv_head is 2 but attention", GPTConfig, 30, n_head=4, attention=attention, n_kv_head=2)


def test_an_odd_rotary_dimension_is_refused():
    refuses("head_dim is 7", RotaryPositions, 7, 8)
    refuses("n_embd / n_head", GPTConfig, 30, n_embd=20, n_head=4, position="rope")
    refuses(
        "rope_dim is 3",
        GPTConfig,
        30,
        n_embd=16,
        n_head=4,
        attention="mla",
        rope_dim=3,
        position="rope",
    )
    refuses("n_embd is 15", SinusoidalPositions, 8, 15)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_below_one_is_refused(window):
    refuses(f"window is {window}", GPTConfig, 30, attention="swa", window=window)
    refuses(f"window is {window}", window_mask, 3, 3, window)
    for backend in BACKENDS + FAST:
        refuses(f"window is {window}", attend, *qkv(), window=window, backend=backend)
    refuses("global_every is -1", GPTConfig, 30, attention="swa", global_every=-1)
    refuses("attention_sinks is -2", GPTConfig, 30, attention="swa", attention_sinks=-2)


@pytest.mark.parametrize("backend", [*BACKENDS, "grouped"])
def test_masks_of_the_wrong_shape_or_dtype_are_refused(backend):
    q, k, v = qkv()
    for wrong in (torch.ones(4, 5), torch.ones(3, 4), torch.ones(3, 1, 4, 4), torch.ones(1, 2, 2, 4, 4)):
        refuses("mask has shape", attend, q, k, v, wrong.bool(), backend=backend)
        refuses("bias has shape", attend, q, k, v, bias=wrong, backend=backend)
    for wrong in (torch.ones(4, 4), torch.ones(4, 4, dtype=torch.long)):
        refuses("mask has dtype", attend, q, k, v, wrong, backend=backend)


@forms
def test_an_attention_mask_of_the_wrong_shape_or_dtype_is_refused(form):
    model = build(position="rope", **form)
    refuses("attention_mask has shape", model, some_ids(2, 4), attention_mask=torch.ones(2, 5).long())
    refuses("attention_mask has shape", model, some_ids(2, 4), attention_mask=torch.ones(1, 4).long())
    refuses("dtype torch.float32", model, some_ids(2, 4), attention_mask=torch.ones(2, 4))
    refuses("attention_mask has shape", padding_mask, torch.ones(4, dtype=torch.long))
    refuses("documents has shape", document_mask, torch.ones(4, dtype=torch.long))


@pytest.mark.parametrize("backend", [*BACKENDS, *FAST])
def test_more_queries_than_keys_are_refused(backend):
    for window in (None, 2):
        refuses(
            "6 queries but only 4 keys",
            attend,
            *qkv(6, 4),
            causal=True,
            window=window,
            backend=backend,
        )
    long = qkv(130, 70)
    refuses("130 queries but only 70 keys", attend, *long, window=20, backend="auto")


def test_a_kernel_that_cannot_do_what_is_asked_says_so():
    mask = torch.ones(4, 4, dtype=torch.bool)
    for backend in ("blocks", "bands"):
        refuses("without mask and bias only", attend, *qkv(), mask, causal=True, backend=backend)
        refuses("without mask and bias only", attend, *qkv(), backend=backend)
        refuses("no dropout", attend, *qkv(), causal=True, backend=backend, dropout=0.1, training=True)


@forms
def test_a_row_of_padding_alone_gives_no_nan_in_any_variant(form):
    if form.get("attention_sinks"):
        form = {**form, "attention_sinks": 0}
    model = build(position="rope", **form)
    mask = torch.tensor([[0] * 6, [0, 0, 1, 1, 1, 1]])
    ids = some_ids(2, 6)
    logits = model(ids, attention_mask=mask).logits
    assert bool(torch.isfinite(logits).all()), "a fully masked row gave NaN"
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all()), f"NaN gradient in {name}"
    with torch.no_grad():
        cache, got = model.new_cache(2, 6), []
        for a, b in ((0, 4), (4, 5), (5, 6)):
            got.append(model(ids[:, a:b], attention_mask=mask[:, :b], cache=cache).logits)
        cached = torch.cat(got, dim=1)
    assert bool(torch.isfinite(cached).all())
    assert torch.allclose(cached[1, 2:], logits[1, 2:], atol=1e-5), "a row of padding disturbs its neighbour"


# The configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gpt2-xl", "storyteller", "tiny"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_preset_builds_with_every_attention_on_the_meta_device(name, attention):
    for position in ("learned", "rope", "alibi"):
        config = preset(name, attention=attention, position=position)
        model = skeleton(config)
        assert all(p.device.type == "meta" for p in model.parameters())
        assert model.num_parameters() > 0 and model.new_cache(1, 8).nbytes > 0
        assert GPTConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("owner", "field", "value"),
    [
        ("mla", "kv_latent_dim", 8), ("mla", "rope_dim", 4), ("mla", "q_latent_dim", 8),
        ("swa", "window", 8), ("swa", "global_every", 2), ("swa", "attention_sinks", 1),
    ],
)  # fmt: skip
def test_a_field_of_another_variant_is_refused_by_name(owner, field, value):
    assert getattr(GPTConfig(30, attention=owner, position="rope", **{field: value}), field) == value
    for attention in set(ATTENTIONS) - {owner}:
        hint = f"{field} is {value} but only attention {owner} has it, and attention is {attention}"
        refuses(hint, GPTConfig, 30, attention=attention, position="rope", **{field: value})


def test_an_unknown_attention_and_wrong_types_are_refused_with_the_choices():
    refuses("choose one of mha, gqa, mla, swa", preset, "gpt2", attention="linear")
    refuses("unknown model setting windows", preset, "gpt2", attention="swa", windows=4)
    for field in ("window", "kv_latent_dim", "n_kv_head", "rope_original_length"):
        for wrong in ("8", 2.5, True, 0):
            refuses(f"{field} is", GPTConfig, 30, attention="swa", **{field: wrong})


def test_a_module_checks_by_itself_what_a_configuration_would_have_caught():
    refuses("n_embd is 18, not divisible", ATTENTIONS["mha"], attention_config(n_embd=18))
    refuses("n_embd is 18, not divisible", ATTENTIONS["mla"], attention_config(n_embd=18))
    module = make_attention("mla", position="rope")
    module.path = "fast"
    refuses("path is 'fast': choose one of auto, naive, absorbed", module, torch.zeros(1, 2, 16))
    assert isinstance(build(attention="mla"), GPT)
