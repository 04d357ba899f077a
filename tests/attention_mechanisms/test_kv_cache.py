"""The KV cache by itself: bytes, limits, crop, and what happens to a padding mask."""

from __future__ import annotations

import pytest
import torch

from attention_mechanisms import FullKVCache
from utils.errors import UserError


def new_cache(**changes):
    sizes = {"n_layer": 2, "batch": 3, "capacity": 8, "n_kv_head": 2, "head_dim": 4, **changes}
    return FullKVCache(**sizes)


def feed(cache, new, batch=3, value=1.0):
    """One forward pass of `new` tokens; returns what layer 0 sees."""
    k = torch.full((batch, 2, new, 4), value)
    seen = [cache.layer(i).append(k, k + 1) for i in range(2)]
    cache.advance(new)
    return seen[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nbytes_is_what_is_allocated(dtype):
    cache = new_cache(dtype=dtype)
    assert cache.nbytes == 2 * 2 * 3 * 2 * 8 * 4 * dtype.itemsize
    assert cache.nbytes == sum(t.untyped_storage().nbytes() for t in cache.tensors())


def test_appending_returns_views_of_the_filled_part():
    cache = new_cache()
    for tensor in cache.tensors():
        tensor.fill_(torch.nan)
    feed(cache, 3)
    k, v = feed(cache, 2, value=5.0)
    assert k.shape == (3, 2, 5, 4) and not k.isnan().any()
    assert k.untyped_storage().data_ptr() == cache.layer(0).k.data.untyped_storage().data_ptr(), (
        "no old token is copied"
    )
    assert k[0, 0, :, 0].tolist() == [1, 1, 1, 5, 5] and v[0, 0, :, 0].tolist() == [2, 2, 2, 6, 6]


def test_one_token_or_one_row_too_many_names_both_numbers_and_changes_nothing():
    cache = new_cache()
    feed(cache, 8)
    with pytest.raises(UserError, match=r"room for 8 tokens but 8 \+ 1 = 9"):
        feed(cache, 1)
    assert cache.length == 8
    cache.reset()
    with pytest.raises(UserError, match="batch of 3 but 4 rows"):
        feed(cache, 1, batch=4)
    feed(cache, 8)


def test_crop_forgets_and_refuses_nonsense():
    cache = new_cache()
    feed(cache, 6)
    cache.crop(2)
    k, _ = feed(cache, 1, value=9.0)
    assert k[0, 0, :, 0].tolist() == [1, 1, 9]
    for wrong in (-1, 4):
        with pytest.raises(UserError, match=f"crop the KV cache to {wrong} tokens: it holds 3"):
            cache.crop(wrong)


def test_the_mask_is_remembered_and_new_tokens_are_real():
    cache = new_cache()
    assert cache.attention_mask is None and cache.mask_with_new(3, 2) is None
    cache.set_attention_mask(torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 1]]))
    feed(cache, 3)
    assert cache.mask_with_new(2, 2).int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]
    cache.crop(1)
    assert cache.mask_with_new(3, 1).int().tolist() == [[0, 1], [0, 1], [1, 1]]
    cache.reset()
    assert cache.attention_mask is None


def test_a_cache_made_under_inference_mode_may_be_used_outside():
    with torch.inference_mode():
        cache = new_cache()
        feed(cache, 1)
    feed(cache, 1)
    assert not any(tensor.is_inference() for tensor in cache.tensors())


def test_gradients_do_not_reach_into_the_cache():
    cache = new_cache()
    k = torch.randn(3, 2, 1, 4, requires_grad=True)
    assert not cache.layer(0).append(k, k)[0].requires_grad
