"""LG10: a trace is neutral, shows what is computed, and the lens ends in the model's own output."""

from __future__ import annotations

import threading

import pytest
import torch
import trace_checks as laws
from model_checks import ALL_VARIANTS, build, some_ids, variant_id

from attention_mechanisms import ATTENTIONS
from gpt_model import lens, stream
from gpt_model.trace import attention_maps, names, trace
from utils.errors import UserError

every = pytest.mark.parametrize("variant", ALL_VARIANTS, ids=variant_id)
SHAPES = [
    *({"attention": name, "position": "rope"} for name in ATTENTIONS),
    {"attention": "mha", "position": "learned", "norm_order": "post"},
    {"attention": "swa", "position": "alibi", "window": 3},
    {"attention": "swa", "position": "rope", "window": 4, "attention_sinks": 2, "global_every": 2},
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@every
def test_tracing_changes_no_logit(variant):
    laws.check_tracing_changes_nothing(build(**variant))


@shapes
def test_tracing_changes_no_logit_with_windows_and_sinks(shape):
    laws.check_tracing_changes_nothing(build(**shape))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_nothing_is_left_on_the_model(attention):
    laws.check_nothing_is_left(build(attention=attention))


@every
def test_what_is_kept_is_what_was_computed(variant):
    laws.check_what_is_kept_is_what_was_computed(build(**variant))


@shapes
def test_maps_with_a_cache_are_rows_of_the_whole_map(shape):
    laws.check_cached_maps_are_rows_of_the_whole(build(**shape))


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"tie_weights": False, "norm": "rmsnorm", "position": "rope"},
        {"norm_order": "post"},
        {"attention": "mla"},
    ],
    ids=str,
)
def test_the_lens_ends_in_the_models_output(shape):
    laws.check_lens(build(**shape))
    laws.check_lens_scores(build(**shape))


def test_traces_inside_traces_each_get_their_own():
    model, ids = build(), some_ids(1, 6)
    plain = model(ids).logits
    with trace(model, "*") as outer, trace(model, "blocks.1.attn.pattern") as inner:
        assert torch.equal(model(ids).logits, plain)
        assert torch.equal(attention_maps(model, ids)[1], inner["blocks.1.attn.pattern"][0])
    assert torch.equal(outer["blocks.1.attn.pattern"], inner["blocks.1.attn.pattern"])
    assert isinstance(outer["blocks.1.attn.out"], torch.Tensor)


def test_a_generation_can_be_watched_step_by_step():
    model = build()
    with trace(model, ["blocks.0.resid_post"], keep_all=True) as store:
        tokens = list(stream(model, some_ids(1, 4), max_new_tokens=5))
    assert len(tokens) == 5
    assert [x.size(1) for x in store.passes("blocks.0.resid_post")] == [4, 1, 1, 1, 1]


def test_another_threads_calls_are_not_kept():
    model, ids = build(), some_ids(1, 6)
    with trace(model, "*") as store:
        model(ids)
        mine = dict(store)
        other = threading.Thread(target=lambda: model(some_ids(3, 4)))
        other.start()
        other.join()
    assert all(store[name] is value for name, value in mine.items())


def test_names_are_listed_in_order_and_may_hold_a_star():
    model = build(n_layer=2)
    known = names(model)
    assert known[0] == "embed" and known[-1] == "final_norm" and "blocks.1.resid_mid" in known
    with trace(model, "blocks.*.mlp.out") as store:
        assert list(store) == ["blocks.0.mlp.out", "blocks.1.mlp.out"] and len(store) == 2
        with pytest.raises(UserError, match="inside the `with"):
            store["blocks.0.mlp.out"]


@pytest.mark.parametrize(
    ("name", "word"), [("blocks.9.mlp.out", "no 'blocks.9"), ("blocks.0.mlp", "did you mean")]
)
def test_a_name_that_is_not_there_is_refused(name, word):
    with pytest.raises(UserError, match=word):
        with trace(build(), [name]):
            pass


def test_a_name_that_was_not_asked_for_is_refused():
    with trace(build(), ["embed"]) as store:
        assert "final_norm" not in store
        with pytest.raises(UserError, match="not kept"):
            store["final_norm"]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda m: lens.logit_lens(m, []), "at least one token"),
        (lambda m: lens.logit_lens(m, [1], top_k=0), "top_k"),
        (lambda m: lens.logit_lens(m, [1] * 99), "block_size"),
        (lambda m: lens.surprise(m, [1]), "two tokens"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(call, word):
    with pytest.raises(UserError, match=word):
        call(build())
