"""LD2 for notebook 03: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch

from attention_mechanisms import analysis
from attention_mechanisms.exercises.reading_attention import (
    EFFECTIVE,
    PREFIX,
    WITHOUT,
)
from utils.exercises import check, load_answer


def _by_table(shares, tokens):
    return analysis.induction_score(shares, tokens)


def _by_mask(y, head, n_head):
    width = y.size(-1) // n_head
    mine = torch.arange(y.size(-1)) // width == head
    return torch.where(mine, y.mean(dim=(0, 1)), y)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (EFFECTIVE, lambda shares: analysis.entropy(shares).exp()),
        (EFFECTIVE, lambda shares: torch.special.entr(shares).sum(-1).exp().tolist()),
        (EFFECTIVE, lambda shares: 1 / torch.where(shares > 0, shares**shares, 1.0).prod(-1)),
        (PREFIX, _by_table),
        (PREFIX, lambda shares, tokens: float(_by_table(shares, tokens))),
        (WITHOUT, _by_mask),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (EFFECTIVE, lambda shares: "three", "give numbers, not str"),
        (EFFECTIVE, lambda shares: shares, "one number for each row"),
        (EFFECTIVE, lambda shares: 1 / (shares**2).sum(-1), "count e^(1.5 ln 2) = 2.83"),
        (EFFECTIVE, lambda shares: torch.ones(len(shares)), "an even row over n keys counts n"),
        (PREFIX, lambda shares, tokens: shares, "one number for the map"),
        (PREFIX, lambda shares, tokens: 1.0, "is not prefix matching"),
        (PREFIX, lambda shares, tokens: float(_by_table(shares, tokens) > 0.5), "an even head scores"),
        (PREFIX, lambda shares, tokens: _oldest(shares, tokens), "every copy|any earlier copy|scores 1"),
        (WITHOUT, lambda y, head, n_head: y[..., :-1], "the same shape"),
        (WITHOUT, lambda y, head, n_head: y, "on average over texts and tokens"),
        (
            WITHOUT,
            lambda y, head, n_head: _by_mask(y, n_head - 1 - head, n_head),
            "must leave the other heads",
        ),
        (WITHOUT, lambda y, head, n_head: _by_mask(y, head, n_head) * 2, "must leave the other heads"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and any(part in result.message for part in words.split("|")), result.message


def _oldest(shares, tokens):
    rows = [(q, tokens.index(token) + 1) for q, token in enumerate(tokens) if token in tokens[:q]]
    return sum(float(shares[q, k]) for q, k in rows) / len(rows)


def test_the_solutions_are_what_the_modules_do():
    """The score and the ablation of the exercises, on a real model's maps and outputs."""
    from gpt_model import GPT, GPTConfig
    from gpt_model.trace import attention_maps

    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=20, block_size=24, n_layer=1, n_head=2, n_embd=8)).eval()
    ids = analysis.repeated_tokens(20, 9)
    score = load_answer(PREFIX.solution, PREFIX.function)
    one = attention_maps(model, ids)[0, 1]
    assert score(one, ids[0].tolist()) == pytest.approx(
        float(analysis.induction_score(one, ids[0])), abs=1e-6
    )

    y = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    without = load_answer(WITHOUT.solution, WITHOUT.function)
    assert torch.allclose(without(y, 1, 2), _by_mask(y, 1, 2))
