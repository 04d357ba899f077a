"""Grouped-query attention (GQA): several query heads share one key and value head.

The idea: while decoding, the time goes into reading the cache, and the cache holds one key and one value for
each head and token. Let H query heads share H_kv key heads and both shrink by H / H_kv, while each query head
still asks its own question. H_kv = H is multi-head attention, H_kv = 1 is multi-query attention (MQA).

    query heads   0 1 2   3 4 5   6 7 8   9 10 11
    key heads       0       1       2        3          n_kv_head = 4: a third of the cache

Ainslie et al. 2023 (arXiv 2305.13245); MQA: Shazeer 2019 (arXiv 1911.02150). Subtle: query head h reads key head
h // (H / H_kv): `repeat_interleave`, not `repeat`. Notebook: 05 of this chapter.
"""

from attention_mechanisms.multi_head import AttentionConfig, MultiHeadAttention
from utils.errors import UserError


class GroupedQueryAttention(MultiHeadAttention):
    """Causal self-attention with `n_kv_head` key and value heads, by default about a third of the query heads."""

    @classmethod
    def kv_heads(cls, config: AttentionConfig) -> int:
        if config.n_kv_head is None:
            return default_kv_heads(config.n_head)
        if not 1 <= config.n_kv_head <= config.n_head or config.n_head % config.n_kv_head:
            raise UserError(
                f"n_kv_head is {config.n_kv_head} but n_head {config.n_head} must be a multiple of it: "
                f"choose one of {', '.join(map(str, divisors(config.n_head)))}"
            )
        return config.n_kv_head


def divisors(n: int) -> list[int]:
    """All divisors of n, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def default_kv_heads(n_head: int) -> int:
    """The divisor of n_head nearest to a third of it, the smaller one of two: 12 -> 4, 8 -> 2, 4 -> 1."""
    return min(divisors(n_head), key=lambda d: (abs(3 * d - n_head), d))
