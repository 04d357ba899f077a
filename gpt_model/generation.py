"""The generation engine: prompt in, tokens out, one at a time.

The idea: run the prompt through the model once (prefill), keep its keys and values, then feed each new token
alone (decode). The cache belongs to the request and dies with it. Prompts of different lengths share a
batch by padding on the left; every row gives what it would give alone.

When a row's context reaches block_size, `on_overflow` decides: "error" (before anything is generated),
"stop", or "slide", which keeps the newest block_size tokens. Sliding moves every token to a new position,
so cached keys are of no use then and each further token is a full forward pass: the same text as without a
cache.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache
from gpt_model.gpt import GPT
from gpt_model.sampling import Sampling, make_generators, sample
from utils.errors import UserError

OVERFLOW = ("error", "slide", "stop")
DEFAULT = Sampling()


def generate(
    model: GPT,
    ids: Tensor | Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling = DEFAULT,
    stop_ids: Collection[int] = (),
    on_overflow: str = "error",
    use_cache: bool = True,
    stop_event: threading.Event | None = None,
) -> list[list[int]]:
    """Continue every prompt; returns the new ids of each row, without the prompt.

    ids: (B, T) or a list of lists of different lengths. A row ends after `max_new_tokens`, or when it draws
    one of `stop_ids`, which is not part of the result. Row i draws from its own generator (see
    `Sampling.seed`). Raises UserError for an empty prompt, an id outside the vocabulary, or a context that
    does not fit.
    """
    requests = _checked_prompts(model, ids, max_new_tokens, on_overflow)
    rows: list[list[int]] = [[] for _ in requests]
    engine = _Engine(model, requests, sampling, use_cache)
    for step in engine.run(max_new_tokens, frozenset(stop_ids), on_overflow, stop_event):
        for row, token in step:
            rows[row].append(token)
    return rows


def stream(
    model: GPT,
    ids: Tensor | Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling = DEFAULT,
    stop_ids: Collection[int] = (),
    on_overflow: str = "error",
    use_cache: bool = True,
    stop_event: threading.Event | None = None,
) -> Iterator[int]:
    """The ids that `generate` gives for one prompt (T,) or (1, T), each as soon as it is drawn.

    `stop_event` is looked at before every token: setting it from any thread ends the stream. Closing the
    iterator frees the cache. Bad input raises here, before the first token.
    """
    prompt = torch.as_tensor(ids)
    prompts = _checked_prompts(
        model, prompt[None] if prompt.dim() == 1 else prompt, max_new_tokens, on_overflow
    )
    if len(prompts) != 1:
        raise UserError(f"stream continues one prompt but {len(prompts)} came: use generate for a batch")
    engine = _Engine(model, prompts, sampling, use_cache)
    steps = engine.run(max_new_tokens, frozenset(stop_ids), on_overflow, stop_event)

    def tokens() -> Iterator[int]:
        try:
            for step in steps:
                for _, token in step:
                    yield token
        finally:
            steps.close()

    return tokens()


def stream_text(
    model: GPT,
    tokenizer: Any,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling = DEFAULT,
    stop_ids: Collection[int] = (),
    stop: Sequence[str] = (),
    on_overflow: str = "error",
    use_cache: bool = True,
    stop_event: threading.Event | None = None,
) -> Iterator[str]:
    """Pieces of text as they become certain; joined, they are the decoded text of `stream`.

    A character whose bytes are spread over tokens is held back until it is whole. `stop` strings end the
    stream and are not shown. Ids that the tokenizer does not know are never drawn.
    """
    from dataclasses import replace

    from working_with_text_data.streaming_decode import StreamingDecoder

    if tokenizer.vocab_size < model.config.vocab_size and sampling.vocab_limit is None:
        sampling = replace(sampling, vocab_limit=tokenizer.vocab_size)
    ids = stream(
        model,
        prompt_ids,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        stop_ids=stop_ids,
        on_overflow=on_overflow,
        use_cache=use_cache,
        stop_event=stop_event,
    )
    decoder = StreamingDecoder(tokenizer, stop=stop)

    def pieces() -> Iterator[str]:
        try:
            for token in ids:
                if piece := decoder.push(token):
                    yield piece
                if decoder.stopped:
                    return
            if piece := decoder.flush():
                yield piece
        finally:
            ids.close()  # type: ignore[attr-defined]

    return pieces()


def _checked_prompts(
    model: GPT, ids: Tensor | Sequence[Sequence[int]], max_new_tokens: int, on_overflow: str
) -> list[list[int]]:
    """Prompts as lists, or a UserError that says what does not fit."""
    rows = ids.tolist() if isinstance(ids, Tensor) else ids
    if any(isinstance(row, int) for row in rows):
        raise UserError("generate continues a batch but one row of ids came: put it into a list, [ids]")
    prompts = [[int(token) for token in row] for row in rows]
    vocab, block = model.config.vocab_size, model.config.block_size
    if on_overflow not in OVERFLOW:
        raise UserError(f"on_overflow is {on_overflow!r}: choose one of {', '.join(OVERFLOW)}")
    if max_new_tokens < 0:
        raise UserError(f"max_new_tokens is {max_new_tokens}: it must be 0 or more")
    for i, row in enumerate(prompts):
        if not row:
            raise UserError(
                f"prompt {i} is empty: give at least one token (an end-of-text token starts a new text)"
            )
        if min(row) < 0 or max(row) >= vocab:
            bad = max(row) if max(row) >= vocab else min(row)
            raise UserError(
                f"prompt {i} holds id {bad} but the model knows 0 to {vocab - 1}: "
                "encode it with the model's own tokenizer"
            )
        # The last new token is never fed back, hence the - 1.
        needed = len(row) + max(max_new_tokens - 1, 0)
        if on_overflow == "error" and needed > block:
            raise UserError(
                f"block_size is {block} but the prompt's {len(row)} tokens and {max_new_tokens} new ones "
                f'need {needed}: shorten it, ask for fewer, or pass on_overflow="slide" or "stop"'
            )
    return prompts


class _Engine:
    """The rows of one request and the cache that serves them.

    `texts` holds prompt and new ids of every row. `alive` are the rows still being continued, in the order in
    which the cache holds them. Rows that end leave the batch when half of it is gone.
    """

    def __init__(self, model: GPT, prompts: list[list[int]], sampling: Sampling, use_cache: bool) -> None:
        self.model, self.sampling, self.use_cache = model, sampling, use_cache
        self.texts = [list(row) for row in prompts]
        self.generators = make_generators(sampling.seed, len(prompts))
        self.cache: KVCache | None = None
        self.in_batch: list[int] = []  # rows that the cache holds, alive or ended

    def run(
        self,
        max_new_tokens: int,
        stop_ids: frozenset[int],
        on_overflow: str,
        stop_event: threading.Event | None,
    ) -> Any:
        """Yield, per step, the pairs (row, new id) of all rows that go on."""
        block = self.model.config.block_size
        alive = list(range(len(self.texts)))
        try:
            for done in range(max_new_tokens):
                if on_overflow == "stop":
                    alive = [row for row in alive if len(self.texts[row]) <= block]
                if not alive or (stop_event is not None and stop_event.is_set()):
                    return
                tokens = self._step(alive, ahead=max_new_tokens - 1 - done)
                new = [
                    (row, token) for row, token in zip(alive, tokens, strict=True) if token not in stop_ids
                ]
                for row, token in new:
                    self.texts[row].append(token)
                alive = [row for row, _ in new]
                if new:
                    yield new
        finally:
            self.cache = None  # the memory goes with the request, however it ends

    @torch.inference_mode()
    def _step(self, alive: list[int], ahead: int) -> list[int]:
        """Draw the next token of each living row; `ahead` more may follow it."""
        with _evaluating(self.model):
            if self._fits(alive):
                # Rows that ended are fed a 0: their place in the batch costs less than moving the others.
                living = set(alive)
                newest = [[self.texts[row][-1] if row in living else 0] for row in self.in_batch]
                ids = torch.tensor(newest, device=self.model.device)  # (B, 1)
                logits = self.model(ids, cache=self.cache).logits[:, -1]  # (B, V)
            else:
                logits = self._prefill(alive, ahead)
        if len(alive) < len(self.in_batch):
            logits = logits[[self.in_batch.index(row) for row in alive]]
        generators = [self.generators[row] for row in alive]
        history = [self.texts[row] for row in alive] if self.sampling.repetition_penalty != 1.0 else None
        return sample(logits, self.sampling, generators, history).tolist()

    def _fits(self, alive: list[int]) -> bool:
        """Whether one more token per row may simply be appended to the cache."""
        return (
            self.cache is not None
            and self.cache.length < self.cache.capacity
            and 2 * len(alive) > len(self.in_batch)
        )

    def _prefill(self, alive: list[int], ahead: int) -> Tensor:
        """Run the newest block_size tokens of each living row in one pass, (B, V) for their last places."""
        windows = [self.texts[row][-self.model.config.block_size :] for row in alive]
        longest = max(map(len, windows))
        padded = [[0] * (longest - len(window)) + window for window in windows]
        ids = torch.tensor(padded, device=self.model.device)  # (B, T), left-padded
        mask = None
        if min(map(len, windows)) < longest:
            real = [[0] * (longest - len(window)) + [1] * len(window) for window in windows]
            mask = torch.tensor(real, dtype=torch.bool, device=self.model.device)
        self.in_batch = list(alive)
        # A full window, or the last token, leaves nothing to append: keys would be stored for nobody.
        room = min(ahead, self.model.config.block_size - longest)
        self.cache = self.model.new_cache(len(alive), longest + room) if self.use_cache and room else None
        return self.model(ids, cache=self.cache, attention_mask=mask, last_only=True).logits[:, -1]


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
