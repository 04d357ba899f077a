"""Look at tokens: how a text is cut, what it costs, and how another tokenizer would cut it.

    python -m working_with_text_data.inspect_tokens text="It's 2,048 tokens." tokenizer=gpt2
    python -m working_with_text_data.inspect_tokens file=book.txt compare=byte prices=prices.yaml html=tokens.html

The idea: every number about tokens (compression, price, "does it know my language?") is plain to see once the
cuts are seen. This module is the one door: rows (`token_rows`), numbers (`inspect_statistics`), prices
(`token_prices`), tokenizers side by side (`inspect_compare`), in a terminal (`inspect_terminal`) or as a
page of HTML that needs nothing else (`inspect_html`). All of them are functions, to be used in a notebook.

Left out: whole corpora (`tokenizer_report`, `text_statistics`). Notebook: 03 of this chapter.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError
from utils.files import atomic_write_text
from working_with_text_data.inspect_compare import Comparison, compare_tokenizers
from working_with_text_data.inspect_html import COLOURS as COLOURS
from working_with_text_data.inspect_html import (
    comparison_html,
    html_page,
    statistics_lines,
    token_report_html,
)
from working_with_text_data.inspect_html import token_strip_html as token_strip_html
from working_with_text_data.inspect_statistics import TokenStatistics as TokenStatistics
from working_with_text_data.inspect_statistics import statistics_of as statistics_of
from working_with_text_data.inspect_terminal import coloured, side_by_side
from working_with_text_data.token_prices import Price, estimate_price
from working_with_text_data.token_rows import SIGNS as SIGNS
from working_with_text_data.token_rows import TokenRow, token_table
from working_with_text_data.token_rows import rows_of_ids as rows_of_ids
from working_with_text_data.token_rows import visible as visible
from working_with_text_data.tokenizer import load_tokenizer


@dataclass(frozen=True)
class InspectConfig:
    """What to look at, with which tokenizer, and where the picture goes."""

    text: str | None = field(default=None, metadata={"help": "the text itself"})
    file: str | None = field(default=None, metadata={"help": "or a file of UTF-8 text; - is standard input"})
    tokenizer: str = field(
        default="byte", metadata={"help": "byte, gpt2, cl100k_base, o200k_base, or a saved tokenizer"}
    )
    compare: tuple[str, ...] = field(
        default=(), metadata={"help": "other tokenizers, shown beside the first"}
    )
    special: Literal["plain", "all"] = field(
        default="plain",
        metadata={"help": "all: special tokens in the text are special; plain: they are text"},
    )
    prices: str | None = field(
        default=None, metadata={"help": "YAML or JSON: name -> price of a million tokens"}
    )
    output_tokens: int = field(default=0, metadata={"help": "tokens that come back, for the price"})
    html: str | None = field(default=None, metadata={"help": "write a self-contained page"})
    json: str | None = field(default=None, metadata={"help": "write the numbers"})
    rows: int = field(default=20, metadata={"help": "rows of the token table to print; 0 for none"})
    max_chars: int = field(default=1_000_000, metadata={"help": "a longer text is cut there, and said so"})


SHOWN_CHARS = 2000  # of the text in the terminal; the numbers are those of all


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    argv = _one_name_as_list(sys.argv[1:] if argv is None else argv)
    config, given = parse_args(
        argv,
        InspectConfig,
        prog="python -m working_with_text_data.inspect_tokens",
        description="Show how tokenizers cut a text, and what that costs.",
        aliases={"--tokenizer": "tokenizer", "--file": "file", "--html": "html", "--prices": "prices"},
        positional={"words?": "the text, where key=value would be in the way"},
    )
    text = _read(config, given.words)
    names = list(dict.fromkeys([config.tokenizer, *config.compare]))
    tokenizers = {name: load_tokenizer(name) for name in names}
    allowed: frozenset[str] | Literal["all"] = "all" if config.special == "all" else frozenset()
    comparison = compare_tokenizers(text, tokenizers, allowed)
    prices = {}
    if config.prices is not None:
        for name, numbers in comparison.statistics.items():
            prices[name] = estimate_price(numbers.tokens, config.prices, config.output_tokens)

    _print_tokens(text, tokenizers, allowed, comparison)
    if len(names) == 1:
        _print_rows(comparison.rows[names[0]], config.rows)
    _print_numbers(comparison, prices)
    if config.json is not None:
        values = comparison.to_dict() | {
            "prices": {name: {p.name: p.total for p in table.values()} for name, table in prices.items()}
        }
        atomic_write_text(Path(config.json), json.dumps(values, indent=1, ensure_ascii=False))
        print(f"wrote {config.json}")
    if config.html is not None:
        if len(names) == 1:
            table = prices.get(names[0])
            body = token_report_html(text, tokenizers[names[0]], allowed, name=names[0], prices=table)
        else:
            body = comparison_html(comparison, prices)
        atomic_write_text(Path(config.html), html_page(body, "Tokens: " + ", ".join(names)))
        print(f"wrote {config.html}: open it in a browser")
    return 0


def _one_name_as_list(argv: list[str]) -> list[str]:
    """`compare=gpt2` means `compare=[gpt2]`; several are `compare=[gpt2,byte]` or `compare=gpt2,byte`."""
    words = []
    for word in argv:
        key, equals, value = word.partition("=")
        if equals and key in ("compare", "--compare") and not value.startswith("["):
            word = f"{key}=[{value}]"
        words.append(word)
    return words


def _read(config: InspectConfig, words: str | None) -> str:
    given = [text for text in (words, config.text) if text is not None]
    if len(given) + (config.file is not None) > 1:
        raise UserError("the text is given more than once: give one of text=…, file=…, or words")
    if config.max_chars < 1:
        raise UserError(f"max_chars is {config.max_chars}: it must be at least 1")
    if given:
        text = given[0]
    elif config.file is not None and config.file != "-":
        try:
            text = Path(config.file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{config.file} is not UTF-8 text (byte {error.start}): convert it first"
            ) from None
    elif config.file == "-" or not sys.stdin.isatty():
        text = sys.stdin.read()
    else:
        raise UserError('there is no text: give text="…" or file=…, or pipe one in')
    if not text:
        raise UserError("the text is empty: there are no tokens to show")
    if len(text) > config.max_chars:
        print(f"{len(text):,} characters: only the first {config.max_chars:,} are looked at (max_chars)")
        text = text[: config.max_chars]
    return text


def _print_tokens(text: str, tokenizers: dict[str, Any], allowed: Any, comparison: Comparison) -> None:
    shown = text[:SHOWN_CHARS]
    colour = sys.stdout.isatty()  # in a file colours are noise
    if len(tokenizers) > 1:
        part = comparison if shown == text else compare_tokenizers(shown, tokenizers, allowed)
        width = shutil.get_terminal_size((100, 24)).columns if colour else 100
        print(side_by_side(part, width, colour))
    else:
        (tokenizer,) = tokenizers.values()
        if colour:
            print(coloured(shown, tokenizer, allowed))
        else:
            print("|".join(row.shown for row in token_table(shown, tokenizer, allowed)))
    if shown != text:
        print(f"… the first {SHOWN_CHARS:,} of {len(text):,} characters; the numbers are those of all")


def _print_rows(rows: list[TokenRow], limit: int) -> None:
    if limit <= 0:
        return
    print(f"\n{'token':>5}  {'id':>6}  {'bytes':>11}  shown")
    for row in rows[:limit]:
        note = "  (special)" if row.special and not row.unknown else "  (unknown)" if row.unknown else ""
        print(f"{row.index:>5}  {row.id:>6}  {row.start:>5}–{row.end:<5}  {row.shown}{note}")
    if len(rows) > limit:
        print(f"… {len(rows) - limit:,} more: rows={len(rows)} prints all")


def _print_numbers(comparison: Comparison, prices: dict[str, dict[str, Price]]) -> None:
    names = list(comparison.statistics)
    first = comparison.statistics[names[0]]
    width = max(12, *map(len, names))
    about = f"{first.bytes:,} bytes, {first.characters:,} characters, {first.words:,} words"
    print(f"\n{about:<44}" + "".join(f"  {name:>{width}}" for name in names))
    for label, values in statistics_lines(comparison.statistics):
        print(f"{label:<44}" + "".join(f"  {value:>{width}}" for value in values))
    if len(names) > 1:
        shared, disputed = len(comparison.shared_cuts), len(comparison.disputed_cuts)
        print(
            f"cuts: {shared:,} shared, {disputed:,} made by some only (agreement {comparison.agreement:.1%})"
        )
    for name in prices[names[0]] if prices else ():
        cells = "".join(f"  {table[name]!s:>{width}}" for table in prices.values())
        print(f"{'price, ' + name:<44}{cells}")


if __name__ == "__main__":
    raise SystemExit(run_main(main))
