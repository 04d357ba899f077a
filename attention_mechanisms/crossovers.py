"""From which length on one variant costs less than another: bytes, multiplications, and MLA's two paths.

The idea: the costs of a decode step are straight lines in the context, with a bend where a window is full. Two such
lines change order at most once on each straight piece, so the ranges in which one lies below the other are found
by halving, exactly. Some answers surprise. A latent cache is smaller than that of MHA from the first token, but the
absorbed path multiplies *more* for each key; it wins where memory is what is waited for. And a short prompt after a
long context is cheaper absorbed, a long one naive.

Left out on purpose: time. It depends on the machine and is measured (`benchmark`). Notebook: 06 of this chapter.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch

from attention_mechanisms.costs import attention_flops, layer_rules, step_bytes
from attention_mechanisms.multi_head import AttentionConfig

LIMIT = 1 << 20
KINDS = ("cache", "bytes", "flops")

Cost = Callable[[int], int]
Variants = Mapping[str, tuple[str, AttentionConfig]]


def where_less(
    first: Cost, second: Cost, *, bends: Sequence[int] = (), limit: int = LIMIT
) -> list[tuple[int, int]]:
    """All lengths from 1 to `limit` at which `first` < `second`, as ranges (from, to), both ends included.

    Both must be straight lines between the `bends`.

    >>> where_less(lambda n: 10 + n, lambda n: 3 * n, limit=100)
    [(6, 100)]
    """
    less = lambda n: first(n) < second(n)  # noqa: E731
    edges = sorted({1, limit, *(x for b in bends for x in (b, b + 1) if 1 <= x <= limit)})
    found = [(1, 1)] if less(1) else []
    for low, high in itertools.pairwise(edges):
        starts, ends = less(low), less(high)
        if starts:  # to the end of the piece, or to the change
            found[-1] = (found[-1][0], high if ends else _last_like(less, low, high))
        elif ends:
            found.append((_last_like(less, low, high) + 1, high))
    return found


def _last_like(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The last length from `low` on with the same answer as `low`; the answer at `high` is another."""
    answer = holds(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) == answer else (low, middle)
    return low


def bends(attention: str, config: AttentionConfig) -> list[int]:
    """The lengths at which a variant's costs stop being a straight line: where its windows are full."""
    rules = layer_rules(attention, config)
    return sorted({x for window, sinks in rules if window is not None for x in (window, window + sinks)})


def decode_cost(kind: str, attention: str, config: AttentionConfig, dtype: torch.dtype) -> Cost:
    """What one decode step costs at a context: `cache` bytes, `bytes` with the weights, or `flops`.

    MLA decodes on its absorbed path.
    """
    if kind == "flops":
        return lambda n: attention_flops(attention, config, 1, n - 1, path="absorbed").total
    return lambda n: step_bytes(attention, config, n, dtype, weights=kind == "bytes")


def decode_crossovers(
    variants: Variants, dtype: torch.dtype, *, limit: int = LIMIT
) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """For each variant but the first, and each of KINDS: the contexts at which it costs less than the first."""
    (base_key, base), *_ = variants.values()
    found = {}
    for name, (key, config) in list(variants.items())[1:]:
        both = bends(key, config) + bends(base_key, base)
        found[name] = {
            kind: where_less(
                decode_cost(kind, key, config, dtype),
                decode_cost(kind, base_key, base, dtype),
                bends=both,
                limit=limit,
            )
            for kind in KINDS
        }
    return found


def naive_from(config: AttentionConfig, past: int, *, limit: int = LIMIT) -> int | None:
    """MLA: the smallest number of new tokens after `past` for which naive costs no more FLOPs than absorbed.

    None where absorbed costs less for any number up to `limit`.
    """

    def naive_pays(new: int) -> bool:
        naive, absorbed = (
            attention_flops("mla", config, new, past, path=path).total for path in ("naive", "absorbed")
        )
        return naive <= absorbed

    if naive_pays(1):
        return 1
    return _last_like(naive_pays, 1, limit) + 1 if naive_pays(limit) else None


def in_words(ranges: Sequence[tuple[int, int]], limit: int = LIMIT) -> str:
    """Ranges as a person says them.

    >>> in_words([(1, 1 << 20)]), in_words([]), in_words([(257, 1 << 20)]), in_words([(1, 40)])
    ('everywhere', 'nowhere', 'from 257', 'up to 40')
    """
    words = []
    for first, last in ranges:
        if (first, last) == (1, limit):
            words.append("everywhere")
        elif last == limit:
            words.append(f"from {first:,}")
        else:
            words.append(f"up to {last:,}" if first == 1 else f"{first:,} to {last:,}")
    return " and ".join(words) or "nowhere"


def describe_crossovers(variants: Variants, past: int, dtype: torch.dtype) -> list[str]:
    """The lines below the table of `attention_mechanisms.costs`."""
    lines = ["contexts at which a decode step costs less than that of mha:"]
    for name, kinds in decode_crossovers(variants, dtype).items():
        words = [f"{kind} {in_words(ranges)}" for kind, ranges in kinds.items()]
        lines.append(f"  {name:7}{'; '.join(words)}")
    for key, config in variants.values():
        if key == "mla":
            start = naive_from(config, past)
            when = "never" if start is None else f"from {start:,} new tokens on"
            lines.append(
                f"mla after {past:,} cached tokens: the naive path costs no more than the absorbed {when}"
            )
    return lines
