"""From the pieces of an answer to OpenAI's JSON: whole, or as server-sent events.

The idea: the same pieces make both forms, so that a stream, joined, is the whole answer. Log-probabilities are the
model's own, before temperature and cuts. A token that ended inside of a character is shown as U+FFFD, and `bytes`
says what it exactly is.

Left out: HTTP (`openai_api`), and the shapes themselves (`openai_schema`).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from chat_ui.openai_answer_schema import (
    ChatLogprobs,
    CompletionLogprobs,
    Made,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from chat_ui.pieces import Piece
from chat_ui.service import Answer
from gpt_model.token_scores import TokenScore

DONE = "data: [DONE]\n\n"
LEAST = -9999.0  # what OpenAI writes for a probability of 0, for which JSON has no logarithm


def made(kind: str, model: str) -> dict[str, Any]:
    """The fields that all answers begin with; `kind` is chatcmpl or cmpl."""
    return {"id": f"{kind}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}


def usage(answers: Iterable[Answer]) -> Usage:
    """Tokens read and written: a prompt counts once, however many answers it has."""
    read, written = 0, 0
    for answer in answers:
        read, written = read + answer.prompt_tokens, written + answer.completion_tokens
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def server_sent(chunk: Made) -> str:
    """A chunk as one server-sent event; what has nothing to say is left out, as OpenAI does."""
    values = chunk.model_dump(mode="json")
    if values["usage"] is None:
        del values["usage"]
    for choice in values["choices"]:
        if "delta" in choice:
            choice["delta"] = {key: value for key, value in choice["delta"].items() if value is not None}
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def chat_logprobs(pieces: Sequence[Piece], tokenizer: Any) -> ChatLogprobs:
    """Log-probabilities of the tokens in these pieces."""
    return ChatLogprobs(
        content=[
            TokenLogprob(
                **_one(tokenizer, piece.token, piece.logprob),
                top_logprobs=[TopLogprob(**_one(tokenizer, *pair)) for pair in piece.alternatives or ()],
            )
            for piece in pieces
            if piece.token is not None and piece.logprob is not None
        ]
    )


def completion_logprobs(pieces: Sequence[Piece], tokenizer: Any, start: int = 0) -> CompletionLogprobs:
    """The same in the older form; `start` is where the answer begins in the text (behind an echoed prompt)."""
    told = [piece for piece in pieces if piece.token is not None and piece.logprob is not None]
    return CompletionLogprobs(
        tokens=[_text(tokenizer, piece.token) for piece in told],
        token_logprobs=[_finite(piece.logprob) for piece in told],
        top_logprobs=[_table(tokenizer, piece.alternatives or ()) for piece in told],
        text_offset=[start + piece.begin for piece in told],
    )


def echoed_logprobs(ids: Sequence[int], scores: Sequence[TokenScore], tokenizer: Any) -> CompletionLogprobs:
    """Log-probabilities of a prompt's own tokens. Nothing says how likely the first one was."""
    known: list[TokenScore | None] = [None, *scores]
    return CompletionLogprobs(
        tokens=[_text(tokenizer, token) for token in ids],
        token_logprobs=[None if score is None else _finite(score.log_probability) for score in known],
        top_logprobs=[None if score is None else _table(tokenizer, score.alternatives) for score in known],
        text_offset=[len(tokenizer.decode(list(ids[:i]))) for i in range(len(ids))],
    )


def joined(first: CompletionLogprobs, second: CompletionLogprobs) -> CompletionLogprobs:
    """A prompt's log-probabilities and those of its answer as one table."""
    return CompletionLogprobs(
        **{name: getattr(first, name) + getattr(second, name) for name in CompletionLogprobs.model_fields}
    )


def _one(tokenizer: Any, token: int | None, logprob: float | None) -> dict[str, Any]:
    assert token is not None
    exact = list(tokenizer.token_bytes(token))
    return {"token": _text(tokenizer, token), "logprob": _finite(logprob), "bytes": exact}


def _table(tokenizer: Any, pairs: Iterable[tuple[int, float]]) -> dict[str, float]:
    """Texts with their log-probabilities; of several tokens with one text the likeliest, which comes first."""
    table: dict[str, float] = {}
    for token, logprob in pairs:
        table.setdefault(_text(tokenizer, token), _finite(logprob))
    return table


def _text(tokenizer: Any, token: int | None) -> str:
    assert token is not None
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def _finite(logprob: float | None) -> float:
    return LEAST if logprob is None else max(logprob, LEAST)
