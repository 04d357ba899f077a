"""Masks: who may look at whom, including the cases that raise."""

from __future__ import annotations

import doctest

import pytest
import torch

from attention_mechanisms import causal_mask, combine_masks, masks, padding_mask, positions_from_mask
from utils.errors import UserError


def test_examples_in_the_docstrings():
    assert doctest.testmod(masks, extraglobs={"torch": torch}).failed == 0


@pytest.mark.parametrize(("q_len", "k_len"), [(1, 1), (1, 5), (3, 3), (3, 7)])
def test_causal_mask_lets_query_i_see_keys_up_to_its_own(q_len, k_len):
    mask = causal_mask(q_len, k_len)
    for i in range(q_len):
        for j in range(k_len):
            assert mask[i, j].item() == (j <= i + k_len - q_len)


def test_more_queries_than_keys_is_an_error_with_both_numbers():
    with pytest.raises(UserError, match=r"5 queries but only 3 keys"):
        causal_mask(5, 3)


@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(2, 3), torch.ones(1, 1, 2, 3).bool()])
def test_a_mask_of_the_wrong_shape_or_dtype_is_named(bad):
    with pytest.raises(UserError, match=r"attention_mask has (shape|dtype)"):
        padding_mask(bad)


def test_combining_is_a_logical_and_and_ignores_none():
    pad = padding_mask(torch.tensor([[0, 1, 1], [1, 1, 1]]))
    both = combine_masks(causal_mask(3, 3), None, pad)
    assert both.shape == (2, 1, 3, 3)
    assert both[0, 0].int().tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert combine_masks(None, None) is None


def test_positions_ignore_padding_wherever_it_stands():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 1, 1]])
    assert positions_from_mask(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 1, 2, 3]]
