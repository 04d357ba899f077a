"""Shares with intervals, the story score and exact match: measured on answers whose truth is known."""

import pytest
from scipy.stats import binomtest

from finetuning.evaluation.instructions import answer_all, exact_match
from finetuning.evaluation.intervals import Share, wilson_interval
from finetuning.evaluation.stories import score_stories
from finetuning.instruction.data import held_out_requests, training_examples
from finetuning.templates import render, stop_ids
from working_with_text_data.storyland import story_corpus
from working_with_text_data.storyland.tasks import KINDS, held_out


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (3, 7), (82, 100), (1, 280)])
def test_the_interval_is_scipys(hits, total):
    reference = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, total, z=1.959963984540054) == pytest.approx(
        (reference.low, reference.high), abs=1e-9
    )


def test_nothing_counted_says_nothing():
    assert Share(0, 0).value == 0.0
    assert Share(0, 0).interval == (0.0, 1.0)


def test_hits_above_the_total_are_refused():
    with pytest.raises(ValueError, match="11 of 10"):
        wilson_interval(11, 10)


def test_true_stories_score_and_broken_ones_do_not():
    stories = story_corpus(n_stories=4, seed=11)
    broken = [story.rsplit(".", 3)[0] for story in stories]  # the ending is gone
    score = score_stories([*stories, *broken])
    assert score.coherent.hits == 4, "each generated story is coherent and none that lost its ending is"
    assert score.verdicts == [True] * 4 + [False] * 4
    assert score.broken_rules, "the broken ones name the rules they break"


def test_held_out_requests_are_balanced_different_and_held_out():
    requests = held_out_requests(34, seed=3)
    assert len({r.prompt for r in requests}) == 34
    assert all(held_out(r.prompt) for r in requests)
    assert {r.kind for r in requests} == set(KINDS)


def test_no_training_example_is_a_held_out_request(chat_tokenizer):
    examples = training_examples(chat_tokenizer, 400, seed=3)
    prompts = {tuple(render([{"role": "user", "content": r.prompt}], chat_tokenizer, add_generation_prompt=True).ids)
               for r in held_out_requests(170, seed=3)}  # fmt: skip
    begins = {tuple(ids[: mask.index(True)]) for ids, mask in examples}
    assert len(examples) == 400
    assert not begins & prompts


@pytest.mark.parametrize("right", [True, False])
def test_exact_match_counts_what_the_verifiers_accept(right, chat_tokenizer, monkeypatch):
    requests = held_out_requests(34, seed=5)
    answers = {r.prompt: r.answer if right else "I do not know" for r in requests}
    monkeypatch.setattr(
        "finetuning.evaluation.instructions.answer_all",
        lambda m, t, prompts, **how: [answers[p] for p in prompts],
    )
    score = exact_match(None, chat_tokenizer, requests)
    assert score.overall.hits == (34 if right else 0)
    assert set(score.by_kind) == set(KINDS)


def test_answers_come_back_in_the_order_of_their_prompts(chat_tokenizer, tiny_gpt):
    prompts = ["Spell cat.", "Where is the boat now, and who has it, and why?", "Hi", "x " * 300]
    together = answer_all(tiny_gpt, chat_tokenizer, prompts, max_new_tokens=6)
    alone = [answer_all(tiny_gpt, chat_tokenizer, [p], max_new_tokens=6)[0] for p in prompts]
    assert together == alone
    assert together[3] == "", "a prompt that fills the context has no room for an answer"
    ends = {chat_tokenizer.decode([i]) for i in stop_ids(chat_tokenizer)}
    assert not any(end in answer for end in ends for answer in together)
