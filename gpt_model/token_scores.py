"""How likely was each token of a text: log-probability, rank, entropy and the tokens that were likelier.

The idea: a model reads a finished text once and says of each token what it expected there. The figures are the
model's own, before any temperature, cut or penalty, so that texts drawn in different ways can be compared.

    log_probability   nats; its negative is the surprise
    rank              1 for the likeliest token
    entropy           nats the model was unsure by before it saw the token; ln V if it knew nothing

What each layer would have said: `lens`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpt_model.gpt import GPT
from utils.errors import UserError


class TokenScore(NamedTuple):
    """What the model thought of one token; `alternatives` are the likeliest (id, log-probability), best first."""

    id: int
    log_probability: float
    rank: int
    entropy: float
    alternatives: tuple[tuple[int, float], ...] = ()

    @property
    def probability(self) -> float:
        return math.exp(self.log_probability)


@torch.inference_mode()
def score_tokens(
    model: GPT, prompt: Sequence[int], new: Sequence[int], *, alternatives: int = 0
) -> list[TokenScore]:
    """Score each id of `new` given the prompt and the ids before it; one pass while the text fits the block.

    Further tokens are scored as sliding generation draws them: from the newest block_size ids, a pass for each.
    """
    if not prompt:
        raise UserError(
            "score_tokens needs a prompt of at least one id: nothing says how likely a first token is"
        )
    was_training = model.training
    model.eval()
    try:
        scores: list[TokenScore] = []
        for logits in _logits_before_each(model, [*prompt, *new], len(prompt)):
            scores += scores_of(logits, new[len(scores) : len(scores) + len(logits)], alternatives)
        return scores
    finally:
        model.train(was_training)


def _logits_before_each(model: GPT, text: list[int], start: int) -> Iterator[Tensor]:
    """Logits (some, V) for the ids text[start:], in order."""
    block, known = model.config.block_size, len(text) - 1
    done = start
    if start <= min(block, known):
        done = min(block, known) + 1
        yield from (
            model(torch.tensor([text[: done - 1]], device=model.device)).logits[0, start - 1 :].split(64)
        )
    for end in range(done, len(text)):
        window = torch.tensor([text[end - block : end]], device=model.device)
        yield model(window, last_only=True).logits[0]


def scores_of(logits: Tensor, ids: Sequence[int], alternatives: int) -> list[TokenScore]:
    """What logits (T, V) say of the T ids that came where each row guessed."""
    log_probs = logits.float().log_softmax(dim=-1)  # (T, V)
    own = log_probs.gather(1, torch.tensor(ids, device=logits.device)[:, None])
    ranks = (log_probs > own).sum(dim=-1) + 1
    entropies = torch.special.entr(log_probs.exp()).sum(dim=-1)
    values, likeliest = log_probs.topk(min(alternatives, log_probs.size(-1)), dim=-1)
    columns = (own[:, 0], ranks, entropies, likeliest, values)
    return [
        TokenScore(token, log_probability, rank, entropy, tuple(zip(others, theirs, strict=True)))
        for token, log_probability, rank, entropy, others, theirs in zip(
            ids, *(column.tolist() for column in columns), strict=True
        )
    ]


def shown(tokenizer: Any, token: int) -> str:
    """A token as one printable piece: space is ·, newline ⏎, half a character its bytes in hex."""
    from working_with_text_data.token_rows import visible

    return visible(tokenizer.token_bytes(token)) if 0 <= token < tokenizer.vocab_size else f"‹id {token}›"


def probability_table(tokenizer: Any, scores: Sequence[TokenScore], title: str | None = None) -> Any:
    """A rich table with a row for each token: probability, rank, entropy, and what was likeliest instead."""
    from rich.table import Table
    from rich.text import Text

    table = Table("token", title=title)
    for name in ("probability", "rank", "entropy"):
        table.add_column(name, justify="right")
    table.add_column("likeliest")
    for score in scores:
        others = "  ".join(f"{shown(tokenizer, i)} {math.exp(value):.1%}" for i, value in score.alternatives)
        table.add_row(
            Text(shown(tokenizer, score.id), style="bold"), f"{score.probability:.1%}", str(score.rank),
            f"{score.entropy:.2f}", Text(others),
        )  # fmt: skip
    return table
