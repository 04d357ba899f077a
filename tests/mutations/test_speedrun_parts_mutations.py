"""Classic bugs of QK-norm, capped logits and zero initialisation, put back one at a time: a law must catch each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import speedrun_parts_checks as checks
import torch
import torch.nn.functional as F
from torch import nn

from attention_mechanisms import multi_head, qk_norm
from gpt_model import gpt

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
    (zeros_that_shift_the_draw, checks.check_zero_init, "begins otherwise"),
]


@pytest.mark.parametrize(("bug", "law", "said"), BUGS, ids=lambda one: getattr(one, "__name__", ""))
def test_the_bug_is_caught(bug, law, said, monkeypatch):
    law()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=said):
        law()
