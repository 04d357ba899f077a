"""Classic bugs of norms, feed-forward layers, dropout and presets, put back one at a time: a law must catch each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import block_checks
import model_checks
import pytest
import torch
import torch.nn.functional as F

from gpt_model import config as config_module
from gpt_model import feed_forward, norms

Patch = pytest.MonkeyPatch


def groupnorm_over_time(patch: Patch) -> None:
    """torch's layout taken at its word: (B, C, T), so means reach over all tokens of a row."""

    def forward(self: Any, x: Any) -> Any:
        return F.group_norm(x.transpose(1, 2), self.groups, self.weight, self.bias, self.eps).transpose(1, 2)

    patch.setattr(norms.GroupNorm, "forward", forward)


def layernorm_over_time_too(patch: Patch) -> None:
    def forward(self: Any, x: Any) -> Any:
        normed = (x - x.mean((-2, -1), keepdim=True)) / torch.sqrt(
            x.var((-2, -1), correction=0, keepdim=True) + 1e-5
        )
        return normed * self.weight

    patch.setattr(norms.LayerNorm, "forward", forward)


def batch_statistics(patch: Patch) -> None:
    """BatchNorm in training: every token of every row."""

    def forward(self: Any, x: Any) -> Any:
        return (x - x.mean((0, 1))) / torch.sqrt(x.var((0, 1), correction=0) + 1e-5) * self.weight

    patch.setattr(norms.RMSNorm, "forward", forward)


def features_interleaved_into_groups(patch: Patch) -> None:
    def forward(self: Any, x: Any) -> Any:
        parts = x.view(*x.shape[:-1], -1, self.groups)
        normed = (parts - parts.mean(-2, keepdim=True)) / torch.sqrt(
            parts.var(-2, correction=0, keepdim=True) + self.eps
        )
        return normed.reshape(x.shape) * self.weight + self.bias

    patch.setattr(norms.GroupNorm, "forward", forward)


def unbiased_variance(patch: Patch) -> None:
    def forward(self: Any, x: Any) -> Any:
        normed = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + self.eps)
        return normed * self.weight + (0 if self.bias is None else self.bias)

    patch.setattr(norms.LayerNorm, "forward", forward)


def value_bent_instead_of_gate(patch: Patch) -> None:
    def forward(self: Any, x: Any) -> Any:
        gate, up = self.up_proj(x).chunk(2, dim=-1)
        return self.out_proj(gate * self.bend(up))

    patch.setattr(feed_forward.GatedFeedForward, "forward", forward)


def tanh_gelu_under_its_exact_name(patch: Patch) -> None:
    patch.setattr(feed_forward, "activate", lambda x, name: F.gelu(x, approximate="tanh"))


def relu_squared_under_relu(patch: Patch) -> None:
    patch.setattr(feed_forward, "activate", lambda x, name: F.relu(x).square())


def one_dropout_for_all_places(patch: Patch) -> None:
    patch.setattr(config_module.GPTConfig, "dropout_at", lambda self, place: max(self.dropout, 0.5))


def private_fields_stay_behind(patch: Patch) -> None:
    patch.setattr(config_module, "_for_attention", lambda values, attention: dict(values))


def mistral_without_shared_heads(patch: Patch) -> None:
    patch.setitem(config_module.PRESETS["mistral-7b"], "n_kv_head", 32)


def a_causal_model(norm: str) -> None:
    model_checks.check_model_is_causal(model_checks.build(norm=norm))


PER_TOKEN = block_checks.check_norm_is_per_token
BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (groupnorm_over_time, lambda: PER_TOKEN(block_checks.norm_of("groupnorm")), "one token at a time"),
    (groupnorm_over_time, lambda: a_causal_model("groupnorm"), "depend|moves|changed|later|token"),
    (
        groupnorm_over_time,
        lambda: block_checks.check_norm_by_hand("groupnorm", 3),
        "differs from its formula",
    ),
    (layernorm_over_time_too, lambda: PER_TOKEN(block_checks.norm_of("layernorm")), "see the future"),
    (batch_statistics, lambda: PER_TOKEN(block_checks.norm_of("rmsnorm")), "one token at a time"),
    (
        features_interleaved_into_groups,
        lambda: block_checks.check_norm_by_hand("groupnorm", 3),
        "its formula",
    ),
    (features_interleaved_into_groups, block_checks.check_groupnorm_is_torchs_on_one_token, "single tokens"),
    (unbiased_variance, lambda: block_checks.check_norm_by_hand("layernorm"), "its formula"),
    (value_bent_instead_of_gate, lambda: block_checks.check_feed_forward_by_hand("geglu"), "first half"),
    (value_bent_instead_of_gate, lambda: block_checks.check_feed_forward_by_hand("swiglu"), "first half"),
    (tanh_gelu_under_its_exact_name, lambda: block_checks.check_feed_forward_by_hand("gelu"), "gelu differs"),
    (relu_squared_under_relu, lambda: block_checks.check_feed_forward_by_hand("relu"), "relu differs"),
    (one_dropout_for_all_places, lambda: block_checks.check_dropout_places("attention"), "its own share"),
    (
        mistral_without_shared_heads,
        lambda: block_checks.check_preset_builds("mistral-7b", "swa"),
        "published are",
    ),
]


@pytest.mark.parametrize(
    ("bug", "check", "word"), BUGS, ids=[f"{i}-{bug.__name__}" for i, (bug, _, _) in enumerate(BUGS)]
)
def test_the_law_catches(bug, check, word, monkeypatch):
    check()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check()


def test_private_fields_that_stay_behind_are_refused(monkeypatch):
    from utils.errors import UserError

    private_fields_stay_behind(monkeypatch)
    with pytest.raises(UserError, match=r"only attention swa has it|one key head per query head"):
        block_checks.check_preset_builds("mistral-7b", "mla")
