"""Writing in one call: prompt in, tokens out. Thin functions over the engine (`engine`), which does the work.

    generate      all new ids of a batch, prompts of any lengths
    stream        the ids of one prompt, each as soon as it is drawn
    stream_text   the same as pieces of text

Each call has an engine of its own, which ends with it. When a row's context reaches block_size, `on_overflow` decides:
"error" (before anything is generated), "stop", or "slide", which keeps the newest block_size tokens. Sliding moves
every token to a new position, so cached keys are of no use then and each further token is a full forward pass: the
same text as without a cache.
"""

import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gpt_model.engine import Engine
from gpt_model.gpt import GPT
from gpt_model.ragged_batch import Step
from gpt_model.request import DEFAULT, OVERFLOW, Request
from gpt_model.sampling import Sampling
from utils.errors import UserError

__all__ = ["DEFAULT", "OVERFLOW", "Sampling", "generate", "stream", "stream_text"]


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
    prompts = ids.tolist() if isinstance(ids, Tensor) else ids
    if any(isinstance(prompt, int) for prompt in prompts):
        raise UserError("generate continues a batch but one row of ids came: put it into a list, [ids]")
    engine = _engine(model, len(prompts), use_cache)
    rows: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        request = Request(
            prompt,
            max_new_tokens,
            _seeded(sampling, i),
            stop_ids,
            on_overflow=on_overflow,
            stop_event=stop_event,
        )
        rows[engine.submit(request, name=f"prompt {i}")] = []
    for event in engine.run():
        if event.error is not None:
            raise event.error
        if event.token is not None:
            rows[event.request].append(event.token)
    return list(rows.values())


def stream(
    model: GPT,
    ids: Tensor | Sequence[int],
    *,
    max_new_tokens: int,
    sampling: Sampling = DEFAULT,
    stop_ids: Collection[int] = (),
    on_overflow: str = "error",
    use_cache: bool = True,
    step: Step | None = None,
    stop_event: threading.Event | None = None,
) -> Iterator[int]:
    """The ids that `generate` gives for one prompt (T,) or (1, T), each as soon as it is drawn.

    `step` is a faster decode function for one row (`decode_step.DecodeStep`). `stop_event` is looked at before every
    token: setting it from any thread ends the stream. Closing the iterator frees the cache. Bad input raises here,
    before the first token.
    """
    prompt = torch.as_tensor(ids)
    prompts = prompt[None] if prompt.dim() == 1 else prompt
    if len(prompts) != 1:
        raise UserError(f"stream continues one prompt but {len(prompts)} came: use generate for a batch")
    engine = _engine(model, 1, use_cache, step)
    text = prompts[0].tolist()
    engine.submit(
        Request(text, max_new_tokens, sampling, stop_ids, on_overflow=on_overflow, stop_event=stop_event)
    )

    def tokens() -> Iterator[int]:
        try:
            for event in engine.run():
                if event.error is not None:
                    raise event.error
                if event.token is not None:
                    yield event.token
        finally:
            engine.close()  # the memory goes with the request, however it ends

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


def _engine(model: GPT, rows: int, use_cache: bool, step: Step | None = None) -> Engine:
    """An engine for one call: nobody else waits, so prompts are read in one pass, and nothing is kept."""
    return Engine(
        model,
        max_rows=max(rows, 1),
        prefill_chunk=sys.maxsize,
        reuse_prefixes=False,
        step=step,
        use_cache=use_cache,
    )


def _seeded(sampling: Sampling, row: int) -> Sampling:
    """The settings of one row of a batch: row i draws with seed + i."""
    return sampling if sampling.seed is None else replace(sampling, seed=(sampling.seed + row) % 2**64)
