"""LG10, as functions that raise: looking inside changes nothing, leaves nothing, and shows what was computed.

References: the model without hooks, its residual stream added up by hand, and for the lens models that really end
after fewer layers, with norm and head computed from the definition in float64.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from model_checks import some_ids
from torch import Tensor

from gpt_model import GPT, lens, trace
from gpt_model.drafts import first_layers


def passes(model: GPT) -> dict[str, list[Tensor]]:
    """Logits of one pass, of chunks with a cache (over the edge of a window), and of a padded batch with a cache."""
    ids = some_ids(2, 12, vocab=model.config.vocab_size)
    cache = model.new_cache(2)
    given: dict[str, list[Tensor]] = {"whole": [model(ids).logits], "cached": [], "padded": []}
    for chunk in ids.split([5, 1, 4, 1, 1], dim=1):
        given["cached"].append(model(chunk, cache=cache).logits)
    if not model.config.attention_sinks:
        mask = torch.ones(2, 7, dtype=torch.bool)
        mask[1, :3] = False
        cache = model.new_cache(2)
        given["padded"].append(model(ids[:, :7], cache=cache, attention_mask=mask).logits)
        given["padded"].append(model(ids[:, 7:8], cache=cache).logits)
    return given


@torch.no_grad()
def check_tracing_changes_nothing(model: GPT) -> None:
    """Logits with every hook on equal those without, bit for bit; with a cache and padding too."""
    plain = passes(model)
    with trace.trace(model, "*"):
        traced = passes(model)
    for way, chunks in plain.items():
        for i, (a, b) in enumerate(zip(chunks, traced[way], strict=True)):
            assert torch.equal(a, b), (
                f"{way}, chunk {i}: logits differ by {float((a - b).abs().max()):.2g} with hooks on: a hook may "
                "neither write into what it sees nor make the attention run twice"
            )
    assert all(torch.equal(a, b) for a, b in zip(plain["cached"], passes(model)["cached"], strict=True))


def calls_of(model: GPT, ids: Tensor) -> int:
    """Python calls of one forward pass."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        model(ids)
    finally:
        sys.setprofile(None)
    return count


@torch.no_grad()
def check_nothing_is_left(model: GPT) -> None:
    """After the context, also one that ended in an error, no module has a hook, and a pass makes the same calls."""
    ids = some_ids(1, 6, vocab=model.config.vocab_size)
    model(ids)
    before = calls_of(model, ids)
    with trace.trace(model, "*"):
        model(ids)
        during = calls_of(model, ids)
    try:
        with trace.trace(model, ["embed", "blocks.*.attn.pattern"]):
            raise RuntimeError("stop")
    except RuntimeError:
        pass
    left = [
        name
        for name, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks or module._forward_hooks_with_kwargs
    ]
    assert not left, (
        f"hooks are left on {', '.join(left)}: every later pass pays for them, and keeps its tensors"
    )
    after = calls_of(model, ids)
    assert after == before < during, f"a pass made {before} calls before the trace and {after} after it"


@torch.no_grad()
def check_what_is_kept_is_what_was_computed(model: GPT) -> None:
    """The stream adds up, the maps give the heads, the last stream gives the logits."""
    ids = some_ids(2, 9, vocab=model.config.vocab_size)
    with trace.trace(model, "*") as store:
        logits = model(ids).logits
    n, heads = model.config.n_layer, (2, 9, model.config.n_head, model.config.head_dim)
    assert torch.equal(store["embed"], store["blocks.0.resid_pre"])
    for i, block in enumerate(model.blocks):
        part: Any = block
        at = {name.removeprefix(f"blocks.{i}."): value for name, value in store.items() if f".{i}." in name}
        stream, middle = at["resid_pre"], at["resid_mid"]
        added = (stream + at["attn.out"], middle + at["mlp.out"])
        if not part.pre_norm:
            added = (part.norm_1(added[0]), part.norm_2(added[1]))
        assert torch.equal(middle, added[0]), (
            f"block {i}: resid_mid is the stream with attention's part added"
        )
        assert torch.equal(at["resid_post"], added[1]), (
            f"block {i}: resid_post is resid_mid and the MLP's part"
        )
        assert at["attn.heads"].shape == heads and at["attn.pattern"].shape == (2, heads[2], 9, 9)
        mixed = part.attn.out_proj(at["attn.heads"].flatten(-2))
        assert torch.equal(mixed, at["attn.out"]), (
            f"block {i}: heads side by side, mixed, are attention's output"
        )
        if i + 1 < n:
            assert torch.equal(at["resid_post"], store[f"blocks.{i + 1}.resid_pre"])
    normed = model.final_norm(store[f"blocks.{n - 1}.resid_post"])
    assert torch.equal(store["final_norm"], normed), "final_norm is what the head reads"
    assert torch.equal(model.unembed(store[f"blocks.{n - 1}.resid_post"]), logits)


@torch.no_grad()
def check_cached_maps_are_rows_of_the_whole(model: GPT) -> None:
    """Chunk by chunk the maps are the rows of the map of the whole text, each key in its own column."""
    ids = some_ids(2, 12, vocab=model.config.vocab_size)
    with trace.trace(model, "blocks.*.attn.pattern") as store:
        model(ids)
        whole = dict(store)
    cache, start = model.new_cache(2), 0
    with trace.trace(model, "blocks.*.attn.pattern", keep_all=True) as store:
        for chunk in ids.split([5, 1, 4, 1, 1], dim=1):
            model(chunk, cache=cache)
    for number, width in enumerate((5, 1, 4, 1, 1)):
        for name in store:
            got = store.passes(name)[number]
            rows = whole[name][:, :, start : start + width, : start + width]
            assert got.shape == rows.shape, (
                f"{name}: {tuple(got.shape)} after {start} tokens, not {tuple(rows.shape)}"
            )
            assert torch.allclose(got, rows, atol=1e-5), (
                f"{name}: tokens {start} to {start + width} look elsewhere with a cache: a ring's slots are in no "
                "order, its keys belong into the columns of their positions"
            )
        start += width


@torch.no_grad()
def check_lens(model: GPT) -> None:
    """The last row is the model's output to the last bit; row i is a model that really ends after i layers."""
    ids = some_ids(2, 8, vocab=model.config.vocab_size)
    rows = dict(lens.lens_logits(model, ids))
    assert list(rows) == ["embed", *map(str, range(model.config.n_layer))]
    logits = model(ids).logits
    last = rows[str(model.config.n_layer - 1)]
    assert torch.equal(last, logits), (
        f"the last row of the lens is {float((last - logits).abs().max()):.2g} off the model's output: read the stream "
        "by the final norm and the head, as the model does"
    )
    for i in range(model.config.n_layer):
        ended = first_layers(model, i + 1)(ids).logits
        assert torch.allclose(rows[str(i)], ended, atol=1e-5), (
            f"row {i} is not what a model of {i + 1} layers says"
        )
    x = model.token_embedding(ids).double()
    if model.position_embedding is not None:
        x = x + model.position_embedding.weight[: ids.size(1)].double()
    if model.config.norm_order == "pre":
        norm: Any = model.final_norm
        if model.config.norm == "layernorm":
            x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
            x = x * norm.weight.double() + (0 if norm.bias is None else norm.bias.double())
        else:
            x = x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight.double()
    head = model.token_embedding.weight if model.head is None else model.head.weight
    assert torch.allclose(rows["embed"].double(), x @ head.double().T, atol=1e-4), (
        "the embedding's row is off"
    )


@torch.no_grad()
def check_lens_scores(model: GPT) -> None:
    """Guesses, log-probabilities, ranks and entropies of every row are those of its logits."""
    ids = some_ids(1, 8, vocab=model.config.vocab_size)
    text = ids[0].tolist()
    found = lens.logit_lens(model, text, top_k=3)
    assert found.ids == text and len(found.rows) == model.config.n_layer + 1
    for row, (name, logits) in zip(found.rows, lens.lens_logits(model, ids), strict=True):
        p = logits[0].double().softmax(-1)
        assert row.layer == name and len(row.scores) == 8
        for t, score in enumerate(row.scores):
            token = text[t + 1] if t < 7 else int(p[t].argmax())
            assert score.id == token, f"row {name}, place {t}: scored {score.id}, but {token} came after it"
            assert abs(score.probability - float(p[t, token])) < 1e-5
            assert score.rank == 1 + int((p[t] > p[t, token]).sum())
            assert abs(score.entropy + float((p[t] * p[t].log()).sum())) < 1e-4
            assert [i for i, _ in score.alternatives] == p[t].topk(3).indices.tolist()
    own = lens.surprise(model, text)
    assert [s.id for s in own] == text[1:]
    loss = float(model(ids[:, :-1], targets=ids[:, 1:]).loss)
    assert abs(-sum(s.log_probability for s in own) / 7 - loss) < 1e-5, "the mean surprise is the loss"
