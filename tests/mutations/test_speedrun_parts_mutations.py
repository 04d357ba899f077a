"""Classic bugs of QK-norm, logit caps, zero initialisation and n-grams, put back one by one: a law must catch each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cache_checks
import pytest
import speedrun_parts_checks as checks
import torch
import torch.nn.functional as F
from model_checks import assert_close, feed, some_ids
from torch import nn

from attention_mechanisms import kv_cache, multi_head, qk_norm
from gpt_model import gpt, ngrams

Patch = pytest.MonkeyPatch


def norm_after_the_rotation(patch: Patch) -> None:
    """With a gain for each coordinate the order matters: the rotation mixes coordinates."""
    rotate = multi_head.RotaryPositions.forward

    def forward(self: Any, q: Any, k: Any, *rest: Any, **more: Any) -> Any:
        owner = self.owner
        q, k = rotate(self, q, k, *rest, **more)
        return owner.q_norm(q), owner.k_norm(k)

    real = multi_head.MultiHeadAttention.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        if self.rope is not None:
            object.__setattr__(self.rope, "owner", self)

    def project(self: Any, x: Any) -> Any:
        batch, time, _ = x.shape
        heads = (self.n_head, self.n_kv_head, self.n_kv_head)
        return (
            self.qkv_proj(x).view(batch, time, sum(heads), self.head_dim).transpose(1, 2).split(heads, dim=1)
        )

    patch.setattr(multi_head.MultiHeadAttention, "__init__", init)
    patch.setattr(multi_head.MultiHeadAttention, "project", project)
    patch.setattr(multi_head.RotaryPositions, "forward", forward)


def keys_are_not_normalised(patch: Patch) -> None:
    real = multi_head.MultiHeadAttention.project

    def project(self: Any, x: Any) -> Any:
        q, _, v = real(self, x)
        norm, self.k_norm = self.k_norm, nn.Identity()
        _, k, _ = real(self, x)
        self.k_norm = norm
        return q, k, v

    patch.setattr(multi_head.MultiHeadAttention, "project", project)


def norm_without_its_gain(patch: Patch) -> None:
    patch.setattr(qk_norm.HeadNorm, "forward", lambda self, x: F.rms_norm(x, (x.size(-1),), None, self.eps))


def norm_over_all_heads(patch: Patch) -> None:
    def forward(self: Any, x: Any) -> Any:
        rms = (x.square().mean(dim=(1, 3), keepdim=True) + self.eps).sqrt()
        return x / rms * self.weight

    patch.setattr(qk_norm.HeadNorm, "forward", forward)


def a_cap_without_its_factor(patch: Patch) -> None:
    patch.setattr(gpt, "softcap", lambda logits, cap: torch.tanh(logits / cap))


def a_cap_that_cuts(patch: Patch) -> None:
    patch.setattr(gpt, "softcap", lambda logits, cap: logits.clamp(-cap, cap))


def a_cap_in_training_only(patch: Patch) -> None:
    real = gpt.GPT.unembed

    def unembed(self: Any, x: Any) -> Any:
        if x.size(1) > 1:
            return real(self, x)
        x = self.final_norm(x)
        return F.linear(x, self.token_embedding.weight) if self.head is None else self.head(x)

    patch.setattr(gpt.GPT, "unembed", unembed)


def zeros_on_the_way_in_too(patch: Patch) -> None:
    """All of a feed-forward layer at 0: no gradient ever reaches it."""
    real = gpt.GPT.init_weights

    def init_weights(self: Any) -> None:
        real(self)
        if self.config.zero_init_out:
            for block in self.blocks:
                nn.init.zeros_(block.mlp.up_proj.weight)

    patch.setattr(gpt.GPT, "init_weights", init_weights)


def zeros_that_shift_the_draw(patch: Patch) -> None:
    """Not drawing where zeros go changes the random numbers of every later weight."""
    real = nn.init.normal_
    patch.setattr(nn.init, "normal_", lambda t, std=1.0: real(t, std=std) if std else nn.init.zeros_(t))


def ngrams_of_the_future(patch: Patch) -> None:
    real = ngrams.NgramEmbedding.forward
    patch.setattr(ngrams.NgramEmbedding, "forward", lambda self, ids: real(self, ids.roll(-1, dims=1)))


def the_order_of_an_ngram_is_lost(patch: Patch) -> None:
    """A sum of ids: "ab" and "ba" are one pair."""

    def forward(self: Any, ids: Any) -> Any:
        time = ids.size(1) - self.reach
        return sum(
            table(
                sum(ids[:, self.reach - b : self.reach - b + time] for b in range(n)) % table.num_embeddings
            )
            for n, table in enumerate(self.tables, start=2)
        )

    patch.setattr(ngrams.NgramEmbedding, "forward", forward)


def ids_are_not_kept(patch: Patch) -> None:
    """Each chunk that comes to a cache begins as if nothing had been before it."""
    patch.setattr(kv_cache.KVCache, "remember", lambda self, ids: ids)


def padding_is_a_token(patch: Patch) -> None:
    real = ngrams.NgramEmbedding.with_earlier
    patch.setattr(
        ngrams.NgramEmbedding, "with_earlier", lambda self, ids, new, mask: real(self, ids, new, None)
    )


def a_branch_forgets_the_ids(patch: Patch) -> None:
    patch.setattr(kv_cache.IdLayer, "copy_rows", lambda self, other, rows: None)


def dropout_of_single_numbers(patch: Patch) -> None:
    patch.setattr(ngrams.torch, "ones_like", lambda x: torch.ones(*x.shape[:-1], 16))


def dropout_that_does_not_scale(patch: Patch) -> None:
    patch.setattr(ngrams.F, "dropout", lambda x, p: (torch.rand(x.shape) >= p).to(x.dtype))


def cached_ngrams() -> None:
    model = checks.ngram_model()
    ids = some_ids(2, 6)
    hint = "earlier tokens are in the cache"
    assert_close(feed(model, ids, (2, 1, 3), model.new_cache(2, 8)), model(ids).logits, 1e-5, hint)


def padded_ngrams() -> None:
    cache_checks.check_padding_through_a_cache(checks.ngram_model())


def branched_ngrams() -> None:
    cache_checks.check_rows_of_a_branch(checks.ngram_model())


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (norm_after_the_rotation, checks.check_qk_norm_by_hand, "before the rotation"),
    (keys_are_not_normalised, checks.check_qk_norm_by_hand, "each head's own query and key"),
    (keys_are_not_normalised, checks.check_qk_norm_bounds_scores, "at most"),
    (norm_without_its_gain, checks.check_qk_norm_by_hand, "one gain"),
    (norm_over_all_heads, checks.check_qk_norm_by_hand, "each head's own"),
    (a_cap_without_its_factor, checks.check_softcap, "tanh"),
    (a_cap_that_cuts, checks.check_softcap, "tanh"),
    (a_cap_in_training_only, checks.check_softcap, "forgets the cap"),
    (a_cap_in_training_only, checks.check_parts_through_a_cache, "every path caps"),
    (zeros_on_the_way_in_too, checks.check_zero_init, "begins otherwise|no gradient"),
    (ngrams_of_the_future, checks.check_ngrams_by_hand, "before the text stands V"),
    (ngrams_of_the_future, checks.check_ngrams_count, "an n-gram holds"),
    (the_order_of_an_ngram_is_lost, checks.check_ngrams_by_hand, "one row a table"),
    (the_order_of_an_ngram_is_lost, checks.check_ngrams_have_rows_of_their_own, "need not collide"),
    (dropout_of_single_numbers, checks.check_ngram_dropout, "as a whole"),
    (dropout_that_does_not_scale, checks.check_ngram_dropout, "the mean is"),
    (ids_are_not_kept, cached_ngrams, "in the cache"),
    (padding_is_a_token, padded_ngrams, "padded on the left"),
    (a_branch_forgets_the_ids, branched_ngrams, "row i of a branch"),
    (zeros_that_shift_the_draw, checks.check_zero_init, "begins otherwise"),
]


@pytest.mark.parametrize(("bug", "law", "said"), BUGS, ids=lambda one: getattr(one, "__name__", ""))
def test_the_bug_is_caught(bug, law, said, monkeypatch):
    law()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=said):
        law()
