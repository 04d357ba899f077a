"""Looking inside a model while it computes: hooks by stable names, attention maps, and what each head is worth.

    with trace(model, ["blocks.*.resid_post", "blocks.3.attn.pattern"]) as store:
        model(ids)
    store["blocks.3.attn.pattern"]                      # (B, n_head, T, K)

The idea: every intermediate result has a name that means the same in every variant, and a hook on its module keeps
it. The forward pass is the same, to the last bit, with a cache and with padding too (law LG10); after the `with`
nothing is left on the model, so a model that nobody looks into pays nothing. Names (`names(model)` lists them):

    embed                 (B, T, n_embd)               what enters the first block: token and position
    blocks.I.resid_pre    (B, T, n_embd)               the residual stream before block I, resid_mid between its two
    blocks.I.resid_mid                                 halves, resid_post behind it. A post-norm block's stream is
    blocks.I.resid_post                                what its norms give
    blocks.I.attn.pattern (B, n_head, T, K)            the shares; K counts all tokens so far, those in a cache too
    blocks.I.attn.heads   (B, T, n_head, head_dim)     each head's output before they are mixed
    blocks.I.attn.out, blocks.I.mlp.out                what each half adds to the stream (before dropout)
    final_norm            (B, T, n_embd)               what the head reads

A map shows where a head looks, not whether that matters. `ablate_heads` takes a head away, by changing what enters
the projection after the heads, and the loss tells (Michel et al. 2019, arXiv 1905.10650). What each layer would
answer: `lens`. Left out: changing what flows, other than by heads; gradients. Notebook: 03 of attention_mechanisms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gpt_model.gpt import GPT
from utils.errors import UserError, closest, did_you_mean

# Hooks by name ----------------------------------------------------------------------------------------


class Point(NamedTuple):
    """Where a named result is: a module, and what of its call: "in", "out", "heads" or "pattern"."""

    module: nn.Module
    what: str


def points(model: GPT) -> dict[str, Point]:
    """Every name with its place, in the order of computation."""
    found = {"embed": Point(model.dropout, "out")}
    for i, block in enumerate(model.blocks):
        part: Any = block
        found |= {
            f"blocks.{i}.resid_pre": Point(part, "in"),
            f"blocks.{i}.attn.pattern": Point(part.attn, "pattern"),
            f"blocks.{i}.attn.heads": Point(part.attn.out_proj, "heads"),
            f"blocks.{i}.attn.out": Point(part.attn, "out"),
            f"blocks.{i}.resid_mid": Point(part.norm_2, "in") if part.pre_norm else Point(part.norm_1, "out"),
            f"blocks.{i}.mlp.out": Point(part.mlp, "out"),
            f"blocks.{i}.resid_post": Point(part, "out"),
        }
    return found | {"final_norm": Point(model.final_norm, "out")}


def names(model: GPT) -> list[str]:
    """The names that `trace` knows for this model."""
    return list(points(model))


class Store(Mapping[str, Tensor]):
    """What a trace has kept: `store[name]` is of the newest forward pass, `passes(name)` of each, if all are kept."""

    def __init__(self, chosen: Iterable[str], keep_all: bool) -> None:
        self._kept: dict[str, list[Tensor]] = {name: [] for name in chosen}
        self._keep_all = keep_all

    def keep(self, name: str, value: Tensor) -> None:
        """Remember a result as it is, without its gradient."""
        if not self._keep_all:
            self._kept[name].clear()
        self._kept[name].append(value.detach())

    def passes(self, name: str) -> list[Tensor]:
        """One tensor a forward pass, oldest first; the newest only, unless `keep_all` was asked for."""
        if name not in self._kept:
            hint = did_you_mean(closest(name, self._kept))
            raise UserError(f"the trace has not kept {name!r}: {hint}it has {', '.join(self._kept)}")
        return self._kept[name]

    def __getitem__(self, name: str) -> Tensor:
        if not self.passes(name):
            raise UserError(f"{name} is not there yet: call the model inside the `with trace(...)` block")
        return self._kept[name][-1]

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


@contextmanager
def trace(model: GPT, wanted: str | Sequence[str], *, keep_all: bool = False) -> Iterator[Store]:
    """Within this context, keep what the model computes under the wanted names; * stands for anything.

    Only calls of this thread are kept, so a model that serves others may be looked into meanwhile. `keep_all` keeps
    every forward pass (each step of a generation) instead of the newest. Tensors are shared with the model, not
    copied: do not write into them before the pass is over.

    Raises:
        UserError: a name that the model does not have.
    """
    places = points(model)
    chosen: dict[str, Point] = {}
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        found = {name: place for name, place in places.items() if fnmatchcase(name, pattern)}
        if not found:
            hint = did_you_mean(closest(pattern, places))
            raise UserError(f"trace: the model has no {pattern!r}: {hint}`names(model)` lists all")
        chosen |= found
    store, owner = Store(chosen, keep_all), threading.get_ident()
    hooks: list[Any] = []
    try:
        for name, point in chosen.items():
            hooks += _watch(point, store, name, lambda: threading.get_ident() == owner, model.config.n_head)
        yield store
    finally:
        _remove(hooks)


def _remove(hooks: Iterable[Any]) -> None:
    for hook in hooks:
        hook.remove()


def _watch(point: Point, store: Store, name: str, mine: Callable[[], bool], n_head: int) -> list[Any]:
    """Hooks that keep one result. They return nothing, so they change nothing."""
    module, what = point
    if what == "pattern":
        return _watch_pattern(module, store, name, mine)

    def entering(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if mine():
            store.keep(name, inputs[0].unflatten(-1, (n_head, -1)) if what == "heads" else inputs[0])

    def leaving(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if mine():
            store.keep(name, output)

    if what == "out":
        return [module.register_forward_hook(leaving)]
    return [module.register_forward_pre_hook(entering)]


def _watch_pattern(attention: nn.Module, store: Store, name: str, mine: Callable[[], bool]) -> list[Any]:
    """Ask the one call that happens anyway for its map too: asked twice, a cache would take the tokens twice."""
    calls: list[tuple[bool, Tensor | None, int]] = []

    def entering(module: nn.Module, inputs: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        if not mine():
            return None
        cache, time = kwargs.get("cache"), inputs[0].size(1)
        keys = None if cache is None else cache.key_positions(time)  # a ring does not hold all, nor in order
        calls.append((kwargs.get("need_weights", False), keys, time + (0 if cache is None else cache.length)))
        return inputs, {**kwargs, "need_weights": True}

    def leaving(module: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> Any:
        if not mine():
            return None
        asked, keys, total = calls.pop()
        y, pattern = output
        if keys is not None and len(keys) != total:
            pattern = pattern.new_zeros(*pattern.shape[:-1], total).index_copy_(-1, keys, pattern)
        store.keep(name, pattern)
        return None if asked else y  # whoever asked, an outer trace perhaps, gets both

    return [
        attention.register_forward_pre_hook(entering, with_kwargs=True),
        attention.register_forward_hook(leaving, prepend=True),  # all other hooks see the output alone
    ]


@contextmanager
def evaluating(model: GPT) -> Iterator[None]:
    """Dropout off, then as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


# Attention maps and heads -----------------------------------------------------------------------------


@torch.no_grad()
def attention_maps(model: GPT, ids: Tensor) -> Tensor:
    """The maps of one text: ids (1, T) -> (n_layer, n_head, T, T); row q holds where token q looks, summing to 1.

    Every attention has them; outside a window they are 0. Computed without dropout; the model's mode is restored.
    """
    if ids.dim() != 2 or ids.size(0) != 1:
        raise UserError(f"attention_maps: ids have shape {tuple(ids.shape)}: give one text, (1, tokens)")
    with evaluating(model), trace(model, "blocks.*.attn.pattern") as store:
        model(ids.to(model.device))
    return torch.stack([pattern[0] for pattern in store.values()])


def visible_keys(model: GPT, length: int) -> Tensor:
    """Who may look at whom in each layer, bool (n_layer, 1, length, length): causal, and the layer's window if any."""
    places = torch.arange(length)
    attentions: list[Any] = [block.attn for block in model.blocks]
    return torch.stack([attention.visible(places, places) for attention in attentions])[:, None]


@contextmanager
def ablate_heads(
    model: GPT, heads: Iterable[tuple[int, int]], *, means: Tensor | None = None
) -> Iterator[GPT]:
    """Within this context the named (layer, head) pairs give nothing: zeros, or their usual output `means`.

    What is replaced is a head's part of the input of `out_proj`, so it works for every attention and with a
    cache. `means` (n_layer, n_head, head_dim) come from `head_means`: zero may be far from anything the model
    has ever seen, the mean is not.

        with ablate_heads(model, {(0, 3)}):
            loss = model(ids, targets=targets).loss
    """
    config = model.config
    wanted = sorted(set(heads))
    for layer, head in wanted:
        if not (0 <= layer < config.n_layer and 0 <= head < config.n_head):
            raise UserError(
                f"ablate_heads: there is no head {head} in layer {layer}: layers are 0 to {config.n_layer - 1}, "
                f"heads 0 to {config.n_head - 1}"
            )
    shape = (config.n_layer, config.n_head, config.head_dim)
    if means is not None and means.shape != shape:
        raise UserError(f"ablate_heads: means have shape {tuple(means.shape)}: give {shape}, from head_means")
    hooks: list[Any] = []
    try:
        for layer, block in enumerate(model.blocks):
            gone = [head for at, head in wanted if at == layer]
            if gone:
                put = None if means is None else means[layer, gone]
                attention: Any = block.attn
                hooks.append(attention.out_proj.register_forward_pre_hook(_replace(gone, config.n_head, put)))
        yield model
    finally:
        _remove(hooks)


def _replace(heads: list[int], n_head: int, put: Tensor | None) -> Any:
    """A hook that overwrites some heads in the input of out_proj, (B, T, n_head · head_dim)."""

    def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0].unflatten(-1, (n_head, -1)).clone()  # (B, T, n_head, head_dim)
        x[..., heads, :] = 0.0 if put is None else put.to(x)
        return (x.flatten(-2),)

    return hook


@torch.no_grad()
def head_means(model: GPT, ids: Tensor) -> Tensor:
    """The mean output of every head over all tokens of ids (B, T): (n_layer, n_head, head_dim), for `ablate_heads`."""
    with evaluating(model), trace(model, "blocks.*.attn.heads") as store:
        model(ids.to(model.device))
    return torch.stack([heads.mean(dim=(0, 1)) for heads in store.values()])


@torch.no_grad()
def loss_without_each_head(
    model: GPT, ids: Tensor, targets: Tensor | None = None, *, means: Tensor | None = None
) -> Tensor:
    """What each head is worth: loss without it minus loss with all, nats per token, (n_layer, n_head).

    ids (B, T); `targets` default to the next token of ids. Positive: the head helps. One forward pass a head.
    """
    if targets is None:
        if ids.size(-1) < 2:
            raise UserError("loss_without_each_head: one token has no next one: give longer ids, or targets")
        ids, targets = ids[:, :-1], ids[:, 1:]
    ids, targets = ids.to(model.device), targets.to(model.device)

    def loss() -> float:
        value = model(ids, targets=targets).loss
        assert value is not None
        return float(value)

    with evaluating(model):
        whole = loss()
        changes = torch.zeros(model.config.n_layer, model.config.n_head)
        for layer in range(model.config.n_layer):
            for head in range(model.config.n_head):
                with ablate_heads(model, [(layer, head)], means=means):
                    changes[layer, head] = loss() - whole
        return changes
