"""Sliding-window attention (SWA): a token looks at the newest W tokens only, itself included.

The idea: most of what a token needs is near. With a window, time grows with T · W instead of T², and the cache
stops growing after W tokens. What is farther away still arrives, by relay: L layers of window W reach
L · (W - 1) tokens back. Where that is not enough, every `global_every`-th layer sees everything (a K:1 schedule, as
in Gemma), and the first `attention_sinks` tokens may stay visible for ever.

Beltagy et al. 2020 (arXiv 2004.05150); Mistral: Jiang et al. 2023 (arXiv 2310.06825, section 2); schedules: Gemma 3
(arXiv 2503.19786, section 2); sinks: Xiao et al. 2023 (arXiv 2309.17453), here with absolute positions. Key heads may
be shared as in GQA (`n_kv_head`), as Mistral does; by default they are not. Notebook: 07 of this chapter.
"""

from typing import Any

import torch

from attention_mechanisms.grouped_query import GroupedQueryAttention
from attention_mechanisms.kv_cache import KVCache
from attention_mechanisms.masks import check_window
from attention_mechanisms.multi_head import AttentionConfig
from attention_mechanisms.rolling_cache import RollingKVCache
from utils.errors import UserError


class SlidingWindowAttention(GroupedQueryAttention):
    """Causal self-attention in a window; global in the layers that `layer_windows` names."""

    def __init__(self, config: AttentionConfig, layer: int = 0) -> None:
        super().__init__(config, layer)
        self.window = layer_windows(config)[layer]
        self.sinks = sink_count(config) if self.window is not None else 0

    @classmethod
    def kv_heads(cls, config: AttentionConfig) -> int:
        return config.n_head if config.n_kv_head is None else super().kv_heads(config)

    @classmethod
    def check(cls, config: AttentionConfig) -> None:
        super().check(config)
        layer_windows(config)
        sink_count(config)

    @classmethod
    def make_cache(
        cls,
        config: AttentionConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str,
        *,
        slack: int = 0,
    ) -> KVCache:
        """Rings for the windowed layers, full caches for the global ones; `slack` tokens can be cropped again."""
        return RollingKVCache(
            layer_windows(config),
            batch,
            capacity,
            cls.kv_heads(config),
            config.n_embd // config.n_head,
            dtype,
            device,
            sinks=sink_count(config),
            slack=slack,
        )


def layer_windows(config: Any) -> list[int | None]:
    """The window of every layer; None for the global ones, which are every `global_every`-th from the first group.

    The default window is a quarter of block_size.

    >>> from types import SimpleNamespace
    >>> layer_windows(SimpleNamespace(n_layer=4, block_size=16, window=None, global_every=2))
    [4, None, 4, None]
    """
    window = getattr(config, "window", None)
    if window is None:
        window = max(1, config.block_size // 4)
    check_window(window)
    every = getattr(config, "global_every", None) or 0
    if every < 0:
        raise UserError(f"global_every is {every}: every how many layers one sees everything, or 0 for none")
    return [None if every and (layer + 1) % every == 0 else window for layer in range(config.n_layer)]


def sink_count(config: Any) -> int:
    """`attention_sinks` of a configuration, 0 when it has none."""
    sinks = getattr(config, "attention_sinks", 0) or 0
    if sinks < 0:
        raise UserError(f"attention_sinks is {sinks}: give 0 or more tokens")
    return sinks
