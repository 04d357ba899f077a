"""Laws of a block's parts, as functions that raise: norms, feed-forward layers, dropout by place, and every preset.

References are loops over single tokens in float64, torch's own GroupNorm on one token, and the published counts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from model_checks import assert_close
from torch import nn

from attention_mechanisms import ATTENTIONS
from gpt_model import GPT, GPTConfig, preset
from gpt_model.config import PRESETS
from gpt_model.costs import skeleton
from gpt_model.feed_forward import make_feed_forward
from gpt_model.norms import make_norm

WIDTH = 12
# As published with the models: GPT-2 (released weights), Llama 3.2 1B, Llama 2 7B and Mistral 7B (model cards).
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-1b": 1_235_814_400,
    "llama-7b": 6_738_415_616,
    "mistral-7b": 7_241_732_096,
}


def tiny(**fields: Any) -> GPTConfig:
    return GPTConfig(
        **{"vocab_size": 8, "block_size": 16, "n_layer": 1, "n_head": 2, "n_embd": WIDTH, **fields}
    )


def norm_of(kind: str, **fields: Any) -> nn.Module:
    """A norm whose gains and biases are not 1 and 0."""
    torch.manual_seed(0)
    norm = make_norm(tiny(norm=kind, **fields))
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return norm


@torch.no_grad()
def check_norm_is_per_token(norm: nn.Module, length: int = 7) -> None:
    """Changing one token of a batch changes the norm of that token and, bit for bit, of no other."""
    x = torch.randn(3, length, WIDTH, generator=torch.Generator().manual_seed(1))
    before = norm(x)
    for t in range(length):
        changed = x.clone()
        changed[1, t] = 5 * changed[1, t].flip(0) + 1
        after = norm(changed)
        same = torch.ones(3, length, dtype=torch.bool)
        same[1, t] = False
        moved = (before[same] - after[same]).abs().max().item()
        assert torch.equal(before[same], after[same]), (
            f"{type(norm).__name__}: changing token {t} moves the norm of another token by {moved:.1e}. In a language "
            "model a norm must look at one token at a time: a mean over time lets the past see the future"
        )
        assert not torch.equal(before[1, t], after[1, t]), (
            f"the norm of token {t} does not depend on token {t}"
        )


@torch.no_grad()
def check_norm_by_hand(kind: str, groups: int | None = None, bias: bool = True) -> None:
    """Each token alone, in float64, by the formula of the paper."""
    fields = {"norm_groups": groups} if kind == "groupnorm" else {}
    norm = norm_of(kind, bias=bias, norm_eps=1e-3, **fields).double()
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    parts = 1 if kind != "groupnorm" else groups or 2
    wanted = torch.empty_like(x)
    for row in range(2):
        for t in range(5):
            for numbers, place in zip(x[row, t].chunk(parts), wanted[row, t].chunk(parts)):
                mean = 0.0 if kind == "rmsnorm" else numbers.mean().item()
                spread = sum((v - mean) ** 2 for v in numbers.tolist()) / len(numbers)
                scaled = [(v - mean) / math.sqrt(spread + 1e-3) for v in numbers.tolist()]
                place.copy_(torch.tensor(scaled, dtype=torch.float64))
    wanted = wanted * norm.weight + (norm.bias if getattr(norm, "bias", None) is not None else 0)
    assert_close(
        norm(x), wanted, 1e-12, f"{kind} with {parts} groups differs from its formula, token by token"
    )


@torch.no_grad()
def check_groupnorm_is_torchs_on_one_token(groups: int = 3) -> None:
    """torch.nn.GroupNorm agrees when it is given one token at a time; one group is LayerNorm."""
    ours = norm_of("groupnorm", norm_groups=groups)
    theirs = nn.GroupNorm(groups, WIDTH, eps=1e-5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, WIDTH)
    alone = torch.stack([theirs(x[:, t]) for t in range(5)], dim=1)
    assert_close(ours(x), alone, 1e-6, "GroupNorm differs from torch's on single tokens")
    one, layer = norm_of("groupnorm", norm_groups=1), norm_of("layernorm")
    layer.load_state_dict(one.state_dict())
    assert_close(one(x), layer(x), 1e-6, "GroupNorm with one group is LayerNorm")


@torch.no_grad()
def check_feed_forward_by_hand(kind: str) -> None:
    """Number by number in float64, with math.erf, math.tanh and math.exp."""
    bend = {
        "gelu": lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))),
        "gelu_tanh": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
        "relu": lambda v: max(v, 0.0),
        "relu2": lambda v: max(v, 0.0) ** 2,
        "swiglu": lambda v: v / (1 + math.exp(-v)),
        "geglu": lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))),
    }[kind]
    torch.manual_seed(3)
    layer = make_feed_forward(tiny(mlp=kind)).double()
    x = 3 * torch.randn(2, 3, WIDTH, dtype=torch.float64)
    wanted = torch.empty_like(x)
    for row in range(2):
        for t in range(3):
            up = (layer.up_proj.weight @ x[row, t] + layer.up_proj.bias).tolist()
            if kind in ("swiglu", "geglu"):
                half = len(up) // 2
                up = [bend(gate) * value for gate, value in zip(up[:half], up[half:], strict=True)]
            else:
                up = [bend(value) for value in up]
            wanted[row, t] = (
                layer.out_proj.weight @ torch.tensor(up, dtype=torch.float64) + layer.out_proj.bias
            )
    assert_close(
        layer(x), wanted, 1e-12, f"{kind} differs from its formula; a gated layer bends its first half"
    )


def check_dropout_places(place: str) -> None:
    """Dropout at one place only: it acts there in training, the others stay still, and evaluation is deterministic."""
    torch.manual_seed(4)
    fields = {"norm": "layernorm", "dropout": 0.0, f"{place}_dropout": 0.5, "attn_backend": "manual"}
    model = GPT(tiny(**fields))
    ids = torch.randint(8, (2, 9))
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, model(ids).logits), "dropout acts in evaluation"
        model.train()
        torch.manual_seed(5)
        first, again = model(ids).logits, model(ids).logits
    assert not torch.equal(first, again), f"{place}_dropout 0.5 does nothing in training"
    seen = {
        "embedding": model.dropout.p,
        "attention": model.blocks[0].attn.dropout,
        "residual": model.blocks[0].dropout.p,
    }
    wanted = {name: 0.5 if name == place else 0.0 for name in seen}
    assert seen == wanted, f"{place}_dropout reached {seen}: each place has its own share"
    everywhere = GPT(tiny(dropout=0.25))
    shares = (everywhere.dropout.p, everywhere.blocks[0].attn.dropout, everywhere.blocks[0].dropout.p)
    assert shares == (0.25,) * 3, f"`dropout` rules where no place has its own, but the shares are {shares}"


def check_preset_builds(name: str, attention: str) -> None:
    """The preset takes this attention, has its parts, and counts as published where it is the published one."""
    config = preset(name, attention=attention)
    assert config.attention == attention
    own = PRESETS[name].get("attention", "mha")
    model = skeleton(config)
    assert isinstance(model.blocks[-1].attn, ATTENTIONS[attention])
    kept = {"vocab_size", "n_layer", "n_head", "n_embd", "norm", "mlp", "position", "tie_weights"}
    changed = {key for key in kept & set(PRESETS[name]) if getattr(config, key) != PRESETS[name][key]}
    assert not changed, f"{name} with {attention} lost its {changed}"
    if attention == own:
        assert config == preset(name), f"naming {name}'s own attention changed it"
        if name in PUBLISHED:
            assert model.num_parameters() == PUBLISHED[name], (
                f"{name} has {model.num_parameters():,} parameters, published are {PUBLISHED[name]:,}"
            )


def check_preset_runs(name: str, attention: str) -> None:
    """Forward and backward on real weights: a finite loss near ln V, and a gradient for every parameter."""
    torch.manual_seed(6)
    model = GPT(preset(name, attention=attention)).train()
    ids = torch.randint(model.config.vocab_size, (2, 9))
    loss = model(ids[:, :-1], targets=ids[:, 1:]).loss
    loss.backward()
    assert abs(loss.item() - math.log(model.config.vocab_size)) < 0.6, (
        f"{name} with {attention}: {loss.item():.2f}"
    )
    for key, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and bool(torch.isfinite(gradient).all()), f"{name}, {attention}: {key}"
        assert bool(gradient.any()), f"{name} with {attention}: no gradient reaches {key}"


def small_presets(limit: int = 10_000_000) -> list[str]:
    """The presets that a test may build for real."""
    return [name for name in PRESETS if skeleton(preset(name)).num_parameters() < limit]
