"""What attention costs before it is built: bytes of its cache and FLOPs of prefill and decode, for every variant.

The idea: all of it follows from a configuration. A token leaves in each layer

    mha, gqa   2 · n_kv_head · head_dim numbers      swa   the same, until the window is full, then none
    mla        kv_latent_dim + rope_dim numbers

and a token that looks at K keys multiplies 2 · n_head · head_dim · K numbers (scores and weighted values), beside the
projections, whatever was shared: sharing saves bytes, not multiplications, and the latent pays for its bytes with
more of them. FLOPs are two per multiply-add of every matrix product and nothing else, as torch's FlopCounterMode
counts.

    python -m attention_mechanisms.costs n_layer=12 n_head=12 n_embd=768 context=1024 dtype=bf16

Tested against bytes really allocated and against torch's counter. `config` is anything with the fields of attention
(`multi_head.AttentionConfig`). Left out on purpose: feed-forward, embeddings and head (`gpt_model.costs`), and time,
which `benchmark` measures. Where one variant overtakes another: `crossovers`. Notebooks: 05 to 07 of this chapter.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from attention_mechanisms.latent import PATHS, latent_dims
from attention_mechanisms.multi_head import AttentionConfig
from attention_mechanisms.registry import ATTENTIONS
from attention_mechanisms.shape import AttentionShape, _key
from attention_mechanisms.sliding_window import layer_windows, sink_count
from utils.cli import run_main
from utils.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
SCALE_BYTES = 4  # int8 keeps one float32 beside each vector (`token_store.Int8Store`)
KNOWN = ("mha", "gqa", "mla", "swa")


class Flops(NamedTuple):
    """FLOPs of attention by what they are for; a sum over layers."""

    projections: int  # to queries, keys and values (or to the latent), and back
    unfolding: int  # mla: keys and values from latents (naive), queries and outputs through them (absorbed)
    tables: int  # scores and weighted values

    @property
    def total(self) -> int:
        return self.projections + self.unfolding + self.tables


# ---------------------------------------------------------------------------- bytes


def cache_bytes(
    attention: str,
    config: AttentionConfig,
    capacity: int,
    dtype: torch.dtype = torch.float32,
    *,
    batch: int = 1,
    slack: int = 0,
) -> int:
    """Bytes of a cache for `batch` rows of up to `capacity` tokens: exactly what `make_cache` allocates.

    `slack` is the sliding window's: extra slots in each ring.
    """
    _check(attention, config)
    if capacity < 1 or batch < 1:
        raise UserError(f"a KV cache needs batch and capacity of at least 1, not {batch} and {capacity}")
    vectors = _cached_vectors(attention, config)
    slots = [min(capacity, limit + slack) for limit in _slot_limits(attention, config, capacity)]
    return batch * sum(slots) * sum(_vector_bytes(width, dtype) * count for count, width in vectors)


def bytes_per_token(
    attention: str, config: AttentionConfig, dtype: torch.dtype = torch.float32, *, position: int = 0
) -> int:
    """Bytes that the token at `position` adds to the cache, all layers together; 0 where windows are full.

    >>> bytes_per_token("mha", AttentionShape(n_layer=12), torch.bfloat16)
    36864
    """
    before = cache_bytes(attention, config, position, dtype) if position else 0
    return cache_bytes(attention, config, position + 1, dtype) - before


def weight_count(attention: str, config: AttentionConfig) -> int:
    """Parameters of attention in all layers: matrices, biases and the latents' norms."""
    _check(attention, config)
    embd, heads, dim = config.n_embd, config.n_head, config.n_embd // config.n_head
    out = embd * embd + (embd if config.bias else 0)
    if attention != "mla":
        rows = (heads + 2 * ATTENTIONS[attention].kv_heads(config)) * dim
        return config.n_layer * (embd * rows + (rows if config.bias else 0) + out)
    latent, rope = latent_dims(config)
    down = embd * (latent + rope) + (latent + rope if config.bias else 0) + latent
    up = latent * heads * 2 * dim
    return config.n_layer * (sum(_query_weights(config)) + down + up + out)


def step_bytes(
    attention: str,
    config: AttentionConfig,
    context: int,
    dtype: torch.dtype = torch.float32,
    *,
    batch: int = 1,
    weights: bool = True,
) -> int:
    """Bytes that one decode step must read: the cache after `context` tokens, each once, and the weights, once.

    Weights are counted in `dtype` (in two bytes a number when the cache is int8).
    """
    cache = cache_bytes(attention, config, context, dtype, batch=batch)
    size = 2 if dtype == torch.int8 else dtype.itemsize
    return cache + (weight_count(attention, config) * size if weights else 0)


def _cached_vectors(attention: str, config: AttentionConfig) -> list[tuple[int, int]]:
    """What one token leaves in one layer: (how many vectors, numbers in each)."""
    if attention == "mla":
        return [(1, width) for width in latent_dims(config)]
    return [(2 * ATTENTIONS[attention].kv_heads(config), config.n_embd // config.n_head)]


def _vector_bytes(width: int, dtype: torch.dtype) -> int:
    return width * dtype.itemsize + (SCALE_BYTES if dtype == torch.int8 else 0)


def _slot_limits(attention: str, config: AttentionConfig, capacity: int) -> list[int]:
    """The most tokens that each layer keeps."""
    if attention != "swa":
        return [capacity] * config.n_layer
    sinks = sink_count(config)
    return [capacity if window is None else window + sinks for window in layer_windows(config)]


# ---------------------------------------------------------------------------- FLOPs


def attention_flops(
    attention: str,
    config: AttentionConfig,
    new: int,
    past: int = 0,
    *,
    batch: int = 1,
    path: str = "auto",
    visible_only: bool = False,
) -> Flops:
    """FLOPs of attention in all layers for `new` tokens after `past` cached ones.

    A prefill is `new=T`; the decode step at a context of T tokens is `new=1, past=T - 1`. `path` is MLA's: naive,
    absorbed, or auto, the cheaper. By default whole tables are counted, queries × the keys that the cache gives, which
    is what the backend `manual` computes; `visible_only` counts the pairs that may look at each other, which is what a
    kernel that skips the masked part comes near to.
    """
    _check(attention, config)
    if new < 1 or past < 0 or batch < 1:
        raise UserError(
            f"new={new}, past={past}, batch={batch}: there must be a new token, a row and no less than 0 past"
        )
    if path not in PATHS:
        raise UserError(f"path is {path!r}: choose one of {', '.join(PATHS)}")
    embd, heads, dim = config.n_embd, config.n_head, config.n_embd // config.n_head
    rules = layer_rules(attention, config)
    pairs = [_visible_pairs(*r, new, past) if visible_only else new * _keys(*r, new, past) for r in rules]
    if attention != "mla":
        rows = (heads + 2 * ATTENTIONS[attention].kv_heads(config)) * dim
        projections = config.n_layer * new * (embd * rows + embd * embd)
        return _flops(batch, projections, 0, 2 * heads * dim * sum(pairs))
    latent, rope = latent_dims(config)
    projections = config.n_layer * new * (sum(_query_matrices(config)) + embd * (latent + rope) + embd * embd)
    keys, layers = past + new, config.n_layer
    naive = _flops(
        batch, projections, layers * keys * latent * heads * 2 * dim, heads * (2 * dim + rope) * sum(pairs)
    )
    absorbed = _flops(
        batch, projections, layers * new * heads * 2 * dim * latent, heads * (2 * latent + rope) * sum(pairs)
    )
    if path == "auto":  # the module decides by whole tables
        tables = layers * new * keys * heads
        naive_work = naive.unfolding // batch + 2 * tables * (2 * dim + rope)
        absorbed_work = absorbed.unfolding // batch + 2 * tables * (2 * latent + rope)
        path = "absorbed" if absorbed_work < naive_work else "naive"
    return absorbed if path == "absorbed" else naive


def _flops(batch: int, projections: int, unfolding: int, tables: int) -> Flops:
    """Multiply-adds of one row as FLOPs of all: two each."""
    return Flops(*(2 * batch * multiplied for multiplied in (projections, unfolding, tables)))


def _query_matrices(config: AttentionConfig) -> list[int]:
    """MLA: numbers in the matrices that make a query, one or (through a latent) two."""
    latent, q_latent = latent_dims(config), getattr(config, "q_latent_dim", None)
    rows = config.n_head * (config.n_embd // config.n_head + latent[1])
    return [config.n_embd * q_latent, q_latent * rows] if q_latent else [config.n_embd * rows]


def _query_weights(config: AttentionConfig) -> list[int]:
    """The same with the bias of the first and the norm of the latent between them."""
    q_latent = getattr(config, "q_latent_dim", None)
    if not q_latent:
        return _query_matrices(config)
    return [*_query_matrices(config), q_latent + (q_latent if config.bias else 0)]


def layer_rules(attention: str, config: AttentionConfig) -> list[tuple[int | None, int]]:
    """(window, sinks) of every layer; (None, 0) sees everything."""
    if attention != "swa":
        return [(None, 0)] * config.n_layer
    sinks = sink_count(config)
    return [(window, 0 if window is None else sinks) for window in layer_windows(config)]


def _keys(window: int | None, sinks: int, new: int, past: int) -> int:
    """Keys in the table of one layer: all, or what a rolling cache gives (`rolling_cache`)."""
    if window is None or not past:
        return min(past + new, window + sinks) if window is not None and new == 1 else past + new
    if new == 1:
        return min(past + 1, window + sinks)
    kept = min(sinks, past)
    return kept + past - max(kept, past - window + 1) + new


def _visible_pairs(window: int | None, sinks: int, new: int, past: int) -> int:
    """Pairs (query, key) that may look at each other in one layer."""

    def until(n: int) -> int:  # of the first n queries of a text
        if window is None or n <= window:
            return n * (n + 1) // 2
        far = n - window  # queries with something behind their window
        some = min(far, sinks)
        return window * (window + 1) // 2 + far * window + some * (some + 1) // 2 + (far - some) * sinks

    return until(past + new) - until(past)


def _check(attention: str, config: AttentionConfig) -> None:
    if attention not in ATTENTIONS:
        raise UserError(f"attention is {attention!r}: choose one of {', '.join(ATTENTIONS)}")
    if attention not in KNOWN:
        raise UserError(f"costs knows no formula for attention {attention!r}: it knows {', '.join(KNOWN)}")
    ATTENTIONS[attention].check(config)


# ---------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class CostsConfig(AttentionShape):
    """An attention, a context and a number format."""

    window: int | None = _key(256, "swa: tokens seen, own included; null: a quarter of block_size")
    context: int = _key(1024, "tokens in the cache")
    batch: int = _key(1, "rows")
    dtype: str = _key("bf16", f"of the cache and the weights: {', '.join(DTYPES)}")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype not in DTYPES:
            raise UserError(f"dtype is {self.dtype!r}: choose one of {', '.join(DTYPES)}")
        for name in ("context", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")


def all_variants(shape: AttentionShape) -> dict[str, tuple[str, AttentionConfig]]:
    """Every variant of one shape: name -> (key of the registry, shape); the first is MHA."""
    alone = replace(shape, n_kv_head=None)
    kv = ATTENTIONS["gqa"].kv_heads(shape)
    return {
        "mha": ("mha", alone),
        f"gqa-{kv}": ("gqa", shape),
        "mqa": ("gqa", replace(shape, n_kv_head=1)),
        "mla": ("mla", alone),
        "swa": ("swa", alone),
    }


def cost_table(
    shape: AttentionShape, context: int, dtype: torch.dtype, batch: int = 1
) -> dict[str, dict[str, Any]]:
    """The figures of every variant: what the command prints, and the memory calculator of notebook 05 shows."""
    rows = {}
    for name, (key, own) in all_variants(shape).items():
        path = "absorbed" if key == "mla" else "auto"
        step = attention_flops(key, own, 1, context - 1, batch=batch, path=path)
        read = step_bytes(key, own, context, dtype, batch=batch)
        rows[name] = {
            "bytes_per_token": bytes_per_token(key, own, dtype),
            "bytes_of_next_token": bytes_per_token(key, own, dtype, position=context),
            "cache_bytes": cache_bytes(key, own, context, dtype, batch=batch),
            "decode_flops": step.total,
            "decode_bytes": read,
            "flops_per_byte": step.total / read,
            "prefill_flops": attention_flops(key, own, context, batch=batch, visible_only=True).total,
        }
    for row in rows.values():
        row["share_of_mha"] = row["cache_bytes"] / rows["mha"]["cache_bytes"]
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table of all variants and where one overtakes another."""
    from rich.console import Console
    from rich.table import Table

    from attention_mechanisms.crossovers import describe_crossovers
    from utils.config import parse_args

    config, _ = parse_args(
        argv,
        CostsConfig,
        prog="python -m attention_mechanisms.costs",
        description="Bytes of cache and FLOPs of every attention variant, from a configuration.",
    )
    dtype = DTYPES[config.dtype]
    config = replace(config, block_size=max(config.block_size, config.context))
    table = Table(
        *("attention", "bytes a token", "cache", "of MHA", "decode step", "bytes it reads", "FLOPs a byte"),
        "prefill",
        title=f"{config.n_layer} layers, {config.n_head} heads of {config.head_dim}; {config.context:,} tokens, "
        f"batch {config.batch}, {config.dtype}",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    rows = cost_table(config, config.context, dtype, config.batch)
    for name, row in rows.items():
        later = row["bytes_of_next_token"]
        changes = "" if later == row["bytes_per_token"] else f", then {later:,}"
        table.add_row(
            name,
            f"{row['bytes_per_token']:,}{changes}",
            f"{row['cache_bytes']:,}",
            f"{row['share_of_mha']:.4f}",
            f"{row['decode_flops'] / 1e6:,.1f} MFLOP",
            f"{row['decode_bytes'] / 1e6:,.1f} MB",
            f"{row['flops_per_byte']:.2f}",
            f"{row['prefill_flops'] / 1e9:,.2f} GFLOP",
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for line in describe_crossovers(all_variants(config), config.context, dtype):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(
        "FLOPs: 2 a multiply-add; prefill counts visible pairs; feed-forward and embeddings not included"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
