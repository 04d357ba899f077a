"""Classic bugs of grouped queries, latents, windows and fast kernels, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with, so that
it fails for the right reason. Every check passes on the code as it is: the law tests run the same ones. Some
bugs change one expression of the real source (`bug_in_source`), the rest replace a step.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_checks import check_maps_are_what_is_computed, make_attention
from kernel_checks import (
    check_bands,
    check_bands_gradient,
    check_blocks,
    check_blocks_gradient,
    check_blocks_has_no_second_derivative,
    check_blocks_of_some_heads,
    check_every_choice,
    check_grouped,
    check_products_of_a_strided_cache,
)
from model_checks import build
from variant_checks import (
    check_absorbed_is_naive,
    check_equals_deepseek,
    check_equals_mistral,
    check_gqa_cache_holds_key_heads_only,
    check_gqa_is_mha_with_repeated_heads,
    check_latent_cache_holds_normed_latents,
    check_latent_scale,
    check_reach_of_layers,
    check_wide_window_is_full_attention,
    check_window_is_the_band,
)

from attention_mechanisms import attention, fast_attention, latent, multi_head
from attention_mechanisms.kv_cache import FullKVCache
from attention_mechanisms.latent import LatentAttention
from attention_mechanisms.multi_head import MultiHeadAttention
from attention_mechanisms.positions import RotaryPositions

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]


def bug_in_source(owner: Any, name: str, right: str, wrong: str) -> Bug:
    """The function as it is written, with one expression changed."""

    def put(patch: Patch) -> None:
        held = inspect.getattr_static(owner, name)
        function = inspect.unwrap(held.__func__ if isinstance(held, staticmethod) else held)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(right) == 1, (
            f"{name} no longer says {right!r} once: bring this mutation up to date"
        )
        made: dict[str, Any] = {}
        exec(source.replace(right, wrong), dict(function.__globals__), made)
        patch.setattr(owner, name, made[name])

    put.__name__ = f"{name}_{wrong[:30]}"
    return put


# Grouped queries ------------------------------------------------------------------------------------


def repeat_instead_of_repeat_interleave(patch: Patch) -> None:
    patch.setattr(attention, "repeat_heads", lambda x, n: x.repeat(1, n // x.size(1), 1, 1))


def heads_dealt_out_in_grouped(patch: Patch) -> None:
    """Query heads 0, 2 to key head 0 and 1, 3 to key head 1, in the kernel for decoding."""
    real = fast_attention.grouped

    def grouped(q: Any, k: Any, v: Any, mask: Any = None, bias: Any = None) -> Any:
        n, kv = q.size(1), k.size(1)
        dealt = torch.arange(n).view(n // kv, kv).T.flatten()
        pick = [
            t[..., dealt, :, :] if t is not None and t.dim() > 2 and t.size(-3) == n else t
            for t in (mask, bias)
        ]
        return real(q[:, dealt], k, v, *pick)[:, dealt.argsort()]

    patch.setattr(fast_attention, "grouped", grouped)


def cache_with_every_query_head(patch: Patch) -> None:
    def make_cache(cls: Any, config: Any, batch: int, capacity: int, dtype: Any, device: Any) -> Any:
        head_dim = config.n_embd // config.n_head
        return FullKVCache(config.n_layer, batch, capacity, config.n_head, head_dim, dtype, device)

    patch.setattr(MultiHeadAttention, "make_cache", classmethod(make_cache))


# Latents --------------------------------------------------------------------------------------------


def latent_cached_before_its_norm(patch: Patch) -> None:
    """Normed on every read instead: the logits stay right, and each token is normed again at each step."""
    real = LatentAttention.compress

    def compress(self: Any, x: Any, positions: Any, start: int) -> Any:
        q_nope, q_rope, _, k_rope = real(self, x, positions, start)
        return q_nope, q_rope, self.kv_down_proj(x)[..., : self.latent_dim], k_rope

    patch.setattr(LatentAttention, "compress", compress)
    for name in ("naive", "absorbed"):
        path = getattr(LatentAttention, name)

        def on_read(self: Any, q: Any, r: Any, c: Any, k: Any, look: Any, path: Any = path) -> Any:
            return path(self, q, r, self.kv_norm(c), k, look)

        patch.setattr(LatentAttention, name, on_read)


def latent_never_normed(patch: Patch) -> None:
    patch.setattr(latent.LatentNorm, "forward", lambda self, x: x)


def a_rotary_key_for_each_head(patch: Patch) -> None:
    real = LatentAttention.unfold

    def unfold(self: Any, *parts: Any) -> Any:
        q, k, v = real(self, *parts)
        k = k.clone()
        k[..., self.head_dim :] *= torch.arange(1, self.n_head + 1)[:, None, None]
        return q, k, v

    patch.setattr(LatentAttention, "unfold", unfold)


def whole_key_rotated_then_absorbed(patch: Patch) -> None:
    """RoPE on the part without position too: unfolded it is a fair design, absorbed it is another function."""
    real = LatentAttention.unfold

    def unfold(self: Any, *parts: Any) -> Any:
        q, k, v = real(self, *parts)
        rope, d = RotaryPositions(self.head_dim, 64).to(q.dtype), self.head_dim
        q_nope = rope.rotate(q[..., :d], None, k.size(2) - q.size(2))
        k_nope = rope.rotate(k[..., :d], None, 0)
        return torch.cat((q_nope, q[..., d:]), -1), torch.cat((k_nope, k[..., d:]), -1), v

    patch.setattr(LatentAttention, "unfold", unfold)


def w_uv_transposed_wrong(patch: Patch) -> None:
    real = LatentAttention.up_matrices

    def up_matrices(self: Any) -> Any:
        w_uk, w_uv = real(self)
        return w_uk, w_uv.reshape(self.n_head, self.latent_dim, self.head_dim).transpose(1, 2)

    patch.setattr(LatentAttention, "up_matrices", up_matrices)


def w_uk_and_w_uv_swapped(patch: Patch) -> None:
    real = LatentAttention.up_matrices
    patch.setattr(LatentAttention, "up_matrices", lambda self: real(self)[::-1])


scaled_by_the_head_alone = bug_in_source(
    LatentAttention, "absorbed", "(self.head_dim + self.rope_dim) ** -0.5", "self.head_dim**-0.5"
)
scaled_by_the_latent = bug_in_source(
    LatentAttention, "absorbed", "(self.head_dim + self.rope_dim) ** -0.5", "self.latent_dim**-0.5"
)


def naive_scaled_by_the_head_alone(patch: Patch) -> None:
    real = latent.attend
    patch.setattr(
        latent, "attend", lambda q, k, v, *a, **kw: real(q * (q.size(-1) / v.size(-1)) ** 0.5, k, v, *a, **kw)
    )


# Windows --------------------------------------------------------------------------------------------


def window_counts_one_more(patch: Patch) -> None:
    real, real_visible = attention.window_mask, fast_attention.visible
    patch.setattr(
        attention, "window_mask", lambda q, k, w, device=None, **kw: real(q, k, w + 1, device, **kw)
    )
    patch.setattr(fast_attention, "visible", lambda q, k, window=None: real_visible(q, k, window=window + 1))


def window_does_not_count_itself(patch: Patch) -> None:
    real = attention.window_mask
    patch.setattr(attention, "window_mask", lambda q, k, w, device=None: real(q, k, max(1, w - 1), device))


def every_window_one_short(patch: Patch) -> None:
    real = multi_head.attend

    def attend(*args: Any, window: int | None = None, **named: Any) -> Any:
        return real(*args, window=None if window is None else max(1, window - 1), **named)

    patch.setattr(multi_head, "attend", attend)


def sinks_forgotten(patch: Patch) -> None:
    real = multi_head.visible
    patch.setattr(multi_head, "visible", lambda q, k, *, window=None, sinks=0: real(q, k, window=window))


def sinks_seen_before_they_are_there(patch: Patch) -> None:
    real = multi_head.visible

    def visible(q: Any, k: Any, *, window: Any = None, sinks: int = 0) -> Any:
        return real(q, k, window=window) | (k < sinks)[None, :]

    patch.setattr(multi_head, "visible", visible)


def every_layer_has_a_window(patch: Patch) -> None:
    from attention_mechanisms import sliding_window

    real = sliding_window.layer_windows
    patch.setattr(sliding_window, "layer_windows", lambda c: [real(c)[0]] * c.n_layer)


def map_without_the_window(patch: Patch) -> None:
    real = multi_head.attention_weights
    patch.setattr(
        multi_head, "attention_weights", lambda q, k, **look: real(q, k, **{**look, "window": None})
    )


# Kernels --------------------------------------------------------------------------------------------


def always(name: str) -> Bug:
    def put(patch: Patch) -> None:
        patch.setattr(attention, "choose_backend", lambda *a, **kw: name)

    put.__name__ = f"always_{name}"
    return put


band_starts_one_late = bug_in_source(fast_attention, "bands", "- window + 1)", "- window + 1 + (window > 1))")
band_ends_one_early = bug_in_source(
    fast_attention, "bands", "offset + end\n", "offset + end - (end > begin + 1)\n"
)
bands_aligned_top_left = bug_in_source(fast_attention, "bands", "offset = k_len - q_len", "offset = 0")
no_row_sum_in_backward = bug_in_source(
    fast_attention._Blocks,
    "backward",
    "torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)",
    "p * dp",
)
no_scale_in_backward = bug_in_source(
    fast_attention._Blocks, "backward", "dq *= 1 / math.sqrt(q.size(-1))", "pass"
)
gradient_of_the_last_block_only = bug_in_source(
    fast_attention._Blocks, "backward", "dv_sum[:, :end] +=", "dv_sum[:, :end] ="
)
last_heads_left_out = bug_in_source(
    fast_attention, "_some_heads", "range(0, heads, step)", "range(0, heads - step + 1, step)"
)
every_head_reads_the_first = bug_in_source(
    fast_attention, "key_products", "torch.mm(one_rows, one_keys.t(),", "torch.mm(one_rows, keys[0, 0].t(),"
)
diagonal_block_sees_the_next_token = bug_in_source(fast_attention, "_future", ".triu(1)", ".triu(2)")
nobody_to_look_at_averages_all = bug_in_source(
    fast_attention, "grouped", "out.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)", "out"
)
grouped_not_scaled = bug_in_source(fast_attention, "grouped", "q / math.sqrt(q.size(-1))", "q")


def second_derivative_let_through(patch: Patch) -> None:
    held = inspect.getattr_static(fast_attention._Blocks, "backward").__func__
    patch.setattr(fast_attention._Blocks, "backward", staticmethod(inspect.unwrap(held)))


def mla(**fields: Any) -> Any:
    return build(attention="mla", **{"position": "rope", **fields})


Row = tuple[Bug, Callable[[], None], str]
ROWS: list[Row] = [
    # LA4
    (
        repeat_instead_of_repeat_interleave,
        lambda: check_gqa_is_mha_with_repeated_heads(2, "manual"),
        "interleave",
    ),
    (heads_dealt_out_in_grouped, check_grouped, "head h"),
    (cache_with_every_query_head, lambda: check_gqa_cache_holds_key_heads_only(2), "bytes"),
    # LA5
    (latent_cached_before_its_norm, lambda: check_latent_cache_holds_normed_latents(mla()), "normalised"),
    (latent_never_normed, lambda: check_equals_deepseek(3, "naive", None), "normalised"),
    (latent_never_normed, lambda: check_equals_deepseek(3, "absorbed", 5), "normalised"),
    (a_rotary_key_for_each_head, check_latent_scale, "same for all heads"),
    (a_rotary_key_for_each_head, lambda: check_equals_deepseek(3, "naive", None), "serves all heads"),
    (whole_key_rotated_then_absorbed, lambda: check_absorbed_is_naive(mla()), "rotated before"),
    (w_uv_transposed_wrong, lambda: check_absorbed_is_naive(mla()), "transposed"),
    (w_uk_and_w_uv_swapped, lambda: check_absorbed_is_naive(mla()), "another order"),
    (scaled_by_the_head_alone, lambda: check_absorbed_is_naive(mla()), "scale"),
    (scaled_by_the_head_alone, check_latent_scale, "d_rope"),
    (scaled_by_the_latent, check_latent_scale, "d_rope"),
    (naive_scaled_by_the_head_alone, lambda: check_equals_deepseek(3, "naive", None), "scale"),
    # LA6
    (window_counts_one_more, lambda: check_window_is_the_band(3, "manual"), "itself"),
    (window_counts_one_more, lambda: check_reach_of_layers(3, 2), r"W \+ 1"),
    (window_counts_one_more, lambda: check_equals_mistral(3, 4, "sdpa"), "Mistral"),
    (window_does_not_count_itself, lambda: check_window_is_the_band(3, "manual"), "itself"),
    (window_does_not_count_itself, lambda: check_reach_of_layers(3, 2), "must reach"),
    (every_window_one_short, check_wide_window_is_full_attention, "hides"),
    (sinks_forgotten, lambda: check_window_is_the_band(3, "manual", sinks=2), "sinks"),
    (sinks_seen_before_they_are_there, lambda: check_window_is_the_band(3, "manual", sinks=2), "sinks"),
    (every_layer_has_a_window, lambda: check_reach_of_layers(3, 2, every=2), "global"),
    # LA9
    (
        map_without_the_window,
        lambda: check_maps_are_what_is_computed(make_attention("swa", window=2)),
        "map",
    ),
    # LA3
    (band_starts_one_late, check_bands, "window"),
    (band_ends_one_early, check_bands, "window"),
    (bands_aligned_top_left, check_bands, "window"),
    (grouped_not_scaled, check_grouped, "grouped"),
    (nobody_to_look_at_averages_all, check_grouped, "nobody"),
    (no_row_sum_in_backward, check_blocks_gradient, "row sum"),
    (no_scale_in_backward, check_blocks_gradient, "gradient"),
    (gradient_of_the_last_block_only, check_blocks_gradient, "gradient of v"),
    (last_heads_left_out, check_blocks_of_some_heads, "every head has its turn"),
    (every_head_reads_the_first, check_products_of_a_strided_cache, "own product"),
    (diagonal_block_sees_the_next_token, check_blocks, "diagonal"),
    (band_starts_one_late, check_bands_gradient, "gradient"),
    (second_derivative_let_through, check_blocks_has_no_second_derivative, "second derivative"),
    (always("blocks"), check_every_choice, "cannot do it"),
    (always("bands"), check_every_choice, "cannot do it"),
    (always("sdpa"), check_every_choice, "never chosen"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()


def test_a_latent_normed_on_every_read_gives_the_same_logits(monkeypatch):
    """The bug that only the cache's contents show: every cut of the absorbed path still passes."""
    latent_cached_before_its_norm(monkeypatch)
    check_absorbed_is_naive(mla())
