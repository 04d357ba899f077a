"""What one may ask of the engine, what it answers, and the sample on its way in between.

A `Request` is a value: nothing of it changes while it runs. What does change, the text so far and its random
generator, is in a `Row`, one for each sample. Each token comes back as an `Event`. The engine: `engine`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from gpt_model.gpt import GPT
from gpt_model.sampling import Sampling
from utils.errors import RunFailure, UserError

OVERFLOW = ("error", "slide", "stop")
DEFAULT = Sampling()


@dataclass(frozen=True)
class Request:
    """What to continue, and how.

    ids: the prompt. max_new_tokens: a sample ends after so many, or when it draws one of `stop_ids`, which is not
    part of the text. n: samples of this one prompt; sample i draws with seed + i. logprobs: None, or how many
    alternatives to report beside the log-probability of each token. on_overflow: what to do when prompt and text
    are longer than block_size: "error" (refused before it starts), "slide" (keep the newest block_size tokens; each
    further token is then a full pass) or "stop". stop_event: ends the request within one token, from any thread.
    """

    ids: Sequence[int]
    max_new_tokens: int
    sampling: Sampling = DEFAULT
    stop_ids: Collection[int] = ()
    n: int = 1
    logprobs: int | None = None
    on_overflow: str = "error"
    stop_event: threading.Event | None = None


class Event(NamedTuple):
    """One token of one sample, or its end, or both.

    request, sample: whose. token: the new id, or None when the sample ended without one. logprob, alternatives: if
    asked for, the natural logarithm of the token's probability by the model itself (before temperature, cuts and
    penalties), and the likeliest (id, logprob) pairs. finish_reason: None while it goes on, then "length", "stop" (a
    stop id), "overflow", "cancelled" or "error", which goes with the `error` that no other sample suffers from.
    """

    request: int
    sample: int
    token: int | None
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] | None = None
    finish_reason: str | None = None
    error: RunFailure | None = None


@dataclass(eq=False)
class Row:
    """One sample on its way: `text` is prompt and new ids, of which a cache holds the first `fed`."""

    number: int
    sample: int
    request: Request
    rules: Sampling
    generator: torch.Generator
    text: list[int]
    reach: int  # tokens that a cache may have to hold for it
    stop_ids: frozenset[int] = frozenset()
    fed: int = 0
    prompt_length: int = field(init=False)
    done: bool = False

    def __post_init__(self) -> None:
        self.prompt_length = len(self.text)

    @property
    def stopped(self) -> bool:
        return self.request.stop_event is not None and self.request.stop_event.is_set()


def log_probabilities(logits: Tensor, token: int, n: int) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Natural log-probability of a token by logits (V,), and the n likeliest ids with theirs."""
    table = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(dim=-1)
    values, ids = table.topk(min(n, len(table)))
    return float(table[token]), tuple(zip(ids.tolist(), values.tolist()))


def check_request(request: Request, text: list[int], model: GPT, max_rows: int, name: str) -> None:
    """Raise a UserError that says what does not fit, in one line."""
    vocab, block, new = model.config.vocab_size, model.config.block_size, request.max_new_tokens
    if request.on_overflow not in OVERFLOW:
        raise UserError(f"on_overflow is {request.on_overflow!r}: choose one of {', '.join(OVERFLOW)}")
    if new < 0:
        raise UserError(f"max_new_tokens is {new}: it must be 0 or more")
    if not 1 <= request.n <= max_rows:
        raise UserError(f"n is {request.n}: ask for 1 to {max_rows} samples (max_rows of the engine)")
    if request.logprobs is not None and request.logprobs < 0:
        raise UserError(f"logprobs is {request.logprobs}: give 0 or more alternatives, or None")
    if not text:
        raise UserError(f"{name} is empty: give at least one token (an end-of-text token starts a new text)")
    if min(text) < 0 or max(text) >= vocab:
        bad = max(text) if max(text) >= vocab else min(text)
        raise UserError(
            f"{name} holds id {bad} but the model knows 0 to {vocab - 1}: encode it with the model's own tokenizer"
        )
    needed = len(text) + max(new - 1, 0)
    if request.on_overflow == "error" and needed > block:
        raise UserError(
            f"block_size is {block} but {name}'s {len(text)} tokens and {new} new ones need {needed}: "
            'shorten it, ask for fewer, or pass on_overflow="slide" or "stop"'
        )
