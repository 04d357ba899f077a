"""What so many tokens cost, from a table of prices that you give.

The idea: prices change every month, so this book ships none. A table maps a name to the price of *one
million* tokens, the unit that the providers' pages use, for what is sent (input) and what comes back (output):

    currency: USD            # optional; a word that is printed, nothing is converted
    small-model: 0.15        # one price for both
    large-model: {input: 2.50, output: 10.00}

Left out: discounts for cached or batched tokens: give them a row of their own. Notebook: 03 of this chapter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line

PER = 1_000_000  # tokens that a price of the table buys
CURRENCY = "currency"
_FORM = "write a number, or {input: …, output: …}, each the price of one million tokens"


@dataclass(frozen=True)
class Price:
    """What one row of the table comes to, in `currency` ("" if the table names none)."""

    name: str
    input: float
    output: float
    currency: str

    @property
    def total(self) -> float:
        return self.input + self.output

    def __str__(self) -> str:
        """Four significant digits and no exponent, since a prompt costs a fraction of a cent."""
        return f"{Decimal(f'{self.total:.4g}'):f} {self.currency}".strip()


def estimate_price(
    n_tokens: int, prices: Mapping[str, Any] | str | Path, n_output_tokens: int = 0
) -> dict[str, Price]:
    """The price of sending `n_tokens` and getting `n_output_tokens` back, for every row of the table.

    Args:
        prices: the table as a mapping, or the path of a YAML or JSON file.

    Raises:
        UserError: a count below zero; a table that is not there, empty, or holds something else than prices; output
            asked for where a row has no price for it.

    >>> prices = estimate_price(2_000_000, {"a": 0.5, "b": {"input": 1, "output": 4}}, n_output_tokens=500_000)
    >>> prices["a"].total, prices["b"].input, prices["b"].output
    (1.25, 2.0, 2.0)
    """
    where = "the price table"
    if not isinstance(prices, Mapping):
        where, prices = f"price table {prices}", _read(Path(prices))
    for count in (n_tokens, n_output_tokens):
        if count < 0:
            raise UserError(f"{count} tokens cannot be priced: give a count of 0 or more")
    currency = prices.get(CURRENCY, "")
    if not isinstance(currency, str):
        raise UserError(f"{where}: currency is {currency!r}: write a word, such as USD")
    estimates = {}
    for name, row in prices.items():
        if name == CURRENCY:
            continue
        given = row if isinstance(row, Mapping) else {"input": row, "output": row}
        if unknown := set(given) - {"input", "output"} or {"input"} - set(given):
            raise UserError(f"{where}, {name}: {sorted(map(str, unknown))} missing or not known: {_FORM}")
        if n_output_tokens and "output" not in given:
            raise UserError(f"{where}, {name}: no price for output, but {n_output_tokens} output tokens")
        cost = {kind: _price(price, f"{where}, {name}, {kind}") for kind, price in given.items()}
        estimates[str(name)] = Price(
            name=str(name),
            input=n_tokens * cost["input"] / PER,
            output=n_output_tokens * cost.get("output", 0.0) / PER,
            currency=currency,
        )
    if not estimates:
        raise UserError(f"{where} holds no prices: {_FORM}")
    return estimates


def _price(value: Any, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise UserError(f"{where}: {value!r} is no price: {_FORM}")
    return float(value)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            table = json.loads(text)
        else:
            import yaml

            try:
                table = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise UserError(f"price table {path} is not YAML ({one_line(error)}): {_FORM}") from None
    except FileNotFoundError:
        raise UserError(f"price table {path} does not exist: {_FORM}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"price table {path} cannot be read ({one_line(error)}): {_FORM}") from None
    if not isinstance(table, Mapping):
        raise UserError(f"price table {path} must map names to prices: {_FORM}")
    return table
