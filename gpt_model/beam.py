"""Beam search: keep the `width` likeliest beginnings at every step, and give the likeliest whole texts.

The idea: always taking the likeliest token need not give the likeliest text, because a good continuation can hide
behind a second-best token. So several beginnings (beams) are continued at once; of all their continuations the best
`width` by summed log-probability go on, and those that end are set aside with the score

    log-probability / length ** length_penalty          (the stop id counts in both)

Above 0 the penalty favours longer texts, since log-probabilities are negative. Every row of the KV cache is a beam,
and `KVCache.branch` copies the rows of beams that go on. Width 1 is
greedy; with width V^(n-1) the best text of n tokens is found.

Wu et al. 2016 (arXiv 1609.08144, section 7); results equal those of transformers' `generate(num_beams=…)`. Good for
short answers with one right text; open-ended texts come out flat and repetitive (Holtzman et al. 2019, arXiv
1904.09751). Left out: diverse groups of beams, constraints, beams that sample. Notebook: 04 of this chapter.
"""

import math
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache
from gpt_model.gpt import GPT
from gpt_model.request import Request, check_request
from gpt_model.sampling import Sampling, process
from utils.errors import UserError

GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Beam:
    """How to search.

    width: beginnings kept at each step.  n_best: texts returned for each prompt, best first.
    length_penalty: power of the length that the log-probability is divided by; 0 is the bare log-probability.
    early_stopping: when `width` texts have ended, True stops at once; False stops when the best beginning would score
    below them if it ended now; "never" when no beginning can reach them any more (log-probabilities only fall).
    sampling: its rules that change the order of tokens hold here too (penalties, bias, bans, vocab_limit); the
    log-probabilities are then those of what is left. Temperature and cuts are not used: nothing is drawn.
    """

    width: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    n_best: int = 1
    sampling: Sampling = GREEDY

    def __post_init__(self) -> None:
        for name in ("width", "n_best"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"beam search: {name} is {value!r}: it must be a whole number of at least 1")
        if self.n_best > self.width:
            raise UserError(
                f"beam search: n_best is {self.n_best} but only {self.width} texts are kept: raise width"
            )
        if not isinstance(self.length_penalty, (int, float)) or not math.isfinite(self.length_penalty):
            raise UserError(
                f"beam search: length_penalty is {self.length_penalty!r}: it must be a finite number"
            )
        if self.early_stopping not in (True, False, "never"):
            raise UserError(
                f'beam search: early_stopping is {self.early_stopping!r}: choose True, False or "never"'
            )


class Hypothesis(NamedTuple):
    """One text found: its new ids without a stop id, its log-probability in nats with it, and its score.

    `finish_reason` is "stop" where a stop id came, else "length".
    """

    ids: list[int]
    log_probability: float
    score: float
    finish_reason: str


def beam_search(
    model: GPT,
    ids: Tensor | Sequence[Sequence[int]],
    beam: Beam = Beam(),
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    on_overflow: str = "error",
    stop_event: threading.Event | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` texts that continue each prompt, best first; fewer where fewer exist.

    ids: (B, T) or a list of lists of different lengths; a prompt gives in a batch what it gives alone. `on_overflow`
    "stop" gives a text that reaches block_size up as it is, "error" raises before anything is computed; a search
    cannot slide. `stop_event` ends the search with what there is. Raises UserError for a prompt that does not fit.
    """
    prompts = _checked(model, ids, max_new_tokens, on_overflow)
    searches = [_Search(row, beam, stop_ids, max_new_tokens, model.config.block_size) for row in prompts]
    if not max_new_tokens:
        return [[Hypothesis([], 0.0, 0.0, "length")] for _ in prompts]
    fits = max(map(len, prompts)) + max_new_tokens - 1 <= model.config.block_size
    modes = [(module, module.training) for module in model.modules() if module.training]
    model.eval()
    try:
        # Padding takes places of the block, so prompts that need all of it go one by one.
        for group in [searches] if fits else [[search] for search in searches]:
            _run(model, group, stop_event)
    finally:
        for module, training in modes:
            module.training = training
    return [search.finished[: beam.n_best] for search in searches]


@torch.inference_mode()
def _run(model: GPT, searches: list["_Search"], stop_event: threading.Event | None) -> None:
    """Search on for every prompt of a group; their beams are the rows of one cache, in order."""
    logits, cache = _prefill(model, searches)
    while True:
        scores = _continuation_scores(logits, searches)  # (rows, V)
        parents, start = [], 0
        for search in searches:
            rows = len(search.beams)
            parents += [start + parent for parent in search.advance(scores[start : start + rows])]
            start += rows
        searches = [search for search in searches if search.beams]
        if not searches:
            return
        if stop_event is not None and stop_event.is_set():
            for search in searches:
                search.give_up()
            return
        if parents != list(range(cache.batch)):
            cache = cache.branch(parents)
        newest = [[found.ids[-1]] for search in searches for found in search.beams]
        logits = model(torch.tensor(newest, device=model.device), cache=cache).logits[:, -1]


def _prefill(model: GPT, searches: list["_Search"]) -> tuple[Tensor, KVCache]:
    """One pass over all prompts, left-padded: logits (B, V) for their next tokens, and the cache."""
    prompts = [search.prompt for search in searches]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts], device=model.device)
    real = [[False] * (longest - len(row)) + [True] * len(row) for row in prompts]
    mask = None if min(map(len, prompts)) == longest else torch.tensor(real, device=model.device)
    room = max(search.limit for search in searches) - 1  # the last token is never fed back
    cache = model.new_cache(len(prompts), longest + room)
    return model(ids, cache=cache, attention_mask=mask, last_only=True).logits[:, -1], cache


def _continuation_scores(logits: Tensor, searches: list["_Search"]) -> Tensor:
    """Log-probability of every beam with every next token, (rows, V), after the rules of the sampling."""
    settings = searches[0].sampling
    beams = [(search, found) for search in searches for found in search.beams]
    history = lengths = None
    if settings.needs_history:
        history = [search.prompt + found.ids for search, found in beams]
        lengths = [len(search.prompt) for search, _ in beams]
    log_probs = process(logits.float(), settings, history, prompt_lengths=lengths).log_softmax(dim=-1)
    sums = torch.tensor([found.log_probability for _, found in beams], device=logits.device)
    return log_probs + sums[:, None]


class _Begun(NamedTuple):
    """A beam: the new ids so far and their summed log-probability."""

    ids: list[int]
    log_probability: float


class _Search:
    """The search for one prompt: its `beams`, best first, and the texts that have `finished`, best first."""

    def __init__(
        self, prompt: list[int], beam: Beam, stop_ids: Collection[int], max_new_tokens: int, block: int
    ) -> None:
        self.prompt, self.beam = prompt, beam
        self.stop_ids = frozenset(stop_ids)
        self.limit = min(max_new_tokens, block - len(prompt) + 1)
        greedy = replace(beam.sampling, temperature=0.0)
        self.sampling = greedy.with_end_ids(sorted(self.stop_ids))
        self.beams = [_Begun([], 0.0)]
        self.finished: list[Hypothesis] = []

    def advance(self, scores: Tensor) -> list[int]:
        """One step: scores (beams, V) of all continuations -> which beam each of the next beams continues."""
        width, length = self.beam.width, len(self.beams[0].ids) + 1
        beams: list[_Begun] = []
        parents: list[int] = []
        for rank, (value, parent, token) in enumerate(self._best(scores)):
            ids = [*self.beams[parent].ids, token]
            if token in self.stop_ids or length == self.limit:
                if rank < width:  # a worse one is only here so that enough can go on
                    self._finish(ids, value)
            elif len(beams) < width:
                beams.append(_Begun(ids, value))
                parents.append(parent)
        self.beams = beams
        if self._done(length):
            self.beams, parents = [], []
        return parents

    def _best(self, scores: Tensor) -> list[tuple[float, int, int]]:
        """The best continuations as (log-probability, beam, token): so many that enough of them do not end the text."""
        wanted = max(2, 1 + len(self.stop_ids)) * self.beam.width
        values, places = scores.flatten().topk(min(wanted, scores.numel()))
        pairs = zip(values.tolist(), places.tolist(), strict=True)
        # -inf is forbidden by a rule.
        return [(value, *divmod(place, scores.size(-1))) for value, place in pairs if value > -math.inf]

    def give_up(self) -> None:
        """End every beam where it stands."""
        for begun in self.beams:
            self._finish(begun.ids, begun.log_probability)

    def _finish(self, ids: list[int], log_probability: float) -> None:
        score = log_probability / len(ids) ** self.beam.length_penalty
        stopped = ids[-1] in self.stop_ids
        found = Hypothesis(
            ids[:-1] if stopped else ids, log_probability, score, "stop" if stopped else "length"
        )
        self.finished = sorted([*self.finished, found], key=lambda each: -each.score)[: self.beam.width]

    def _done(self, length: int) -> bool:
        """Whether nothing is left to search for after `length` new tokens."""
        if not self.beams:
            return True
        if len(self.finished) < self.beam.width:
            return False
        if self.beam.early_stopping is True:
            return True
        penalty = self.beam.length_penalty
        # A longer text divides the same sum by more: the last length bounds what can still come.
        at = self.limit if self.beam.early_stopping == "never" and penalty > 0 else length
        return self.beams[0].log_probability / at**penalty <= self.finished[-1].score


def _checked(
    model: GPT, ids: Tensor | Sequence[Sequence[int]], max_new_tokens: int, on_overflow: str
) -> list[list[int]]:
    """The prompts as lists, or a UserError that says what does not fit."""
    if on_overflow not in ("error", "stop"):
        raise UserError(f'on_overflow is {on_overflow!r}: beam search knows "error" and "stop"')
    rows = ids.tolist() if isinstance(ids, Tensor) else ids
    if not len(rows) or any(isinstance(row, int) for row in rows):
        raise UserError("beam_search continues a batch: give a list of lists of ids, [ids] for one prompt")
    block = model.config.block_size
    prompts = [[int(token) for token in row] for row in rows]
    for i, row in enumerate(prompts):
        check_request(Request(row, max_new_tokens, on_overflow=on_overflow), row, model, 1, f"prompt {i}")
        if len(row) > block:
            raise UserError(f"block_size is {block} but prompt {i} has {len(row)} tokens: shorten it")
    return prompts
