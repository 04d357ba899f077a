"""The fast decode step gives the model's logits: every attention, position, precision, padding, compiled or not."""

from __future__ import annotations

import warnings

import pytest
import torch
from decode_step_checks import (
    bf16,
    check_one_program,
    check_other_caches,
    check_step,
    check_the_model_is_left_alone,
    check_unused_slots,
    step_for,
)
from model_checks import assert_close, build, some_ids

from attention_mechanisms import ATTENTIONS
from gpt_model import DecodeStep, quantize
from gpt_model.config import CHOICES
from gpt_model.decode_step import compiler_found
from utils.errors import UserError

EQUAL, PADDED, LONE = (7, 7), (7, 3, 5), (6,)
ways = pytest.mark.parametrize("static", [False, True], ids=["eager", "static"])
lengths = pytest.mark.parametrize("rows", [EQUAL, PADDED, LONE], ids=["equal", "padded", "lone"])


@ways
@lengths
@pytest.mark.parametrize("position", CHOICES["position"])
@pytest.mark.parametrize("attention", list(ATTENTIONS))
def test_each_step_gives_the_models_logits(attention, position, rows, static):
    model = build(attention=attention, position=position, n_head=4, n_embd=16)
    if static and attention in ("mla", "swa"):
        with pytest.warns(RuntimeWarning, match=f"attention {attention}"):
            check_step(model, rows=rows, static=True)
    else:
        check_step(model, rows=rows, static=static)


@ways
@pytest.mark.parametrize("norm", CHOICES["norm"])
@pytest.mark.parametrize("mlp", CHOICES["mlp"])
def test_every_norm_and_feed_forward_layer(mlp, norm, static):
    check_step(
        build(mlp=mlp, norm=norm, rope_layout="interleaved", position="rope"), rows=PADDED, static=static
    )
    check_step(build(mlp=mlp, norm=norm, norm_order="post", tie_weights=False, bias=False), static=static)


@ways
@lengths
@pytest.mark.parametrize("mode", ["bf16", "int8", "int4", "int8 of float32", "int4 of float32"])
def test_every_precision(mode, rows, static):
    model = build(n_embd=32, n_head=4, attention="gqa", n_kv_head=2, loud=False)
    model = model if "float32" in mode else bf16(model)
    if mode != "bf16":
        quantize(model, mode[:4], group=32)
    check_step(model, rows=rows, static=static, tolerance=2e-5 if "float32" in mode else 3e-2)


@ways
def test_unused_slots_do_not_matter(static):
    check_unused_slots(build(), static)


@ways
def test_one_step_serves_any_cache(static):
    check_other_caches(build(), static)


def test_the_model_is_left_alone():
    check_the_model_is_left_alone(build())


def test_an_int8_cache_is_handed_to_the_model():
    model = build(position="rope")
    caches = [model.new_cache(2, 12, dtype=torch.int8) for _ in range(2)]
    for cache in caches:
        model(some_ids(2, 5), cache=cache)
    token = some_ids(2, 1, seed=3)
    got = DecodeStep(model, caches[0])(token, caches[0])
    assert_close(got, model(token, cache=caches[1]).logits[:, -1], 1e-5, "the model's own step")


def test_a_full_cache_and_a_full_block_are_refused_as_by_the_model():
    model = build(block_size=6)
    for capacity, message in ((4, "room for 4 tokens"), (9, "block_size is 6")):
        cache = model.new_cache(1, capacity)
        model(some_ids(1, min(capacity, 6)), cache=cache)
        with pytest.raises(UserError, match=message):
            DecodeStep(model, cache)(some_ids(1, 1))


def test_wrong_calls_are_one_line():
    model = build()
    with pytest.raises(UserError, match="needs a cache"):
        DecodeStep(model)(some_ids(1, 1))
    with pytest.raises(UserError, match="one token a row"):
        DecodeStep(model, model.new_cache(1, 8))(some_ids(1, 2))


# Compiled ---------------------------------------------------------------------------------------------


@pytest.fixture
def compiler():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not compiler_found(torch.device("cpu")):
            pytest.skip("no C++ compiler on this machine")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["float32 padded", "int8 lone"])
def test_one_program_serves_all_steps(form, compiler):
    if form == "float32 padded":
        check_one_program(build(attention="gqa", n_head=4, n_kv_head=2, position="rope", n_layer=1), PADDED)
    else:
        check_one_program(quantize(bf16(build(n_layer=1, loud=False)), "int8"), LONE)


def test_without_a_compiler_the_step_runs_eagerly_and_says_so_once(monkeypatch):
    import torch._inductor.cpp_builder as builder

    def missing():
        raise builder.exc.InvalidCxxCompiler

    monkeypatch.setattr(builder, "get_cpp_compiler", missing)
    model = build()
    cache = model.new_cache(2, 12)
    with pytest.warns(RuntimeWarning, match="needs a C\\+\\+ compiler") as caught:
        step = DecodeStep(model, cache, compile=True)
        step(some_ids(2, 1))
    assert len(caught) == 1 and not step.compiled
    check_step(model)


def test_a_compiler_that_fails_leaves_an_eager_step(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    def fails(*_):
        raise BackendCompilerFailed(fails, RuntimeError("g++ died"), None)

    monkeypatch.setattr(torch, "compile", lambda function, **options: fails)
    model = build()
    cache = model.new_cache(2, 12)
    model(some_ids(2, 4), cache=cache)
    with pytest.warns(RuntimeWarning, match="torch.compile failed"):
        step = DecodeStep(model, cache, compile=True)
    assert not step.compiled and cache.length == 4
    token = some_ids(2, 1, seed=3)
    whole = torch.cat((some_ids(2, 4), token), dim=1)
    assert_close(
        step(token), model(whole).logits[:, -1].detach(), 1e-5, "the eager step after a failed compiler"
    )


def test_an_error_that_is_no_compilers_is_not_swallowed(monkeypatch):
    model = build()
    cache = model.new_cache(1, 8)
    step = step_for(model, cache, static=True)
    step.program = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        step(some_ids(1, 1))


def test_the_engine_writes_with_a_step_what_it_writes_without():
    from gpt_model import Sampling, generate
    from gpt_model.engine import Engine
    from gpt_model.request import Request

    model = build(block_size=48)
    prompts = [some_ids(1, n, seed=n)[0].tolist() for n in (3, 9, 5)]
    expected = generate(model, prompts, max_new_tokens=8, sampling=Sampling(temperature=0.0))
    for static in (False, True):
        step = step_for(model, model.new_cache(4, 48), static)
        engine = Engine(model, step=step)
        rows = {engine.submit(Request(p, 8, Sampling(temperature=0.0))): [] for p in prompts}
        for event in engine.run():
            rows[event.request].append(event.token)
        assert list(rows.values()) == expected
