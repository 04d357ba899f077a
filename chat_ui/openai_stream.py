"""An answer of the service read for /v1: to its end, or as chunks while it is written.

The idea: the same pieces make both forms (`openai_answers`), so that a stream, joined, is the whole answer. Several
prompts of one request are written side by side and told one after the other.

Left out: HTTP (`openai_api`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from chat_ui.openai_answer_schema import (
    ChatChunk,
    ChunkChoice,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    Delta,
)
from chat_ui.openai_answers import chat_logprobs, completion_logprobs, joined, server_sent, usage
from chat_ui.openai_prompts import Echo
from chat_ui.openai_schema import ChatRequest, CompletionRequest
from chat_ui.pieces import Piece
from chat_ui.service import Answer


async def read(answer: Answer, *, entered: bool = False) -> tuple[list[str], list[list[Piece]], list[Any]]:
    """All of an answer: the text, the pieces and the reason of the end of each sample."""
    n = answer.request.n
    texts, told, ends = [""] * n, [[] for _ in range(n)], [None] * n  # type: tuple[list[str], list[list[Piece]], list[Any]]
    async with AsyncExitStack() as stack:
        if not entered:
            await stack.enter_async_context(answer)
        async for piece in answer:
            texts[piece.index] += piece.text
            told[piece.index].append(piece)
            ends[piece.index] = piece.finish_reason
    return texts, told, ends


async def chat_events(
    answer: Answer, head: dict[str, Any], tokenizer: Any, body: ChatRequest
) -> AsyncIterator[str]:
    def chunk(index: int, delta: Delta, **more: Any) -> str:
        return server_sent(ChatChunk(**head, choices=[ChunkChoice(index=index, delta=delta, **more)]))

    for i in range(body.n):
        yield chunk(i, Delta(role="assistant", content=""))
    async for batch in answer.batches():
        for index, pieces in _by_sample(batch).items():
            text, reason = "".join(piece.text for piece in pieces), pieces[-1].finish_reason
            logprobs = chat_logprobs(pieces, tokenizer) if body.logprobs else None
            if text or (logprobs and logprobs.content):
                yield chunk(index, Delta(content=text), logprobs=logprobs)
            if reason is not None:
                yield chunk(index, Delta(), finish_reason=reason)
    if body.stream_options and body.stream_options.include_usage:
        yield server_sent(ChatChunk(**head, choices=[], usage=usage([answer])))


async def completion_events(
    answers: list[Answer], echoes: list[Echo], head: dict[str, Any], tokenizer: Any, body: CompletionRequest
) -> AsyncIterator[str]:
    for number, (answer, echo) in enumerate(zip(answers, echoes)):
        begun = [not echo.text] * body.n
        async for batch in answer.batches():
            for index, pieces in _by_sample(batch).items():
                reason: Any
                before, begins = ("", False) if begun[index] else (echo.text, True)
                begun[index] = True
                text, reason = before + "".join(piece.text for piece in pieces), pieces[-1].finish_reason
                logprobs = completion_choice_logprobs(echo, pieces, tokenizer, body, begins=begins)
                if text or reason is not None or (logprobs and logprobs.tokens):
                    place = number * body.n + index
                    choice = CompletionChoice(index=place, text=text, logprobs=logprobs, finish_reason=reason)
                    yield server_sent(Completion(**head, choices=[choice]))
    if body.stream_options and body.stream_options.include_usage:
        yield server_sent(Completion(**head, choices=[], usage=usage(answers)))


def _by_sample(batch: list[Piece]) -> dict[int, list[Piece]]:
    """The pieces of each sample, in order: one chunk tells them all."""
    found: dict[int, list[Piece]] = {}
    for piece in batch:
        found.setdefault(piece.index, []).append(piece)
    return found


def completion_choice_logprobs(
    echo: Echo, pieces: list[Piece], tokenizer: Any, body: CompletionRequest, *, begins: bool
) -> CompletionLogprobs | None:
    if body.logprobs is None:
        return None
    own = completion_logprobs(pieces, tokenizer, start=len(echo.text))
    return joined(echo.logprobs, own) if begins and echo.logprobs else own
