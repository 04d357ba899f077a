"""LD2 for notebook 02: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

from types import SimpleNamespace

import pytest
import torch

from attention_mechanisms import MultiHeadAttention, causal_mask, window_mask
from attention_mechanisms.exercises.causal_multi_head import JOIN, MASK, SPLIT
from utils.exercises import check, load_answer


def _mask_by_positions(q_len, k_len):
    keys = torch.arange(k_len)
    return keys[None, :] <= keys[k_len - q_len :, None]


def _split_by_chunks(x, n_head):
    return torch.stack(x.chunk(n_head, dim=-1), dim=1)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (MASK, _mask_by_positions),
        (MASK, causal_mask),
        (MASK, lambda q_len, k_len: [[k <= q + k_len - q_len for k in range(k_len)] for q in range(q_len)]),
        (SPLIT, _split_by_chunks),
        (SPLIT, lambda x, n_head: x.unflatten(-1, (n_head, -1)).transpose(1, 2)),
        (JOIN, lambda y: torch.cat(y.unbind(dim=1), dim=-1)),
        (JOIN, lambda y: y.transpose(1, 2).flatten(2)),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (MASK, lambda q_len, k_len: q_len, "give a tensor, not int"),
        (MASK, lambda q_len, k_len: causal_mask(q_len, k_len).int(), "give booleans"),
        (MASK, lambda q_len, k_len: window_mask(q_len, k_len, 3), "the last query is the newest token"),
        (MASK, lambda q_len, k_len: causal_mask(q_len, k_len).flip(1), "whoever sees a key"),
        (SPLIT, lambda x, n_head: x, "(batch, heads, tokens, numbers)"),
        (SPLIT, lambda x, n_head: _split_by_chunks(x.flip(-1), n_head), "has the channels"),
        (SPLIT, lambda x, n_head: _split_by_chunks(x.flip(1), n_head), "tokens got mixed up"),
        (JOIN, lambda y: y, "all its heads side by side"),
        (JOIN, lambda y: torch.cat(y.flip(1).unbind(dim=1), dim=-1), "has the channels"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_joining_undoes_splitting_and_both_are_what_the_module_does():
    """A layer whose projections hand everything through returns what the two exercises make of its input."""
    split, join = (load_answer(e.solution, e.function) for e in (SPLIT, JOIN))
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(join(split(x, 3)), x)
    config = SimpleNamespace(
        n_embd=12, n_head=3, dropout=0.0, bias=False, position="learned", attn_backend="manual"
    )
    layer = MultiHeadAttention(config)
    with torch.no_grad():
        layer.qkv_proj.weight.copy_(torch.eye(12).repeat(3, 1))
    for ours, theirs in zip((split(x, 3),) * 3, layer.project(x), strict=True):
        assert torch.equal(ours, theirs)
