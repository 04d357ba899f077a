"""Laws of the engine: each request's tokens are those of its lone run, whoever else is running (LG8, LS1-LS3).

The reference is the plainest loop there is, without engine and cache: the whole text runs again for every token. The
models compute in float64, where the order of sums, which padding changes, cannot change a drawn id.
"""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from model_checks import some_ids

from gpt_model import GPT, Engine, Event, Request, Sampling
from gpt_model.prefix_cache import KEPT
from gpt_model.sampling import make_generators, sample


@torch.no_grad()
def alone(model: GPT, request: Request) -> list[list[Event]]:
    """What the engine has to answer, sample by sample, from the definition."""
    block, answers = model.config.block_size, []
    for number in range(request.n):
        generator = make_generators((request.sampling.seed or 0) + number, 1)
        text, events, reason = list(request.ids), [], None
        for done in range(request.max_new_tokens):
            if request.on_overflow == "stop" and len(text) > block:
                reason = "overflow"
                break
            logits = model(torch.tensor([text[-block:]])).logits[:, -1]
            rules = replace(request.sampling, seed=None)
            token = int(sample(logits, rules, generator, [text], prompt_lengths=[len(request.ids)]))
            if token in request.stop_ids:
                reason = "stop"
                break
            text.append(token)
            table = logits[0].log_softmax(-1)
            likeliest = table.argsort(descending=True)[: request.logprobs or 0].tolist()
            asked = request.logprobs is not None
            events.append(
                Event(
                    0, number, token, float(table[token]) if asked else None,
                    tuple((i, float(table[i])) for i in likeliest) if asked else None,
                )
            )  # fmt: skip
            if done + 1 < request.max_new_tokens and request.on_overflow == "stop" and len(text) > block:
                reason = "overflow"
        if reason is None or (reason == "overflow" and len(events) == request.max_new_tokens):
            reason = "length"
        if events and reason != "stop":
            events[-1] = events[-1]._replace(finish_reason=reason)
        else:
            events.append(Event(0, number, None, finish_reason=reason))
        answers.append(events)
    return answers


def assert_same(got: list[Event], expected: list[Event], what: str, whole: bool = True) -> None:
    """Equal tokens, reasons, and log-probabilities to rounding; if not `whole`, as far as `got` went."""
    tokens, wanted = [e.token for e in got], [e.token for e in expected]
    if not whole:
        assert got and got[-1].finish_reason is not None, f"{what}: a cancelled sample was never ended"
        if got[-1].finish_reason == "cancelled":
            tokens, got = tokens[:-1], got[:-1]
        wanted = wanted[: len(tokens)]
    assert tokens == wanted, f"{what}: the engine wrote {tokens}, its lone run gives {wanted}"
    for mine, theirs in zip(got, expected):
        assert mine.finish_reason == theirs.finish_reason, (
            f"{what}: ended by {mine.finish_reason!r}, alone by {theirs.finish_reason!r}"
        )
        assert (mine.logprob is None) == (theirs.logprob is None), f"{what}: logprob {mine.logprob}"
        if mine.logprob is not None and theirs.logprob is not None and mine.alternatives is not None:
            assert abs(mine.logprob - theirs.logprob) < 1e-9, (
                f"{what}: log-probability {mine.logprob}, by the model's own distribution {theirs.logprob}"
            )
            assert theirs.alternatives is not None
            assert [i for i, _ in mine.alternatives] == [i for i, _ in theirs.alternatives], (
                f"{what}: alternatives"
            )


def random_request(draw: random.Random, vocab: int, block: int, max_n: int) -> Request:
    """Any request that the engine has to serve."""
    sampling = draw.choice(
        [
            Sampling(temperature=0.0),
            Sampling(temperature=1.0, seed=draw.randrange(1000)),
            Sampling(temperature=0.7, top_k=5, seed=draw.randrange(1000)),
            Sampling(top_p=0.9, repetition_penalty=1.3, seed=draw.randrange(1000)),
            Sampling(temperature=1.4, presence_penalty=0.5, seed=draw.randrange(1000)),
        ]
    )
    overflow = draw.choice(["error", "error", "slide", "stop"])
    length = draw.randint(1, block if overflow == "error" else block + 3)
    room = block - length + 1 if overflow == "error" else 12
    return Request(
        [draw.randrange(vocab) for _ in range(length)],
        draw.choice([0, 1, *[draw.randint(1, 14)] * 6]) if room > 14 else draw.randint(0, max(room, 0)),
        sampling,
        stop_ids=draw.choice([(), (), (3, 11), (7,)]),
        n=draw.choice([1, 1, 1, min(2, max_n), min(3, max_n)]),
        logprobs=draw.choice([None, None, 0, 3]),
        on_overflow=overflow,
    )


def collect(answers: dict[tuple[int, int], list[Event]], events: list[Event]) -> None:
    for event in events:
        before = answers.setdefault((event.request, event.sample), [])
        assert not before or before[-1].finish_reason is None, (
            f"a token after the end: {before[-1]}, then {event}"
        )
        before.append(event)


def check_random_schedule(model: GPT, seed: int, requests: int = 7, **settings: Any) -> None:
    """Requests join and are cancelled at random steps; each writes what it writes alone, and nothing is left."""
    draw = random.Random(seed)
    max_rows = draw.choice([1, 2, 3, 6])
    chunk = draw.choice([1, 3, 8, 20, 200])
    engine = Engine(model, max_rows=max_rows, prefill_chunk=chunk, **settings)
    asked: dict[int, Request] = {}
    cancelled: set[int] = set()
    answers: dict[tuple[int, int], list[Event]] = {}
    while len(asked) < requests or engine.busy:
        if len(asked) < requests and (not engine.busy or draw.random() < 0.25):
            request = random_request(draw, model.config.vocab_size, model.config.block_size, max_rows)
            if asked and draw.random() < 0.4:  # begins as an earlier one, as the next turn of a chat does
                ids = [*draw.choice(list(asked.values())).ids][: draw.randint(1, 40)]
                request = replace(request, ids=ids, max_new_tokens=4, on_overflow="slide")
            asked[engine.submit(request)] = request
        elif asked and draw.random() < 0.03:
            number = draw.choice(list(asked))
            if any(
                not answers.get((number, i)) or answers[number, i][-1].finish_reason is None
                for i in range(asked[number].n)
            ):
                cancelled.add(number)
            engine.cancel(number)
        collect(answers, engine.step())
    for number, request in asked.items():
        for i, expected in enumerate(alone(model, request)):
            what = (
                f"request {number} of {len(asked)}, sample {i} (prompt of {len(request.ids)}, {request.sampling}, "
                f"{request.on_overflow}; max_rows={max_rows}, prefill_chunk={chunk})"
            )
            assert_same(answers.get((number, i), []), expected, what, whole=number not in cancelled)
    kept = 0 if engine.prefixes is None else engine.prefixes.nbytes
    if "step" in settings:
        kept += settings["step"].cache.nbytes
    assert engine.nbytes == kept, f"{engine.nbytes - kept} bytes of caches are held though nobody is writing"
    assert engine.prefixes is None or len(engine.prefixes.kept) <= KEPT


class Watch:
    """Counts what a model is given: one entry of (rows, places) for each forward pass."""

    def __init__(self, model: GPT) -> None:
        self.passes: list[tuple[int, int]] = []
        self.hook = model.register_forward_pre_hook(lambda _, args: self.passes.append(tuple(args[0].shape)))

    @property
    def places(self) -> int:
        return sum(rows * width for rows, width in self.passes)


@contextmanager
def watching(model: GPT) -> Iterator[Watch]:
    watch = Watch(model)
    try:
        yield watch
    finally:
        watch.hook.remove()


def check_a_long_prompt_does_not_stop_the_others(model: GPT, chunk: int = 4) -> None:
    """While a long prompt is read, whoever writes goes on: one token a step, one chunk a step."""
    engine = Engine(model, prefill_chunk=chunk)
    greedy = Sampling(temperature=0.0)
    first = engine.submit(Request([1, 2, 3], 40, greedy))
    engine.step()
    engine.step()  # its prompt, then its first decoded token
    long = engine.submit(Request(some_ids(1, 41)[0].tolist(), 3, greedy))
    waits, served = 0, 0
    with watching(model) as watch:
        while served == 0:
            watch.passes.clear()
            events = engine.step()
            widest = max((rows * width for rows, width in watch.passes if width > 1), default=0)
            assert widest <= chunk, f"a step read {widest} places of a prompt, prefill_chunk is {chunk}"
            assert sum(width > 1 for _, width in watch.passes) <= 1, (
                f"more than one chunk in a step: {watch.passes}"
            )
            served = sum(event.request == long for event in events)
            if not served:
                waits += 1
                assert [e.request for e in events] == [first], (
                    f"a prompt was read for a whole step and the other request got {events}: it must get its token"
                )
    assert waits == 10, f"41 tokens in chunks of {chunk} take 10 steps before the last, not {waits}"
    assert [e.request for e in engine.step()] == [first, long], "after the first token everybody gets one"
    engine.close()


def check_samples_share_one_prefill(model: GPT, n: int = 5) -> None:
    """n samples read their prompt once, and sample i draws as a lone request with seed + i."""
    request = Request(some_ids(1, 20)[0].tolist(), 6, Sampling(temperature=1.0, seed=50), n=n)
    engine = Engine(model, reuse_prefixes=False)
    answers: dict[tuple[int, int], list[Event]] = {}
    with watching(model) as watch:
        engine.submit(request)
        for event in engine.run():
            collect(answers, [event])
    assert watch.passes == [(1, 20), *[(n, 1)] * 5], (
        f"{n} samples of a prompt of 20 ran {watch.passes}: the prompt is read once, then {n} rows a step"
    )
    for i, expected in enumerate(alone(model, request)):
        assert_same(answers[1, i], expected, f"sample {i} of {n}")
    assert len({tuple(e.token for e in answer) for answer in answers.values()}) > 1, "all samples are equal"


def check_warm_is_cold(model: GPT, turns: int = 4) -> None:
    """LS3: two chats take turns, then one is edited; each turn gets a cold run's tokens, and reads only what is new."""
    engine = Engine(model, prefill_chunk=7)
    block = model.config.block_size
    chats: list[list[int]] = [[1, 2, 3, 4, 5], [1, 2, 9]]
    read_warm = read_cold = 0
    for turn in range(turns):
        for number in range(len(chats)):
            chat = chats[number] + some_ids(1, 4, seed=10 * turn + number)[0].tolist()
            request = Request(chat, 4, Sampling(temperature=1.0, seed=turn), stop_ids=(3,))
            with watching(model) as watch:
                engine.submit(request)
                got = list(engine.run())
            read_warm += watch.places
            read_cold += len(chat) + len(got) - 1
            (expected,) = alone(model, request)
            assert_same(got, expected, f"turn {turn} of chat {number}, with a warm cache")
            chats[number] = [*chat, *(e.token for e in got if e.token is not None)]
            assert engine.prefixes is not None and len(engine.prefixes.kept) <= KEPT, (
                "more caches than promised"
            )
    assert read_warm < 0.7 * read_cold, (
        f"{read_warm} tokens were run where cold runs take {read_cold}: was the kept cache used at all?"
    )
    for cut in (3, 9, len(chats[0]) - 1, len(chats[0])):  # edited, or asked again as it is
        for more in ([], [8, 8]):
            prompt = (chats[0][:cut] + more)[: block - 4]
            request = Request(prompt, 4, Sampling(temperature=0.0))
            engine.submit(request)
            (expected,) = alone(model, request)
            assert_same(list(engine.run()), expected, f"the first {cut} tokens again, and {len(more)} others")
    for other in range(3 * KEPT):
        engine.submit(Request([20 - other, 3], 2, Sampling(temperature=0.0)))
    list(engine.run())
    assert engine.prefixes is not None and len(engine.prefixes.kept) <= KEPT, "the kept caches have no bound"
    engine.prefixes.clear()
    assert engine.nbytes == 0


def check_cancel_within_one_token(model: GPT, chats: int = 100) -> None:
    """LS2: after `cancel` no further token comes, its place is free and its memory gone; the others do not notice."""
    made: list[weakref.ref[Any]] = []
    make = model.new_cache

    def watched(*args: Any, **kwargs: Any) -> Any:
        cache = make(*args, **kwargs)
        made.append(weakref.ref(cache))
        return cache

    model.new_cache = watched  # type: ignore[method-assign]
    try:
        engine = Engine(model, max_rows=3, prefill_chunk=5)
        for chat in range(chats):
            event = threading.Event()
            number = engine.submit(Request(some_ids(1, 12)[0].tolist(), 40, stop_event=event))
            for _ in range(chat % 6):  # while it waits, while its prompt is read, while it writes
                engine.step()
            if chat % 2:
                event.set()
            else:
                engine.cancel(number)
            last = engine.step()
            assert [e.finish_reason for e in last] == ["cancelled"], (
                f"after cancel came {last}: it must end within one token, and say so"
            )
            assert not engine.busy and engine.nbytes == 0, (
                f"a cancelled request still holds {engine.nbytes} bytes"
            )
    finally:
        del model.new_cache
    gc.collect()
    left = sum(ref() is not None for ref in made)
    assert left == 0, f"{left} caches are still held after their requests were cancelled"


def check_threads(model: GPT, threads: int = 4, each: int = 4) -> None:
    """`submit` and `cancel` from several threads while another one steps: nobody is lost, and nobody is changed."""
    engine = Engine(model, max_rows=5, prefill_chunk=9)
    asked: dict[int, Request] = {}
    cancelled: set[int] = set()
    finished = threading.Event()
    answers: dict[tuple[int, int], list[Event]] = {}
    failures: list[BaseException] = []

    def step() -> None:
        try:
            while engine.busy or not finished.is_set():
                collect(answers, engine.step())
        except BaseException as error:
            failures.append(error)

    def ask(number: int) -> None:
        draw = random.Random(number)
        for _ in range(each):
            request = random_request(draw, model.config.vocab_size, model.config.block_size, 5)
            ticket = engine.submit(request)
            asked[ticket] = request
            if draw.random() < 0.2:
                cancelled.add(ticket)
                engine.cancel(ticket)

    stepping = threading.Thread(target=step)
    asking = [threading.Thread(target=ask, args=(i,)) for i in range(threads)]
    for thread in (stepping, *asking):
        thread.start()
    for thread in asking:
        thread.join(60)
    finished.set()
    stepping.join(60)
    assert not failures, f"the stepping thread failed: {failures[0]!r}"
    assert len(asked) == threads * each, (
        f"{len(asked)} tickets for {threads * each} requests: a number came twice"
    )
    for number, request in asked.items():
        for i, expected in enumerate(alone(model, request)):
            got = answers.get((number, i), [])
            assert_same(got, expected, f"request {number} of several threads", whole=number not in cancelled)


def check_a_failure_is_its_own(model: GPT) -> None:
    """A request whose rules leave nothing to draw ends with the error; the others write on."""
    none_left = Sampling(temperature=0.0, bad_words=[[i] for i in range(model.config.vocab_size)])
    fine = Request([4, 5], 5, Sampling(temperature=0.0))
    engine = Engine(model)
    numbers = [engine.submit(r) for r in (fine, replace(fine, sampling=none_left), fine)]
    answers: dict[tuple[int, int], list[Event]] = {}
    for event in engine.run():
        collect(answers, [event])
    (failed,) = answers[numbers[1], 0]
    assert failed.finish_reason == "error" and "no token is left" in str(failed.error)
    (expected,) = alone(model, fine)
    for number in (numbers[0], numbers[2]):
        assert_same(answers[number, 0], expected, "a request beside one that failed")


class FixedStep:
    """A decode function with a cache of its own and one shape, as a compiled step has."""

    def __init__(self, model: GPT, rows: int, dtype: torch.dtype) -> None:
        self.model, self.cache = model, model.new_cache(rows, dtype=dtype)
        self.calls = 0

    def __call__(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        assert cache is self.cache and ids.shape == (self.cache.batch, 1), "a compiled step knows one shape"
        self.calls += 1
        return self.model(ids, cache=cache).logits[:, -1]
