"""The backends of `attend`: what each refuses, and that the automatic choice changes no result."""

from __future__ import annotations

import pytest
import torch

from attention_mechanisms import BACKENDS, attend, attention, attention_weights, causal_mask, choose_backend
from utils.errors import UserError


def qkv(q_len=5, k_len=5, dtype=torch.float32, batch=2, heads=3, width=4):
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(batch, heads, n, width, generator=generator).to(dtype) for n in (q_len, k_len, k_len)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("q_len", [1, 3, 5])
def test_causal_by_name_equals_causal_by_mask(backend, q_len):
    q, k, v = qkv(q_len)
    by_name = attend(q, k, v, causal=True, backend=backend)
    by_mask = attend(q, k, v, causal_mask(q_len, 5), backend=backend)
    assert torch.allclose(by_name, by_mask, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_may_look_at_nobody_gets_zeros(backend):
    q, k, v = qkv()
    mask = causal_mask(5, 5).clone()
    mask[2] = False
    y = attend(q, k, v, mask, backend=backend)
    assert torch.equal(y[:, :, 2], torch.zeros_like(y[:, :, 2])) and not y.isnan().any()


def test_gradients_of_a_fully_masked_row_are_zero_and_finite():
    q, k, v = (x.requires_grad_() for x in qkv())
    mask = torch.zeros(5, 5, dtype=torch.bool)
    attend(q, k, v, mask, backend="manual").sum().backward()
    assert all(torch.equal(x.grad, torch.zeros_like(x)) for x in (q, k, v))


def test_weights_of_forbidden_keys_are_exactly_zero_even_beside_huge_scores():
    q, k, _ = qkv()
    weights = attention_weights(q * 1e4, k * 1e4, causal=True)
    assert torch.equal(weights, weights.tril())
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5))


def test_dropout_acts_only_in_training_and_keeps_the_mean():
    q, k, v = qkv(batch=200)
    plain = attend(q, k, v, causal=True)
    assert torch.equal(attend(q, k, v, causal=True, dropout=0.5), plain)
    torch.manual_seed(0)
    dropped = attend(q, k, v, causal=True, dropout=0.5, training=True)
    assert not torch.allclose(dropped, plain)
    ones = attend(q, k, torch.ones_like(v), causal=True, dropout=0.5, training=True)
    assert abs(ones.mean().item() - 1) < 0.05


def test_refusals_are_one_line():
    q, k, v = qkv()
    for error, call in {
        "choose one of": lambda: attend(q, k, v, backend="flash"),
        "boolean mask": lambda: attend(q, k, v, torch.zeros(5, 5)),
        "no dropout": lambda: attend(q, k, v, backend="flex", dropout=0.1, training=True),
        "no backward on the CPU": lambda: attend(q.requires_grad_(), k, v, backend="flex"),
    }.items():
        with pytest.raises(UserError, match=error) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k_len", [8, 600])
def test_the_automatic_choice_gives_the_reference_result(dtype, k_len):
    q, k, v = qkv(8, k_len, dtype)
    assert choose_backend(q, k) in ("manual", "sdpa")
    exact = attend(*(x.double() for x in (q, k, v)), causal=True, backend="manual")
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2  # bf16 has 8 bits
    assert (attend(q, k, v, causal=True, backend="auto").double() - exact).abs().max() < tolerance


def test_sdpa_is_told_is_causal_only_for_a_square(monkeypatch):
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        calls.append(kwargs)
        return real(*args, **kwargs)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", spy)
    for q_len in (1, 3, 5):
        attend(*qkv(q_len), causal=True, backend="sdpa")
    assert [call["is_causal"] for call in calls] == [False, False, True]


@pytest.mark.parametrize("q_len", [1, 2, 6])
def test_values_narrower_than_keys_give_the_reference_result(q_len):
    """The shape of multi-head latent attention: a key has a rotary part, a value has none."""
    q, k, v = qkv(q_len, 6, width=6)
    v = v[..., :4]
    expected = attend(q, k, v, causal=True)
    assert torch.allclose(attend(q, k, v, causal=True, backend="sdpa"), expected, atol=1e-6)


def test_sdpa_makes_no_table_of_queries_and_keys_for_narrower_values():
    """torch falls back to the whole table when values are narrower; at 16k tokens that was 24 GB."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            made = out if isinstance(out, tuple | list) else (out,)
            sizes.extend(t.numel() for t in made if isinstance(t, torch.Tensor))
            return out

    q, k, v = qkv(200, 200, batch=1, heads=2, width=6)
    with torch.no_grad(), Watch():
        attend(q, k, v[..., :4], causal=True, backend="sdpa")
    assert sizes and max(sizes) < 200 * 200, f"a tensor of {max(sizes):,} numbers was made"


def test_a_window_wider_than_the_text_is_plain_causal_attention(monkeypatch):
    """No table is built for it, and a fused kernel may serve it."""
    q, k, v = qkv(8, 8)
    seen = []

    def spy(*_: object, **asked: object) -> str:
        seen.append((asked["causal"], asked["window"]))
        return "manual"

    monkeypatch.setattr(attention, "choose_backend", spy)
    wide = attend(q, k, v, window=8, backend="auto")
    narrow = attend(q, k, v, window=7, backend="auto")
    assert seen == [(True, None), (True, 7)]
    assert torch.equal(wide, attend(q, k, v, causal=True)) and not torch.equal(wide, narrow)
