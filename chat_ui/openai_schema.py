"""The requests of /v1, as OpenAI's API spells them, with a limit on everything.

The idea: one class a JSON object, so that a request is checked before any code sees it, and the page at /docs is
made from the same lines. A field that this server does not have is refused by its name, because a setting that is
silently ignored is worse than an error. Fields that would change nothing at the value they have (`tools: []`,
`response_format: {"type": "text"}`) are let through; `NEUTRAL` lists them.

Beyond OpenAI's fields: `top_k`, `min_p`, `repetition_penalty` and `template`, as the engine has them.
Reference: platform.openai.com/docs/api-reference (Chat, Completions, Embeddings, Models).
The answers: `openai_answer_schema`. Left out: tools, images, sound, answers in a JSON schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from chat_ui import limits

Name = Annotated[str, StringConstraints(min_length=1, max_length=limits.NAME_CHARACTERS)]
Text = Annotated[str, StringConstraints(max_length=limits.PROMPT_CHARACTERS)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=limits.STOP_CHARACTERS)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Ids = Annotated[list[TokenId], Field(min_length=1, max_length=limits.NEW_TOKENS)]

# Values at which a field of OpenAI's changes nothing here. `...` stands for any value.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "user": (...,),
    "metadata": (...,),
    "safety_identifier": (...,),
    "prompt_cache_key": (...,),
    "prompt_cache_retention": (...,),
    "prediction": (...,),  # it may only save time
    "parallel_tool_calls": (...,),  # there are no tools
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "reasoning_effort": ("none",),
    "best_of": (1,),
    "suffix": ("",),
    "annotations": ([],),
    "tool_calls": ([],),
}


class Request(BaseModel):
    """What all requests have in common: unknown fields are refused, null is the same as absent."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def without_neutral(cls, values: Any) -> Any:
        """Leave out nulls, and what changes nothing."""
        if not isinstance(values, dict):
            return values
        return {
            key: value
            for key, value in values.items()
            if value is not None and not (key not in cls.model_fields and _neutral(key, value))
        }


def _neutral(key: Any, value: Any) -> bool:
    known = NEUTRAL.get(key, ()) if isinstance(key, str) else ()
    return ... in known or any(type(value) is type(each) and value == each for each in known)


class TextPart(Request):
    """One part of a message; only text is understood."""

    type: Literal["text"]
    text: Text


class ChatMessage(Request):
    """One turn. `developer` is today's word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=limits.PROMPTS)]

    @property
    def text(self) -> str:
        """The words of all parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(Request):
    """How a stream ends."""

    include_usage: bool = Field(False, description="one more chunk at the end that counts the tokens")
    include_obfuscation: bool = Field(False, description="changes nothing here: chunks are not padded")


class Sampled(Request):
    """The settings of drawing that chat and completions share."""

    model: Name = Field(description="an id of /v1/models", examples=["assets"])
    temperature: float = Field(1.0, ge=0, le=2, description="0 always takes the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, le=1_000_000, description="only the k likeliest tokens")
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    logit_bias: dict[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")],
                     Annotated[float, Field(ge=-100, le=100)]] = Field(
        default_factory=dict, max_length=limits.BIASES, description="token id -> number added to its logit",
        examples=[{}],
    )  # fmt: skip
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63, description="the same seed and request give the same text"
    )
    n: int = Field(1, ge=1, le=limits.SAMPLES)
    stop: StopString | Annotated[list[StopString], Field(max_length=limits.STOP_STRINGS)] | None = Field(
        None, description="the answer ends before any of these", examples=[["\n\n"]]
    )
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def options_only_of_a_stream(self) -> Sampled:
        """As OpenAI's: options of a stream without one are a mistake."""
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options may only be given with stream: true")
        return self

    @property
    def stops(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "assets",
                    "messages": [{"role": "user", "content": "Tell me a story."}],
                    "max_tokens": 60,
                    "temperature": 0.8,
                    "seed": 1,
                }
            ]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=limits.MESSAGES)]
    max_tokens: int | None = Field(None, ge=1, le=limits.NEW_TOKENS, description="default: the whole context")
    max_completion_tokens: int | None = Field(None, ge=1, le=limits.NEW_TOKENS, description="its newer name")
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=limits.TOP_LOGPROBS, description="needs logprobs: true")
    template: Name | None = Field(
        None,
        description="how turns become tokens; default: as the model was trained",
        examples=["scratchbook"],
    )

    @model_validator(mode="after")
    def fits_together(self) -> ChatRequest:
        """Two names of one limit may not differ, alternatives need logprobs, and all messages have one limit."""
        if self.max_tokens and self.max_completion_tokens not in (None, self.max_tokens):
            raise ValueError("max_tokens and max_completion_tokens differ: give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if (length := sum(len(message.text) for message in self.messages)) > limits.PROMPT_CHARACTERS:
            raise ValueError(
                f"the messages have {length} characters together (limit {limits.PROMPT_CHARACTERS}): send fewer"
            )
        return self

    @property
    def new_tokens(self) -> int | None:
        """The limit of length under either name."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Sampled):
    """POST /v1/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "assets", "prompt": "Once upon a time", "max_tokens": 40, "seed": 1}]
        }
    )

    prompt: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=limits.PROMPTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=limits.PROMPTS)]
    ) = Field("", description="text, token ids, or a list of either")
    max_tokens: int = Field(16, ge=0, le=limits.NEW_TOKENS)
    logprobs: int | None = Field(None, ge=0, le=limits.TOP_LOGPROBS)
    echo: bool = Field(
        False, description="the prompt stands before the text, with its log-probabilities if asked"
    )

    @model_validator(mode="after")
    def within_limits(self) -> CompletionRequest:
        """All prompts have one limit together."""
        if (length := sum(map(len, self.prompts))) > limits.PROMPT_CHARACTERS:
            raise ValueError(
                f"the prompts have a length of {length} (limit {limits.PROMPT_CHARACTERS}): send less"
            )
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """Always a list of prompts."""
        return each_input(self.prompt)


class EmbeddingRequest(Request):
    """POST /v1/embeddings."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "assets", "input": ["a red fox", "a blue boat"]}]}
    )

    model: Name = Field(description="an id of /v1/models", examples=["assets"])
    input: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=limits.INPUTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=limits.INPUTS)]
    ) = Field(description="text, token ids, or a list of either")
    encoding_format: Literal["float", "base64"] = "float"

    @property
    def inputs(self) -> list[str | list[int]]:
        """Always a list of texts."""
        return each_input(self.input)


def each_input(given: Any) -> list[str | list[int]]:
    """A text, ids, or a list of either, as a list.

    >>> each_input("a"), each_input([1, 2]), each_input([[1], [2]])
    (['a'], [[1, 2]], [[1], [2]])
    """
    one = isinstance(given, str) or isinstance(given[0], int)
    return [given] if one else list(given)
