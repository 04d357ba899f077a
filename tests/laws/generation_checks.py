"""Laws of the generator, as functions that raise: overflow (LG9), streaming (LS1) and stopping (LS2).

The reference is the plainest loop there is, which runs the whole text again for every token.
"""

from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from model_checks import some_ids
from sampling_checks import LOGITS, constant_model, expected_probabilities, greedy_by_hand

from gpt_model import GPT, Sampling, generate, stream

# LG9 ------------------------------------------------------------------------------------------------


def check_slide_is_an_uncached_loop(model: GPT, lengths: Sequence[int], new: int) -> None:
    """on_overflow="slide" always sees the last block_size tokens, as a plain loop without a cache does."""
    prompt = [some_ids(1, n, vocab=model.config.vocab_size, seed=n)[0].tolist() for n in lengths]
    expected = [greedy_by_hand(model, torch.tensor([row]), new)[0] for row in prompt]
    for use_cache in (True, False):
        got = generate(
            model, prompt, max_new_tokens=new, sampling=Sampling(temperature=0.0), on_overflow="slide",
            use_cache=use_cache,
        )  # fmt: skip
        assert got == expected, (
            f"sliding (use_cache={use_cache}) gives {got}, a loop over the last block_size tokens "
            f"{expected}: cached keys hold old positions and old context, so a slid window is computed anew"
        )


# LS1, LS2 -------------------------------------------------------------------------------------------


def check_stream_equals_generate(model: GPT, sessions: int = 2, new: int = 40) -> None:
    """Several streams, each in its thread and stepping in turn, give what ``generate`` gives for each."""
    prompts = [some_ids(1, 3 + 4 * i, vocab=model.config.vocab_size, seed=20 + i) for i in range(sessions)]
    settings = [Sampling(temperature=1.0, top_p=0.95, seed=100 + i) for i in range(sessions)]
    expected = [generate(model, p, max_new_tokens=new, sampling=s)[0] for p, s in zip(prompts, settings)]
    got: list[list[int]] = [[] for _ in range(sessions)]
    failures: list[BaseException] = []
    in_step = threading.Barrier(sessions, timeout=30)

    def run(i: int) -> None:
        try:
            for token in stream(model, prompts[i], max_new_tokens=new, sampling=settings[i]):
                got[i].append(token)
                in_step.wait()  # both streams are mid-generation at every token
        except BaseException as error:
            failures.append(error)
            in_step.abort()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, f"a streaming thread failed: {failures[0]!r}"
    for i in range(sessions):
        assert got[i] == expected[i], (
            f"session {i} streamed {got[i][:8]}..., generate gives {expected[i][:8]}...: sessions share a "
            "cache, a generator, or an id buffer"
        )


def check_stop_stops(model: GPT, after: int = 5) -> None:
    """Once the event is set, at most one more token comes, and the stream ends by itself."""
    event = threading.Event()
    got: list[int] = []
    for token in stream(
        model, some_ids(1, 4, vocab=model.config.vocab_size), max_new_tokens=50,
        sampling=Sampling(temperature=1.0, seed=1), stop_event=event,
    ):  # fmt: skip
        got.append(token)
        if len(got) == after:
            event.set()
    assert after <= len(got) <= after + 1, (
        f"stopped after {after} tokens, yet {len(got)} came: one more is allowed"
    )
    event = threading.Event()
    event.set()
    early = list(stream(model, torch.tensor([[1]]), max_new_tokens=50, sampling=Sampling(), stop_event=event))
    assert len(early) <= 1, f"the event was set before the start, yet {len(early)} tokens came"


def check_cancelled_streams_free_their_caches(model: GPT, chats: int = 100) -> None:
    """After 100 chats stopped half way, by the event or by closing, no cache is left in memory."""
    alive: list[weakref.ref[Any]] = []
    make = model.new_cache

    def watched(*args: Any, **kwargs: Any) -> Any:
        cache = make(*args, **kwargs)
        alive.append(weakref.ref(cache))
        return cache

    model.new_cache = watched  # type: ignore[method-assign]
    try:
        for chat in range(chats):
            event = threading.Event()
            tokens = stream(
                model,
                torch.tensor([[1, 2]]),
                max_new_tokens=50,
                sampling=Sampling(seed=chat),
                stop_event=event,
            )
            next(tokens)
            if chat % 2:
                event.set()
                assert len(list(tokens)) <= 1
            else:
                tokens.close()  # type: ignore[attr-defined]
    finally:
        del model.new_cache  # the class's own method again
    gc.collect()
    assert len(alive) >= chats, f"{len(alive)} caches were made for {chats} chats"
    left = sum(ref() is not None for ref in alive)
    assert left == 0, f"{left} of {chats} caches are still held after their chats were cancelled"


def check_stop_ids_end_a_row(stop: int = 5) -> None:
    """Each row ends at its own first stop id; rows that go on are not disturbed; the mean length is 1/p."""
    model = constant_model()
    prompt = torch.zeros(600, 1, dtype=torch.long)
    rows = generate(model, prompt, max_new_tokens=60, sampling=Sampling(seed=9), stop_ids=(stop,))
    assert all(stop not in row[:-1] for row in rows), f"a row goes on after the stop id {stop}"
    probability = expected_probabilities(LOGITS)[stop]
    lengths = np.array([len(row) + (not row or row[-1] != stop) for row in rows])
    mean, sigma = lengths.mean(), math.sqrt(1 - probability) / probability / math.sqrt(len(rows))
    assert abs(mean - 1 / probability) < 4 * sigma, (
        f"rows end after {mean:.2f} tokens on average, p(stop) = {probability:.3f} asks {1 / probability:.2f}"
    )
