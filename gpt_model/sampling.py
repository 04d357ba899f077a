"""From logits to a token: what to ask for (`Sampling`), the chain of rules, and one draw.

The idea: a language model gives a distribution, and how one draws from it shapes the text. `Sampling` says how, the
rules of `processors` are applied to the logits in a fixed order, then one uniform number picks the token. Randomness
comes from a generator that the caller owns, never from the global one.

Logits that are no numbers raise instead of giving some token. Left out on purpose: search for the likeliest text
(`beam`), and the loop around it all (`generation`). Notebook: 04 of this chapter.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_model.processors import (
    Texts,
    active_rules,
    apply_temperature,
    penalise_repetition,
    top_k_filter,
    top_p_filter,
)
from utils.errors import RunFailure, UserError

__all__ = [
    "Sampling",
    "apply_temperature",
    "check_logits",
    "draw",
    "make_generators",
    "penalise_repetition",
    "process",
    "sample",
    "top_k_filter",
    "top_p_filter",
]

BLOCK = 256  # places that a draw from a long row sums at once


@dataclass(frozen=True)
class Sampling:
    """How to draw. The defaults draw from the model's own distribution.

    temperature: 0 is argmax, below 1 is safer, above 1 is wilder.  top_k: only the k likeliest tokens.
    top_p: only the smallest set of likeliest tokens whose probability reaches p.
    min_p: only tokens at least min_p times as likely as the likeliest one.
    seed: row i of a batch draws from its own generator seeded with seed + i, so the result depends neither
    on other rows nor on anything else that runs; None takes a fresh seed.
    repetition_penalty: above 1 makes tokens that stand in the context, prompt included, less likely.
    presence_penalty, frequency_penalty: subtracted from the logit of a token that was generated before, once, or
    once for each time; the prompt does not count (as in OpenAI's API).
    no_repeat_ngram_size: no n-gram of this size comes twice in prompt and answer.
    bad_words: sequences of ids that are never completed (`processors.bad_word_ids` makes them from words).
    min_new_tokens: none of `end_ids` is drawn before so many tokens were generated.
    logit_bias: id -> number added to its logit; -inf forbids it.
    vocab_limit: ids from here on are never drawn (rows of the embedding that no token uses).
    Order and meaning of the rules: `processors`. A frozen, hashable value; mappings and lists become tuples.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    repetition_penalty: float = 1.0
    vocab_limit: int | None = None
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int | None = None
    bad_words: Sequence[Sequence[int]] = ()
    min_new_tokens: int = 0
    end_ids: Sequence[int] = ()
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]] = ()

    def __post_init__(self) -> None:
        _number("temperature", self.temperature, "0 (always the likeliest) or more", lambda x: x >= 0)
        _number("repetition_penalty", self.repetition_penalty, "above 0; 1 changes nothing", lambda x: x > 0)
        for name in ("presence_penalty", "frequency_penalty"):
            _number(name, getattr(self, name), "a finite number; 0 changes nothing", lambda x: True)
        if self.top_p is not None:
            _number("top_p", self.top_p, "above 0 and at most 1, or None for no limit", lambda x: 0 < x <= 1)
        if self.min_p is not None:
            _number("min_p", self.min_p, "from 0 to 1, or None for no limit", lambda x: 0 <= x <= 1)
        for name in ("top_k", "vocab_limit", "no_repeat_ngram_size"):
            if getattr(self, name) is not None:
                self._set(name, _whole(name, getattr(self, name), 1, ", or None for no limit"))
        self._set("min_new_tokens", _whole("min_new_tokens", self.min_new_tokens, 0))
        if self.seed is not None:
            self._set("seed", _whole("seed", self.seed, -(2**63), f" and below {2**64}, or None", 2**64))
        self._set("end_ids", _ids("end_ids", self.end_ids))
        self._set("bad_words", tuple(_ids("bad_words", word) for word in _each("bad_words", self.bad_words)))
        if () in self.bad_words:
            raise UserError("bad_words holds an empty sequence, which every text contains: remove it")
        self._set("logit_bias", _bias(self.logit_bias))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken without a draw: at temperature 0 or all but 0.

        At 1e-5 a token that is only 0.001 nats behind has a probability of e^-100.
        """
        return self.temperature < 1e-5

    @property
    def needs_history(self) -> bool:
        """Whether a rule looks at the ids so far, so that `process` and `sample` want `history`."""
        return any(rule.looks_at != "nothing" for rule in active_rules(self))

    def with_end_ids(self, stop_ids: Collection[int]) -> "Sampling":
        """The same with the request's stop ids as `end_ids`, where min_new_tokens is set and none were given."""
        if not self.min_new_tokens or self.end_ids or not stop_ids:
            return self
        return replace(self, end_ids=tuple(stop_ids))


def process(
    logits: Tensor,
    sampling: Sampling,
    history: Sequence[Sequence[int]] | None = None,
    *,
    prompt_lengths: Sequence[int] | None = None,
) -> Tensor:
    """All rules of `sampling` on logits (B, V); a greedy choice needs only those that change the order.

    `history` holds all ids of each row so far, `prompt_lengths` how many of them are the prompt; both are needed
    only by rules that look at them (`Sampling.needs_history`). Raises RunFailure for logits that are NaN or
    infinite, and when the rules leave a row nothing to draw.
    """
    check_logits(logits)
    if history is None and sampling.needs_history:
        names = [rule.name for rule in active_rules(sampling) if rule.looks_at != "nothing"]
        raise UserError(f"{names[0]} looks at the ids so far: pass history, the ids of each row")
    texts = Texts(() if history is None else history, prompt_lengths)
    processed = logits
    for rule in active_rules(sampling):
        processed = rule.apply(processed, sampling, texts)
    peaks = processed.amax(dim=-1)
    if processed is not logits and not bool(peaks.isfinite().all()):
        row = int((~peaks.isfinite()).nonzero()[0])
        rules = ", ".join(rule.name for rule in active_rules(sampling))
        raise RunFailure(f"no token is left to draw in row {row}: together {rules} forbid all; loosen one")
    return processed


def check_logits(logits: Tensor) -> None:
    """Raise RunFailure where a row of logits (..., V) holds NaN or +inf, or nothing but -inf.

    The largest value of a row tells: it is NaN when any is. Drawing from such a row would give some token, and
    nobody would know.
    """
    peaks = logits.amax(dim=-1)
    if not bool(peaks.isfinite().all()):
        row = int((~peaks.isfinite()).reshape(-1).nonzero()[0])
        raise RunFailure(
            f"the logits of row {row} are not numbers (largest: {float(peaks.reshape(-1)[row])}): the weights are "
            "damaged or the precision is too small; try float32"
        )


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the cumulative distribution: probabilities (B, V) and uniforms (B,) in [0, 1) -> ids (B,).

    The sums are float64, where u · total < total for every u the generator can give; so the first place whose
    cumulative sum exceeds it exists and has a probability above zero. A long row is looked through in two steps, by
    blocks and then inside one, because a running sum over 50,000 places costs fifteen times as much.
    """
    if probabilities.size(-1) <= 16 * BLOCK:
        cumulative = probabilities.double().cumsum(dim=-1)
        return _first_above(cumulative, uniforms[:, None] * cumulative[:, -1:])[:, 0]
    padding = -probabilities.size(-1) % BLOCK
    blocks = F.pad(probabilities, (0, padding)).unflatten(-1, (-1, BLOCK))  # (B, blocks, BLOCK)
    cumulative = blocks.sum(dim=-1).double().cumsum(dim=-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    block = _first_above(cumulative, thresholds)  # (B, 1)
    inside = blocks.take_along_dim(block[:, :, None], dim=1)[:, 0].double().cumsum(dim=-1)  # (B, BLOCK)
    rest = thresholds - F.pad(cumulative, (1, 0)).gather(1, block)
    # The block's two sums differ in their last bits: stay below the one that is searched.
    rest = rest.minimum(inside[:, -1:] * (1 - 2**-50))
    return (block * BLOCK + _first_above(inside, rest))[:, 0]


def _first_above(cumulative: Tensor, thresholds: Tensor) -> Tensor:
    """The first place of each row (B, n) whose value exceeds the row's threshold (B, 1)."""
    return torch.searchsorted(cumulative, thresholds, right=True)


def sample(
    logits: Tensor,
    sampling: Sampling,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    history: Sequence[Sequence[int]] | None = None,
    *,
    prompt_lengths: Sequence[int] | None = None,
) -> Tensor:
    """Draw one token per row: logits (B, V) -> int64 (B,); for logits (V,) a tensor without dimension.

    `generator` is one per row (rows stay independent of each other), or one for all, drawn from in order.
    `history` and `prompt_lengths` as for `process`; for logits (V,) one list of ids and one length in a list.
    """
    if logits.dim() == 1:
        row: Any = None if history is None else [history]
        return sample(logits[None], sampling, generator, row, prompt_lengths=prompt_lengths)[0]
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    logits = process(logits, sampling, history, prompt_lengths=prompt_lengths)
    if sampling.greedy:
        return logits.argmax(dim=-1)
    if generator is None:
        generator = make_generators(sampling.seed, 1)[0]
    per_row = [generator] * len(logits) if isinstance(generator, torch.Generator) else generator
    uniforms = torch.stack([torch.rand((), dtype=torch.float64, generator=g) for g in per_row])
    return draw(logits.softmax(dim=-1), uniforms.to(logits.device))


def make_generators(seed: int | None, rows: int) -> list[torch.Generator]:
    """One CPU generator per row, seeded seed, seed + 1, …; without a seed each gets a fresh one.

    They live on the CPU whatever the model's device, so that the same seed gives the same text everywhere.
    """
    generators = [torch.Generator() for _ in range(rows)]
    for i, generator in enumerate(generators):
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed((seed + i) % 2**64)
    return generators


# Checks of a setting: a wrong one is one line that names it ---------------------------------------------


def _number(name: str, value: Any, limit: str, fits: Any) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not fits(value):
        raise UserError(f"{name} is {value!r}: it must be {limit}")


def _whole(name: str, value: Any, least: int, more: str = "", below: int | None = None) -> int:
    """A whole number; a slider's 3.0 counts as 3."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value != int(value) or value < least or (below is not None and value >= below):
        raise UserError(f"{name} is {value!r}: it must be a whole number of at least {least}{more}")
    return int(value)


def _each(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise UserError(f"{name} is {values!r}: give a list of token ids, not text")
    return tuple(values)


def _ids(name: str, values: Any) -> tuple[int, ...]:
    return tuple(_whole(f"{name}: an id", value, 0) for value in _each(name, values))


def _bias(bias: Any) -> tuple[tuple[int, float], ...]:
    """(id, amount) pairs in order of id; JSON's keys are text, so "7" is 7."""
    try:
        pairs = [
            (int(token) if isinstance(token, str) else token, amount)
            for token, amount in (bias.items() if isinstance(bias, Mapping) else bias)
        ]
    except (TypeError, ValueError):
        raise UserError(f"logit_bias is {bias!r}: give a mapping from token id to a number") from None
    for token, amount in pairs:
        _whole("logit_bias: an id", token, 0)
        if amount != -math.inf:
            _number(
                f"logit_bias of id {token}", amount, "a number, or -inf to forbid the token", lambda x: True
            )
    return tuple(sorted((int(token), float(amount)) for token, amount in dict(pairs).items()))
