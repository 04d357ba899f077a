"""Laws of the fast decode step: the logits are the model's, whatever the shapes, the padding and the precision.

The reference is `model(ids, cache=cache)` on a cache of its own. The program that torch compiles is also run as Python
(`uncompiled`): what is wrong with its slots, masks and positions shows there in milliseconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from model_checks import assert_close, left_pad, some_ids

from gpt_model import GPT
from gpt_model.decode_step import DecodeStep


@contextmanager
def uncompiled() -> Iterator[None]:
    """torch.compile gives back the function it was given."""
    real = torch.compile
    torch.compile = lambda function, **options: function  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = real


def step_for(model: GPT, cache: Any, static: bool, **options: Any) -> DecodeStep:
    """An eager step, or the static one run as Python."""
    if not static:
        return DecodeStep(model, cache, **options)
    with uncompiled():
        return DecodeStep(model, cache, compile=True, **options)


@torch.no_grad()
def check_step(
    model: GPT, *, rows: tuple[int, ...] = (7, 7), static: bool = False, new: int = 9, tolerance: float = 2e-5
) -> None:
    """After a prefill of left-padded rows, each step gives the model's logits and leaves the model's cache behind."""
    texts = [some_ids(1, n, model.config.vocab_size, seed=n + i)[0].tolist() for i, n in enumerate(rows)]
    ids, mask = left_pad(texts, 0)
    given = mask if min(rows) < max(rows) else None
    more = some_ids(len(rows), new, model.config.vocab_size, seed=5)
    capacity = max(rows) + new + 3
    wanted, cache = (model.new_cache(len(rows), capacity) for _ in range(2))
    for one in (wanted, cache):
        model(ids, cache=one, attention_mask=given)
    step = step_for(model, cache, static)
    kind = "static" if static else "eager"
    for i in range(new):
        token = more[:, i : i + 1]
        expected = model(token, cache=wanted).logits[:, -1]
        got = step(token, cache)
        scale = max(1.0, expected.abs().max().item())
        assert_close(got.float(), expected.float(), tolerance * scale, (
            f"{kind} step {i} after rows of {rows} tokens: other logits than the model's. Usual causes: the new key is "
            "not seen or written to another slot, unused slots or padding are seen, positions count padding"
        ))  # fmt: skip
        assert cache.length == wanted.length, f"the cache holds {cache.length} tokens, not {wanted.length}"
    more_of = model(more[:, -1:], cache=cache).logits
    hint = "the model goes on from what the step left in the cache"
    assert_close(more_of.float(), model(more[:, -1:], cache=wanted).logits.float(), tolerance * scale, hint)


@torch.no_grad()
def check_unused_slots(model: GPT, static: bool = True) -> None:
    """What stands in slots not yet filled does not matter, were it NaN."""
    ids, more = some_ids(2, 6), some_ids(2, 3, seed=9)
    caches = [model.new_cache(2, 12) for _ in range(2)]
    for tensor in caches[1].tensors():
        tensor.fill_(torch.nan)
    for cache in caches:
        model(ids, cache=cache)
    clean, dirty = (step_for(model, cache, static) for cache in caches)
    for i in range(3):
        token = more[:, i : i + 1]
        hint = "a slot that nothing was written to reached the logits"
        assert_close(dirty(token, caches[1]), clean(token, caches[0]), 1e-6, hint)


@torch.no_grad()
def check_other_caches(model: GPT, static: bool) -> None:
    """One step serves any cache: cropped, branched, of fewer rows, and one it was not made with."""
    ids, token = some_ids(3, 8), some_ids(3, 1, seed=4)
    first = model.new_cache(3, 16)
    model(ids, cache=first)
    step = step_for(model, first, static)
    step(token, first)
    first.crop(5)
    branch = first.branch([2, 0])
    expected = model(torch.cat((ids[:, :5], token), dim=1)).logits[:, -1]
    hint = "a cropped cache goes on from where it was cut"
    assert_close(step(token, first), expected, 1e-4, hint)
    hint = "a branch of two rows is a cache like any other"
    assert_close(step(token[[2, 0]], branch), expected[[2, 0]], 1e-4, hint)


@torch.no_grad()
def check_the_model_is_left_alone(model: GPT) -> None:
    """Making a step in another precision changes nothing of the model, and shares what needs no other form."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    step = DecodeStep(model, model.new_cache(2, 8, dtype=torch.bfloat16), dtype=torch.bfloat16)
    step(some_ids(2, 1))
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) and len(after) == len(before), (
        "making or running a step changed the model's weights"
    )
    assert [type(module) for module in model.modules()] == kinds, "a layer of the model itself was replaced"
    plain = DecodeStep(model).model
    assert plain.token_embedding.weight.data_ptr() == model.token_embedding.weight.data_ptr(), (
        "the table of embeddings was copied, though its form did not change"
    )


def graphs() -> int:
    """Programs that torch has compiled so far in this process."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@torch.no_grad()
def check_one_program(model: GPT, rows: tuple[int, ...], dtype: torch.dtype | None = None) -> None:
    """Compiled: the model's logits at every step, and nothing is compiled after the warm-up."""
    texts = [some_ids(1, n, seed=n)[0].tolist() for n in rows]
    ids, mask = left_pad(texts, 0)
    given = mask if min(rows) < max(rows) else None
    wanted, cache = (model.new_cache(len(rows), max(rows) + 12) for _ in range(2))
    for one in (wanted, cache):
        model(ids, cache=one, attention_mask=given)
    held = [tensor.clone() for tensor in cache.tensors()]
    before = graphs()
    step = DecodeStep(model, cache, compile=True)
    assert step.compiled, "this machine has a compiler, but the step runs eagerly"
    assert graphs() == before + 1, f"the warm-up compiled {graphs() - before} programs instead of one"
    assert all(map(torch.equal, held, cache.tensors())) and cache.length == max(rows), (
        "the warm-up left traces"
    )
    warm = graphs()
    for i in range(12):
        with torch.inference_mode(
            i % 2 == 0
        ):  # an engine makes its ids under inference mode, a person does not
            token = some_ids(len(rows), 1, seed=20 + i).clone()
        if i == 6:  # another conversation, another length, no padding
            for one in (wanted, cache):
                one.reset()
                model(some_ids(len(rows), 3, seed=8), cache=one)
        expected = model(token, cache=wanted).logits[:, -1]
        scale = max(1.0, expected.abs().max().item())
        near = 2e-5 if model.dtype == torch.float32 else 4e-2
        hint = f"compiled step {i} after rows of {rows}"
        assert_close(step(token, cache).float(), expected.float(), near * scale, hint)
    assert graphs() == warm, (
        f"{graphs() - warm} more programs were compiled while decoding: what changes from step to step is part "
        "of the program (a length as a Python number, a mask that comes and goes)"
    )


def bf16(model: GPT) -> GPT:
    """A copy in bf16."""
    return copy.deepcopy(model).bfloat16()
