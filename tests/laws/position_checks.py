"""LA7 beyond the plain rotation: longer RoPE, ALiBi and sinusoids, against transformers and closed forms."""

from __future__ import annotations

import math
from typing import Any

import torch
from attention_checks import assert_near, attention_config, make_attention
from model_checks import build, some_ids
from torch import Tensor

from attention_mechanisms import (
    RopeScaling,
    RotaryPositions,
    SinusoidalPositions,
    positions,
    rope_frequencies,
)
from attention_mechanisms.multi_head import MultiHeadAttention

SCALINGS = {
    "linear": RopeScaling("linear", 4.0),
    "yarn": RopeScaling("yarn", 4.0, 2048),
    "yarn-deepseek": RopeScaling("yarn", 40.0, 4096),
    "yarn-betas": RopeScaling("yarn", 16.0, 512, beta_fast=16.0, beta_slow=2.0),
    "llama3": RopeScaling("llama3", 8.0, 8192),
    "llama3.2": RopeScaling("llama3", 32.0, 8192),
    "llama3-thresholds": RopeScaling("llama3", 4.0, 1024, low_freq_factor=2.0, high_freq_factor=8.0),
}


def transformers_frequencies(dim: int, theta: float, scaling: RopeScaling) -> tuple[Tensor, float]:
    """Speeds and attention factor by transformers' ROPE_INIT_FUNCTIONS (float32)."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters: dict[str, Any] = {
        "rope_type": scaling.kind, "rope_theta": theta, "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_length or 2048,
        "low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor,
        "beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow,
    }  # fmt: skip
    wanted = {
        "linear": ("rope_type", "rope_theta", "factor"),
        "llama3": ("rope_type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor",
                   "high_freq_factor"),
        "yarn": ("rope_type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
    }  # fmt: skip
    config = LlamaConfig(
        hidden_size=dim * 2,
        num_attention_heads=2,
        head_dim=dim,
        max_position_embeddings=int((scaling.original_length or 2048) * scaling.factor),
        rope_parameters={name: parameters[name] for name in wanted[scaling.kind]},
    )
    return ROPE_INIT_FUNCTIONS[scaling.kind](config, torch.device("cpu"))


def check_scaling_equals_transformers(name: str, dim: int = 128, theta: float = 10000.0) -> None:
    """Every pair's speed, with the first, the middle and the last named, and the factor on queries and keys."""
    scaling = SCALINGS[name]
    expected, factor = transformers_frequencies(dim, theta, scaling)
    got = rope_frequencies(dim, theta, scaling)
    for place in (0, dim // 4, dim // 2 - 1):
        ours, theirs = got[place].item(), expected[place].item()
        assert math.isclose(ours, theirs, rel_tol=2e-6), (
            f"{name}: pair {place} of {dim // 2} turns {ours:.6e} radians a token, transformers {theirs:.6e}"
        )
    assert_near(
        got / expected.double(), torch.ones(dim // 2), 1e-5, f"{name}: the ratio to transformers' speeds"
    )
    assert math.isclose(scaling.attention_factor, factor, rel_tol=1e-6), (
        f"{name}: queries and keys are multiplied with {scaling.attention_factor}, transformers says {factor}"
    )


@torch.no_grad()
def check_scaled_rotation(name: str, layout: str) -> None:
    """The rotation itself: positions far out turn by p times the scaled speed and grow by the factor."""
    scaling = SCALINGS[name]
    speeds, factor = transformers_frequencies(16, 10000.0, scaling)
    rope = RotaryPositions(16, 600, layout=layout, scaling=scaling).double()
    x = torch.randn(1, 1, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    where = [0, 7, 599]
    got = rope.rotate(x, torch.tensor(where))[0, 0]
    for row, p in enumerate(where):
        for i in range(8):
            a, b = (i, i + 8) if layout == "half_split" else (2 * i, 2 * i + 1)
            angle = p * speeds[i].item()
            u, w = x[0, 0, row, a].item(), x[0, 0, row, b].item()
            expected = (
                (u * math.cos(angle) - w * math.sin(angle)),
                (w * math.cos(angle) + u * math.sin(angle)),
            )
            for value, number in zip((got[row, a], got[row, b]), expected):
                assert abs(value.item() - factor * number) < 2e-4, (
                    f"{name}, {layout}: pair {i} at position {p}"
                )


def check_ntk_formula(dim: int = 128, theta: float = 10000.0, factor: float = 4.0) -> None:
    """theta' = theta · factor^(D / (D - 2)): the first pair keeps its speed, the last slows by the factor."""
    plain = rope_frequencies(dim, theta)
    got = rope_frequencies(dim, theta, RopeScaling("ntk", factor))
    assert math.isclose(got[0].item(), 1.0, rel_tol=1e-12), "ntk: the fastest pair must keep its speed"
    ratio = (plain[-1] / got[-1]).item()
    assert math.isclose(ratio, factor, rel_tol=1e-9), (
        f"ntk: the slowest pair slows by {ratio}, not by {factor}"
    )
    # The same by transformers' dynamic recipe, at the length where its factor · length / L - (factor - 1) is ours.
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(
        hidden_size=dim * 2, num_attention_heads=2, head_dim=dim, max_position_embeddings=1000,
        rope_parameters={"rope_type": "dynamic", "rope_theta": theta, "factor": factor},
    )  # fmt: skip
    length = int(1000 * (factor + factor - 1) / factor)
    expected, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, torch.device("cpu"), seq_len=length)
    assert_near(
        got / expected.double(), torch.ones(dim // 2), 1e-5, "ntk: the ratio to transformers' dynamic speeds"
    )


def check_published_values() -> None:
    """Numbers that follow from the papers by hand, at the first, a middle and the last pair of a head of 128."""
    plain = rope_frequencies(128, 10000.0)
    assert math.isclose(plain[0].item(), 1.0) and math.isclose(plain[32].item(), 0.01, rel_tol=1e-12)
    assert math.isclose(plain[63].item(), 10000 ** (-126 / 128), rel_tol=1e-12)
    # Chen et al. 2023: every speed divided by the factor.
    linear = rope_frequencies(128, 10000.0, RopeScaling("linear", 4.0))
    assert torch.allclose(linear * 4, plain, rtol=1e-12)
    # Llama 3.1 (theta 500000, factor 8, 8192): wavelengths under 2048 are kept, over 8192 divided by eight.
    llama = rope_frequencies(128, 500000.0, RopeScaling("llama3", 8.0, 8192))
    fast = rope_frequencies(128, 500000.0)
    waves = 2 * math.pi / fast
    assert torch.equal(llama[waves < 2048], fast[waves < 2048]) and int((waves < 2048).sum()) == 29
    assert (
        torch.allclose(llama[waves > 8192] * 8, fast[waves > 8192], rtol=1e-12)
        and int((waves > 8192).sum()) == 29
    )
    between = (waves >= 2048) & (waves <= 8192)
    assert bool(((llama < fast) & (llama > fast / 8))[between].all()) and int(between.sum()) == 6
    # YaRN (Peng et al. 2023, eq. 22): sqrt(1/t) = 0.1 ln(s) + 1; Llama 2, 4096 -> s = 16 and 32.
    for s, root in ((16.0, 1.2772589), (32.0, 1.3465736)):
        assert math.isclose(RopeScaling("yarn", s, 4096).attention_factor, root, rel_tol=1e-6)
    # Its ramp at L = 2048, D = 128: pairs up to 16 turn 32 times and keep their speed, from 41 on they slow by s.
    yarn = rope_frequencies(128, 10000.0, RopeScaling("yarn", 4.0, 2048))
    ratio = yarn / plain
    first = math.floor(64 * math.log(2048 / (32 * 2 * math.pi)) / math.log(10000))
    last = math.ceil(64 * math.log(2048 / (2 * math.pi)) / math.log(10000))
    assert (first, last) == (16, 41)
    kept = torch.ones(first + 1, dtype=torch.float64)
    assert torch.allclose(ratio[: first + 1], kept), "yarn: pairs that turn often must keep their speed"
    assert torch.allclose(ratio[last:], torch.full((64 - last,), 0.25, dtype=torch.float64))
    assert math.isclose(ratio[20].item(), 1 - 4 / 25 * 0.75, rel_tol=1e-9), "between them, a straight ramp"


# ALiBi ----------------------------------------------------------------------------------------------


def paper_slopes(n: int) -> list[float]:
    """Press et al. 2021, section 3 and their released code: a geometric series, for powers of two from 2^(-8/n)."""
    if n & (n - 1) == 0:
        start = 2 ** (-8 / n)
        return [start * start**i for i in range(n)]
    below = 1 << (n.bit_length() - 1)
    return paper_slopes(below) + paper_slopes(2 * below)[0::2][: n - below]


def check_alibi_slopes() -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    for n in (1, 2, 3, 4, 6, 8, 12, 16, 20, 25, 32):
        got = positions.alibi_slopes(n)
        hint = (
            f"ALiBi slopes of {n} heads: 2^(-8i/n) for powers of two, else those of the next smaller power and every "
            "other one of twice that power"
        )
        assert_near(got, torch.tensor(paper_slopes(n)), 1e-7, hint)
        bloom = build_alibi_tensor(torch.ones(1, 2, dtype=torch.long), n, torch.float32)[:, 0, 1]
        assert_near(got, bloom, 1e-7, f"{hint} (transformers' bloom)")
    assert positions.alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]


@torch.no_grad()
def check_alibi_in_attention(name: str = "mha") -> None:
    """softmax(q k / sqrt(d) - slope · distance) v by a loop; and Bloom's key-only bias, which softmax cannot tell."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    module: Any = make_attention(name, position="alibi", n_kv_head=None)
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    if name == "mla":
        q, k, v = module.unfold(*module.compress(x, None, 0))
    else:
        q, k, v = module.project(x)
        k, v = (t[:, [h // (4 // t.size(1)) for h in range(4)]] for t in (k, v))
    scores = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).double()
    slopes = paper_slopes(4)
    for h in range(4):
        for i in range(7):
            for j in range(7):
                scores[:, h, i, j] += -slopes[h] * (i - j) if j <= i else -torch.inf
    bloom = build_alibi_tensor(torch.ones(2, 7, dtype=torch.long), 4, torch.float32).view(2, 4, 1, 7)
    theirs = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)) + bloom).masked_fill(
        ~torch.ones(7, 7, dtype=torch.bool).tril(), -torch.inf
    )
    hint = f"{name}: ALiBi takes slope · distance from a score: nearer tokens count more. Check its sign"
    for expected in (scores.softmax(-1), theirs.softmax(-1)):
        joined = module.out_proj((expected.float() @ v).transpose(1, 2).flatten(2))
        assert_near(module(x), joined, 3e-6, hint)
    assert_near(module(x, need_weights=True)[1], scores.softmax(-1), 3e-6, f"the map: {hint}")


@torch.no_grad()
def check_alibi_does_not_depend_on_the_place() -> None:
    """The logits of a text are the same behind padding: only distances count."""
    module = MultiHeadAttention(attention_config(position="alibi"))
    queries, keys = torch.arange(3, 6), torch.arange(6)
    bias, moved = module.score_bias(queries, keys), module.score_bias(queries + 9, keys + 9)
    assert bias is not None and moved is not None
    assert torch.equal(moved, alibi_by_hand(queries + 9, keys + 9)), (
        "the distance counts, wherever the chunk stands"
    )
    assert torch.equal(bias, moved) and bias.shape == (4, 3, 6), "only the distance counts"


def alibi_by_hand(queries: Tensor, keys: Tensor) -> Tensor:
    rows = [
        [[-slope * (q - k) for k in keys.tolist()] for q in queries.tolist()] for slope in paper_slopes(4)
    ]
    return torch.tensor(rows)


# Sinusoids ------------------------------------------------------------------------------------------


@torch.no_grad()
def check_sinusoids(width: int = 16, length: int = 50) -> None:
    """Coordinates 2i and 2i + 1 are sin and cos of position / 10000^(2i / width) (Vaswani et al., section 3.5)."""
    table = SinusoidalPositions(length, width).weight
    assert table.dtype == torch.float32 and not SinusoidalPositions(length, width).state_dict()
    for p in (0, 1, length // 2, length - 1):
        for i in range(width // 2):
            angle = p / 10000 ** (2 * i / width)
            got = table[p, 2 * i].item(), table[p, 2 * i + 1].item()
            assert abs(got[0] - math.sin(angle)) < 1e-6 and abs(got[1] - math.cos(angle)) < 1e-6, (
                f"sinusoid of position {p}, pair {i}: sine first, then cosine, of position / 10000^(2i/width)"
            )


@torch.no_grad()
def check_sinusoids_reach_the_model() -> None:
    """The model adds the wave of each position to the embedding, and trains nothing for it."""
    model = build(position="sinusoidal")
    seen: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    ids = some_ids(2, 9)
    model(ids)
    waves = seen[0] - model.token_embedding(ids)
    for p in (0, 3, 8):
        expected = [f(p / 10000 ** (2 * i / 16)) for i in range(8) for f in (math.sin, math.cos)]
        assert_near(
            waves[1, p], torch.tensor(expected), 2e-6, f"what is added at position {p} is not its wave"
        )
    assert not any("position" in name for name, _ in model.named_parameters())
