"""Two numbers for many samples of one prompt: how much they differ, and how likely the model finds them.

The idea: temperature and cuts trade one for the other. Distinct-n is the share of different n-grams among all of the
samples (Li et al. 2015, arXiv 1510.03055, section 5.2): 1 means that nothing is ever repeated. Mean log-probability
per token stands for quality only as far as the model can judge; repetitive loops score high (notebook 04 shows it).
"""

from collections.abc import Sequence

from gpt_model.gpt import GPT
from gpt_model.token_scores import score_tokens
from utils.errors import UserError


def distinct_n(samples: Sequence[Sequence[int]], n: int = 2) -> float:
    """Different n-grams divided by all n-grams of the samples; 0.0 where no sample has n ids.

    >>> distinct_n([[1, 2, 1, 2], [1, 2]], n=2)
    0.5
    """
    if n < 1:
        raise UserError(f"distinct_n: n is {n}: it must be at least 1")
    ngrams = [tuple(ids[i : i + n]) for ids in samples for i in range(len(ids) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def mean_log_probability(model: GPT, prompt: Sequence[int], samples: Sequence[Sequence[int]]) -> float:
    """Nats per token that the model gives to the samples after the prompt, all tokens weighing the same."""
    scores = [score.log_probability for ids in samples for score in score_tokens(model, prompt, ids)]
    if not scores:
        raise UserError("mean_log_probability: the samples hold no token: give at least one")
    return sum(scores) / len(scores)
