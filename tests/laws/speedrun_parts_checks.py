"""Laws of parts that fast recipes are made of: QK-norm, capped logits, maps that begin at zero, n-gram embeddings.

The reference for attention is a loop over heads, queries and keys in Python floats; rotation is multiplication with a
complex number. That for n-grams is one Python integer for each, however large it gets.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import torch
import torch.nn.functional as F
from attention_checks import make_attention
from decode_step_checks import check_step
from model_checks import assert_close, build, feed, random_cut, some_ids
from torch import Tensor

from gpt_model import GPT, DecodeStep

PARTS: dict[str, Any] = {"qk_norm": True, "logit_softcap": 4.0}


def unit(vector: list[float], gain: list[float], eps: float) -> list[float]:
    """x / sqrt(mean(x²) + eps) · gain."""
    rms = math.sqrt(sum(v * v for v in vector) / len(vector) + eps)
    return [v / rms * g for v, g in zip(vector, gain, strict=True)]


def turn(vector: list[float], position: int, theta: float = 10000.0) -> list[float]:
    """Pairs (i, i + D/2) as complex numbers, turned by position · theta^(-2i/D)."""
    half = len(vector) // 2
    turned = [
        complex(vector[i], vector[i + half]) * cmath.exp(1j * position * theta ** (-i / half))
        for i in range(half)
    ]
    return [z.real for z in turned] + [z.imag for z in turned]


@torch.no_grad()
def loop_output(attn: Any, x: Tensor, rope: bool, window: int | None) -> Tensor:
    """Causal attention of x (1, T, C) in loops, queries and keys normalised before they are turned."""
    heads, kv, dim, length = attn.n_head, attn.n_kv_head, attn.head_dim, x.size(1)
    rows = (attn.qkv_proj(x)[0]).view(length, heads + 2 * kv, dim).tolist()
    q_gain, k_gain = attn.q_norm.weight.tolist(), attn.k_norm.weight.tolist()
    out = torch.zeros(length, heads, dim, dtype=x.dtype)
    for head in range(heads):
        shared = head // (heads // kv)
        queries = [unit(rows[t][head], q_gain, attn.q_norm.eps) for t in range(length)]
        keys = [unit(rows[t][heads + shared], k_gain, attn.k_norm.eps) for t in range(length)]
        if rope:
            queries = [turn(one, t) for t, one in enumerate(queries)]
            keys = [turn(one, t) for t, one in enumerate(keys)]
        for t in range(length):
            first = 0 if window is None else max(0, t - window + 1)
            scores = [
                sum(a * b for a, b in zip(queries[t], keys[s], strict=True)) / math.sqrt(dim)
                for s in range(first, t + 1)
            ]
            shares = torch.tensor(scores, dtype=x.dtype).softmax(0)
            for share, s in zip(shares, range(first, t + 1), strict=True):
                out[t, head] += share * torch.tensor(rows[s][heads + kv + shared], dtype=x.dtype)
    return attn.out_proj(out.view(1, length, -1))


@torch.no_grad()
def check_qk_norm_by_hand(attention: str = "mha", position: str = "rope", **fields: Any) -> None:
    """Norm, then rotation, then scores: number by number, for values whose lengths differ a hundredfold."""
    attn: Any = make_attention(attention, position=position, qk_norm=True, attn_backend="manual", **fields)
    attn = attn.double()
    x = torch.randn(1, 7, attn.out_proj.in_features, generator=torch.Generator().manual_seed(3)).double()
    x = x * torch.logspace(-1, 1, 7, dtype=torch.float64)[None, :, None]
    for norm in (attn.q_norm, attn.k_norm):
        norm.weight.copy_(
            1 + 0.5 * torch.randn(norm.weight.shape, generator=torch.Generator().manual_seed(4))
        )
    assert_close(attn(x), loop_output(attn, x, position == "rope", attn.window), 1e-10, (
        f"{attention}, {position}: QK-norm is RMSNorm of each head's own query and key, with one gain for each "
        "coordinate, before the rotation"
    ))  # fmt: skip


@torch.no_grad()
def check_qk_norm_bounds_scores(attention: str = "mha") -> None:
    """However large the input, a score stays within √D (gains 1): what QK-norm is for."""
    attn: Any = make_attention(attention, qk_norm=True)
    for norm in (attn.q_norm, attn.k_norm):
        norm.weight.fill_(1.0)
    q, k, _ = attn.project(1000 * torch.randn(1, 5, attn.out_proj.in_features))
    scores = q @ k.repeat_interleave(attn.n_head // attn.n_kv_head, 1).transpose(-1, -2)
    worst = scores.abs().max().item() / math.sqrt(attn.head_dim)
    limit = math.sqrt(attn.head_dim) * (1 + 1e-5)
    assert worst <= limit, f"a score of {worst:.1f}, but normalised queries and keys give at most {limit:.2f}"


@torch.no_grad()
def check_parts_through_a_cache(**fields: Any) -> None:
    """Any cutting of the text through a cache, and the decode step, give the logits of one pass."""
    model = build(**{**PARTS, "n_head": 4, **fields})
    ids = some_ids(2, 20)
    for seed in range(3):
        got = feed(model, ids, random_cut(20, seed), model.new_cache(2, 24))
        hint = f"{fields}: the cache holds normalised keys, and every path caps the logits"
        assert_close(got, model(ids).logits, 1e-5, hint)
    for static in (False, True):
        check_step(model, rows=(7, 3, 5), static=static)


@torch.no_grad()
def check_softcap(cap: float = 3.0) -> None:
    """Logits are cap · tanh(logits / cap) of those without, in the loss, in `unembed` and in a decode step."""
    capped, plain = build(logit_softcap=cap), build()
    plain.load_state_dict(capped.state_dict())
    ids = some_ids(2, 9)
    raw = plain(ids).logits.double()
    wanted = cap * torch.tanh(raw / cap)
    assert raw.abs().max() > cap, "the check needs logits beyond the cap"
    got = capped(ids, targets=ids)
    assert_close(got.logits.double(), wanted, 1e-5, "logits are not cap · tanh(logits / cap)")
    assert got.logits.abs().max() <= cap, "a logit beyond its cap"
    loss = F.cross_entropy(wanted.flatten(0, 1), ids.flatten())
    assert abs(got.loss.item() - loss.item()) < 1e-5, (
        f"the loss is {got.loss.item():.6f}, of capped logits {loss.item():.6f}"
    )
    cache = capped.new_cache(2, 12)
    capped(ids, cache=cache)
    stepped = DecodeStep(capped, cache)(ids[:, :1])
    again = capped(torch.cat((ids, ids[:, :1]), dim=1)).logits[:, -1]
    assert_close(stepped, again, 1e-5, "a decode step forgets the cap")


def check_zero_init(**fields: Any) -> None:
    """Every block begins as the identity, everything else begins as without the field, and everything learns."""
    zero, usual = (build(loud=False, zero_init_out=on, tie_weights=False, **fields) for on in (True, False))
    ids = some_ids(2, 9)
    embedded = zero.token_embedding(ids)
    if zero.position_embedding is not None:
        embedded = embedded + zero.position_embedding.weight[:9]
    assert torch.equal(zero(ids).logits, zero.unembed(embedded)), (
        "with output maps of 0 each block must be the identity at the start"
    )
    for (name, a), (_, b) in zip(zero.named_parameters(), usual.named_parameters(), strict=True):
        if name.endswith("out_proj.weight"):
            assert not a.any() and b.any(), f"{name} must begin at 0"
        else:
            assert torch.equal(a, b), f"{name} begins otherwise than without zero_init_out: only maps back do"
    zero.train()
    optimizer = torch.optim.SGD(zero.parameters(), lr=0.5)
    for _ in range(2):  # the first step moves the output maps, then gradients reach what is before them
        optimizer.zero_grad()
        zero(ids, targets=ids.roll(1, 0)).loss.backward()
        optimizer.step()
    stuck = [name for name, p in zero.named_parameters() if p.grad is None or not p.grad.any()]
    stuck = [name for name in stuck if not name.endswith("bias") or "qkv" not in name]
    assert not stuck, f"two steps after the start no gradient reaches {', '.join(stuck)}"


def check_parts_train_in_bf16() -> None:
    """Under autocast the loss is within 1 % of float32's, and gains get gradients in float32."""
    model: GPT = build(**PARTS, loud=False, position="rope", n_embd=32).train()
    ids = some_ids(4, 32)
    exact = model(ids, targets=ids).loss.item()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(ids, targets=ids).loss
    loss.backward()
    assert loss.dtype == torch.float32 and abs(loss.item() - exact) < 0.01 * exact, (
        f"{loss.item()} in bf16, {exact} in float32"
    )
    gain = model.blocks[0].attn.q_norm.weight
    assert gain.grad is not None and gain.grad.dtype == torch.float32 and bool(gain.grad.any()), (
        "no gradient reaches the gains"
    )


# n-grams --------------------------------------------------------------------------------------------

ROWS = (31, 101, 7)  # of pairs, triples and fours of VOCAB = 29 tokens; 30² pairs do not fit, so some collide


def ngram_model(**fields: Any) -> GPT:
    return build(**{"ngram_rows": ROWS, "n_head": 4, **fields})


@torch.no_grad()
def check_ngrams_by_hand(**fields: Any) -> None:
    """What is added at each place: one row of each table, found by the number that the n-gram is in base V + 1."""
    model = ngram_model(**fields)
    seen: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    ids, rows = some_ids(2, 9), model.config.ngram_rows
    model(ids)
    table: Any = model.ngram_token_embedding
    nobody = base = model.config.vocab_size
    base = nobody + 1
    for row in range(2):
        text = [nobody] * len(rows) + ids[row].tolist()
        for t in range(9):
            wanted = model.token_embedding.weight[ids[row, t]].clone()
            if model.position_embedding is not None:
                wanted += model.position_embedding.weight[t]
            for n, count in enumerate(rows, start=2):
                last = text[t + len(rows) - n + 1 : t + len(rows) + 1]
                number = sum(one * base**place for place, one in enumerate(reversed(last)))
                wanted += table.tables[n - 2].weight[number % count]
            assert_close(seen[0][row, t], wanted, 1e-5, (
                f"row {row}, place {t}: not the sum of the token's vector and one row a table, that of "
                "(Σ id[t - j] · (V + 1)^j) mod rows; before the text stands V"
            ))  # fmt: skip


@torch.no_grad()
def check_ngrams_have_rows_of_their_own() -> None:
    """A table of (V + 1)² rows gives no two pairs the same row."""
    model = ngram_model(ngram_rows=(907,))
    embedding: Any = model.ngram_token_embedding
    embedding.tables[0].weight.copy_(torch.arange(907.0)[:, None].expand(-1, 16))
    pairs = torch.cartesian_prod(torch.arange(30), torch.arange(30))
    found = embedding(pairs)[:, 0, 0]
    assert found.unique().numel() == 900, (
        f"900 pairs have {found.unique().numel()} rows: they need not collide"
    )


@torch.no_grad()
def check_ngrams_count(**fields: Any) -> None:
    """Each of the earlier tokens within reach matters, and no later one does."""
    model = ngram_model(n_layer=1, **fields)
    for block in model.blocks:  # nothing but the embedding can tell
        block.attn.out_proj.weight.zero_()
    ids = some_ids(1, 9)
    before = model(ids).logits
    for t in range(9):
        changed = ids.clone()
        changed[0, t] = (ids[0, t] + 1) % 29
        moved = (model(changed).logits != before).any(-1)[0].tolist()
        wanted = [t <= at <= t + len(ROWS) for at in range(9)]
        assert moved == wanted, (
            f"token {t} moves {moved}: an n-gram holds the token and the {len(ROWS)} before it"
        )


def check_ngrams_learn() -> None:
    """Only the rows that were looked up get a gradient, and the fused optimizer moves them."""
    model = ngram_model(loud=False).train()
    ids = some_ids(2, 5)
    model(ids, targets=ids).loss.backward()
    embedding: Any = model.ngram_token_embedding
    for table in embedding.tables:
        touched = table.weight.grad.any(-1).sum().item()
        assert 0 < touched <= 10, f"10 n-grams moved {touched} of {table.num_embeddings} rows"


def check_ngram_dropout(share: float = 0.4) -> None:
    """In training whole vectors are left out, each table for itself, and the mean stays; in evaluation none is."""
    model = ngram_model(ngram_dropout=share)
    embedding: Any = model.ngram_token_embedding
    ids = some_ids(1, len(ROWS) + 2000)
    with torch.no_grad():
        for table in embedding.tables:
            table.weight.fill_(0.0)
        embedding.tables[1].weight.fill_(1.0)
        assert torch.equal(embedding.eval()(ids), torch.ones(1, 2000, 16)), "dropout acts in evaluation"
        torch.manual_seed(0)
        found = embedding.train()(ids)[0]
    assert torch.equal(found, found[:, :1].expand_as(found)), "a look-up counts as a whole or not at all"
    kept = (found[:, 0] != 0).double().mean().item()
    assert abs(kept - (1 - share)) < 0.05, f"{1 - kept:.2f} of the look-ups are left out, not {share}"
    assert abs(found.mean().item() - 1.0) < 0.08, (
        f"the mean is {found.mean():.2f} of what it is in evaluation"
    )
    embedding.tables[0].weight.data.fill_(1.0)
    with torch.no_grad():
        both = embedding(ids)[0, :, 0]
    assert len(both.unique()) == 3, "tables are left out together: a shorter n-gram must be able to stand in"
