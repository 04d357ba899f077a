"""Questions and answers of /api/v1/tokenization, with the limits that keep each of them small.

Left out: what the numbers mean beyond a line; `inspect_statistics`, `tokenizer_report` and `token_prices` of chapter
working_with_text_data define them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from chat_ui import limits
from chat_ui.api.route import Answer, Strict

Name = Annotated[
    str,
    Field(min_length=1, max_length=limits.NAME_CHARACTERS, description="byte, a model's id, gpt2 …"),
]
Text = Annotated[str, Field(max_length=limits.PROMPT_CHARACTERS)]
Names = Annotated[list[Name], Field(min_length=1, max_length=limits.TOKENIZERS)]
Id = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def example(**values: Any) -> ConfigDict:
    """The configuration of a question whose documentation shows these values."""
    return ConfigDict(json_schema_extra={"examples": [values]})


# ---- questions


class EncodeQuestion(Strict):
    """A text to cut."""

    model_config = example(text="Once upon a time", tokenizer="byte", special="plain", rows=100)

    text: Text
    tokenizer: Name = "byte"
    special: Literal["plain", "refuse", "all"] = Field(
        default="plain",
        description="what control words in the text are: plain text, an error, or control tokens",
    )
    rows: int = Field(default=1000, ge=0, le=limits.SHOWN_ROWS, description="how many pieces to describe")


class DecodeQuestion(Strict):
    """Ids to read."""

    model_config = example(ids=[79, 110, 99, 101], tokenizer="byte")

    ids: Annotated[list[Id], Field(max_length=limits.IDS)]
    tokenizer: Name = "byte"


class SideBySideQuestion(Strict):
    """A text and the tokenizers to cut it with."""

    model_config = example(text="It's 2,048 tokens.", tokenizers=["byte", "assets"], stretches=100)

    text: Text
    tokenizers: Names
    stretches: int = Field(
        default=1000, ge=0, le=limits.SHOWN_ROWS, description="parts of the text to lay side by side"
    )


class CoverageQuestion(Strict):
    """Texts that a tokenizer is judged on; they should not be those it was made from."""

    model_config = example(texts=["A fox met a hen.", "They shared a plum."], tokenizer="byte", shown=5)

    texts: Annotated[list[Text], Field(min_length=1, max_length=limits.TEXTS)]
    tokenizer: Name = "byte"
    shown: int = Field(default=20, ge=0, le=200, description="tokens listed under each heading")


Money = Annotated[float, Field(ge=0, le=1e12, description="of one million tokens")]


class PriceRow(Strict):
    """Prices of one million tokens, sent and given back."""

    input: Money
    output: Money | None = None

    def given(self) -> dict[str, float]:
        """As `token_prices` takes it."""
        return {"input": self.input} | ({} if self.output is None else {"output": self.output})


class EstimateQuestion(Strict):
    """A text, how much comes back, and your prices."""

    model_config = example(
        text="Once upon a time", tokenizers=["byte"], prices={"small": {"input": 0.15, "output": 0.6}},
        output_tokens=100, currency="USD",
    )  # fmt: skip

    text: Text
    tokenizers: Names
    prices: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=limits.NAME_CHARACTERS)], PriceRow],
        Field(min_length=1, max_length=limits.PRICES),
    ]
    output_tokens: int = Field(default=0, ge=0, le=10**12)
    currency: str = Field(default="", max_length=16)


# ---- answers


class TokenizerLine(Answer):
    """A tokenizer at hand: a name to use, and where it comes from."""

    name: str
    kind: Literal["byte", "model", "published"]


class Tokenizers(Answer):
    tokenizers: list[TokenizerLine]


class TokenizerFigures(Answer):
    """What identifies a tokenizer: equal hashes mean equal ids for every text."""

    name: str
    type: str
    vocab_size: Count
    special_tokens: dict[str, int]
    sha256: str


class Piece(Answer):
    """One token of a text: byte offsets, its bytes, and how it is printed. `text` is null for parts of characters."""

    id: int
    start: Count
    end: Count
    text: str | None
    shown: str
    hex: str
    special: bool
    unknown: bool


class Encoded(Answer):
    tokenizer: str
    ids: list[int]
    tokens: Count
    pieces: list[Piece]
    statistics: dict[str, float]


class Decoded(Answer):
    tokenizer: str
    text: str
    utf8: bool = Field(description="whether the bytes are whole characters")
    bytes: Count
    hex: str


class Cut(Answer):
    """Bytes `start` to `end` of the text, between two cuts that all tokenizers make."""

    start: Count
    end: Count
    alike: bool
    pieces: dict[str, list[str]]


class SideBySide(Answer):
    statistics: dict[str, dict[str, float]]
    shared_cuts: Count
    disputed_cuts: Count
    agreement: Share
    stretches: list[Cut]


class ReportedToken(Answer):
    id: int
    shown: str
    count: Count
    share: Share


class Unused(Answer):
    count: Count
    examples: list[ReportedToken]


class UnreachableToken(Answer):
    id: int
    shown: str


class Unreachable(Answer):
    """Tokens that can hardly occur in any text."""

    count: Count
    bytes_not_in_utf8: Count
    not_checked: Count
    examples: list[UnreachableToken]


class Coverage(Answer):
    """`tokenizer_report.report`, as it is, with the name that was asked for."""

    name: str
    version: int
    tokenizer: dict[str, Any]
    text: dict[str, float | None]
    coverage: dict[str, float | None]
    top: list[ReportedToken]
    longest: list[ReportedToken]
    longest_used: list[ReportedToken]
    unused: Unused
    unreachable: Unreachable


class OnePrice(Answer):
    tokenizer: str
    tokens: Count
    price: str
    input: float
    output: float
    total: float
    shown: str


class Estimate(Answer):
    currency: str
    output_tokens: Count
    estimates: list[OnePrice]
