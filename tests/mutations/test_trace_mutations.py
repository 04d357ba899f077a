"""Bugs of looking inside, put back one at a time: LG10's checks must catch each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trace_checks as laws
from model_checks import build

from gpt_model import GPT, lens, trace

Patch = pytest.MonkeyPatch


def hook_writes_in_place(patch: Patch) -> None:
    """Centred for a figure, where the model still needs it."""
    real = trace.Store.keep
    patch.setattr(trace.Store, "keep", lambda self, name, x: real(self, name, x.sub_(x.mean())))


def hook_returns_what_it_keeps(patch: Patch) -> None:
    """A hook's result replaces the module's: rounded for storing, it is rounded for the model too."""
    real = trace._watch

    def watch(point, store, name, mine, n_head):
        hooks = real(point, store, name, mine, n_head)
        if point.what == "out":
            hooks.append(point.module.register_forward_hook(lambda m, x, y: y.bfloat16().to(y.dtype)))
        return hooks

    patch.setattr(trace, "_watch", watch)


def hook_left_behind(patch: Patch) -> None:
    patch.setattr(trace, "_remove", lambda hooks: [hook.remove() for hook in list(hooks)[1:]])


def attention_asked_twice(patch: Patch) -> None:
    """The map from a call of its own: with a cache, it takes the tokens twice."""

    def watch(attention, store, name, mine):
        def ask(module, inputs, kwargs):
            store.keep(name, module.forward(*inputs, **{**kwargs, "need_weights": True})[1])

        return [attention.register_forward_pre_hook(ask, with_kwargs=True)]

    patch.setattr(trace, "_watch_pattern", watch)


def ring_read_as_it_lies(patch: Patch) -> None:
    def watch(attention, store, name, mine):
        def ask(module, inputs, kwargs):
            return inputs, {**kwargs, "need_weights": True}

        def take(module, inputs, output):
            store.keep(name, output[1])
            return output[0]

        return [
            attention.register_forward_pre_hook(ask, with_kwargs=True),
            attention.register_forward_hook(take),
        ]

    patch.setattr(trace, "_watch_pattern", watch)


def streams_mixed_up(patch: Patch) -> None:
    real = trace.points

    def points(model: GPT):
        return {
            name: trace.Point(place.module.norm_2, "out") if name.endswith("resid_post") else place
            for name, place in real(model).items()
        }

    patch.setattr(trace, "points", points)


def lens_without_the_final_norm(patch: Patch) -> None:
    def unembed(self: GPT, x: torch.Tensor) -> torch.Tensor:
        return x @ self.token_embedding.weight.T

    real = lens.lens_logits

    def lensed(model, ids):
        patch.setattr(GPT, "unembed", unembed)
        try:
            yield from real(model, ids)
        finally:
            patch.undo()

    patch.setattr(lens, "lens_logits", lensed)


def lens_one_layer_early(patch: Patch) -> None:
    real = lens.trace

    def early(model, names):
        return real(model, [name.replace("resid_post", "resid_pre") for name in names])

    patch.setattr(lens, "trace", early)


def lens_scores_the_token_it_stands_on(patch: Patch) -> None:
    real = lens.scores_of
    patch.setattr(lens, "scores_of", lambda logits, ids, k: real(logits, [ids[0], *ids[:-1]], k))


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (hook_writes_in_place, lambda: laws.check_tracing_changes_nothing(build()), "hooks on"),
    (hook_returns_what_it_keeps, lambda: laws.check_tracing_changes_nothing(build()), "hooks on"),
    (
        attention_asked_twice,
        lambda: laws.check_tracing_changes_nothing(build(attention="swa", window=3)),
        "run twice",
    ),
    (hook_left_behind, lambda: laws.check_nothing_is_left(build()), "hooks are left"),
    (
        ring_read_as_it_lies,
        lambda: laws.check_cached_maps_are_rows_of_the_whole(build(attention="swa", window=3)),
        "after 5 tokens|look elsewhere",
    ),
    (streams_mixed_up, lambda: laws.check_what_is_kept_is_what_was_computed(build()), "resid_post"),
    (lens_without_the_final_norm, lambda: laws.check_lens(build()), "last row"),
    (lens_one_layer_early, lambda: laws.check_lens(build()), "last row"),
    (lens_scores_the_token_it_stands_on, lambda: laws.check_lens_scores(build()), "came after it"),
]


@pytest.mark.parametrize(
    ("bug", "check", "word"), BUGS, ids=[f"{i}-{bug.__name__}" for i, (bug, _, _) in enumerate(BUGS)]
)
def test_the_law_catches_the_bug(bug, check, word, monkeypatch):
    check()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check()
