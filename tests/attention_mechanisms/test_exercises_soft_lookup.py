"""LD2 for notebook 01: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch
import torch.nn.functional as F

from attention_mechanisms import attend
from attention_mechanisms.exercises.soft_lookup import ATTENTION, LOOKUP
from utils.exercises import check


def _lookup_as_a_loop(query, keys, values):
    scores = [sum(a * b for a, b in zip(query.tolist(), key.tolist())) for key in keys]
    shares = torch.tensor(scores).softmax(dim=0).tolist()
    return [sum(s * v for s, v in zip(shares, column)) for column in values.T.tolist()]


def _attention_by_the_module(q, k, v, mask):
    return attend(q[None, None], k[None, None], v[None, None], mask)[0, 0]


def _attention_by_torch(q, k, v, mask):
    return F.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], attn_mask=mask)[0, 0]


def _query_scaled_first(q, k, v, mask):
    scores = (q / q.size(-1) ** 0.5) @ k.T
    return torch.where(mask, scores, torch.tensor(-1e30)).softmax(-1) @ v


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (LOOKUP, _lookup_as_a_loop),
        (LOOKUP, lambda q, k, v: (k @ q).softmax(0) @ v),
        (ATTENTION, _attention_by_the_module),
        (ATTENTION, _attention_by_torch),
        (ATTENTION, _query_scaled_first),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LOOKUP, lambda q, k, v: 1.0, "not float"),
        (LOOKUP, lambda q, k, v: (k @ q).softmax(0), "the answer has shape (3,)"),
        (LOOKUP, lambda q, k, v: v[0], "the plain mean"),
        (LOOKUP, lambda q, k, v: (2 * (k @ q)).softmax(0) @ v, "shares 3/4 and 1/4"),
        (ATTENTION, lambda q, k, v, mask: v, "the answer has shape (3, 5)"),
        (ATTENTION, lambda q, k, v, mask: (q @ k.T / 2).softmax(-1) @ v, "width 9"),
        (ATTENTION, lambda q, k, v, mask: 0.5 * _attention_by_torch(q, k, v, mask), "the plain mean"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message
