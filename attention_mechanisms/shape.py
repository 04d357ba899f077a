"""A configuration of attention alone: what costs and benchmarks need where there is no model.

The idea: attention reads a few fields of a model's configuration (`multi_head.AttentionConfig`). This dataclass holds
just those, with the widths of a small GPT-2, so that a layer can be built, counted and timed by itself. A
`GPTConfig` has the same fields and may stand wherever a shape is asked for.

Left out on purpose: everything a layer of attention does not read (vocabulary, feed-forward, norms).
"""

from dataclasses import dataclass, field
from typing import Any

from utils.errors import UserError


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class AttentionShape:
    """The fields of a configuration that attention reads; the meanings are those of `GPTConfig`."""

    n_layer: int = _key(12, "layers")
    n_head: int = _key(12, "query heads of a layer")
    n_embd: int = _key(768, "width of the residual stream")
    n_kv_head: int | None = _key(None, "gqa, swa: key heads; null: a third of the heads for gqa, all for swa")
    kv_latent_dim: int | None = _key(None, "mla: numbers kept for a token; null: a third of n_embd")
    rope_dim: int | None = _key(None, "mla: numbers of the shared rotary key; null: half a head")
    q_latent_dim: int | None = _key(None, "mla: latent of the queries; null: none")
    window: int | None = _key(None, "swa: tokens seen, own included; null: a quarter of block_size")
    global_every: int = _key(0, "swa: every how many layers one sees everything; 0: none")
    attention_sinks: int = _key(0, "swa: first tokens that stay visible")
    block_size: int = _key(1024, "longest text")
    position: str = _key("rope", "learned, rope, sinusoidal, alibi or none")
    rope_theta: float = _key(10000.0, "base of the rotary speeds")
    rope_layout: str = _key("half_split", "half_split or interleaved")
    bias: bool = _key(False, "biases in the projections")
    dropout: float = _key(0.0, "on the shares, in training")
    attn_backend: str = _key("auto", "auto, manual, sdpa or flex")

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "block_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("n_kv_head", "kv_latent_dim", "rope_dim", "q_latent_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: it must be at least 1, or null")
        if self.n_embd % self.n_head:
            raise UserError(
                f"n_embd is {self.n_embd}, which {self.n_head} heads (n_head) cannot share evenly: "
                f"take a multiple of {self.n_head} or another n_head"
            )

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head
