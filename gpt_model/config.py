"""The shape of a model, as one frozen dataclass, and the presets by name.

The idea: everything that decides which numbers a model computes is in `GPTConfig`, nothing else is. It is
checked when it is made, so that a wrong size is one clear line and not an error deep inside a matrix product.

GPT-2 sizes: Radford et al. 2019, table 2 (with the parameter counts of the released weights).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from utils.errors import UserError

CHOICES = {
    "position": ("learned", "rope", "sinusoidal", "alibi", "none"),
    "norm": ("layernorm", "rmsnorm"),
    "norm_order": ("pre", "post"),
    "mlp": ("gelu", "gelu_tanh", "relu2", "swiglu"),
    "rope_layout": ("half_split", "interleaved"),
    "rope_scaling": ("none", "linear", "ntk", "yarn", "llama3"),
    "attn_backend": ("auto", "manual", "sdpa", "flex"),
}

VARIANT_FIELDS = {
    "mla": ("kv_latent_dim", "rope_dim", "q_latent_dim"),
    "swa": ("window", "global_every", "attention_sinks"),
}


@dataclass(frozen=True)
class GPTConfig:
    """Everything that fixes the architecture. Defaults are those of a small GPT-2.

    vocab_size: number of token ids, rows of the embedding.  block_size: longest context in tokens.
    n_layer, n_head, n_embd: blocks, heads per block, width of the residual stream.
    n_kv_head: key and value heads; None leaves it to the attention (one per query head, but for gqa).
    attention: name in `attention_mechanisms.ATTENTIONS`.
    kv_latent_dim, rope_dim, q_latent_dim: of mla: numbers kept per token, those of the rotary key among them, and
    an optional latent for the queries; None derives the first two from n_embd and the head.
    window, global_every, attention_sinks: of swa: tokens seen, own included (None: a quarter of block_size); every
    how many layers one sees all (0: none); first tokens that always stay visible.
    rope_scaling, rope_factor, rope_original_length: see `attention_mechanisms.rope_scaling`.
    mlp_hidden: inner width of the feed-forward layer; None derives it from `mlp_ratio` (see `hidden_width`).
    norm_order: "pre" is x + f(norm(x)) (GPT-2), "post" is norm(x + f(x)) (the first transformer).
    embedding_std: of the token embedding's initialisation; a large one goes with an untied head, whose logits
    would otherwise start far from even.
    attn_backend: "auto" lets `attention_mechanisms.choose_backend` decide by shape and device.
    """

    vocab_size: int
    block_size: int = 256
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    n_kv_head: int | None = None
    attention: str = "mha"
    kv_latent_dim: int | None = None
    rope_dim: int | None = None
    q_latent_dim: int | None = None
    window: int | None = None
    global_every: int = 0
    attention_sinks: int = 0
    position: str = "learned"
    rope_theta: float = 10000.0
    rope_layout: str = "half_split"
    rope_scaling: str = "none"
    rope_factor: float = 1.0
    rope_original_length: int | None = None
    norm: str = "layernorm"
    norm_eps: float = 1e-5
    norm_order: str = "pre"
    mlp: str = "gelu_tanh"
    mlp_ratio: float = 4.0
    mlp_hidden: int | None = None
    bias: bool = True
    dropout: float = 0.0
    tie_weights: bool = True
    embedding_std: float = 0.02
    attn_backend: str = "auto"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            self._check_positive_int(name, getattr(self, name))
        for name in ("n_kv_head", "mlp_hidden", *VARIANT_FIELDS["mla"], "window", "rope_original_length"):
            if getattr(self, name) is not None:
                self._check_positive_int(name, getattr(self, name))
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"{name} is {value!r}: choose one of {', '.join(choices)}")
        if self.n_embd % self.n_head:
            raise UserError(
                f"n_embd is {self.n_embd}, which {self.n_head} heads (n_head) cannot share evenly: "
                f"take a multiple of {self.n_head} or another n_head"
            )
        if self.position == "rope" and self.head_dim % 2:
            raise UserError(
                f"head_dim (n_embd / n_head) is {self.head_dim} but position rope turns pairs: make it even"
            )
        for name, low, high in (("dropout", 0.0, 1.0), ("norm_eps", 0.0, 1.0)):
            value = getattr(self, name)
            if not low <= value < high:
                raise UserError(f"{name} is {value}: it must be at least {low} and below {high}")
        for name in ("mlp_ratio", "rope_theta"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value}: it must be a positive number")
        self._check_attention()

    def _check_positive_int(self, name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}: it must be a whole number of at least 1")

    def _check_attention(self) -> None:
        from attention_mechanisms.registry import ATTENTIONS

        if self.attention not in ATTENTIONS:
            raise UserError(f"attention is {self.attention!r}: choose one of {', '.join(ATTENTIONS)}")
        if self.attention in ("mha", "mla") and self.n_kv_head not in (None, self.n_head):
            raise UserError(
                f"n_kv_head is {self.n_kv_head} but attention {self.attention} has one key head per query head "
                f"({self.n_head}): leave n_kv_head out, or choose attention gqa"
            )
        defaults = {f.name: f.default for f in fields(self)}
        for variant, names in VARIANT_FIELDS.items():
            for name in names:
                if self.attention != variant and getattr(self, name) != defaults[name]:
                    raise UserError(
                        f"{name} is {getattr(self, name)} but only attention {variant} has it, and attention is "
                        f"{self.attention}: leave it out, or choose attention {variant}"
                    )
        ATTENTIONS[self.attention].check(self)  # what only the variant knows

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def hidden_width(self) -> int:
        """Inner width of the feed-forward layer.

        SwiGLU has three matrices instead of two, so it takes 2/3 of the width for the same number of
        parameters (Shazeer 2020, arXiv 2002.05202, section 2), rounded up to a multiple of 8.
        """
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        if self.mlp == "swiglu":
            return math.ceil(self.mlp_ratio * self.n_embd * 2 / 3 / 8 - 1e-9) * 8
        return round(self.mlp_ratio * self.n_embd)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GPTConfig":
        """A config from plain values; an unknown or missing key is a UserError that lists the valid ones."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise UserError(f"unknown model setting {', '.join(unknown)}: valid ones are {', '.join(known)}")
        if "vocab_size" not in values:
            raise UserError("the model configuration has no vocab_size: add it")
        try:
            return cls(**values)
        except TypeError as error:  # a string where a number belongs, in a file that someone edited
            raise UserError(f"the model configuration has a value of the wrong type: {error}") from None


def _gpt2(n_layer: int, n_head: int, n_embd: int) -> dict[str, Any]:
    sizes = {"vocab_size": 50257, "block_size": 1024, "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}
    return {**sizes, "dropout": 0.0}


PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": _gpt2(12, 12, 768),  # 124,439,808 parameters
    "gpt2-medium": _gpt2(24, 16, 1024),  # 354,823,168
    "gpt2-large": _gpt2(36, 20, 1280),  # 774,030,080
    "gpt2-xl": _gpt2(48, 25, 1600),  # 1,557,611,200
    # The demo's model: modern parts at a size that two CPU cores train in minutes.
    "storyteller": {
        "vocab_size": 2048,
        "block_size": 256,
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 128,
        "position": "rope",
        "norm": "rmsnorm",
        "mlp": "swiglu",
        "bias": False,
        # Names must stay tellable apart while the model learns that they are names: see finetuning/LOG.md.
        "tie_weights": False,
        "embedding_std": 1.0,
    },
    "tiny": {"vocab_size": 2048, "block_size": 128, "n_layer": 2, "n_head": 4, "n_embd": 64},
    # Small enough for a test to run hundreds of times.
    "debug": {"vocab_size": 64, "block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 16},
}


def preset(name: str, **overrides: Any) -> GPTConfig:
    """The named configuration, with some fields replaced: `preset("gpt2", dropout=0.1)`."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return GPTConfig.from_dict({**PRESETS[name], **overrides})
