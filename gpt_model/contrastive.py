"""Strategies side by side: one prompt, one model, several ways to choose, and what the model thinks of each choice.

    ways = {"greedy": Sampling(temperature=0), "beam": Beam(4)}
    pair = compare_strategies(model, tokenizer, "Once upon a time", ways)
    pair                      # a table in a notebook, each token coloured by the model's surprise
    print(pair)               # the same for a terminal
    pair.parting("greedy", "beam")

The idea: log-probabilities are the model's own, whatever the strategy did to them, so they can be compared (see
`token_scores`): greedy and beams write what the model expects, sampling what it finds possible.
Left out: contrastive decoding, where one model's expectations are subtracted from another's. Notebook: 04.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from gpt_model.beam import Beam, beam_search
from gpt_model.diversity import distinct_n
from gpt_model.generation import generate
from gpt_model.gpt import GPT
from gpt_model.sampling import Sampling
from gpt_model.token_scores import TokenScore, probability_table, score_tokens, shown
from utils.errors import UserError


@dataclass(frozen=True)
class Continuation:
    """What one strategy wrote: its ids (a stop id is not among them), the text, and the model's score of each id."""

    name: str
    settings: Sampling | Beam
    ids: list[int]
    text: str
    tokens: list[TokenScore]

    @property
    def mean_log_probability(self) -> float:
        """Nats per token; NaN for an empty text."""
        return sum(t.log_probability for t in self.tokens) / len(self.tokens) if self.tokens else math.nan

    @property
    def likeliest_share(self) -> float:
        """How often the model's likeliest token was taken; NaN for an empty text."""
        return sum(t.rank == 1 for t in self.tokens) / len(self.tokens) if self.tokens else math.nan

    @property
    def distinct_2(self) -> float:
        """Different pairs of ids among all pairs; a loop brings it towards 0."""
        return distinct_n([self.ids], 2)

    def to_dict(self) -> dict[str, Any]:
        """Text, ids and figures as JSON values."""
        return {
            "name": self.name,
            "text": self.text,
            "ids": self.ids,
            "mean_log_probability": self.mean_log_probability if self.tokens else None,
            "likeliest_share": self.likeliest_share if self.tokens else None,
            "distinct_2": self.distinct_2,
            "tokens": [token._asdict() for token in self.tokens],
        }


@dataclass(frozen=True)
class StrategyComparison:
    """Continuations of one prompt by name, in the order in which the strategies were given."""

    prompt: str
    continuations: dict[str, Continuation]
    tokenizer: Any

    def __getitem__(self, name: str) -> Continuation:
        return self.continuations[name]

    def parting(self, one: str, other: str) -> int | None:
        """The place of the first new token in which two continuations differ; None when they are equal."""
        a, b = self[one].ids, self[other].ids
        for i in range(max(len(a), len(b))):
            if a[i : i + 1] != b[i : i + 1]:
                return i
        return None

    def table(self) -> Any:
        """A rich table, one row a strategy."""
        from rich.table import Table
        from rich.text import Text

        table = Table("strategy", "text", title=f"after {self.prompt!r}", show_lines=True)
        for name in ("tokens", "nats per token", "likeliest taken", "distinct-2"):
            table.add_column(name, justify="right")
        for each in self.continuations.values():
            table.add_row(Text(each.name), Text(each.text), *_figures(each))
        return table

    def token_table(self, name: str) -> Any:
        """A rich table of one continuation's tokens with probability, rank, entropy and alternatives."""
        return probability_table(self.tokenizer, self[name].tokens, title=name)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, for a page or a file."""
        return {
            "prompt": self.prompt,
            "continuations": [each.to_dict() for each in self.continuations.values()],
        }

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console

        console = Console(file=StringIO(), width=110)
        console.print(self.table())
        return console.file.getvalue()  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        """What a notebook shows: each token coloured by the model's surprise, its figures on hover."""
        cells = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{escape(each.name)}</th>"
            f"<td style='text-align:left;white-space:normal'>{''.join(map(self._span, each.tokens))}</td>"
            + "".join(f"<td style='vertical-align:top'>{figure}</td>" for figure in _figures(each))
            + "</tr>"
            for each in self.continuations.values()
        )
        heads = "".join(
            f"<th>{h}</th>"
            for h in ("strategy", "text", "tokens", "nats per token", "likeliest taken", "distinct-2")
        )
        return (
            f"<p>after <code>{escape(self.prompt)}</code>; the stronger the colour, the more the token surprised "
            f"the model</p><table><tr>{heads}</tr>{cells}</table>"
        )

    def _span(self, token: TokenScore) -> str:
        others = ", ".join(f"{shown(self.tokenizer, i)} {math.exp(v):.1%}" for i, v in token.alternatives)
        about = f"{token.probability:.1%}, rank {token.rank}, entropy {token.entropy:.2f} nats; likeliest: {others}"
        strength = min(1.0, -token.log_probability / 8)
        return (
            f"<span title='{escape(about)}' style='background:rgba(230,120,20,{strength:.2f});border-radius:3px'>"
            f"{escape(shown(self.tokenizer, token.id))}</span><wbr>"
        )


def compare_strategies(
    model: GPT,
    tokenizer: Any,
    prompt: str | Sequence[int],
    strategies: Mapping[str, Sampling | Beam],
    *,
    max_new_tokens: int = 40,
    stop_ids: Collection[int] | None = None,
    alternatives: int = 3,
    on_overflow: str = "stop",
) -> StrategyComparison:
    """Continue one prompt by each strategy and score every token by the model alone.

    A text prompt is encoded as `python -m gpt_model.sample` does it: behind <|endoftext|> where the tokenizer has it,
    which is then also the stop id unless `stop_ids` says otherwise. Ids that the tokenizer does not know are never
    chosen. Give Sampling a seed to repeat a comparison.
    """
    if not strategies:
        raise UserError(
            'no strategies to compare: give at least one, such as {"greedy": Sampling(temperature=0)}'
        )
    end = tokenizer.special_tokens.get("<|endoftext|>")
    if isinstance(prompt, str):
        ids = [*([] if end is None else [end]), *tokenizer.encode_ordinary(prompt)]
    else:
        ids = [int(token) for token in prompt]
        prompt = str(tokenizer.decode(ids))
    stops = (() if end is None else (end,)) if stop_ids is None else tuple(stop_ids)
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "stop_ids": stops,
        "on_overflow": on_overflow,
    }
    found = {}
    for name, settings in strategies.items():
        if isinstance(settings, Beam):
            limited = replace(settings, sampling=within(tokenizer, settings.sampling))
            new = beam_search(model, [ids], limited, **options)[0][0].ids
        elif isinstance(settings, Sampling):
            new = generate(model, [ids], sampling=within(tokenizer, settings), **options)[0]
        else:
            raise UserError(f"strategy {name!r} is {settings!r}: give a Sampling or a Beam")
        scores = score_tokens(model, ids, new, alternatives=alternatives)
        found[name] = Continuation(name, settings, new, tokenizer.decode(new), scores)
    return StrategyComparison(prompt, found, tokenizer)


def within(tokenizer: Any, sampling: Sampling) -> Sampling:
    """The same settings, limited to ids that the tokenizer knows."""
    if sampling.vocab_limit is not None:
        return sampling
    return replace(sampling, vocab_limit=tokenizer.vocab_size)


def _figures(each: Continuation) -> tuple[str, str, str, str]:
    return (
        str(len(each.ids)),
        f"{each.mean_log_probability:.2f}",
        f"{each.likeliest_share:.0%}" if each.tokens else "–",
        f"{each.distinct_2:.2f}",
    )
