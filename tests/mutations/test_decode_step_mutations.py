"""Classic bugs of a decode step with fixed shapes, put back one at a time: a law must catch each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from decode_step_checks import (
    check_other_caches,
    check_step,
    check_the_model_is_left_alone,
    check_unused_slots,
)
from model_checks import build

from gpt_model import decode_attention, decode_linear, decode_step
from gpt_model.decode_attention import Place, place_of
from gpt_model.decode_step import DecodeStep

Patch = pytest.MonkeyPatch


def placed(patch: Patch, change: Any) -> None:
    """Every `Place` is changed on its way."""

    def other(*arguments: Any) -> Place:
        place = place_of(*arguments)
        change(place)
        return place

    patch.setattr(decode_step, "place_of", other)


def every_slot_is_seen(patch: Patch) -> None:
    placed(patch, lambda place: setattr(place, "mask", None))


def the_new_key_is_not_seen(patch: Patch) -> None:
    def blind(place: Place) -> None:
        assert place.mask is not None
        place.mask = place.mask & (torch.arange(place.mask.size(1)) != place.slot)

    placed(patch, blind)


def keys_go_one_slot_too_far(patch: Patch) -> None:
    placed(patch, lambda place: setattr(place, "slot", place.slot + 1))


def the_last_row_of_heads_is_shared_wrongly(patch: Patch) -> None:
    real = decode_attention.over_all_slots

    def rolled(q: Any, keys: Any, values: Any, place: Place) -> Any:
        return real(q, keys.roll(1, dims=1), values.roll(1, dims=1), place)

    patch.setattr(decode_attention, "over_all_slots", rolled)


def positions_count_padding(patch: Patch) -> None:
    real = decode_step.run_blocks

    def run(model: Any, ids: Any, positions: Any, layers: Any) -> Any:
        slot = layers[0].place.slot
        return real(model, ids, slot if isinstance(slot, int) else slot.expand(len(ids)), layers)

    patch.setattr(decode_step, "run_blocks", run)


def nobody_turns(patch: Patch) -> None:
    placed(patch, lambda place: setattr(place, "cos", None))


def alibi_is_forgotten(patch: Patch) -> None:
    placed(patch, lambda place: setattr(place, "bias", None))


def scores_are_not_divided(patch: Patch) -> None:
    real = decode_attention.over_all_slots
    patch.setattr(decode_attention, "over_all_slots", lambda q, *rest: real(q * q.size(-1) ** 0.5, *rest))


def the_cache_is_not_counted(patch: Patch) -> None:
    real = DecodeStep.__call__

    def call(self: Any, ids: Any, cache: Any = None) -> Any:
        cache = self.cache if cache is None else cache
        before = cache.length
        logits = real(self, ids, cache)
        cache.length = before
        return logits

    patch.setattr(DecodeStep, "__call__", call)


def unused_slots_are_multiplied_by_zero(patch: Patch) -> None:
    patch.setattr(decode_attention.torch, "where", lambda seen, x, other: x * seen)


def another_cache_is_ignored(patch: Patch) -> None:
    real = DecodeStep.__call__
    patch.setattr(DecodeStep, "__call__", lambda self, ids, cache=None: real(self, ids, self.cache))


def the_bias_is_left_behind(patch: Patch) -> None:
    for form in (decode_linear.Transposed, decode_linear.Packed):  # whichever this machine takes
        real: Any = form.__init__
        lame = lambda self, weight, bias, *rows, real=real: real(self, weight, None, *rows)  # noqa: E731
        patch.setattr(form, "__init__", lame)


def layers_are_swapped_in_the_model(patch: Patch) -> None:
    def in_place(model: Any, dtype: Any, rows: int, *, compiled: bool) -> Any:
        return real(model.to(dtype), dtype, rows, compiled=compiled)

    real = decode_step.laid_out
    patch.setattr(decode_step, "laid_out", in_place)


PADDED = (7, 3, 5)


def static(**fields: Any) -> Any:
    return lambda: check_step(build(n_head=4, **fields), rows=PADDED, static=True)


def eager(rows: tuple[int, ...] = PADDED, **fields: Any) -> Any:
    return lambda: check_step(build(n_head=4, **fields), rows=rows)


ROWS: list[tuple[Any, Any, str]] = [
    (every_slot_is_seen, static(), "unused slots or padding"),
    (every_slot_is_seen, eager(), "padding are seen"),
    (the_new_key_is_not_seen, static(), "not seen"),
    (keys_go_one_slot_too_far, static(), "another slot"),
    (the_last_row_of_heads_is_shared_wrongly, static(attention="gqa", n_kv_head=2), "other logits"),
    (positions_count_padding, static(), "count padding"),
    (positions_count_padding, eager(), "count padding"),
    (nobody_turns, static(position="rope"), "other logits"),
    (nobody_turns, eager(position="rope"), "other logits"),
    (alibi_is_forgotten, static(position="alibi"), "other logits"),
    (alibi_is_forgotten, eager(position="alibi"), "other logits"),
    (scores_are_not_divided, static(), "other logits"),
    (the_cache_is_not_counted, eager(), "the cache holds"),
    (unused_slots_are_multiplied_by_zero, lambda: check_unused_slots(build()), "NaN"),
    (another_cache_is_ignored, lambda: check_other_caches(build(), False), "branch"),
    (the_bias_is_left_behind, eager(rows=(6,)), "other logits"),
    (layers_are_swapped_in_the_model, lambda: check_the_model_is_left_alone(build()), "changed the model's"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()
