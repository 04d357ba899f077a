"""LA4 grouped queries, LA5 latents, LA6 windows; LA9 for each of them."""

from __future__ import annotations

import pytest
import torch
from attention_checks import check_maps_are_what_is_computed, make_attention
from model_checks import build
from variant_checks import (
    check_absorbed_is_naive,
    check_equals_deepseek,
    check_equals_mistral,
    check_gqa_cache_holds_key_heads_only,
    check_gqa_is_mha_with_repeated_heads,
    check_gqa_with_all_heads_is_mha,
    check_latent_cache_holds_normed_latents,
    check_latent_scale,
    check_reach_of_layers,
    check_wide_window_is_full_attention,
    check_window_is_the_band,
)

from attention_mechanisms.grouped_query import default_kv_heads, divisors
from attention_mechanisms.latent import LatentAttention
from gpt_model.config import CHOICES
from gpt_model.trace import attention_maps

backends = pytest.mark.parametrize("backend", ["auto", "manual", "sdpa"])
paths = pytest.mark.parametrize("path", ["naive", "absorbed"])

# LA4 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", CHOICES["position"])
@pytest.mark.parametrize("n_kv", [1, 2, 4])
@backends
def test_grouped_queries_are_multi_head_with_repeated_keys(n_kv, backend, position):
    check_gqa_is_mha_with_repeated_heads(n_kv, backend, position)


def test_as_many_key_heads_as_queries_is_multi_head_bit_for_bit():
    check_gqa_with_all_heads_is_mha()


@pytest.mark.parametrize("n_kv", [1, 2, 4])
def test_the_cache_shrinks_with_the_key_heads(n_kv):
    check_gqa_cache_holds_key_heads_only(n_kv)


def test_the_default_is_the_divisor_nearest_to_a_third():
    assert [default_kv_heads(n) for n in (1, 2, 3, 4, 6, 8, 12, 16, 32)] == [1, 1, 1, 1, 2, 2, 4, 4, 8]
    assert divisors(12) == [1, 2, 3, 4, 6, 12]


# LA5 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q_latent", [None, 5])
@pytest.mark.parametrize(("version", "interleaved"), [(3, True), (3, False), (2, True)])
@paths
def test_latent_attention_is_deepseeks(version, interleaved, path, q_latent):
    check_equals_deepseek(version, path, q_latent, interleaved)


@pytest.mark.parametrize(
    "fields",
    [{"position": "rope"}, {"position": "rope", "q_latent_dim": 6, "rope_dim": 2}, {"position": "alibi"},
     {"position": "rope", "kv_latent_dim": 1, "rope_layout": "interleaved"}],
    ids=str,
)  # fmt: skip
def test_absorbed_decoding_is_the_naive_path_however_it_is_fed(fields):
    model = build(attention="mla", **fields)
    check_absorbed_is_naive(model)
    if fields == {"position": "rope"}:
        check_absorbed_is_naive(model, double=True)


@pytest.mark.parametrize("fields", [{}, {"rope_dim": 6, "kv_latent_dim": 3}, {"position": "none"}], ids=str)
def test_the_cache_holds_the_normed_latent_and_one_rotary_key(fields):
    check_latent_cache_holds_normed_latents(build(attention="mla", **{"position": "rope", **fields}))


def test_the_scale_counts_both_parts_of_a_head():
    check_latent_scale()


def test_the_automatic_path_takes_the_fewer_multiplications():
    module = make_attention("mla", position="rope", n_embd=64, n_head=4, kv_latent_dim=16, rope_dim=8)
    assert isinstance(module, LatentAttention)
    assert module.choose_path(1, 1000) == "absorbed" and module.choose_path(1000, 1000) == "naive"
    module.path = "naive"
    assert module.choose_path(1, 1000) == "naive"


# LA6 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 3, 12, 13, 40])
@backends
def test_a_window_is_the_dense_band(window, backend):
    check_window_is_the_band(window, backend)
    check_window_is_the_band(window, backend, sinks=2)
    check_window_is_the_band(window, backend, n_kv=2)


@pytest.mark.parametrize(("window", "layers"), [(1, 3), (2, 2), (3, 1), (3, 3), (5, 2)])
def test_the_gradient_to_tokens_out_of_reach_is_exactly_zero(window, layers):
    check_reach_of_layers(window, layers)


def test_a_global_layer_reaches_everything():
    check_reach_of_layers(3, 2, every=2)


@pytest.mark.parametrize("fields", [{}, {"norm": "rmsnorm"}], ids=str)
def test_a_window_over_the_whole_text_is_full_attention(fields):
    check_wide_window_is_full_attention(**fields)


@pytest.mark.parametrize(("window", "n_kv"), [(1, 4), (3, 4), (4, 2), (15, 1), (30, 2)])
@backends
def test_a_window_is_mistrals(window, n_kv, backend):
    check_equals_mistral(window, n_kv, backend)


# LA9 ------------------------------------------------------------------------------------------------

MAPPED = [
    ("mha", {}), ("gqa", {"n_kv_head": 1}), ("gqa", {"n_kv_head": 2}),
    ("swa", {"window": 2}), ("swa", {"window": 3, "attention_sinks": 1}), ("swa", {"window": 3, "n_kv_head": 2}),
    ("mla", {}), ("mla", {"q_latent_dim": 5}),
]  # fmt: skip


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize(("name", "fields"), MAPPED, ids=str)
@backends
def test_the_map_shown_is_the_map_computed(name, fields, position, backend):
    module = make_attention(name, position=position, attn_backend=backend, **fields)
    check_maps_are_what_is_computed(module)
    if name == "mla":
        module.path = "absorbed"
        check_maps_are_what_is_computed(module)


@pytest.mark.parametrize("name", ["mha", "gqa", "mla", "swa"])
def test_the_models_maps_are_distributions_over_what_may_be_seen(name):
    model = build(attention=name, position="rope", **({"window": 3} if name == "swa" else {}))
    ids = torch.arange(9)[None] % 7
    maps = attention_maps(model, ids)
    assert maps.shape == (2, 2, 9, 9)
    assert torch.allclose(maps.sum(-1), torch.ones(2, 2, 9)) and torch.count_nonzero(maps.triu(1)) == 0
    if name == "swa":
        assert torch.count_nonzero(maps.tril(-3)) == 0, "a map shows tokens outside the window"
