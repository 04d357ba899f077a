"""LD2 for notebook 04 of attention: right answers pass however they are written, wrong ones get a lesson."""

import math

import pytest
import torch

from attention_mechanisms import alibi_bias, alibi_slopes
from attention_mechanisms.exercises.positions import ALIBI, ROTATE
from attention_mechanisms.positions import RotaryPositions
from utils.exercises import check, predict


def _rotate_of_the_module(x, position, theta):
    rope = RotaryPositions(len(x), 64, theta=theta, layout="interleaved").double()
    if position != int(position):  # the checker turns by a quarter as well
        a, b = x
        return [
            a * math.cos(position) - b * math.sin(position),
            b * math.cos(position) + a * math.sin(position),
        ]
    return rope.rotate(torch.tensor([[[x]]], dtype=torch.float64), torch.tensor([int(position)])).flatten()


def _alibi_of_the_module(n_head, n_tokens):
    where = torch.arange(n_tokens)
    return alibi_bias(alibi_slopes(n_head), where, where)


def _alibi_by_the_key_alone(n_head, n_tokens):
    """slope · key: another number in each row, the same softmax."""
    return (alibi_slopes(n_head)[:, None, None] * torch.arange(n_tokens)).expand(-1, n_tokens, -1)


def _alibi_with_the_mask(n_head, n_tokens):
    tables = _alibi_of_the_module(n_head, n_tokens)
    return tables.masked_fill(torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1), -math.inf).tolist()


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (ROTATE, _rotate_of_the_module),
        (ALIBI, _alibi_of_the_module),
        (ALIBI, _alibi_by_the_key_alone),
        (ALIBI, _alibi_with_the_mask),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (ROTATE, lambda x, position, theta: "x", "a list of numbers, not str"),
        (ROTATE, lambda x, position, theta: [0.0] * len(x), "at position 0 nothing turns"),
        (ALIBI, lambda n_head, n_tokens: 0.0, "a table for each head"),
        (ALIBI, lambda n_head, n_tokens: torch.zeros(3, n_tokens, n_tokens), "1 heads but 3 tables"),
        (ALIBI, lambda n_head, n_tokens: torch.zeros(n_head, 1, n_tokens), "4 rows (queries)"),
        (ALIBI, lambda n_head, n_tokens: torch.zeros(n_head, n_tokens, n_tokens), "has the slope"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_predictions_answer_with_what_the_module_computes():
    from attention_mechanisms.positions import rope_angles

    radians = rope_angles(64, 2)[1, -1].item()
    assert predict("slowest_turn", 1000).answer == pytest.approx(2 * math.pi / radians)
    slope = alibi_slopes(8)[0].item()
    assert math.exp(-slope * predict("alibi_reach", 50).answer) == pytest.approx(0.01)
