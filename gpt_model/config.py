"""The shape of a model, as one frozen dataclass, and the presets by name.

The idea: everything that decides which numbers a model computes is in `GPTConfig`, nothing else is. It is
checked when it is made, so that a wrong size is one clear line and not an error deep inside a matrix product.

The shapes that have names are in `presets`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from gpt_model.presets import PRESETS
from utils.errors import UserError, closest, did_you_mean

CHOICES = {
    "position": ("learned", "rope", "sinusoidal", "alibi", "none"),
    "norm": ("layernorm", "rmsnorm", "groupnorm"),
    "norm_order": ("pre", "post"),
    "mlp": ("gelu", "gelu_tanh", "relu", "relu2", "swiglu", "geglu"),
    "rope_layout": ("half_split", "interleaved"),
    "rope_scaling": ("none", "linear", "ntk", "yarn", "llama3"),
    "attn_backend": ("auto", "manual", "sdpa", "flex"),
}

GATED = ("swiglu", "geglu")  # feed-forward layers with three maps instead of two

VARIANT_FIELDS = {
    "mla": ("kv_latent_dim", "rope_dim", "q_latent_dim"),
    "swa": ("window", "global_every", "attention_sinks"),
}
OPTIONAL_SIZES = (
    *("n_kv_head", "mlp_hidden", "kv_latent_dim", "rope_dim", "q_latent_dim"),
    *("window", "rope_original_length", "norm_groups"),
)
DROPOUTS = ("embedding_dropout", "attention_dropout", "residual_dropout")


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
    rope_low_turns, rope_high_turns: of llama3 and yarn: pairs with fewer turns in the original length are slowed
    by the whole factor, with more not at all; None is the recipe's own pair of numbers (1 and 4, 1 and 32).
    rope_attention_factor: what yarn multiplies queries and keys with; None is 0.1 ln(factor) + 1.
    mlp_hidden: inner width of the feed-forward layer; None derives it from `mlp_ratio` (see `hidden_width`).
    norm_groups: of groupnorm: parts of a token's vector that are normalised apart; None: one for each head.
    norm_order: "pre" is x + f(norm(x)) (GPT-2), "post" is norm(x + f(x)) (the first transformer).
    qkv_bias, attn_out_bias, mlp_bias: biases of the maps into attention, out of it, and of the feed-forward layer,
    where they differ from `bias` (Llama, Qwen2); None is `bias`, which also rules the norms.
    dropout: share of numbers set to 0 in training, at three places, each of which may have a share of its own:
    embedding_dropout (after embedding), attention_dropout (on the shares), residual_dropout (on what each sub-layer
    adds to the stream).
    embedding_std: of the token embedding's initialisation; a large one goes with an untied head, whose logits
    would otherwise start far from even.
    qk_norm: queries and keys are normalised a head before they are compared (see `attention_mechanisms.qk_norm`).
    logit_softcap: c in c · tanh(logits / c), which keeps every logit within ± c (Gemma 2, arXiv 2408.00118, section 2);
    None has no cap.
    zero_init_out: the maps back into the stream begin at 0, so that every block begins as the identity and only
    learns to add (Zhang et al. 2019, arXiv 1901.09321). Of initialisation only: no forward pass depends on it.
    ngram_rows: rows of the tables of pairs, triples, … of tokens that are looked up beside each token (see `ngrams`);
    `()` is none. Caches keep the ids for it. ngram_dropout: share of these look-ups that are left out in training.
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
    rope_low_turns: float | None = None
    rope_high_turns: float | None = None
    rope_attention_factor: float | None = None
    norm: str = "layernorm"
    norm_eps: float = 1e-5
    norm_groups: int | None = None
    norm_order: str = "pre"
    mlp: str = "gelu_tanh"
    mlp_ratio: float = 4.0
    mlp_hidden: int | None = None
    bias: bool = True
    qkv_bias: bool | None = None
    attn_out_bias: bool | None = None
    mlp_bias: bool | None = None
    dropout: float = 0.0
    embedding_dropout: float | None = None
    attention_dropout: float | None = None
    residual_dropout: float | None = None
    tie_weights: bool = True
    embedding_std: float = 0.02
    qk_norm: bool = False
    logit_softcap: float | None = None
    zero_init_out: bool = False
    ngram_rows: tuple[int, ...] = ()
    ngram_dropout: float = 0.0
    attn_backend: str = "auto"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            self._check_positive_int(name, getattr(self, name))
        for name in OPTIONAL_SIZES:
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
        for name in ("dropout", *DROPOUTS, "ngram_dropout", "norm_eps"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < 1.0:
                raise UserError(f"{name} is {value}: it must be at least 0.0 and below 1.0")
        for name in ("mlp_ratio", "rope_theta"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value}: it must be a positive number")
        for name in ("rope_low_turns", "rope_high_turns", "rope_attention_factor"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value}: it must be a positive number, or null")
        if self.logit_softcap is not None and not (
            self.logit_softcap > 0 and math.isfinite(self.logit_softcap)
        ):
            raise UserError(f"logit_softcap is {self.logit_softcap}: it must be a positive number, or null")
        self._check_ngrams()
        for name in ("qk_norm", "zero_init_out"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"{name} is {getattr(self, name)!r}: choose true or false")
        for name in ("qkv_bias", "attn_out_bias", "mlp_bias"):
            if getattr(self, name) not in (None, True, False):
                raise UserError(f"{name} is {getattr(self, name)!r}: choose true, false or null (as bias)")
        if self.norm == "groupnorm" and self.n_embd % self.groups_of_norm:
            raise UserError(
                f"norm_groups is {self.norm_groups}, but n_embd {self.n_embd} cannot be cut into so many even parts: "
                f"choose a divisor of {self.n_embd}"
            )
        if self.norm != "groupnorm" and self.norm_groups is not None:
            raise UserError(
                f"norm_groups is {self.norm_groups} but norm is {self.norm}: leave it out, or choose norm groupnorm"
            )
        self._check_attention()

    def _check_positive_int(self, name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}: it must be a whole number of at least 1")

    def _check_ngrams(self) -> None:
        if isinstance(self.ngram_rows, (str, int)) or not isinstance(self.ngram_rows, Sequence):
            raise UserError(
                f"ngram_rows is {self.ngram_rows!r}: give a list of table sizes, such as [4357, 16381]"
            )
        object.__setattr__(self, "ngram_rows", tuple(self.ngram_rows))  # a list, where it came from JSON
        for rows in self.ngram_rows:
            self._check_positive_int("ngram_rows", rows)
            if math.gcd(rows, self.vocab_size + 1) != 1:
                raise UserError(
                    f"ngram_rows has {rows}, which shares a divisor with vocab_size + 1 = {self.vocab_size + 1}, so "
                    "that older tokens would hardly count: take a prime, such as 4357, 16381 or 65521"
                )

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
    def groups_of_norm(self) -> int:
        """Parts that `groupnorm` normalises apart: `norm_groups`, or one for each head."""
        return self.n_head if self.norm_groups is None else self.norm_groups

    def dropout_at(self, place: str) -> float:
        """The share of numbers set to 0 at "embedding", "attention" or "residual" while training."""
        own = getattr(self, f"{place}_dropout")
        return self.dropout if own is None else float(own)

    @property
    def hidden_width(self) -> int:
        """Inner width of the feed-forward layer.

        A gated layer has three matrices instead of two, so it takes 2/3 of the width for the same number of
        parameters (Shazeer 2020, arXiv 2002.05202, section 2), rounded up to a multiple of 8.
        """
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        if self.mlp in GATED:
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


def preset(name: str, **overrides: Any) -> GPTConfig:
    """The named configuration, with some fields replaced: `preset("gpt2", dropout=0.1)`.

    Another attention takes the place of the preset's own, whose private fields go with it:
    `preset("mistral-7b", attention="mla")` has no window. What is given by name is kept, or refused.
    """
    if name not in PRESETS:
        hint = did_you_mean(closest(name, PRESETS))
        raise UserError(f"unknown preset {name!r}: {hint}choose one of {', '.join(PRESETS)}")
    values = PRESETS[name]
    if "attention" in overrides:
        values = _for_attention(values, overrides["attention"])
    return GPTConfig.from_dict({**values, **overrides})


def with_attention(config: GPTConfig, attention: str) -> GPTConfig:
    """The same model with another attention; fields that only the old one has go with it."""
    return GPTConfig.from_dict({**_for_attention(config.to_dict(), attention), "attention": attention})


def _for_attention(values: Mapping[str, Any], attention: str) -> dict[str, Any]:
    """The values that still mean something when `attention` takes the place of the one they name."""
    own = values.get("attention", "mha")
    if own == attention:
        return dict(values)
    private = {name for names in VARIANT_FIELDS.values() for name in names}
    if not {own, attention} <= {"gqa", "swa"}:  # shared key heads; all others decide their number themselves
        private.add("n_kv_head")
    return {name: value for name, value in values.items() if name not in private}
