"""What a head does, read from its map: a handful of numbers between 0 and 1, and a name for the pattern.

The idea: a map has one row for each query, and a row is a set of shares. So a question about a head ("does it
look at the token before?") is the mean, over the rows for which the question makes sense, of the share that
falls on the keys in question. No model is needed: maps (..., T, T) go in, `gpt_model.trace` makes them.

Row q is where token q *looks*; column k is who *looks at* token k.

Induction: Olsson et al. 2022 (arXiv 2209.11895, "prefix matching"); sinks: Xiao et al. 2023 (arXiv 2309.17453);
previous-token and positional heads: Voita et al. 2019 (arXiv 1905.09418); what entropy and distance tell:
Clark et al. 2019 (arXiv 1906.04341). Left out on purpose: what a head *writes* (its values and its effect on the
logits), which a map does not show; ablation, in `gpt_model.trace`, measures that. Notebook: 03 of this chapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms.masks import causal_mask
from utils.errors import UserError

LOCAL_WIDTH = 4  # "near" means one of the newest four tokens, the query's own included
MAJORITY = 0.5  # a head is named after what gets more than half of its attention
BROAD = 0.9  # ... or "broad" when its rows reach this part of the highest entropy
FEW_ROWS = 4  # with fewer rows that could show a pattern, a text says nothing about it

PATTERNS = ("previous token", "induction", "first token", "same token", "broad", "local", "mixed")


def check_maps(maps: Tensor) -> Tensor:
    """The maps in float64, or a UserError: square, without NaN, no share of the future, rows that sum to 1 (or 0).

    A row of zeros is a query that may look at nobody (padding).
    """
    if maps.dim() < 2 or maps.size(-1) != maps.size(-2) or maps.size(-1) == 0:
        raise UserError(
            f"attention maps have shape {tuple(maps.shape)}: give (..., T, T), queries down and keys across"
        )
    wide = maps.detach().double().cpu()
    if not bool(torch.isfinite(wide).all()) or bool((wide < 0).any()):
        raise UserError("attention maps hold NaN, infinity or negative numbers: give shares between 0 and 1")
    if bool((wide.triu(1) > 0).any()):
        raise UserError(
            "attention maps give a share to the future (above the diagonal): rows must be queries and columns "
            "keys, so they may be transposed"
        )
    coarse = maps.dtype in (torch.bfloat16, torch.float16)
    off = torch.minimum((wide.sum(-1) - 1).abs(), wide.sum(-1).abs())
    if bool((off > (2e-2 if coarse else 1e-3)).any()):
        raise UserError(
            f"a row of the attention maps is {float(off.max()):.3g} away from summing to 1: give the shares after "
            "softmax over the keys, without dropout"
        )
    return wide


def entropy(maps: Tensor) -> Tensor:
    """How spread a row is, in nats: -Σ p ln p, maps (..., T, T) -> (..., T).

    0 when all attention goes to one key; ln(n) when n keys get equal shares, and never more than the logarithm of
    the number of keys that a query may see. e to this power reads as "so many keys, effectively".

    >>> entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).exp().tolist()
    [1.0, 2.0]
    """
    return -torch.xlogy(maps, maps).sum(dim=-1)


def relative_entropy(maps: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Entropy as a part of the highest one possible, mean over rows that have a choice: (..., T, T) -> (...).

    `allowed` is boolean and broadcasts to the maps: who may look at whom (default: causal). 1 is an even head.
    """
    seen = _allowed(maps, allowed).sum(dim=-1)  # keys of each row
    share = entropy(maps) / seen.clamp(min=2).to(maps.dtype).log()
    return _mean_rows(share, (seen > 1).expand(share.shape))


def mean_distance(maps: Tensor) -> Tensor:
    """How many tokens back a head looks, on average over its rows: Σ p · (q - k), (..., T, T) -> (...)."""
    places = torch.arange(maps.size(-1), dtype=maps.dtype, device=maps.device)
    back = places[:, None] - places[None, :]
    return _mean_rows((maps * back).sum(dim=-1), maps.sum(dim=-1) > 0)


def previous_token_score(maps: Tensor) -> Tensor:
    """Share on the token just before, mean over all rows but the first: (..., T, T) -> (...)."""
    before = torch.ones(maps.shape[-2:], dtype=torch.bool, device=maps.device).tril(-1).triu(-1)
    return share_on(maps, before)


def first_token_score(maps: Tensor, sinks: int = 1) -> Tensor:
    """Share on the first `sinks` tokens, mean over the rows after them: where attention goes that has no use.

    (..., T, T) -> (...).
    """
    keys = torch.zeros(maps.shape[-2:], dtype=torch.bool, device=maps.device)
    keys[sinks:, :sinks] = True
    return share_on(maps, keys)


def local_score(maps: Tensor, width: int = LOCAL_WIDTH) -> Tensor:
    """Share on the newest `width` tokens, own included, over rows that see at least twice as many.

    (..., T, T) -> (...). An even head therefore scores below one half.
    """
    time = maps.size(-1)
    keys = torch.ones(time, time, dtype=torch.bool, device=maps.device).tril().triu(1 - width)
    keys[: 2 * width - 1] = False
    return share_on(maps, keys)


def same_token_score(maps: Tensor, tokens: Sequence[Any]) -> Tensor:
    """Share on keys that hold the query's own token, itself included, over all rows but the first."""
    keys = _same(maps, tokens).tril()
    keys[0] = False
    return share_on(maps, keys)


def induction_score(maps: Tensor, tokens: Sequence[Any]) -> Tensor:
    """Prefix matching: share on tokens that came right *after* an earlier copy of the query's token.

    In … A B … A the head of the second A looks at B: what followed last time. Mean over the rows that have an
    earlier copy; (..., T, T) and T tokens -> (...). Measure it on `repeated_tokens` of two lengths: a head that only
    learnt one distance scores on one of them.
    """
    return share_on(maps, induction_keys(maps, tokens))


def induction_keys(maps: Tensor, tokens: Sequence[Any]) -> Tensor:
    """Bool (T, T): key k stands after an earlier copy of query q's token, that is tokens[k - 1] == tokens[q], k < q."""
    keys = torch.zeros(maps.shape[-2:], dtype=torch.bool, device=maps.device)
    keys[:, 1:] = _same(maps, tokens)[:, :-1]
    return keys.tril(-1)


def share_on(maps: Tensor, keys: Tensor) -> Tensor:
    """Attention on the marked `keys` (T, T), mean over the rows that have any and look at all; 0 without such rows."""
    marked = torch.where(keys, maps, torch.zeros((), dtype=maps.dtype, device=maps.device)).sum(dim=-1)
    return _mean_rows(marked, keys.any(dim=-1) & (maps.sum(dim=-1) > 0))


def positional_score(maps: Tensor, allowed: Tensor | None = None) -> Tensor:
    """How much of a map distance alone explains: 1 when a share depends on q - k only, near 0 for a content head.

    The share of variance between distances (the correlation ratio eta²) among all permitted entries, the first row
    left out: 1 - Σ (p - mean of its distance)² / Σ (p - mean of all)². (..., T, T) -> (...); 0 for a map whose
    entries are all equal.
    """
    time = maps.size(-1)
    counted = _allowed(maps, allowed).clone()
    counted[..., 0, :] = False
    counted = counted.expand(maps.shape)
    places = torch.arange(time, device=maps.device)
    back = (places[:, None] - places[None, :]).clamp(min=0).expand(maps.shape).flatten(-2)
    weight = counted.flatten(-2).double()
    flat = maps.double().flatten(-2)
    total = weight.sum(-1, keepdim=True).clamp(min=1)
    spread = (weight * (flat - (weight * flat).sum(-1, keepdim=True) / total) ** 2).sum(-1)
    zeros = torch.zeros(*maps.shape[:-2], time, dtype=torch.float64, device=maps.device)
    number = zeros.scatter_add(-1, back, weight)
    of_distance = zeros.scatter_add(-1, back, weight * flat) / number.clamp(min=1)
    rest = (weight * (flat - of_distance.gather(-1, back)) ** 2).sum(-1)
    # Rounding leaves a spread of about 1e-32 where there is none.
    return torch.where(spread > 1e-20, 1 - rest / spread.clamp(min=1e-20), 0.0).to(maps.dtype)


@dataclass(frozen=True)
class Link:
    """One look, from a query to a key: where it was seen, its share, and the two tokens."""

    layer: int
    head: int
    query: int
    key: int
    share: float
    query_token: str
    key_token: str


def top_links(
    maps: Tensor,
    tokens: Sequence[str],
    k: int = 10,
    *,
    layer: int | None = None,
    head: int | None = None,
    query: int | None = None,
    other_tokens_only: bool = False,
) -> list[Link]:
    """The k largest shares of maps (L, H, T, T), largest first, as rows of a table.

    `layer`, `head` and `query` keep to one of them.

    The first row has only itself to look at and is left out unless it is asked for by `query`;
    `other_tokens_only` leaves out every look at oneself. Shares of 0 are no links. Equal shares come in order.
    """
    if maps.dim() != 4:
        raise UserError(f"top_links: maps have shape {tuple(maps.shape)}: give (layers, heads, T, T)")
    _check_tokens(maps, tokens)
    for name, value, size in (("layer", layer, 0), ("head", head, 1), ("query", query, 2)):
        if value is not None and not 0 <= value < maps.size(size):
            raise UserError(f"{name} is {value} but the maps have {name}s 0 to {maps.size(size) - 1}")
    shown = maps.detach().clone()
    for dim, value in enumerate((layer, head, query)):
        if value is not None:
            others = torch.arange(maps.size(dim), device=maps.device) != value
            shown.index_fill_(dim, others.nonzero().flatten(), 0.0)
    if query is None:
        shown[:, :, 0] = 0.0
    if other_tokens_only:
        shown.diagonal(dim1=-2, dim2=-1).zero_()
    order = shown.flatten().sort(descending=True, stable=True)
    links = []
    for share, index in zip(order.values[:k].tolist(), order.indices[:k].tolist(), strict=True):
        if share <= 0:
            break
        i, j, q, key = (int(n) for n in torch.unravel_index(torch.tensor(index), maps.shape))
        links.append(Link(i, j, q, key, share, str(tokens[q]), str(tokens[key])))
    return links


@dataclass(frozen=True)
class HeadSummary:
    """One head in numbers. Shares and parts lie between 0 and 1; entropy in nats and distance in tokens.

    `previous`, `induction`, `first`, `same` and `local` are the scores of this module; `spread` is
    `relative_entropy`, `positional` is `positional_score`, and `pattern` is one of `PATTERNS`.
    """

    layer: int
    head: int
    pattern: str
    entropy: float
    spread: float
    distance: float
    previous: float
    induction: float
    first: float
    same: float
    local: float
    positional: float


def summarise(maps: Tensor, tokens: Sequence[Any], *, allowed: Tensor | None = None) -> list[HeadSummary]:
    """Every head of maps (L, H, T, T) in numbers and with a name, layer by layer.

    `allowed` says who may look at whom, broadcasting to the maps (default: causal; for windows see
    `gpt_model.trace.visible_keys`).
    """
    maps = check_maps(maps)
    if maps.dim() != 4:
        raise UserError(f"summarise: maps have shape {tuple(maps.shape)}: give (layers, heads, T, T)")
    _check_tokens(maps, tokens)
    columns = {
        "entropy": entropy(maps).mean(-1),
        "spread": relative_entropy(maps, allowed),
        "distance": mean_distance(maps),
        "previous": previous_token_score(maps),
        "induction": induction_score(maps, tokens),
        "first": first_token_score(maps),
        "same": same_token_score(maps, tokens),
        "local": local_score(maps),
        "positional": positional_score(maps, allowed),
    }
    matches = int(induction_keys(maps, tokens).any(-1).sum())
    heads = []
    for layer in range(maps.size(0)):
        for head in range(maps.size(1)):
            numbers = {name: float(values[layer, head]) for name, values in columns.items()}
            name = pattern_of(numbers, induction_rows=matches)
            heads.append(HeadSummary(layer=layer, head=head, pattern=name, **numbers))
    return heads


def pattern_of(numbers: dict[str, float], *, induction_rows: int = FEW_ROWS) -> str:
    """The name of a pattern from a head's numbers. The rules, in order:

    1. What gets more than half of the attention gives the name, the largest share first: previous token,
       induction (if at least four rows could show it), first token, same token.
    2. broad: the rows reach 90 % of the highest entropy.
    3. local: more than half lies on the newest four tokens.
    4. mixed: none of these.
    """
    named = {
        "previous token": numbers["previous"],
        "induction": numbers["induction"] if induction_rows >= FEW_ROWS else 0.0,
        "first token": numbers["first"],
        "same token": numbers["same"],
    }
    best = max(named, key=lambda name: named[name])
    if named[best] > MAJORITY:
        return best
    if numbers["spread"] >= BROAD:
        return "broad"
    return "local" if numbers["local"] > MAJORITY else "mixed"


def repeated_tokens(vocab_size: int, length: int, repeats: int = 2, *, seed: int = 0) -> Tensor:
    """Random tokens said over and over, ids (1, length · repeats): the text on which induction is measured.

    No id occurs twice within a repeat, so that every later token has one right place to look.
    """
    if not 1 <= length <= vocab_size or repeats < 2:
        raise UserError(
            f"repeated_tokens: {length} different ids of {vocab_size}, {repeats} times: "
            "length must lie between 1 and vocab_size, and repeats be at least 2"
        )
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(vocab_size, generator=generator)[:length].repeat(repeats)[None]


def _allowed(maps: Tensor, allowed: Tensor | None) -> Tensor:
    time = maps.size(-1)
    return causal_mask(time, time, maps.device) if allowed is None else allowed.to(maps.device)


def _mean_rows(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of values (..., T) over the rows that count, (T,) or (..., T); 0 where none does."""
    counted = counted.expand(values.shape)
    total = torch.where(counted, values, torch.zeros((), dtype=values.dtype, device=values.device)).sum(-1)
    return total / counted.sum(-1).clamp(min=1)


def _same(maps: Tensor, tokens: Sequence[Any]) -> Tensor:
    """Bool (T, T): query and key hold the same token."""
    _check_tokens(maps, tokens)
    number: dict[Any, int] = {}
    ids = torch.tensor(
        [
            number.setdefault(token, len(number))
            for token in (tokens.tolist() if isinstance(tokens, Tensor) else tokens)
        ],
        device=maps.device,
    )
    return ids[:, None] == ids[None, :]


def _check_tokens(maps: Tensor, tokens: Sequence[Any]) -> None:
    if len(tokens) != maps.size(-1):
        raise UserError(f"{len(tokens)} tokens came with maps of {maps.size(-1)} queries: give one for each")
