"""Attention: how a token looks back. Masks, positions, the KV cache and the mechanisms themselves.

Importing this package costs nothing: names are resolved on first use (PEP 562), so that commands
which never touch a model do not pay for torch.
"""

from typing import Any

from utils.lazy import resolve

_EXPORTS = {
    "ATTENTIONS": "registry",
    "BACKENDS": "attention",
    "attend": "attention",
    "attention_weights": "attention",
    "choose_backend": "attention",
    "KVCache": "kv_cache",
    "FullKVCache": "kv_cache",
    "LayerCache": "kv_cache",
    "LayerKVCache": "kv_cache",
    "LatentKVCache": "kv_cache",
    "RollingKVCache": "rolling_cache",
    "MultiHeadAttention": "multi_head",
    "GroupedQueryAttention": "grouped_query",
    "LatentAttention": "latent",
    "SlidingWindowAttention": "sliding_window",
    "POSITIONS": "positions",
    "LearnedPositions": "positions",
    "SinusoidalPositions": "positions",
    "RotaryPositions": "positions",
    "alibi_slopes": "positions",
    "alibi_bias": "positions",
    "AttentionShape": "shape",
    "attention_flops": "costs",
    "bytes_per_token": "costs",
    "cache_bytes": "costs",
    "cost_table": "costs",
    "RopeScaling": "rope_scaling",
    "rope_frequencies": "rope_scaling",
    "visible": "masks",
    "window_mask": "masks",
    "document_mask": "masks",
    "positions_from_documents": "masks",
    "flex_block_mask": "masks",
    "causal_mask": "masks",
    "padding_mask": "masks",
    "combine_masks": "masks",
    "positions_from_mask": "masks",
    "HeadSummary": "analysis",
    "summarise": "analysis",
    "top_links": "analysis",
    "induction_score": "analysis",
    "repeated_tokens": "analysis",
    "AttentionView": "viewer",
    "attention_viewer": "viewer",
    "show_attention": "viewer",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    return resolve(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
