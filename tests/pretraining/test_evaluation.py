"""Evaluation and baselines against values worked out by hand or by another route."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_checks import BLOCK, VOCAB, tiny_model, tiny_tokens

from pretraining.baselines import bigram_baseline, unigram_baseline
from pretraining.evaluation import (
    EvalBatches,
    EvalResult,
    bits_per_byte,
    count_bytes_per_token,
    evaluate,
    perplexity,
)
from utils.errors import UserError
from working_with_text_data.byte_tokenizer import ByteTokenizer


@pytest.mark.parametrize("count", [2, 3, BLOCK, BLOCK + 1, BLOCK + 2, 5 * BLOCK + 7])
def test_each_token_but_the_first_is_predicted_exactly_once(count):
    tokens = np.arange(count)
    batches = EvalBatches(tokens, BLOCK, 2)
    asked = [int(i) for _, y in batches for i in y[y != -100]]
    assert asked == list(range(1, count))
    assert len(list(batches)) == len(batches)
    for x, y in batches:
        assert torch.equal(y[y != -100], x[y != -100] + 1), "a label is not the token after its input"


def test_the_loss_is_the_mean_over_tokens_not_over_batches():
    model, tokens = tiny_model().eval(), tiny_tokens(5 * BLOCK + 4)
    result = evaluate(model, EvalBatches(tokens, BLOCK, 2))
    total = 0.0
    for start in range(
        0, len(tokens) - 1, BLOCK
    ):  # the last window is short: batch means would weigh it too much
        piece = torch.from_numpy(tokens[start : start + BLOCK + 1])
        with torch.no_grad():
            total += float(F.cross_entropy(model(piece[None, :-1]).logits[0], piece[1:], reduction="sum"))
    assert result.tokens == len(tokens) - 1
    assert result.loss == pytest.approx(total / result.tokens, rel=1e-6)
    assert result.perplexity == pytest.approx(math.exp(result.loss))


def test_a_cap_keeps_the_first_tokens():
    tokens = tiny_tokens(200)
    capped = EvalBatches(tokens, BLOCK, 4).capped(50)
    assert sum(int((y != -100).sum()) for _, y in capped) == 50
    model = tiny_model()
    assert evaluate(model, capped).loss == pytest.approx(
        evaluate(model, EvalBatches(tokens[:51], BLOCK, 4)).loss
    )


def test_ignored_batches_are_harmless_and_nothing_to_evaluate_is_an_error():
    model, ids = tiny_model(), torch.zeros(2, BLOCK, dtype=torch.int64)
    blank = (ids, torch.full_like(ids, -100))
    assert evaluate(model, [blank, (ids, ids)]).loss == evaluate(model, [(ids, ids)]).loss
    with pytest.raises(UserError, match="no label"):
        evaluate(model, [blank])
    with pytest.raises(UserError, match="2 are needed"):
        EvalBatches([1], BLOCK, 2)


def test_perplexity_never_overflows():
    assert perplexity(1e9) == math.inf and perplexity(2.0) == pytest.approx(math.e**2)
    assert EvalResult(1e9, 1, math.inf).to_dict()["perplexity"] is None


def test_bits_per_byte_of_a_uniform_guess_over_bytes_is_eight():
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8.0)
    assert bits_per_byte(math.log(256), 4.0) == pytest.approx(2.0), (
        "a token of four bytes has four times fewer"
    )
    with pytest.raises(UserError, match="bytes_per_token"):
        bits_per_byte(1.0, 0.0)


def test_bytes_per_token_counts_text_and_no_special_token():
    tokenizer = ByteTokenizer()
    ids = [*tokenizer.encode_ordinary("né"), tokenizer.special_tokens["<|eos|>"]]
    assert count_bytes_per_token(tokenizer, ids) == pytest.approx(3 / 4)


def test_unigram_baseline_by_hand():
    # counts a:3 b:1, add one over three ids: a 4/7, b 2/7, c 1/7; judged on [b, c], the first a left out
    loss = unigram_baseline([0, 0, 0, 1], [0, 1, 2], 3)
    assert loss == pytest.approx(-(math.log(2 / 7) + math.log(1 / 7)) / 2)


def test_bigram_baseline_by_hand():
    # pairs of 0 1 0 1 0 2: (0,1) and (1,0) twice, (0,2) once; p_uni = (4, 3, 2)/9; m = 2
    # p(b|a) = (count + m p_uni(b)) / (c(a) + m)
    loss = bigram_baseline([0, 1, 0, 1, 0, 2], [0, 1, 0, 2, 1], 3, strength=2.0)
    by_hand = [(2 + 2 * 3 / 9) / 5, (2 + 2 * 4 / 9) / 4, (1 + 2 * 2 / 9) / 5, (0 + 2 * 3 / 9) / 2]
    assert loss == pytest.approx(-sum(map(math.log, by_hand)) / 4)


def test_bigram_equals_a_dense_table_and_beats_unigram_on_a_chain():
    train, val = tiny_tokens(700)[:600], tiny_tokens(700)[600:]
    table = np.zeros((VOCAB, VOCAB))
    for a, b in pairwise(train):
        table[a, b] += 1
    p = (np.bincount(train, minlength=VOCAB) + 1) / (len(train) + VOCAB)
    dense = (table + 10 * p) / (table.sum(1, keepdims=True) + 10)
    assert dense.sum(1) == pytest.approx(np.ones(VOCAB)), "not a distribution: nothing would be compared"
    expected = -np.log(dense[val[:-1], val[1:]]).mean()
    assert bigram_baseline(train, val, VOCAB, strength=10.0) == pytest.approx(expected)
    assert bigram_baseline(train, val, VOCAB) < unigram_baseline(train, val, VOCAB) - 1.0


def test_baselines_refuse_ids_outside_the_vocabulary():
    with pytest.raises(UserError, match="vocab_size is 2"):
        unigram_baseline([0, 1, 2], [0, 1], 2)
    with pytest.raises(UserError, match="needs 2"):
        bigram_baseline([0], [0, 1], 2)
