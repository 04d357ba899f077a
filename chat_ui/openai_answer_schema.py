"""The answers of /v1, as OpenAI's API spells them: what its clients read, and what the page at /docs shows.

One class a JSON object. The requests: `openai_schema`; how pieces of text become these: `openai_answers`.
Reference: platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Usage(BaseModel):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int


class TopLogprob(BaseModel):
    """A token that could have stood there. `token` is its text, `bytes` what it exactly stands for."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token with its log-probability by the model itself, before temperature and cuts."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Log-probabilities of an answer's tokens."""

    content: list[TokenLogprob]
    refusal: None = None


class CompletionLogprobs(BaseModel):
    """The same in the older form: four lists of one length. The first token of all has none: null."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class AnswerMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Delta(BaseModel):
    """What is new in a chunk."""

    role: Literal["assistant"] | None = None
    content: str | None = None


FinishReason = Literal["stop", "length"]


class ChatChoice(BaseModel):
    """One of n answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChunkChoice(BaseModel):
    """A part of one of n answers."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class CompletionChoice(BaseModel):
    """One continuation, or a part of one in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Made(BaseModel):
    """What all answers begin with."""

    id: str
    created: int = Field(description="seconds since 1970")
    model: str
    usage: Usage | None = None


class ChatCompletion(Made):
    """The whole answer."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]


class ChatChunk(Made):
    """One server-sent event of a streamed answer."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChunkChoice]


class Completion(Made):
    """The whole continuation, or one server-sent event of it."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]


class Embedding(BaseModel):
    """The mean hidden state of one text; base64 is its float32 numbers, the lowest byte first."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    """One vector a text, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model that can be asked."""

    id: str = Field(examples=["assets"])
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "scratchbook"


class ModelList(BaseModel):
    """All models, the default first."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Problem(BaseModel):
    """What was wrong."""

    message: str = Field(description="one line: what, where, the limit, the fix")
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """Every answer that is none."""

    error: Problem
