"""From logits to a token: temperature, top-k, top-p, repetition penalty, and one draw.

The idea: a language model gives a distribution, and how one draws from it shapes the text. Every rule is a
pure function from logits to logits (forbidden tokens get -inf), applied in a fixed order: repetition penalty,
vocabulary limit, temperature, top-k, top-p. Then one uniform number picks the token. Randomness comes
from a generator that the caller owns, never from the global one.

Top-k: Fan et al. 2018 (arXiv 1805.04833). Top-p (nucleus): Holtzman et al. 2019 (arXiv 1904.09751,
section 3.1). Repetition penalty: Keskar et al. 2019, CTRL (arXiv 1909.05858, section 4.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How to draw. The defaults draw from the model's own distribution.

    temperature: 0 is argmax, below 1 is safer, above 1 is wilder.  top_k: only the k likeliest tokens.
    top_p: only the smallest set of likeliest tokens whose probability reaches p.
    seed: row i of a batch draws from its own generator seeded with seed + i, so the result depends neither
    on other rows nor on anything else that runs; None takes a fresh seed.
    repetition_penalty: above 1 makes tokens that stand in the context less likely.
    vocab_limit: ids from here on are never drawn (rows of the embedding that no token uses).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    repetition_penalty: float = 1.0
    vocab_limit: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature is {self.temperature}: it must be 0 (always the likeliest) or more")
        if self.top_k is not None and (self.top_k < 1 or self.top_k != int(self.top_k)):
            raise UserError(
                f"top_k is {self.top_k}: it must be a whole number of at least 1, or None for no limit"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}: it must be above 0 and at most 1, or None for no limit")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise UserError(
                f"repetition_penalty is {self.repetition_penalty}: it must be above 0; 1 changes nothing"
            )
        if self.vocab_limit is not None and self.vocab_limit < 1:
            raise UserError(f"vocab_limit is {self.vocab_limit}: at least one token must be left to draw")
        if self.top_k is not None:
            object.__setattr__(self, "top_k", int(self.top_k))  # a slider sends 3.0 for 3

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken without a draw: at temperature 0 or all but 0.

        At 1e-5 a token that is only 0.001 nats behind has a probability of e^-100.
        """
        return self.temperature < 1e-5


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """logits / temperature, for temperature > 0."""
    return logits / temperature


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Keep exactly min(k, V) of the largest logits of each row (..., V); the rest become -inf.

    Exactly k also when values tie: indices are kept, not "everything at least as large as the k-th".
    """
    if k >= logits.size(-1):
        return logits
    values, indices = logits.topk(k, dim=-1)
    return torch.full_like(logits, -torch.inf).scatter_(-1, indices, values)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens of each row (..., V) whose probability reaches p.

    The token that crosses the threshold is kept, so at least one always is.
    """
    if p >= 1:
        return logits
    ordered, indices = logits.sort(dim=-1, descending=True, stable=True)
    shares = ordered.softmax(dim=-1)
    before = shares.cumsum(dim=-1) - shares  # probability of everything likelier than this token
    return torch.empty_like(logits).scatter_(-1, indices, ordered.masked_fill(before >= p, -torch.inf))


def penalise_repetition(logits: Tensor, history: Sequence[int] | Tensor, penalty: float) -> Tensor:
    """Make the tokens of `history` less likely: positive logits are divided, negative ones multiplied.

    logits (V,) of one row; each token counts once however often it occurred. Dividing a negative
    logit would make it likelier, hence the two signs.
    """
    seen = torch.as_tensor(history, dtype=torch.long, device=logits.device).unique()
    values = logits[seen]
    values = torch.where(values > 0, values / penalty, values * penalty)
    return logits.index_put((seen,), values)


def process(logits: Tensor, sampling: Sampling, history: Sequence[Sequence[int]] | None = None) -> Tensor:
    """All rules of `sampling` on logits (B, V); a greedy choice needs only those that change the order."""
    if sampling.repetition_penalty != 1.0 and history is not None:
        penalty = sampling.repetition_penalty
        rows = zip(logits, history, strict=True)
        logits = torch.stack([penalise_repetition(row, seen, penalty) for row, seen in rows])
    if sampling.vocab_limit is not None and sampling.vocab_limit < logits.size(-1):
        logits = logits.clone()
        logits[..., sampling.vocab_limit :] = -torch.inf
    if sampling.greedy:
        return logits
    if sampling.temperature != 1.0:
        logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = top_k_filter(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = top_p_filter(logits, sampling.top_p)
    return logits


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the cumulative distribution: probabilities (B, V) and uniforms (B,) in [0, 1) -> ids (B,).

    In float64, where u · total < total for every u the generator can give; so the first place whose
    cumulative sum exceeds it exists and has a probability above zero.
    """
    cumulative = probabilities.double().cumsum(dim=-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)


def sample(
    logits: Tensor,
    sampling: Sampling,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    history: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """Draw one token per row: logits (B, V) -> int64 (B,); for logits (V,) a tensor without dimension.

    `generator` is one per row (rows stay independent of each other), or one for all, drawn from in order.
    `history` holds the context of each row, for the repetition penalty.
    """
    if logits.dim() == 1:
        return sample(logits[None], sampling, generator, None if history is None else [history])[0]  # type: ignore[list-item]
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    logits = process(logits, sampling, history)
    if sampling.greedy:
        return logits.argmax(dim=-1)
    if generator is None:
        generator = make_generators(sampling.seed, 1)[0]
    per_row = [generator] * len(logits) if isinstance(generator, torch.Generator) else generator
    uniforms = torch.stack([torch.rand((), dtype=torch.float64, generator=g) for g in per_row])
    return draw(logits.softmax(dim=-1), uniforms.to(logits.device))


def make_generators(seed: int | None, rows: int) -> list[torch.Generator]:
    """One CPU generator per row, seeded seed, seed + 1, …; without a seed each gets a fresh one.

    They live on the CPU whatever the model's device, so that the same seed gives the same text everywhere.
    """
    generators = [torch.Generator() for _ in range(rows)]
    for i, generator in enumerate(generators):
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed + i)
    return generators
