"""/api/v1/tokenization: how texts become ids, with every tokenizer at hand.

    curl -s localhost:8000/api/v1/tokenization/encode -H 'content-type: application/json' \\
         -d '{"text": "Once upon a time", "tokenizer": "assets"}'

Cutting, comparing, reporting and pricing are those of chapter working_with_text_data; the shapes of questions and
answers are in `tokenization_schema`. Text from outside is plain text: `<|endoftext|>` in it becomes the control
token only where the request says so. Left out: training tokenizers (`python -m
working_with_text_data.train_tokenizer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query

from chat_ui import limits
from chat_ui.api.context import Context, Here
from chat_ui.api.route import PROBLEMS, LineRoute
from chat_ui.api.tokenization_schema import (
    Coverage,
    CoverageQuestion,
    Cut,
    Decoded,
    DecodeQuestion,
    Encoded,
    EncodeQuestion,
    Estimate,
    EstimateQuestion,
    OnePrice,
    Piece,
    SideBySide,
    SideBySideQuestion,
    TokenizerFigures,
    TokenizerLine,
    Tokenizers,
)
from utils.errors import UserError

router = APIRouter(
    prefix="/api/v1/tokenization", tags=["tokenization"], route_class=LineRoute, responses=PROBLEMS
)


@router.get("/tokenizers")
async def tokenizers(here: Here) -> Tokenizers:
    """Names of all tokenizers at hand: bytes, those of the models, published ones whose ranks are on this disk."""
    names = await here.compute(here.tokenizers)
    return Tokenizers(
        tokenizers=[
            TokenizerLine.model_validate({"name": name, "kind": kind}) for name, kind in names.items()
        ]
    )


@router.get("/tokenizer")
async def tokenizer(
    here: Here, name: Annotated[str, Query(max_length=limits.NAME_CHARACTERS, examples=["byte"])]
) -> TokenizerFigures:
    """One tokenizer: how many ids it has, its control words, its hash."""

    def look() -> TokenizerFigures:
        from working_with_text_data.tokenizer import tokenizer_hash

        found = here.tokenizer(name)
        return TokenizerFigures(
            name=name,
            type=str(found.to_dict().get("type", type(found).__name__)),
            vocab_size=found.vocab_size,
            special_tokens=dict(found.special_tokens),
            sha256=tokenizer_hash(found),
        )

    return await here.compute(look)


@router.post("/encode")
async def encode(here: Here, asked: EncodeQuestion) -> Encoded:
    """The ids of a text, its pieces with their bytes, and what that says about the tokenizer."""

    def work() -> Encoded:
        from working_with_text_data.inspect_statistics import statistics_of_rows

        found = here.tokenizer(asked.tokenizer)
        rows = _table(asked.text, found, asked.special)
        return Encoded(
            tokenizer=asked.tokenizer,
            ids=[row.id for row in rows],
            tokens=len(rows),
            pieces=_pieces(rows[: asked.rows]),
            statistics=statistics_of_rows(asked.text, rows, found).to_dict(),
        )

    return await here.compute(work)


@router.post("/decode")
async def decode(here: Here, asked: DecodeQuestion) -> Decoded:
    """The text of ids. Bytes that are no UTF-8 become U+FFFD in `text`; `hex` has them as they are."""

    def work() -> Decoded:
        found = here.tokenizer(asked.tokenizer)
        for place, token in enumerate(asked.ids):
            if token >= found.vocab_size:
                raise UserError(
                    f"ids.{place} is {token}, but {asked.tokenizer} has ids from 0 to {found.vocab_size - 1}"
                )
        try:
            data = found.decode_bytes(asked.ids)
        except UserError:
            raise
        except (KeyError, ValueError) as error:  # an id within the range that nobody has taken
            raise UserError(f"{asked.tokenizer} cannot decode these ids: {error}") from None
        try:
            whole, text = True, data.decode("utf-8")
        except UnicodeDecodeError:
            whole, text = False, data.decode("utf-8", "replace")
        return Decoded(tokenizer=asked.tokenizer, text=text, utf8=whole, bytes=len(data), hex=data.hex())

    return await here.compute(work)


@router.post("/compare")
async def compare(here: Here, asked: SideBySideQuestion) -> SideBySide:
    """One text cut by several tokenizers: where they agree, and what each makes of it."""

    def work() -> SideBySide:
        from working_with_text_data.inspect_compare import compare_tokenizers

        found = {name: here.tokenizer(name) for name in dict.fromkeys(asked.tokenizers)}
        comparison = compare_tokenizers(asked.text, found)
        shown = islice(comparison.stretches, asked.stretches)
        return SideBySide(
            **comparison.to_dict(),
            stretches=[
                Cut(
                    start=stretch.start,
                    end=stretch.end,
                    alike=stretch.alike,
                    pieces={name: [row.shown for row in rows] for name, rows in stretch.rows.items()},
                )
                for stretch in shown
            ],
        )

    return await here.compute(work)


@router.post("/coverage")
async def coverage(here: Here, asked: CoverageQuestion) -> Coverage:
    """How well a tokenizer fits texts: what it covers, which of its tokens earn their place."""

    def work() -> Coverage:
        from working_with_text_data.tokenizer_report import report

        return Coverage(
            name=asked.tokenizer, **report(here.tokenizer(asked.tokenizer), asked.texts, shown=asked.shown)
        )

    return await here.compute(work)


@router.post("/estimate-cost")
async def estimate_cost(here: Here, asked: EstimateQuestion) -> Estimate:
    """What a text costs by your own price table, with each of the tokenizers. This book ships no prices."""

    def work() -> Estimate:
        from working_with_text_data.token_prices import estimate_price

        table: dict[str, Any] = {name: row.given() for name, row in asked.prices.items()}
        if asked.currency:
            table["currency"] = asked.currency
        rows = []
        for name in dict.fromkeys(asked.tokenizers):
            tokens = _count(here, name, asked.text)
            for price in estimate_price(tokens, table, asked.output_tokens).values():
                rows.append(
                    OnePrice(
                        tokenizer=name,
                        tokens=tokens,
                        price=price.name,
                        input=price.input,
                        output=price.output,
                        total=price.total,
                        shown=str(price),
                    )
                )
        return Estimate(currency=asked.currency, output_tokens=asked.output_tokens, estimates=rows)

    return await here.compute(work)


def _count(here: Context, name: str, text: str) -> int:
    return len(here.tokenizer(name).encode_ordinary(text))


def _table(text: str, tokenizer: Any, special: str) -> list[Any]:
    from working_with_text_data.token_rows import token_table

    if special == "refuse":
        tokenizer.encode(text)  # raises for a control word, naming it
    return token_table(text, tokenizer, "all" if special == "all" else frozenset())


def _pieces(rows: Sequence[Any]) -> list[Piece]:
    return [
        Piece(
            id=row.id,
            start=row.start,
            end=row.end,
            text=row.text,
            shown=row.shown,
            hex=row.bytes.hex(),
            special=row.special,
            unknown=row.unknown,
        )
        for row in rows
    ]
