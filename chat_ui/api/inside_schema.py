"""Questions and answers about a loaded model: where it looks, what each layer would say, what may come next.

Left out: what the numbers mean beyond a line; `attention_mechanisms.analysis`, `gpt_model.lens` and
`gpt_model.sampling` define them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chat_ui import limits
from chat_ui.api.route import Answer, Strict
from chat_ui.api.tokenization_schema import Count, Id, Share, Text, example
from utils.errors import UserError

ModelId = Annotated[
    str, Field(max_length=limits.NAME_CHARACTERS, description='as /v1/models lists them; "" is the default')
]
Some = Annotated[list[Annotated[int, Field(ge=0, le=4096)]], Field(min_length=1, max_length=4096)]


class Reading(Strict):
    """What a model is to read: a text, or the ids themselves."""

    model: ModelId = ""
    text: Text | None = None
    ids: Annotated[list[Id], Field(max_length=limits.IDS)] | None = None
    begin: bool = Field(
        default=True, description="read a text as a document: behind <|endoftext|>, where there is one"
    )

    def checked(self) -> Reading:
        """Itself. Raises UserError unless there is one of text and ids."""
        if (self.text is None) == (self.ids is None):
            raise UserError("give either text or ids: what the model is to read")
        return self


class AttentionQuestion(Reading):
    """A text, and whose maps to send: all layers and heads of a small model fit, of a large one a few."""

    model_config = example(model="assets", text="Once upon a time", layers=[0, 1], heads=[0])

    layers: Some | None = None
    heads: Some | None = None


class LensQuestion(Reading):
    """A text, and how many guesses of each layer to send."""

    model_config = example(model="assets", text="Once upon a time", top=3)

    top: int = Field(default=5, ge=1, le=limits.LENS_GUESSES)


class NextQuestion(Reading):
    """A text, and how one would draw what comes after it. The defaults change nothing."""

    model_config = example(model="assets", text="Once upon a", temperature=0.8, top_k=50, top_p=0.95, top=10)

    temperature: float = Field(default=1.0, ge=0, le=100, description="0 takes the likeliest")
    top_k: int | None = Field(default=None, ge=1, le=limits.MODEL_SIZE)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    top: int = Field(default=20, ge=1, le=limits.GUESSES, description="tokens to list")


# ---- answers


class Read(Answer):
    """What the model has read: one piece for each token."""

    model: str
    ids: list[int]
    tokens: list[str] = Field(
        description="as they are printed: space is ·, half a character its bytes in hex"
    )


class Head(Answer):
    """One head in numbers: `attention_mechanisms.analysis.HeadSummary`."""

    layer: int
    head: int
    pattern: str
    entropy: float
    spread: float
    distance: float
    previous: float
    induction: float
    first: float
    same: float
    local: float
    positional: float


class Maps(Read):
    """`maps[l][h][q]` are the q + 1 shares that token q gives to the tokens up to itself, to four decimals."""

    layers: list[int]
    heads: list[int]
    n_layer: Count
    n_head: Count
    kv_heads: Count
    windows: list[int | None] = Field(description="of each layer: tokens seen, own included; null: all")
    summaries: list[Head]
    maps: list[list[list[list[Share]]]]


class Guess(Answer):
    id: int
    shown: str
    probability: Share


class Opinion(Answer):
    """What a layer thought of the token that followed, in nats, and what it would have said."""

    log_probability: float
    rank: Count
    entropy: float
    guesses: list[Guess]


class LensLine(Answer):
    layer: str = Field(description="embed, or the number of the block behind which the stream is read")
    opinions: list[Opinion] = Field(
        description="one a token; the last is about the likeliest next one, since nobody knows what follows"
    )


class Layers(Read):
    layers: list[LensLine]
    surprise: list[float] = Field(description="-ln p of each token from the second on, by the model's output")


class Candidate(Answer):
    """A token that may come next: the model's own probability, and what the settings make of it."""

    id: int
    shown: str
    text: str | None = Field(description="its characters; null where it is a part of one")
    probability: Share
    drawn: Share = Field(description="after temperature, penalties and cuts; 0: it cannot be drawn")


class Next(Read):
    entropy: float = Field(description="nats, of the model's own distribution")
    candidates: Count = Field(description="tokens that can be drawn under these settings")
    top: list[Candidate]
