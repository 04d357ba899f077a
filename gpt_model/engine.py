"""The engine: many requests over one model, each gets the text it would get alone.

    engine = Engine(model)
    number = engine.submit(Request(ids, max_new_tokens=40))
    for event in engine.run():
        print(event.request, event.token)

The idea: a request's prompt is run once (prefill), then each new token alone (decode), with keys and values kept in a
cache. Reading the weights is what costs, so all requests are decoded together, one token each a step; a request
joins that batch as soon as its prompt was read and leaves it with its last token, whatever the others do (continuous
batching, Yu et al. 2022, Orca). A step runs at most one chunk of a prompt, so that a long one does not stop the
others (Agrawal et al. 2023, Sarathi, arXiv 2308.16369); short prompts that fit into one chunk run side by side.

Nothing of one request reaches another: rows see their own keys only, and each sample draws from its own generator.
Padding changes the order of sums, so logits agree to rounding, and ids where no two candidates are that close.

Every way of writing goes through here (`generation` for one call; the chat and the API for many). What is asked and
answered: `request`. Rows under one cache: `ragged_batch`. What the next turn of a chat reuses: `prefix_cache`. Left
out: beams, drafts of a smaller model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache
from gpt_model.gpt import GPT
from gpt_model.prefix_cache import PrefixCache
from gpt_model.ragged_batch import Prefill, RaggedBatch, Step
from gpt_model.request import Event, Request, Row, check_request, log_probabilities
from gpt_model.sampling import Sampling, make_generators, sample
from utils.errors import RunFailure, UserError


class Engine:
    """Serves requests over one model. `submit` and `cancel` may be called from any thread, also during a step.

    max_rows: samples that are decoded together; further ones wait in order. prefill_chunk: places of prompts that one
    step runs. reuse_prefixes: keep a few caches of texts that ended, for prompts that begin like them. step: a faster
    decode function (`decode_step`). use_cache=False runs the whole text for every token. cache_dtype: of keys and
    values, by default the model's (or that of the step's own cache).
    """

    def __init__(
        self,
        model: GPT,
        *,
        max_rows: int = 16,
        prefill_chunk: int = 256,
        reuse_prefixes: bool = True,
        step: Step | None = None,
        use_cache: bool = True,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        for name, value in (("max_rows", max_rows), ("prefill_chunk", prefill_chunk)):
            if value < 1:
                raise UserError(f"{name} is {value}: it must be at least 1")
        self.model, self.prefill_chunk, self.use_cache = model, prefill_chunk, use_cache
        fixed: KVCache | None = getattr(step, "cache", None)
        self.max_rows = max_rows if fixed is None else min(max_rows, fixed.batch)
        self.block_size = model.config.block_size
        if fixed is not None and fixed.capacity < self.block_size:
            raise UserError(
                f"the step's cache has room for {fixed.capacity} tokens but block_size is {self.block_size}: "
                "make it with a capacity of block_size"
            )
        dtype = cache_dtype if fixed is None else getattr(fixed, "dtype", None)
        self._new_cache = partial(model.new_cache, dtype=dtype)
        self.prefixes = PrefixCache(self._new_cache) if reuse_prefixes and use_cache else None
        self._batches = [RaggedBatch(model, self.max_rows, self._new_cache, step)]
        self._waiting: list[list[Row]] = []  # samples of one text each, in the order they came
        self._prefill: Prefill | None = None
        self._decode_first = (
            False  # whoever is being written gets a token before the next prompt is looked at
        )
        self._rules: dict[
            Sampling, Sampling
        ] = {}  # equal settings are one object, so that rows can be grouped
        self._count = 0
        self._inbox: list[list[Row]] = []
        self._cancelled: set[int | tuple[int, int]] = set()
        self._lock, self._stepping = threading.Lock(), threading.Lock()

    # What others call ---------------------------------------------------------------------------------

    def submit(self, request: Request, *, name: str = "the prompt") -> int:
        """Put a request in the queue and return its number. `name` is what an error calls its prompt.

        Raises UserError for an empty prompt, an id outside the vocabulary, or a context that does not fit.
        """
        text = [int(token) for token in request.ids]
        check_request(request, text, self.model, self.max_rows, name)
        stop_ids = frozenset(request.stop_ids)
        rules = replace(request.sampling, seed=None).with_end_ids(sorted(stop_ids))
        generators = make_generators(request.sampling.seed, request.n)
        # The last new token is never fed back, hence the - 1.
        reach = min(self.block_size, max(len(text) + request.max_new_tokens - 1, 1))
        with self._lock:
            self._count += 1
            rules = self._rules.setdefault(rules, rules)
            rows = [
                Row(self._count, i, request, rules, generator, list(text), reach, stop_ids)
                for i, generator in enumerate(generators)
            ]
            self._inbox.append(rows)
            return self._count

    def cancel(self, number: int, sample: int | None = None) -> None:
        """End a request, or one sample of it, at the next step, within one token.

        Unknown or finished numbers are ignored.
        """
        with self._lock:
            self._cancelled.add(number if sample is None else (number, sample))

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._inbox or self._waiting or self._prefill) or any(b.rows for b in self._batches)

    @property
    def nbytes(self) -> int:
        """Bytes of all caches that are held now, kept prefixes included."""
        caches = [b.cache for b in self._batches] + [self._prefill.cache if self._prefill else None]
        kept = 0 if self.prefixes is None else self.prefixes.nbytes
        return kept + sum(cache.nbytes for cache in caches if cache is not None)

    def run(self) -> Iterator[Event]:
        """Steps until nothing is left to do; each event as soon as it is there."""
        while self.busy:
            yield from self.step()

    def close(self) -> None:
        """Forget every request and free every cache; nothing more is heard of them."""
        with self._stepping, self._lock:
            self._inbox, self._waiting, self._prefill = [], [], None
            self._batches = self._batches[:1]
            self._batches[0].clear()
            if self.prefixes is not None:
                self.prefixes.clear()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for every sample that is being written, and at most one chunk of a prompt.

        A prompt's first token is returned at once, before the others get theirs in the next step.
        """
        with self._stepping, _evaluating(self.model):
            events = self._take_in()
            if not self._decode_first:
                first = self._run_prefill()
                if first:
                    self._decode_first = any(batch.rows for batch in self._batches)
                    return events + first
            self._decode_first = False
            for batch in self._batches:
                if batch.rows:
                    events += self._decode(batch)
            self._batches[1:] = [batch for batch in self._batches[1:] if batch.rows]
            return events

    # The parts of a step ------------------------------------------------------------------------------

    def _take_in(self) -> list[Event]:
        """New requests come in; who was cancelled, or has nothing to write, goes."""
        with self._lock:
            if not (self._waiting or self._prefill or any(b.rows for b in self._batches)):
                self._rules = {rows[0].rules: rows[0].rules for rows in self._inbox}
            self._waiting += self._inbox
            self._inbox, cancelled, self._cancelled = [], self._cancelled, set()
        events = []
        prefilling = self._prefill.samples if self._prefill else []
        for rows in (*self._waiting, *prefilling, *(batch.rows for batch in self._batches)):
            for row in rows:
                if row.done:
                    continue
                if row.stopped or not cancelled.isdisjoint({row.number, (row.number, row.sample)}):
                    events.append(self._end(row, "cancelled"))
                elif row.request.max_new_tokens == 0:
                    events.append(self._end(row, "length"))
                elif row.request.on_overflow == "stop" and len(row.text) > self.block_size:
                    events.append(self._end(row, "overflow"))
        if events:
            self._waiting = [left for rows in self._waiting if (left := _going(rows))]
            for batch in self._batches:
                self._let_go(batch, keep=False)
            if self._prefill and not any(_going(rows) for rows in self._prefill.samples):
                self._prefill = None  # the cache goes with it
        return events

    def _decode(self, batch: RaggedBatch) -> list[Event]:
        events = self._draw(list(batch.rows), batch.decode())
        self._let_go(batch, keep=True)
        return events

    def _run_prefill(self) -> list[Event]:
        """One chunk of one prompt, or of several short ones; first tokens if it was the last chunk."""
        job = self._prefill = self._prefill or self._next_prefill()
        if job is None:
            return []
        logits = job.run(self.prefill_chunk)
        if logits is None:
            return []
        self._prefill = None
        placed = [(row, i) for i, rows in enumerate(job.samples) for row in _going(rows)]
        rows, sources = [row for row, _ in placed], [i for _, i in placed]
        for row in rows:
            row.fed = len(row.text)
        if sources != list(range(len(logits))):
            logits = logits[sources]  # n samples of one prompt share its prefill
        events = self._draw(rows, logits)
        staying = []
        for row, source in placed:
            if row.done:
                self._keep(row, job.cache, source)
            elif self._stays(row):
                staying.append((row, source))
            else:
                self._waiting.append([row])
        if staying:
            assert job.cache is not None
            length = staying[0][0].fed
            batch = next((batch for batch in self._batches if batch.takes(length)), None)
            if batch is None:
                batch = RaggedBatch(self.model, self.max_rows, self._new_cache)
                self._batches.append(batch)
            batch.join([row for row, _ in staying], job.cache, [source for _, source in staying])
        return events

    def _next_prefill(self) -> Prefill | None:
        """The first that wait, as many as fit into one chunk side by side; one that is longer comes alone."""
        free = self.max_rows - sum(len(batch.rows) for batch in self._batches)
        taken: list[list[Row]] = []
        longest, crowded = 0, False
        for rows in self._waiting:
            length = min(len(rows[0].text), self.block_size)
            places = len(rows) if self._stays(rows[0]) else 0
            crowded = crowded or places > free  # nobody overtakes in the queue for a place
            if crowded and places:
                continue
            warm = self.prefixes is not None and places and self.prefixes.longest(rows[0].text)
            width = max(longest, length)
            unequal = self._batches[0].one_length and length != longest
            if taken and (warm or unequal or (len(taken) + 1) * width > self.prefill_chunk):
                break
            taken.append(rows)
            longest, free = width, free - places
            if warm:
                break
        if not taken:
            return None
        chosen = {id(rows) for rows in taken}
        self._waiting = [rows for rows in self._waiting if id(rows) not in chosen]
        staying = [row for rows in taken for row in rows if self._stays(row)]
        capacity = max([longest, *(row.reach for row in staying)])
        cache = None
        if self.prefixes is not None and staying and len(taken) == 1:
            cache = self.prefixes.begin(taken[0][0].text, capacity)
        # The last token of a text is never read back: without a next one, keys would be stored for nobody.
        read_on = any(row.reach > len(row.text) for row in staying)
        needed = read_on or longest > self.prefill_chunk or (self.prefixes is not None and staying)
        if cache is None and needed:
            cache = self._new_cache(len(taken), capacity)
        return Prefill(self.model, taken, cache)

    def _stays(self, row: Row) -> bool:
        """Whether its next token can be appended to a cache; once the text slides, every key is a new one."""
        return self.use_cache and len(row.text) <= self.block_size

    def _draw(self, rows: Sequence[Row], logits: Tensor) -> list[Event]:
        """One token for each row from logits (rows, V); rows with equal settings are drawn together."""
        groups: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(id(row.rules), []).append(i)
        drawn: list[int | RunFailure] = [0] * len(rows)
        for members in groups.values():
            some = logits if len(members) == len(rows) else logits[members]
            for i, token in zip(members, _sample([rows[i] for i in members], some), strict=True):
                drawn[i] = token
        return [self._write(row, token, logits, i) for i, (row, token) in enumerate(zip(rows, drawn))]

    def _write(self, row: Row, token: int | RunFailure, logits: Tensor, index: int) -> Event:
        """Put a token at the end of a row's text, or end the row."""
        if isinstance(token, RunFailure):
            return self._end(row, "error", token)
        if token in row.stop_ids:
            return self._end(row, "stop")
        row.text.append(token)
        reason = None
        if len(row.text) - row.prompt_length == row.request.max_new_tokens:
            reason = "length"
        elif row.request.on_overflow == "stop" and len(row.text) > self.block_size:
            reason = "overflow"
        row.done = reason is not None
        logprob, alternatives = None, None
        if row.request.logprobs is not None:
            own = logits[index, : row.rules.vocab_limit]
            logprob, alternatives = log_probabilities(own, token, row.request.logprobs)
        return Event(row.number, row.sample, token, logprob, alternatives, reason)

    def _end(self, row: Row, reason: str, error: RunFailure | None = None) -> Event:
        row.done = True
        return Event(row.number, row.sample, None, finish_reason=reason, error=error)

    def _let_go(self, batch: RaggedBatch, *, keep: bool) -> None:
        """Rows that ended leave the batch at once; rows that outgrew the block go back to the queue."""
        for index in reversed(range(len(batch.rows))):
            row = batch.rows[index]
            if row.done and keep:
                self._keep(row, batch.cache, index)
            if not row.done and not self._stays(row):
                self._waiting.append([row])
            elif not row.done:
                continue
            batch.leave(index)

    def _keep(self, row: Row, cache: KVCache | None, source: int) -> None:
        if self.prefixes is not None and cache is not None and row.sample == 0 and row.fed <= self.block_size:
            self.prefixes.keep(row.text[: row.fed], cache, source)


def _going(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row.done]


def _sample(rows: Sequence[Row], logits: Tensor) -> list[Any]:
    """For each of rows with equal settings a token, or the RunFailure that kept it, and nobody else, from one."""
    rules = rows[0].rules
    history = [row.text for row in rows] if rules.needs_history else None
    lengths = [row.prompt_length for row in rows] if rules.needs_history else None
    generators = [row.generator for row in rows]
    try:
        return sample(logits, rules, generators, history, prompt_lengths=lengths).tolist()
    except RunFailure as error:
        if len(rows) == 1:
            return [error]
        return [_sample([row], logits[i : i + 1])[0] for i, row in enumerate(rows)]


@contextmanager
def _evaluating(model: GPT) -> Iterator[None]:
    """Dropout off for one step, then every module as it was. Costs nothing when nothing was training."""
    restore: list[Callable[[], Any]] = []
    if model.training:
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        restore = [lambda m=module, t=training: setattr(m, "training", t) for module, training in modes]  # type: ignore[misc]
    try:
        yield
    finally:
        for undo in restore:
            undo()
