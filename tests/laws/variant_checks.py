"""Laws of the variants: grouped queries (LA4), latents (LA5), windows (LA6).

References: multi-head attention with repeated weights, transformers' DeepSeek and Mistral attention with tiny
random weights, and a dense band mask in a loop of Python floats; never one path of ours against another alone.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from attention_checks import assert_near, attention_config, loop_attention, make_attention
from model_checks import assert_close, build, feed, random_cut, some_ids, ways_to_cut
from torch import Tensor, nn

from attention_mechanisms import ATTENTIONS
from attention_mechanisms.latent import LatentAttention
from gpt_model import GPT


def some_x(length: int = 9, batch: int = 2, width: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(seed))


# LA4 ------------------------------------------------------------------------------------------------


def repeated_rows(weight: Tensor, n_head: int, n_kv: int, head_dim: int) -> Tensor:
    """The fused rows of GQA as MHA would hold them: head h has the key head h // (n_head / n_kv)."""
    q, k, v = weight.split([n_head * head_dim, n_kv * head_dim, n_kv * head_dim])

    def spread(rows: Tensor) -> Tensor:
        heads = rows.view(n_kv, head_dim, -1)
        return torch.cat([heads[h // (n_head // n_kv)] for h in range(n_head)]).view(n_head * head_dim, -1)

    return torch.cat((q.reshape(n_head * head_dim, -1), spread(k), spread(v))).view(-1, *weight.shape[1:])


def check_gqa_is_mha_with_repeated_heads(
    n_kv: int, backend: str, position: str = "rope", **fields: Any
) -> None:
    """Values equal; the gradient of a shared head is the sum of its copies' gradients."""
    n_head, head_dim = 4, 4
    gqa = make_attention("gqa", n_kv_head=n_kv, attn_backend=backend, position=position, **fields)
    mha = make_attention("mha", attn_backend="manual", position=position, **fields)
    with torch.no_grad():
        mha.out_proj.load_state_dict(gqa.out_proj.state_dict())
        for name in ("weight", "bias"):
            rows = repeated_rows(getattr(gqa.qkv_proj, name).detach(), n_head, n_kv, head_dim)
            getattr(mha.qkv_proj, name).copy_(rows)
    first, second = some_x().requires_grad_(), some_x().requires_grad_()
    got, expected = gqa(first), mha(second)
    hint = (
        f"n_kv_head {n_kv}, backend {backend}: not multi-head attention with its K and V heads repeat_interleaved. "
        "Query head h reads key head h // (n_head / n_kv_head), not h % n_kv_head"
    )
    assert_near(got, expected, 2e-6, hint)
    got.square().sum().backward()
    expected.square().sum().backward()
    assert_near(first.grad, second.grad, 2e-4, f"gradient of the input: {hint}")
    ours, theirs = gqa.qkv_proj.weight.grad, mha.qkv_proj.weight.grad
    copies = theirs[n_head * head_dim :].view(2, n_kv, n_head // n_kv, head_dim, -1).sum(2).flatten(0, 2)
    assert_near(ours, torch.cat((theirs[: n_head * head_dim], copies)), 5e-4, f"weight gradient: {hint}")


def check_gqa_with_all_heads_is_mha() -> None:
    """n_kv_head = n_head: the same shapes and, bit for bit, the same numbers."""
    gqa, mha = make_attention("gqa", n_kv_head=4), make_attention("mha")
    mha.load_state_dict(gqa.state_dict())
    assert torch.equal(gqa(some_x()), mha(some_x())), "n_kv_head = n_head must be multi-head attention"


def check_gqa_cache_holds_key_heads_only(n_kv: int) -> None:
    """The cache keeps n_kv_head heads: n_head / n_kv_head times fewer bytes than MHA's."""
    caches = [
        ATTENTIONS[name].make_cache(attention_config(n_kv_head=n), 2, 10, torch.float32, "cpu")
        for name, n in (("gqa", n_kv), ("mha", None))
    ]
    ours, full = (cache.nbytes for cache in caches)
    assert ours * 4 == full * n_kv, f"{n_kv} of 4 key heads take {ours} bytes, multi-head {full}"


# LA5 ------------------------------------------------------------------------------------------------


def deepseek(version: int, *, q_latent: int | None, interleaved: bool, seed: int = 0) -> nn.Module:
    """transformers' attention of DeepSeek-V2 or V3, tiny, with loud random weights."""
    from transformers import DeepseekV2Config, DeepseekV3Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

    config_class: Any = DeepseekV3Config if version == 3 else DeepseekV2Config
    config = config_class(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=q_latent, kv_lora_rank=8,
        qk_rope_head_dim=2, qk_nope_head_dim=4, v_head_dim=4, head_dim=2, max_position_embeddings=32,
        attention_bias=False, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    config.rope_interleave = interleaved
    torch.manual_seed(seed)
    module = (DeepseekV3Attention if version == 3 else DeepseekV2Attention)(config, 0).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape) + (1.0 if parameter.dim() == 1 else 0.0))
    return module


def deepseek_output(module: Any, version: int, x: Tensor) -> Tensor:
    """Its output for x (B, T, 16), positions 0 … T - 1, causal."""
    time = x.size(1)
    positions = torch.arange(time)[None]
    if version == 3:
        from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding as Rotary
    else:
        from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2RotaryEmbedding as Rotary
    angles = Rotary(module.config)(x, positions)
    future = torch.full((time, time), torch.finfo(x.dtype).min).triu(1)[None, None]
    return module(x, position_embeddings=angles, attention_mask=future)[0]


def ours_from_deepseek(theirs: Any, *, q_latent: int | None, interleaved: bool) -> LatentAttention:
    """Our latent attention with DeepSeek's weights: names differ, nothing else."""
    config = attention_config(
        position="rope", kv_latent_dim=8, rope_dim=2, q_latent_dim=q_latent, bias=False,
        rope_layout="interleaved" if interleaved else "half_split",
    )  # fmt: skip
    ours = LatentAttention(config).eval()
    names = {"kv_down_proj": "kv_a_proj_with_mqa", "kv_norm": "kv_a_layernorm", "kv_up_proj": "kv_b_proj"}
    names |= {"out_proj": "o_proj", "q_proj": "q_proj"}
    if q_latent:
        names |= {"q_down_proj": "q_a_proj", "q_norm": "q_a_layernorm", "q_proj": "q_b_proj"}
    given = theirs.state_dict()
    ours.load_state_dict({f"{a}.weight": given[f"{b}.weight"] for a, b in names.items()})
    return ours


@torch.no_grad()
def check_equals_deepseek(version: int, path: str, q_latent: int | None, interleaved: bool = True) -> None:
    theirs = deepseek(version, q_latent=q_latent, interleaved=interleaved)
    ours = ours_from_deepseek(theirs, q_latent=q_latent, interleaved=interleaved)
    ours.path = path
    x = some_x(11)
    assert_near(ours(x), deepseek_output(theirs, version, x), 5e-6, (
        f"path {path}, query latent {q_latent}: not DeepSeek-V{version}'s attention. The latent is normalised, one "
        "rotary key serves all heads, W_uk and W_uv lie side by side per head, the scale is (d_nope + d_rope)^-1/2"
    ))  # fmt: skip


@torch.no_grad()
def check_absorbed_is_naive(model: GPT, *, double: bool = False) -> None:
    """Both paths, cached in every one of the 128 cuts of 8 tokens, give the naive path's uncached logits."""
    model = copy.deepcopy(model)
    if double:
        model = model.double()
    tolerance = 1e-10 if double else 1e-5
    ids = some_ids(2, 8)

    def use(path: str) -> None:
        for block in model.blocks:
            block.attn.path = path

    use("naive")
    expected = model(ids).logits
    hint = (
        "the absorbed path is the same sum in another order: (W_uk^T q) · c for the scores, W_uv (weights · c) for the "
        "values. Is a matrix transposed, the scale that of the latent, or a key rotated before it was absorbed?"
    )
    use("absorbed")
    assert_close(model(ids).logits, expected, tolerance, f"absorbed, no cache: {hint}")
    for path in ("absorbed", "auto"):
        use(path)
        for chunks in ways_to_cut(8):
            got = feed(model, ids, chunks, model.new_cache(2, 8))
            assert_close(got, expected, tolerance, f"path {path}, chunks {chunks}: {hint}")
    long = some_ids(2, 48)
    use("naive")
    expected = model(long).logits
    use("absorbed")
    got = feed(model, long, random_cut(48, 3), model.new_cache(2, 48))
    assert_close(got, expected, 2 * tolerance, f"48 tokens: {hint}")


@torch.no_grad()
def check_latent_cache_holds_normed_latents(model: GPT) -> None:
    """Exactly B · T · (d_latent + d_rope) numbers a layer: the normalised latent, and one rotated key for all heads."""
    attn = model.blocks[0].attn
    batch, time = 2, 7
    cache = model.new_cache(batch, time)
    seen: list[Tensor] = []
    hook = attn.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    model(some_ids(batch, time), cache=cache)
    hook.remove()
    numbers = sum(tensor.numel() for tensor in cache.tensors())
    expected = model.config.n_layer * batch * time * (attn.latent_dim + attn.rope_dim)
    assert numbers == expected, f"{numbers} numbers are held, {expected} are latents and rotary keys"
    shapes = [tuple(tensor.shape) for tensor in cache.layer(0).stores[0].tensors()]
    assert shapes == [(batch, time, attn.latent_dim)], shapes
    latent, key = (store.tensors()[0] for store in cache.layer(0).stores)
    raw = attn.kv_down_proj(seen[0]).double()
    c = raw[..., : attn.latent_dim]
    normed = c / (c.square().mean(-1, keepdim=True) + 1e-6).sqrt() * attn.kv_norm.weight.double()
    assert_near(
        latent, normed, 1e-5, "the cached latent must be the normalised one: every token is normed once"
    )
    if attn.rope_dim:
        half = attn.rope_dim // 2
        turned = torch.empty_like(raw[..., attn.latent_dim :])
        for t in range(time):
            for i in range(half):
                angle = torch.tensor(t * 10000.0 ** (-2 * i / attn.rope_dim), dtype=torch.float64)
                pair = raw[:, t, attn.latent_dim :]
                z = torch.complex(pair[:, i], pair[:, i + half]) * torch.polar(torch.ones_like(angle), angle)
                turned[:, t, i], turned[:, t, i + half] = z.real, z.imag
        assert_near(key, turned, 1e-5, "the cached rotary key is one head, rotated by its position, once")


@torch.no_grad()
def check_latent_scale() -> None:
    """Attention's map from its own queries and keys, with (d_nope + d_rope)^-1/2 as DeepSeek has it."""
    module: Any = make_attention("mla", position="rope", kv_latent_dim=5, rope_dim=2)
    x = some_x(6)
    for path in ("naive", "absorbed"):
        module.path = path
        got, weights = module(x, need_weights=True)
        q, k, v = module.unfold(*module.compress(x, None, 0))
        assert q.shape[-1] == 4 + 2 and v.shape[-1] == 4
        assert torch.equal(k[:, 0, :, 4:], k[:, 3, :, 4:]), "the rotary key must be the same for all heads"
        expected = loop_attention(q, k, v, None, causal=True)  # divides by the root of 6
        joined = module.out_proj(expected.float().transpose(1, 2).flatten(2))
        assert_near(
            got, joined, 5e-6, f"path {path}: the scale of latent attention is (d_nope + d_rope)^-1/2"
        )
        assert_near((weights @ v), expected, 5e-6, f"path {path}: the map is not the one computed with")


# LA6 ------------------------------------------------------------------------------------------------


@torch.no_grad()
def check_window_is_the_band(window: int, backend: str, *, sinks: int = 0, n_kv: int = 4) -> None:
    """A windowed layer is the loop's attention under the dense mask 0 <= q - k < W (or k a sink)."""
    module: Any = make_attention(
        "swa", window=window, attention_sinks=sinks, n_kv_head=n_kv, attn_backend=backend, position="rope"
    )
    x = some_x(13)
    q, k, v = module.project(x)
    q, k = module.rope(q, k)
    k, v = (t[:, [h // (4 // n_kv) for h in range(4)]] for t in (k, v))
    band = torch.tensor(
        [[0 <= i - j < window or (j < sinks and j <= i) for j in range(13)] for i in range(13)]
    )
    expected = loop_attention(q, k, v, band[None, None], causal=False).float()
    hint = (
        f"window {window}, {sinks} sinks, backend {backend}: not the band 0 <= q - k < W. W counts the token "
        "itself, and the sinks stay visible"
    )
    assert_near(module(x), module.out_proj(expected.transpose(1, 2).flatten(2)), 5e-6, hint)


def check_reach_of_layers(window: int, layers: int, every: int = 0) -> None:
    """L layers reach L · (W - 1) tokens back: the gradient to anything older is exactly 0, to the oldest it is not."""
    length = 20
    model = build(attention="swa", window=window, n_layer=layers, position="rope", global_every=every)
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    hook = model.token_embedding.register_forward_hook(keep)
    logits = model(some_ids(1, length)).logits
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[0, -1].square().sum(), kept[0])
    reached = (gradient[0] != 0).any(-1)
    oldest = length - 1 - layers * (window - 1)
    if every:
        assert bool(reached.all()), f"a global layer (every {every}) must reach the whole text"
        return
    assert not bool(reached[: max(0, oldest)].any()), (
        f"{layers} layers of window {window} must not see past {layers * (window - 1)} tokens, but the gradient to an "
        "older one is not 0: does the window hold W + 1 tokens?"
    )
    assert bool(reached[max(0, oldest) :].all()), (
        f"{layers} layers of window {window} must reach token {oldest}"
    )


@torch.no_grad()
def check_wide_window_is_full_attention(**fields: Any) -> None:
    """W >= T, and W = T exactly: nothing is out of sight, so the logits are those of full attention."""
    full = build(attention="mha", position="rope", **fields)
    for window in (12, 13, 64):
        model = build(attention="swa", window=window, position="rope", **fields)
        model.load_state_dict(full.state_dict())
        ids = some_ids(2, 12)
        assert_close(
            model(ids).logits, full(ids).logits, 1e-5, f"a window of {window} over 12 tokens hides something"
        )
        assert_close(feed(model, ids, (5, 1, 6), model.new_cache(2, 12)), full(ids).logits, 1e-5, "cached")


@torch.no_grad()
def check_equals_mistral(window: int, n_kv: int, backend: str) -> None:
    """transformers' tiny Mistral attention with a sliding window, its weights in ours."""
    from transformers import MistralConfig
    from transformers.masking_utils import create_sliding_window_causal_mask
    from transformers.models.mistral.modeling_mistral import MistralAttention, MistralRotaryEmbedding

    config = MistralConfig(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=n_kv, head_dim=4, sliding_window=window,
        max_position_embeddings=32, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = MistralAttention(config, 0).eval()
    for parameter in theirs.parameters():
        parameter.copy_(0.4 * torch.randn(parameter.shape))
    ours = ATTENTIONS["swa"](
        attention_config(position="rope", window=window, n_kv_head=n_kv, bias=False, attn_backend=backend)
    ).eval()
    projections = [getattr(theirs, f"{which}_proj").weight for which in "qkv"]
    ours.load_state_dict({"qkv_proj.weight": torch.cat(projections), "out_proj.weight": theirs.o_proj.weight})
    x = some_x(15)
    positions = torch.arange(15)[None]
    mask = create_sliding_window_causal_mask(
        config, inputs_embeds=x, attention_mask=None, past_key_values=None, position_ids=positions
    )
    assert mask is not None
    angles = MistralRotaryEmbedding(config)(x, positions)
    expected = theirs(x, position_embeddings=angles, attention_mask=mask)[0]
    assert_near(ours(x), expected, 5e-6, (
        f"window {window}, {n_kv} key heads, backend {backend}: not Mistral's sliding-window attention"
    ))  # fmt: skip
