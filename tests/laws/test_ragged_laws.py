"""LA2 and LA8 for rows that join, leave and move in one cache: every kind of cache, in floats and in int8."""

from __future__ import annotations

import pytest
import torch
from cache_checks import CACHED_FORMS, FORMS, form_id, loud_ring, sinkless
from model_checks import assert_close, build, feed, some_ids
from ragged_checks import (
    check_a_copied_row_is_the_row,
    check_a_crop_knows_what_a_copied_ring_lost,
    check_rows_come_and_go,
    check_shifted_is_unshifted,
    check_what_cannot_move_is_refused,
)

from utils.errors import UserError

every_form = pytest.mark.parametrize(
    ("number", "form"),
    list(enumerate(f for f in CACHED_FORMS if sinkless(f))),
    ids=[form_id(f) for f in CACHED_FORMS if sinkless(f)],
)
settings = pytest.mark.parametrize("form", [f for f in FORMS if sinkless(f)], ids=form_id)


@every_form
def test_rows_that_come_and_go_have_the_logits_of_their_lone_runs(number, form):
    """In float64: behind padding the sums run in another order, and what is left is rounding or a bug."""
    check_rows_come_and_go(build(**form).double(), seed=number, tolerance=1e-10)


@settings
@pytest.mark.parametrize("position", ["learned", "rope", "alibi"])
def test_a_shifted_cache_gives_the_logits_of_one_that_never_moved(form, position):
    model = build(position=position, **form)
    check_shifted_is_unshifted(model)
    check_shifted_is_unshifted(model.double(), tolerance=1e-10)


@settings
def test_moved_rows_of_an_int8_cache_keep_their_codes_and_scales(form):
    """In float64, where rounding does not carry a number over the edge between two codes."""
    model = build(position="rope", **form).double()
    check_shifted_is_unshifted(model, torch.int8, tolerance=1e-9)
    check_a_copied_row_is_the_row(model, torch.int8, tolerance=1e-9)


@settings
def test_a_copied_row_continues_as_its_own_cache_does(form):
    check_a_copied_row_is_the_row(build(position="rope", **form))


@pytest.mark.parametrize("window", [2, 3, 5])
def test_a_crop_knows_what_a_copied_ring_has_lost(window):
    check_a_crop_knows_what_a_copied_ring_lost(loud_ring(window=window))


@pytest.mark.parametrize("attention", ["mha", "mla", "gqa"])
def test_what_cannot_move_is_refused_in_one_line(attention):
    check_what_cannot_move_is_refused(build(attention=attention))


def test_rows_with_attention_sinks_stay_where_they_are():
    """The sinks are the first slots of the cache, so padding may not stand before a row."""
    model = loud_ring(window=3, attention_sinks=2)
    ids = some_ids(2, 20)
    lone, cache = model.new_cache(1, 20), model.new_cache(2, 20)
    with torch.no_grad():
        feed(model, ids[:1, :9], (9,), lone)
        cache.shift(9)  # an empty cache only takes its length
        cache.put_row(0, lone)
        cache.put_row(1, lone)
        for what in (lambda: cache.shift(1), lambda: cache.put_row(1, lone, length=8)):
            with pytest.raises(UserError, match="attention sinks") as caught:
                what()
            assert "\n" not in str(caught.value)
        text = ids[:1].expand(2, -1)
        assert_close(
            feed(model, text[:, 9:], (1, 1, 9), cache), model(text).logits[:, 9:], 1e-5, "copied sinks"
        )
