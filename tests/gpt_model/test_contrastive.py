"""Strategies side by side, and the model's score of every token."""

from __future__ import annotations

import json
import math

import pytest
from model_checks import build
from score_checks import check_scores_by_definition

from gpt_model import Sampling, compare_strategies, score_tokens, token_scores
from gpt_model.beam import Beam
from gpt_model.diversity import distinct_n, mean_log_probability
from utils.errors import UserError
from working_with_text_data import ByteTokenizer

WAYS = {
    "greedy": Sampling(temperature=0.0),
    "beam": Beam(width=3),
    "drawn": Sampling(temperature=1.3, seed=1),
}


def compare(**options):
    model = build(vocab_size=300, n_embd=32, block_size=24)
    return compare_strategies(model, ByteTokenizer(), "<b>&", WAYS, max_new_tokens=9, **options)


@pytest.mark.parametrize("length", [4, 15, 16, 17, 24])
def test_scores_are_the_models_own_also_beyond_its_block(length):
    check_scores_by_definition(build(block_size=16), length)


def test_a_prompt_longer_than_the_block_is_scored_by_its_newest_ids():
    check_scores_by_definition(build(block_size=16), 23, prompt_length=20)


def test_scoring_the_place_itself_is_noticed(monkeypatch):
    real = token_scores._logits_before_each
    monkeypatch.setattr(
        token_scores, "_logits_before_each", lambda model, text, start: real(model, [*text, 0], start + 1)
    )
    with pytest.raises(AssertionError, match="judge it"):
        check_scores_by_definition(build(block_size=32), 9)


def test_scoring_leaves_the_model_in_its_mode():
    model = build(dropout=0.5)
    still = score_tokens(model, [1], [2, 3])
    model.train()
    assert score_tokens(model, [1], [2, 3]) == still and model.training
    assert score_tokens(model, [1], []) == []
    with pytest.raises(UserError, match="prompt"):
        score_tokens(model, [], [1])


def test_each_strategy_is_scored_by_the_same_model():
    found = compare()
    greedy, beam = found["greedy"], found["beam"]
    assert greedy.text == ByteTokenizer().decode(greedy.ids)
    known = compare_strategies(build(vocab_size=256), ByteTokenizer(), "A", WAYS, max_new_tokens=9)
    assert known["greedy"].likeliest_share == 1.0 > known["drawn"].likeliest_share
    total = sum(token.log_probability for token in beam.tokens)
    # Ids from 256 on stand for no byte and are out of reach, so the search's own sums are of what is left.
    assert len(beam.tokens) == 9 and total < 0 and max(beam.ids) < 256
    assert found.parting("greedy", "greedy") is None
    at = found.parting("greedy", "drawn")
    assert greedy.ids[:at] == found["drawn"].ids[:at] and greedy.ids[at] != found["drawn"].ids[at]
    assert compare()["drawn"].ids == found["drawn"].ids, "a seed repeats a comparison"


def test_the_comparison_can_be_shown_and_kept():
    found = compare()
    text, page = str(found), found._repr_html_()
    assert all(name in text and name in page for name in WAYS)
    assert "<b>" not in page and "&lt;b&gt;&amp;" in page, "the prompt must not become markup"
    kept = json.loads(json.dumps(found.to_dict()))
    assert [each["name"] for each in kept["continuations"]] == list(WAYS)
    assert len(kept["continuations"][0]["tokens"]) == 9
    assert found.token_table("beam").row_count == 9


def test_ids_as_a_prompt_and_a_full_block_and_nothing_to_say():
    found = compare_strategies(
        build(vocab_size=256, block_size=8), ByteTokenizer(), [65] * 8, WAYS, max_new_tokens=5
    )
    assert found.prompt == "A" * 8 and {len(each.ids) for each in found.continuations.values()} == {1}
    none = compare_strategies(build(vocab_size=256), ByteTokenizer(), "A", WAYS, max_new_tokens=0)
    assert math.isnan(none["beam"].mean_log_probability) and "–" in str(none)
    assert none.to_dict()["continuations"][0]["mean_log_probability"] is None


@pytest.mark.parametrize(("ways", "word"), [({}, "no strategies"), ({"x": 3}, "'x' is 3")], ids=str)
def test_strategies_that_are_none_are_refused(ways, word):
    with pytest.raises(UserError, match=word):
        compare_strategies(build(vocab_size=256), ByteTokenizer(), "A", ways)


def test_distinct_n_counts_different_ngrams_of_all_samples():
    assert distinct_n([[1, 2, 3], [4, 5]], 2) == 1.0
    assert distinct_n([[7] * 5], 2) == 0.25
    assert distinct_n([[1]], 2) == 0.0
    with pytest.raises(UserError, match="n is 0"):
        distinct_n([[1]], 0)


def test_mean_log_probability_weighs_every_token_alike():
    model = build()
    scores = [s.log_probability for ids in ([2, 3, 4], [5]) for s in score_tokens(model, [1], ids)]
    assert abs(mean_log_probability(model, [1], [[2, 3, 4], [5]]) - sum(scores) / 4) < 1e-9
    with pytest.raises(UserError, match="no token"):
        mean_log_probability(model, [1], [[]])
