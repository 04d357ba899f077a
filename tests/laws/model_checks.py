"""Laws of the whole model, as functions that raise: causality (LA1), caches (LA2), padding (LA8).

Each ``check_*`` takes a model (or a folder of weights) and raises ``AssertionError`` with a sentence that
teaches. The law tests call them on every variant; the mutation tests call the same functions on a model
with a classic bug put back, and want them to fail. The reference for a cache is one pass without any; that
pass itself is held to transformers' GPT-2 by the laws of `weight_checks`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms import ATTENTIONS
from gpt_model import GPT, GPTConfig
from gpt_model.config import CHOICES
from utils.errors import UserError

VOCAB = 29


def variant_id(variant: dict[str, Any]) -> str:
    return "-".join(str(value) for value in variant.values())


def table(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of the axes, as keyword arguments of GPTConfig."""
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


def pairs(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Rows in which every pair of values of any two axes occurs: a bug seldom needs three choices at once.

    Greedy: each row begins with a pair that is still missing and takes, axis by axis, what covers most.
    """
    values = {name: list(axis) for name, axis in axes.items()}
    missing = {
        ((a, x), (b, y)) for a, b in itertools.combinations(values, 2) for x in values[a] for y in values[b]
    }
    rows: list[dict[str, Any]] = []
    while missing:
        row = dict(min(missing, key=repr))
        for name, axis in values.items():
            if name not in row:
                row[name] = max(axis, key=lambda v: len(covered({**row, name: v}, values) & missing))
        missing -= covered(row, values)
        rows.append({name: row[name] for name in values})
    return sorted(rows, key=lambda row: [values[name].index(row[name]) for name in values])


def covered(row: dict[str, Any], order: Iterable[str]) -> set[Any]:
    """The pairs of values that a row tests together, written in the order of the axes."""
    given = [(name, row[name]) for name in order if name in row]
    return set(itertools.combinations(given, 2))


# Every attention in the registry and every choice the config offers: what is added there is tested here.
# Causality: every attention with every position and norm. Everything else: every pair of choices.
CAUSAL_VARIANTS = table(attention=ATTENTIONS, position=CHOICES["position"], norm=CHOICES["norm"])
ALL_VARIANTS = pairs(
    attention=ATTENTIONS,
    position=CHOICES["position"],
    norm=CHOICES["norm"],
    mlp=CHOICES["mlp"],
    norm_order=CHOICES["norm_order"],
)
# What a cache can get wrong: which keys, which positions, which mask alignment.
CACHE_VARIANTS = [
    *(
        {**row, "attn_backend": ("auto", "manual", "sdpa")[i % 3]}
        for i, row in enumerate(table(attention=ATTENTIONS, position=CHOICES["position"]))
    ),
    *table(
        attention=ATTENTIONS, position=["rope"], rope_layout=["interleaved"], norm=["rmsnorm"], mlp=["swiglu"]
    ),
    *table(attention=ATTENTIONS, position=["learned"], norm_order=["post"], tie_weights=[False]),
]


def build(*, loud: bool = True, seed: int = 0, path: str | None = None, **fields: Any) -> GPT:
    """A tiny model in eval mode whose every part matters to its output. `path` is that of latent attention.

    A fresh GPT-2 initialisation is so quiet (std 0.02) that a wrong mask or a wrong position moves a logit
    by less than rounding does. ``loud`` redraws each weight large enough that a bug cannot hide.
    """
    settings: dict[str, Any] = {
        "vocab_size": VOCAB, "block_size": 64, "n_layer": 2, "n_head": 2, "n_embd": 16,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**{**settings, **fields})).eval()
    if loud:
        make_loud(model, seed)
    if path is not None:
        for block in model.blocks:
            block.attn.path = path
    return model


@torch.no_grad()
def make_loud(model: torch.nn.Module, seed: int = 0) -> None:
    """Redraw matrices with std 0.35, and move biases and gains away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() >= 2:
            parameter.copy_(0.35 * noise)
        elif name.endswith("bias"):
            parameter.copy_(0.2 * noise)
        else:
            parameter.copy_(1 + 0.2 * noise)


def some_ids(batch: int, length: int, vocab: int = VOCAB, seed: int = 0) -> Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def assert_close(got: Tensor, expected: Tensor, tolerance: float, hint: str) -> None:
    assert got.shape == expected.shape, f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}: {hint}"
    assert bool(torch.isfinite(got).all()), f"NaN or infinity in the output: {hint}"
    worst = (got.double() - expected.double()).abs().max().item()
    assert worst <= tolerance, f"differs by {worst:.2e}, allowed {tolerance:.0e}: {hint}"


# LA1 ------------------------------------------------------------------------------------------------


@torch.no_grad()
def check_model_is_causal(model: GPT, length: int = 9) -> None:
    """Changing token t leaves every logit before t bit for bit as it was, and does change logit t."""
    ids = some_ids(2, length)
    before = model(ids).logits
    for t in range(length):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % model.config.vocab_size
        after = model(changed).logits
        assert torch.equal(before[:, :t], after[:, :t]), (
            f"changing token {t} changed a logit before it: position i may only look at positions <= i. "
            "Look at the causal mask (is it off by one? is it applied before the softmax?)"
        )
        assert not torch.equal(before[:, t], after[:, t]), f"logits at {t} do not depend on token {t} at all"


def check_model_gradient_is_causal(model: GPT, length: int = 6) -> None:
    """The gradient of logits[i] with respect to the embedding of token j > i is exactly zero."""
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    hook = model.token_embedding.register_forward_hook(keep)
    try:
        logits = model(some_ids(1, length)).logits
    finally:
        hook.remove()
    for i in range(length):
        (gradient,) = torch.autograd.grad(logits[0, i].square().sum(), kept[0], retain_graph=True)
        future = gradient[0, i + 1 :]
        assert torch.count_nonzero(future) == 0, (
            f"logits at {i} have a gradient of {future.abs().max().item():.1e} to a later token: "
            "training would learn to read the answer from the future"
        )
        assert torch.count_nonzero(gradient[0, i]) > 0, f"no gradient flows from logits {i} to token {i}"


# LA2 ------------------------------------------------------------------------------------------------


def ways_to_cut(n: int) -> Iterator[list[int]]:
    """All 2^(n-1) ways of writing n as an ordered sum: the chunk lengths of one feeding order."""
    for cuts in itertools.product((False, True), repeat=n - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        yield [b - a for a, b in itertools.pairwise(edges)]


def random_cut(n: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    chunks: list[int] = []
    while sum(chunks) < n:
        drawn = int(torch.randint(1, 20, (), generator=generator))
        chunks.append(min(drawn, n - sum(chunks)))
    return chunks


@torch.no_grad()
def feed(model: GPT, ids: Tensor, chunks: Iterable[int], cache: Any) -> Tensor:
    """Logits of ids fed piece by piece into a cache, joined together again: (B, T, vocab)."""
    pieces, at = [], 0
    for n in chunks:
        pieces.append(model(ids[:, at : at + n], cache=cache).logits)
        at += n
    return torch.cat(pieces, dim=1)


@torch.no_grad()
def check_cuts(model: GPT, ids: Tensor, cuts: Iterable[list[int]], *, slots: int, rows: int) -> None:
    """Whatever the cut, cached logits equal uncached ones to 1e-5 and the cache counts its tokens."""
    expected = model(ids).logits
    for chunks in cuts:
        cache = model.new_cache(rows, slots)
        got = feed(model, ids, chunks, cache)
        assert_close(got, expected, 1e-5, (
            f"feeding {ids.shape[1]} tokens in chunks {chunks} gives other logits than feeding them at once. "
            "Usual causes: positions restart at 0, keys are written over slot 0, or the mask of a chunk is "
            "aligned top-left instead of bottom-right"
        ))  # fmt: skip
        assert cache.length == ids.shape[1], f"cache.length is {cache.length} after {ids.shape[1]} tokens"


def check_every_way_to_cut_8(model: GPT) -> None:
    check_cuts(model, some_ids(2, 8), ways_to_cut(8), slots=8, rows=2)


def check_random_cuts_of_64(model: GPT, tries: int = 6) -> None:
    check_cuts(model, some_ids(3, 64), (random_cut(64, s) for s in range(tries)), slots=64, rows=3)


def fill_with_nan(cache: Any) -> int:
    """Poison every number the cache stores; returns how many there were."""
    seen: set[int] = set()
    count = 0
    stack: list[Any] = [cache]
    while stack:
        thing = stack.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            if thing.is_floating_point():
                thing.fill_(float("nan"))
                count += thing.numel()
        elif isinstance(thing, list | tuple):
            stack.extend(thing)
        elif isinstance(thing, dict):
            stack.extend(thing.values())
        elif hasattr(thing, "__dict__"):
            stack.extend(vars(thing).values())
    return count


@torch.no_grad()
def check_unused_slots_do_not_matter(model: GPT) -> None:
    """A cache full of NaN gives the same logits as a clean one: only written slots are ever read."""
    ids = some_ids(2, 8)
    expected = model(ids).logits
    for rows, slots in ((2, 8), (2, 13), (4, 13)):
        cache = model.new_cache(rows, slots)
        assert fill_with_nan(cache) > 0, "found no stored numbers to poison in the cache"
        hint = f"a cache of {rows} rows, {slots} slots: unused slots were read. 0 x NaN is NaN, so slice"
        assert_close(feed(model, ids, (3, 1, 4), cache), expected, 1e-5, hint)


@torch.no_grad()
def check_crop_and_reset(model: GPT) -> None:
    """After crop(n) the cache goes on from token n; after reset() it is as new."""
    ids, other = some_ids(2, 8), some_ids(2, 8, seed=7)
    cache = model.new_cache(2, 8)
    feed(model, ids, (5, 3), cache)
    for keep in (6, 3, 1, 0):
        try:
            cache.crop(keep)
        except UserError as error:  # a ring that has turned may not go back so far, and must say so
            assert "overwritten" in str(error) and cache.length == 8, f"crop({keep}): {error}"
            continue
        assert cache.length == keep, f"crop({keep}) left length {cache.length}"
        branch = torch.cat([ids[:, :keep], other[:, keep:]], dim=1)
        got = feed(model, branch[:, keep:], (8 - keep,), cache)
        hint = f"after crop({keep}) new tokens must see exactly the first {keep} old ones"
        assert_close(got, model(branch).logits[:, keep:], 1e-5, hint)
        cache.crop(keep)
        feed(model, ids[:, keep:], (8 - keep,), cache)  # back to ids for the next, shorter crop
    cache.reset()
    assert cache.length == 0, f"reset() left length {cache.length}"
    assert_close(
        feed(model, other, (2, 6), cache), model(other).logits, 1e-5, "after reset() old tokens were seen"
    )


@torch.no_grad()
def check_a_full_cache_refuses(model: GPT) -> None:
    """Exactly full works; one token more is an error that names both numbers and changes nothing."""
    cache = model.new_cache(1, 11)
    ids = some_ids(1, 11)
    feed(model, ids, (4, 7), cache)
    for extra in (1, 3):
        try:
            model(some_ids(1, extra), cache=cache)
        except UserError as error:
            message = str(error)
        else:
            raise AssertionError(f"a cache of 11 tokens took {11 + extra}: an old token was lost in silence")
        assert "11" in message and str(11 + extra) in message and "\n" not in message, message
        assert cache.length == 11, f"a refused token moved the cache's length to {cache.length}"
    cache.crop(10)
    assert_close(model(ids[:, 10:], cache=cache).logits, model(ids).logits[:, 10:], 1e-5, "after a refusal")


@torch.no_grad()
def check_two_sessions(model: GPT) -> None:
    """Two conversations take turns on one model: neither sees the other (no cache lives on a module)."""
    first, second = some_ids(2, 8), some_ids(1, 8, seed=3)
    caches = model.new_cache(2, 8), model.new_cache(1, 8)
    got: tuple[list[Tensor], list[Tensor]] = ([], [])
    for a, b in itertools.pairwise((0, 3, 4, 8)):
        for which, ids in enumerate((first, second)):
            got[which].append(model(ids[:, a:b], cache=caches[which]).logits)
    for pieces, ids in zip(got, (first, second)):
        hint = "two interleaved sessions disturb each other: does a module remember keys or positions?"
        assert_close(torch.cat(pieces, dim=1), model(ids).logits, 1e-5, hint)


# LA8 ------------------------------------------------------------------------------------------------


def left_pad(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """ids and attention mask (1 = a real token), both (B, longest)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


@torch.no_grad()
def check_left_padding(model: GPT, lengths: tuple[int, ...] = (1, 3, 17)) -> None:
    """Each row of a left-padded batch has the logits of its own single run, whatever the pad value."""
    rows = [some_ids(1, n, seed=n)[0].tolist() for n in lengths]
    for pad in (0, 5, model.config.vocab_size - 1):
        ids, mask = left_pad(rows, pad)
        for name, given in (("int64", mask), ("bool", mask.bool())):
            logits = model(ids, attention_mask=given).logits
            assert not bool(torch.isnan(logits).any()), (
                "a row of padding alone gave NaN: softmax over nothing"
            )
            for i, row in enumerate(rows):
                alone = model(torch.tensor([row])).logits[0]
                assert_close(logits[i, -len(row) :], alone, 1e-5, (
                    f"row of {len(row)} tokens padded to {ids.shape[1]} with id {pad} ({name} mask) differs "
                    "from its single run: pads are masked as keys, positions start at the first real token"
                ))  # fmt: skip
