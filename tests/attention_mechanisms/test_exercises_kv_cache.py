"""LD2 for notebook 05 of attention: right answers pass however they are written, wrong ones get a lesson."""

import pytest
import torch

from attention_mechanisms import AttentionShape, bytes_per_token, cache_bytes, causal_mask
from attention_mechanisms.attention import repeat_heads
from attention_mechanisms.exercises.kv_cache import BYTES, MASK, REPEAT
from utils.exercises import check, predict


def _mask_as_lists(n_new, n_total):
    return [[key <= n_total - n_new + query for key in range(n_total)] for query in range(n_new)]


def _repeat_by_expand(k, n_head):
    batch, n_kv, tokens, width = k.shape
    wide = k[:, :, None].expand(-1, -1, n_head // n_kv, -1, -1)
    return wide.reshape(batch, n_head, tokens, width)


def _bytes_of_the_module(n_layer, n_head, n_kv_head, head_dim, n_tokens, batch, itemsize):
    dtype = {1: torch.int8, 2: torch.bfloat16, 4: torch.float32}[itemsize]
    if itemsize == 1:  # the module's int8 has scales as well, which the exercise leaves out
        return 2 * n_layer * n_kv_head * head_dim * n_tokens * batch
    shape = AttentionShape(
        n_layer=n_layer, n_head=n_head, n_embd=n_head * head_dim, n_kv_head=n_kv_head, position="none"
    )
    return cache_bytes("gqa", shape, n_tokens, dtype, batch=batch)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (MASK, causal_mask),
        (MASK, _mask_as_lists),
        (REPEAT, repeat_heads),
        (REPEAT, _repeat_by_expand),
        (BYTES, _bytes_of_the_module),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (MASK, lambda n_new, n_total: True, "a table of True and False"),
        (MASK, lambda n_new, n_total: [[True] * n_total] * (n_new + 1), "a token may look at itself"),
        (REPEAT, lambda k, n_head: [1], "a tensor, not list"),
        (REPEAT, lambda k, n_head: k, "give the shape (1, 4, 2, 3)"),
        (REPEAT, lambda k, n_head: _repeat_by_expand(k, n_head).flip(1), "must read key head"),
        (BYTES, lambda *numbers: "many", "a number, not str"),
        (BYTES, lambda *numbers: 2, "GPT-2 small in bf16"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_predictions_answer_with_what_the_module_computes():
    shape = AttentionShape(n_layer=12)
    assert predict("kv_bytes", 1).answer == bytes_per_token("mha", shape, torch.bfloat16)
    share = bytes_per_token("mha", shape, torch.int8) / bytes_per_token("mha", shape, torch.bfloat16)
    assert predict("int8_share", 0.5).answer == share


def test_the_cache_outweighs_the_weights_where_the_prediction_says():
    from gpt_model.config import preset
    from gpt_model.costs import cache_bytes as of_model
    from gpt_model.costs import skeleton

    config = preset("gpt2")
    weights = 2 * skeleton(config).num_parameters()
    tokens = predict("cache_outweighs_weights", 1).answer
    each = of_model(config, 1, 1, torch.bfloat16)
    assert tokens * each == pytest.approx(weights)
