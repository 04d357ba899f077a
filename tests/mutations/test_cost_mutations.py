"""Classic bugs of memory and FLOP calculators, put back one at a time: a law must catch each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cost_checks
import pytest

from attention_mechanisms import costs
from attention_mechanisms.grouped_query import GroupedQueryAttention
from attention_mechanisms.latent import latent_dims
from attention_mechanisms.multi_head import MultiHeadAttention

Patch = pytest.MonkeyPatch


def values_forgotten(patch: Patch) -> None:
    """Keys and values are two: counting one halves every cache but the latent one."""
    real = costs._cached_vectors
    patch.setattr(
        costs,
        "_cached_vectors",
        lambda name, config: [(n if name == "mla" else n // 2, width) for n, width in real(name, config)],
    )


def latent_counted_twice(patch: Patch) -> None:
    """A latent is key and value at once."""
    real = costs._cached_vectors
    patch.setattr(
        costs,
        "_cached_vectors",
        lambda name, config: [(2 * n if name == "mla" else n, width) for n, width in real(name, config)],
    )


def rotary_key_for_each_head(patch: Patch) -> None:
    def vectors(name: str, config: Any) -> list[tuple[int, int]]:
        latent, rope = latent_dims(config)
        return [(1, latent), (config.n_head, rope)] if name == "mla" else real(name, config)

    real = costs._cached_vectors
    patch.setattr(costs, "_cached_vectors", vectors)


def query_heads_cached(patch: Patch) -> None:
    """The cache of grouped heads counted with as many key heads as query heads."""
    patch.setattr(costs, "ATTENTIONS", {**costs.ATTENTIONS, "gqa": MultiHeadAttention})


def sinks_forgotten(patch: Patch) -> None:
    patch.setattr(costs, "sink_count", lambda config: 0)


def window_without_the_token_itself(patch: Patch) -> None:
    real = costs.layer_windows
    patch.setattr(costs, "layer_windows", lambda config: [None if w is None else w + 1 for w in real(config)])


def every_layer_local(patch: Patch) -> None:
    real = costs.layer_windows
    patch.setattr(costs, "layer_windows", lambda config: [real(config)[0] or 1] * config.n_layer)


def scales_forgotten(patch: Patch) -> None:
    patch.setattr(costs, "SCALE_BYTES", 0)


def a_multiply_add_is_one(patch: Patch) -> None:
    patch.setattr(costs, "_flops", lambda batch, *parts: costs.Flops(*(batch * part for part in parts)))


def token_not_among_its_keys(patch: Patch) -> None:
    real = costs._keys
    patch.setattr(costs, "_keys", lambda window, sinks, new, past: max(1, real(window, sinks, new, past) - 1))


def values_cost_nothing(patch: Patch) -> None:
    real = costs._flops
    patch.setattr(costs, "_flops", lambda batch, a, b, tables: real(batch, a, b, tables // 2))


def keys_are_unfolded_for_free(patch: Patch) -> None:
    real = costs._flops
    patch.setattr(costs, "_flops", lambda batch, a, b, tables: real(batch, a, b // 2, tables))


def window_excludes_the_query(patch: Patch) -> None:
    real = costs._visible_pairs
    patch.setattr(
        costs,
        "_visible_pairs",
        lambda w, s, new, past: real(None if w is None else max(1, w - 1), s, new, past),
    )


def default_heads_without_a_third(patch: Patch) -> None:
    patch.setattr(
        GroupedQueryAttention, "check", classmethod(lambda cls, config: None)
    )  # the formula must not rely on it
    real = GroupedQueryAttention.kv_heads.__func__
    fake = classmethod(lambda cls, config: config.n_head if config.n_kv_head is None else real(cls, config))
    patch.setattr(
        costs, "ATTENTIONS", {**costs.ATTENTIONS, "gqa": type("G", (), {"kv_heads": fake, "check": fake})}
    )


BYTES, TOKEN, FLOPS = (
    cost_checks.check_cache_bytes,
    cost_checks.check_bytes_of_one_more_token,
    cost_checks.check_flops,
)
BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (values_forgotten, BYTES, "keys and values are two vectors"),
    (values_forgotten, TOKEN, "the formula says"),
    (values_forgotten, cost_checks.check_gpt2_small, "instead of 36,864"),
    (latent_counted_twice, BYTES, "a latent is one"),
    (rotary_key_for_each_head, BYTES, "mla"),
    (query_heads_cached, BYTES, "gqa"),
    (default_heads_without_a_third, BYTES, "gqa"),
    (sinks_forgotten, BYTES, "swa"),
    (window_without_the_token_itself, BYTES, "swa"),
    (window_without_the_token_itself, TOKEN, "does a full window still grow"),
    (window_without_the_token_itself, cost_checks.check_gpt2_small, "never more"),
    (every_layer_local, BYTES, "swa"),
    (scales_forgotten, BYTES, "int8"),
    (a_multiply_add_is_one, FLOPS, "Is a multiply-add two"),
    (token_not_among_its_keys, FLOPS, "is the token itself among its keys"),
    (values_cost_nothing, FLOPS, "scores and values both"),
    (keys_are_unfolded_for_free, FLOPS, "mla"),
    (window_excludes_the_query, cost_checks.check_visible_pairs, "counts the token itself"),
]


@pytest.mark.parametrize(
    ("bug", "check", "word"), BUGS, ids=[f"{bug.__name__}-{check.__name__}" for bug, check, _ in BUGS]
)
def test_the_law_catches(bug, check, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check()
