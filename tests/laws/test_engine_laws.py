"""The engine: each request gets the text of its lone run, whoever joins, leaves or fails beside it."""

from __future__ import annotations

import pytest
import torch
from cache_checks import CACHED_FORMS, FORMS, form_id
from engine_checks import (
    FixedStep,
    check_a_failure_is_its_own,
    check_a_long_prompt_does_not_stop_the_others,
    check_cancel_within_one_token,
    check_random_schedule,
    check_samples_share_one_prefill,
    check_threads,
    check_warm_is_cold,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from model_checks import build

from gpt_model import Engine, Request, Sampling
from utils.errors import UserError

# Every form of attention with every position scheme, in one norm.
EVERY = list({form_id({**form, "norm": ""}): form for form in CACHED_FORMS}.values())
some_forms = pytest.mark.parametrize("form", FORMS, ids=form_id)


@pytest.mark.parametrize(("number", "form"), list(enumerate(EVERY)), ids=[form_id(f) for f in EVERY])
def test_requests_that_come_and_go_write_what_they_write_alone(number, form):
    model = build(**{**form, "block_size": 24}).double()
    check_random_schedule(model, seed=number)
    check_random_schedule(model, seed=1000 + number, requests=4, reuse_prefixes=False)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_any_schedule_writes_what_lone_runs_write(seed):
    check_random_schedule(build(position="rope", block_size=24).double(), seed)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_schedule_without_a_cache_and_with_a_larger_block(use_cache):
    check_random_schedule(build(position="alibi", block_size=60).double(), 5, use_cache=use_cache)


@pytest.mark.parametrize("seed", range(4))
def test_a_step_of_one_shape_serves_any_schedule(seed):
    model = build(position="rope", block_size=24).double()
    step = FixedStep(model, rows=6, dtype=torch.float64)
    check_random_schedule(model, seed, step=step)
    assert step.calls > 5 and step.cache.length == 0, "the step's own cache is used, and empty in the end"


def test_a_long_prompt_does_not_stop_the_others():
    check_a_long_prompt_does_not_stop_the_others(build(position="rope"))


@some_forms
def test_n_samples_share_the_prefill_of_their_prompt(form):
    check_samples_share_one_prefill(build(position="rope", **form).double())


@some_forms
def test_a_chat_that_keeps_its_cache_gets_the_tokens_of_a_cold_run(form):
    check_warm_is_cold(build(position="rope", **form).double())


def test_a_cancelled_request_ends_within_one_token_and_frees_its_memory():
    check_cancel_within_one_token(build())


def test_requests_from_several_threads_are_served_each_as_alone():
    check_threads(build(block_size=24).double())


def test_a_request_that_fails_fails_alone():
    check_a_failure_is_its_own(build().double())


def test_keys_in_int8_are_shared_and_reused_as_well():
    """The lone run in int8 is the reference here: no uncached run rounds as it does."""
    model = build(position="rope").double()
    requests = [Request([1 + i, 2, 3] * (i + 1), 8, Sampling(temperature=0.0)) for i in range(4)]
    lone = []
    for request in requests:
        engine = Engine(model, cache_dtype=torch.int8, reuse_prefixes=False)
        engine.submit(request)
        lone.append([event.token for event in engine.run()])
    engine = Engine(model, cache_dtype=torch.int8, prefill_chunk=5)
    numbers = [engine.submit(request) for request in requests]
    events = list(engine.run())
    assert [[e.token for e in events if e.request == n] for n in numbers] == lone


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"ids": []}, "empty"),
        ({"ids": [29]}, "29"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"n": 0}, "n is 0"),
        ({"n": 17}, "max_rows"),
        ({"logprobs": -1}, "logprobs"),
        ({"on_overflow": "explode"}, "on_overflow"),
        ({"max_new_tokens": 99}, "block_size is 64"),
    ],
    ids=str,
)
def test_a_request_that_cannot_be_served_is_refused_in_one_line(fields, word):
    engine = Engine(build())
    with pytest.raises(UserError, match=word) as caught:
        engine.submit(Request(**{"ids": [1, 2], "max_new_tokens": 3, **fields}))
    assert "\n" not in str(caught.value) and not engine.busy


def test_an_engine_that_cannot_work_is_refused():
    for settings_ in ({"max_rows": 0}, {"prefill_chunk": 0}):
        with pytest.raises(UserError, match=next(iter(settings_))):
            Engine(build(), **settings_)
    step = FixedStep(build(), rows=2, dtype=torch.float32)
    step.cache = build().new_cache(2, 8)
    with pytest.raises(UserError, match="block_size is 64"):
        Engine(build(), step=step)
