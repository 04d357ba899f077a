"""LA1, LA3, LA7 (rotary), LA8 and LA9 on the attention modules; the cache laws LA2 on the cache itself."""

from __future__ import annotations

import pytest
import torch
from attention_checks import (
    attention_config,
    check_attention_is_causal,
    check_backend_is_the_definition,
    check_bottom_right,
    check_causal_mask_table,
    check_equals_torch_multihead,
    check_is_causal_only_for_squares,
    check_maps_are_what_is_computed,
    check_nobody_to_look_at,
    check_only_distance_matters,
    check_rope_is_a_complex_rotation,
    check_weights_rows,
    make_attention,
    qkv,
)

from attention_mechanisms import (
    ATTENTIONS,
    BACKENDS,
    FullKVCache,
    RotaryPositions,
    attend,
    causal_mask,
    padding_mask,
)
from attention_mechanisms.positions import ROPE_LAYOUTS
from utils.errors import UserError

backends = pytest.mark.parametrize("backend", BACKENDS)
trainable_backends = pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "flex"])
layouts = pytest.mark.parametrize("layout", ROPE_LAYOUTS)
modules = pytest.mark.parametrize(
    "fields",
    [{}, {"position": "rope"}, {"position": "rope", "rope_layout": "interleaved"}, {"position": "none"}],
    ids=str,
)
registered = pytest.mark.parametrize("name", ATTENTIONS)

# On a CPU FlexAttention runs uncompiled, and says so; here only its numbers count.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without")

# LA1 ------------------------------------------------------------------------------------------------


@registered
@modules
@trainable_backends
def test_no_output_depends_on_a_later_input(name, fields, backend):
    check_attention_is_causal(make_attention(name, attn_backend=backend, **fields))


def test_the_causal_mask_is_the_triangle_at_the_bottom_right():
    check_causal_mask_table()


def test_more_queries_than_keys_is_refused():
    with pytest.raises(UserError, match="5 queries but only 3 keys"):
        causal_mask(5, 3)


# LA3 ------------------------------------------------------------------------------------------------


@backends
def test_every_backend_is_the_definition(backend):
    check_backend_is_the_definition(backend)


@backends
def test_fewer_queries_than_keys_are_aligned_bottom_right(backend):
    check_bottom_right(backend)


def test_is_causal_is_passed_to_torch_only_for_squares(monkeypatch):
    check_is_causal_only_for_squares(monkeypatch)


@pytest.mark.parametrize("bias", [True, False])
@trainable_backends
def test_the_module_equals_torchs_multihead_attention(backend, bias):
    check_equals_torch_multihead(backend, bias)


@pytest.mark.parametrize("causal", [True, False])
def test_the_map_times_the_values_is_the_output(causal):
    check_weights_rows(causal)


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
def test_dropout_acts_only_in_training_and_keeps_the_mean(backend):
    q, k, v = qkv(4, 4)
    quiet = attend(q, k, v, causal=True, backend=backend)
    assert torch.equal(attend(q, k, v, causal=True, backend=backend, dropout=0.4, training=False), quiet)
    torch.manual_seed(0)
    noisy = torch.stack(
        [attend(q, k, v, causal=True, backend=backend, dropout=0.4, training=True) for _ in range(4000)]
    )
    assert noisy.std(0).max() > 0.1, "dropout in training changes nothing"
    error = (noisy.mean(0) - quiet).abs() / (noisy.std(0) / 4000**0.5).clamp(min=1e-6)
    assert error.max() < 5, (
        f"dropout shifts the mean by {error.max():.1f} standard errors: are shares scaled by 1/(1-p)?"
    )


@pytest.mark.parametrize("backend", ["nonsense", ""])
def test_an_unknown_backend_is_refused_with_the_list(backend):
    with pytest.raises(UserError, match="manual"):
        attend(*qkv(2, 2), backend=backend)


def test_a_float_mask_is_refused():
    with pytest.raises(UserError, match="bool"):
        attend(*qkv(2, 2), torch.zeros(2, 2))


# LA7 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [10000.0, 500.0])
@layouts
def test_rotary_positions_are_an_explicit_complex_rotation(layout, theta):
    check_rope_is_a_complex_rotation(layout, theta)


@layouts
def test_only_the_distance_between_two_tokens_matters(layout):
    check_only_distance_matters(layout)


def test_the_two_layouts_are_one_rotation_under_a_permutation():
    x = torch.randn(1, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # half-split pair (i, i + 4) stands side by side
    half, _ = RotaryPositions(8, 16, layout="half_split")(x, x)
    inter, _ = RotaryPositions(8, 16, layout="interleaved")(x[..., order], x[..., order])
    assert torch.equal(half[..., order], inter)
    assert not torch.allclose(half, RotaryPositions(8, 16, layout="interleaved")(x, x)[0])


def test_rotary_equals_transformers_llama():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, max_position_embeddings=64, rope_theta=10000.0
    )
    g = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 4, 9, 8, generator=g), torch.randn(2, 4, 9, 8, generator=g)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(20, 29)[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    got = RotaryPositions(8, 64)(q, k, start=20)
    for ours, theirs in zip(got, expected):
        assert (ours - theirs).abs().max() < 2e-6


def test_rotary_tables_are_not_rounded_with_the_model():
    rope = RotaryPositions(8, 2048).to(torch.bfloat16)
    exact = RotaryPositions(8, 2048)
    assert torch.equal(rope.cos, exact.cos), (
        "rotary tables rounded to bf16 misplace far tokens by whole positions"
    )
    assert not RotaryPositions(8, 2048).state_dict(), (
        "tables follow from the configuration: they need no saving"
    )


def test_rotary_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match="7"):
        RotaryPositions(7, 16)
    with pytest.raises(UserError, match="half_split"):
        RotaryPositions(8, 16, layout="other")
    x = torch.zeros(1, 1, 4, 8)
    with pytest.raises(UserError, match="16"):
        RotaryPositions(8, 16)(x, x, start=13)


# LA8 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@backends
def test_a_query_that_may_look_at_nobody_gives_zeros_and_no_nan(backend, dtype):
    check_nobody_to_look_at(backend, dtype)


@registered
@modules
def test_what_stands_on_padding_changes_nothing(name, fields):
    module = make_attention(name, **fields)
    g = torch.Generator().manual_seed(3)
    x, other = torch.randn(2, 6, 16, generator=g), torch.randn(2, 6, 16, generator=g)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    changed = torch.where(mask[..., None].bool(), x, other)
    with torch.no_grad():
        first, second = module(x, attention_mask=mask), module(changed, attention_mask=mask)
    assert torch.equal(first[mask.bool()], second[mask.bool()]), "a real token looks at padding"


def test_padding_masks_of_the_wrong_kind_are_refused():
    for bad in (torch.ones(3, dtype=torch.long), torch.zeros(2, 3)):
        with pytest.raises(UserError, match="attention_mask"):
            padding_mask(bad)
    with pytest.raises(UserError, match="5"):
        make_attention()(torch.zeros(1, 4, 16), attention_mask=torch.ones(1, 5, dtype=torch.long))


# LA9 ------------------------------------------------------------------------------------------------


@modules
@trainable_backends
def test_the_map_shown_is_the_map_computed(fields, backend):
    check_maps_are_what_is_computed(make_attention(attn_backend=backend, **fields))


# LA2 on the cache itself -----------------------------------------------------------------------------


def filled_cache(tokens: int, capacity: int = 6) -> tuple[FullKVCache, torch.Tensor]:
    cache = FullKVCache(2, 2, capacity, 3, 4, torch.float32, "cpu")
    k = torch.randn(2, 3, tokens, 4, generator=torch.Generator().manual_seed(0))
    for index in range(2):
        cache.layer(index).append(k + index, -k - index)
    cache.advance(tokens)
    return cache, k


def test_append_returns_everything_so_far_in_order():
    cache, k = filled_cache(3)
    more = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(1))
    for index in range(2):
        keys, values = cache.layer(index).append(more + index, -more - index)
        assert torch.equal(keys, torch.cat([k, more], dim=2) + index)
        assert torch.equal(values, -torch.cat([k, more], dim=2) - index)
    assert cache.length == 3, "length moves once per forward pass, after all layers"
    cache.advance(2)
    assert cache.length == 5


def test_a_cache_fills_exactly_and_refuses_one_more_by_both_numbers():
    cache, _ = filled_cache(6)
    assert cache.length == cache.capacity == 6
    extra = torch.zeros(2, 3, 1, 4)
    with pytest.raises(UserError) as caught:
        cache.layer(0).append(extra, extra)
    assert "6" in str(caught.value) and "7" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError):
        cache.advance(1)
    assert cache.length == 6


def test_crop_beyond_what_is_held_is_refused():
    cache, _ = filled_cache(3)
    for n in (4, -1):
        with pytest.raises(UserError, match="3"):
            cache.crop(n)
    cache.crop(3)
    cache.crop(0)
    assert cache.length == 0


def test_the_bytes_of_a_cache_are_counted_exactly():
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2), (torch.float64, 8)):
        cache = FullKVCache(3, 2, 10, 4, 8, dtype, "cpu")
        assert cache.nbytes == 2 * 3 * 2 * 10 * 4 * 8 * size


@registered
def test_a_registered_attention_makes_its_own_cache(name):
    config = attention_config()
    cache = ATTENTIONS[name].make_cache(config, 2, 5, torch.float32, "cpu")
    assert cache.capacity == 5 and cache.length == 0 and cache.nbytes > 0
