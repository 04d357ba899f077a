"""Speculative decoding: the same text, whatever the draft; and what it refuses."""

from __future__ import annotations

import threading

import pytest
import torch
from model_checks import build, some_ids
from sampling_checks import greedy_by_hand
from speculative_checks import (
    GREEDY,
    TARGET,
    bigram_model,
    check_a_perfect_draft_is_never_refused,
    check_distribution,
    check_greedy_is_the_models_own,
    check_rules_look_at_guesses,
    check_the_draft_reads_the_text,
)

from attention_mechanisms import ATTENTIONS
from gpt_model import Sampling, generate, generate_speculative, stream_speculative
from gpt_model.drafts import NgramDraft, PromptLookup, first_layers
from gpt_model.speculative import Statistics
from utils.errors import UserError

SHAPES = [
    *({"attention": name, "position": "rope"} for name in ATTENTIONS),
    {"attention": "mha", "position": "learned", "norm_order": "post"},
    {"attention": "swa", "position": "alibi", "window": 3},
    {"attention": "swa", "position": "rope", "window": 4, "attention_sinks": 2, "global_every": 2},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_greedy_ids_are_those_of_the_model_alone(shape):
    check_greedy_is_the_models_own(build(**shape).double())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.6},
        {"top_k": 2},
        {"top_p": 0.7},
        {"temperature": 1.3, "top_k": 3, "top_p": 0.8},
        {"min_p": 0.3},
        {"draft_tokens": 1},
    ],
    ids=str,
)
def test_drawn_tokens_are_distributed_as_the_model_says(settings):
    check_distribution(**settings)


def test_a_certain_guess_changes_no_distribution_either():
    check_distribution(NgramDraft([{(i,): (i + 1) % 4 for i in range(4)}]))


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=3), Sampling(seed=3, top_k=5)], ids=str)
def test_a_perfect_draft_is_never_refused(sampling):
    check_a_perfect_draft_is_never_refused(sampling)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.6},
        {"presence_penalty": 2.0, "frequency_penalty": 0.7},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 12},
        {"bad_words": ((1,), (3, 4))},
    ],
    ids=str,
)
def test_rules_that_look_at_the_text_see_the_guesses(settings):
    check_rules_look_at_guesses(build().double(), **settings)


@pytest.mark.parametrize("shape", [{}, {"attention": "swa", "window": 3}, {"attention": "mla"}], ids=str)
def test_a_models_guesses_depend_on_the_text_alone(shape):
    check_the_draft_reads_the_text(**shape)


def test_streamed_is_generated():
    model, draft = build().double(), build(seed=5, n_layer=1).double()
    prompt, sampling = some_ids(1, 5), Sampling(seed=7, temperature=1.2)
    got = list(stream_speculative(model, draft, prompt, max_new_tokens=21, sampling=sampling))
    assert generate_speculative(model, draft, prompt, max_new_tokens=21, sampling=sampling) == [got]
    assert len(got) == 21


@pytest.mark.parametrize("policy", ["slide", "stop"])
def test_overflow_is_that_of_generate(policy):
    model, draft = build(block_size=16).double(), build(seed=5, n_layer=1, block_size=16).double()
    prompts = [some_ids(1, n)[0].tolist() for n in (3, 15, 16)]
    options = {"max_new_tokens": 20, "sampling": GREEDY, "on_overflow": policy}
    expected = generate(model, prompts, **options)
    assert generate_speculative(model, draft, prompts, **options) == expected
    with pytest.raises(UserError, match="16"):
        generate_speculative(model, draft, prompts, max_new_tokens=20)


def test_a_draft_with_a_shorter_block_stops_guessing():
    model, draft = build(block_size=48).double(), build(seed=5, n_layer=1, block_size=12).double()
    expected = greedy_by_hand(model, some_ids(1, 5), 30)
    assert generate_speculative(model, draft, some_ids(1, 5), max_new_tokens=30, sampling=GREEDY) == expected


def test_stop_ids_end_a_text_in_the_middle_of_kept_guesses():
    model = build().double()
    own = greedy_by_hand(model, some_ids(1, 5), 20)[0]
    stop = next(token for i, token in enumerate(own) if i >= 6 and token not in own[:i])
    for draft in (model, PromptLookup()):
        got = generate_speculative(
            model, draft, some_ids(1, 5), max_new_tokens=20, sampling=GREEDY, stop_ids=(stop,), draft_tokens=7
        )
        assert got == [own[: own.index(stop)]]


def test_an_event_stops_within_one_token_and_the_cache_goes():
    model, event, got = build().double(), threading.Event(), []
    for token in stream_speculative(
        model, model, some_ids(1, 3), max_new_tokens=40, draft_tokens=6, stop_event=event
    ):
        got.append(token)
        if len(got) == 4:
            event.set()
    assert len(got) == 4


def test_the_models_mode_is_kept_and_dropout_off():
    model = build(dropout=0.5).double()
    expected = greedy_by_hand(model, some_ids(1, 4), 10)
    model.train()
    draft = first_layers(model, 1)
    assert generate_speculative(model, draft, some_ids(1, 4), max_new_tokens=10, sampling=GREEDY) == expected
    assert model.training and draft.training


def test_first_layers_share_everything():
    model = build(n_layer=3)
    short = first_layers(model, 2)
    assert {id(p) for p in short.parameters()} < {id(p) for p in model.parameters()}
    assert short.config.n_layer == 2 and len(short.blocks) == 2 and len(model.blocks) == 3
    assert torch.equal(first_layers(model, 3)(some_ids(1, 5)).logits, model(some_ids(1, 5)).logits)


def test_tables_back_off_to_fewer_ids():
    draft = NgramDraft.train([[1, 2, 3, 4], [5, 2, 6, 6], [5, 2, 6]], order=2)
    assert draft.continued([1, 2], 2) == [3, 4]
    assert draft.continued([9, 2], 1) == [6], "two of three times 6 came after 2"
    assert draft.continued([9], 3) == [], "nothing is known of 9"


def test_a_table_that_is_not_sure_does_not_guess():
    texts = [
        [5, 2, 6],
        [5, 2, 6],
        [1, 2, 3],
    ]  # after 2: 6 twice of three times, 2 / (3 + 1); after 1: once of once
    for sure, guesses in ((0.0, [2, 6]), (0.49, [2, 6]), (0.5, [2])):
        assert NgramDraft.train(texts, order=1, sure=sure).continued([5], 9) == guesses
    assert NgramDraft.train(texts, order=2, sure=0.5).continued([5], 9) == [2, 6], (
        "5 2 was seen twice, 6 each time"
    )
    assert NgramDraft.train(texts, order=2, sure=0.5).continued([7, 1, 2], 9) == [], (
        "1 2 is known, but only once"
    )
    for wrong in ({"order": 0}, {"sure": 1.0}):
        with pytest.raises(UserError, match="n-gram"):
            NgramDraft.train(texts, **wrong)


@pytest.mark.parametrize("draft_tokens", [1, 9])
def test_statistics_count_what_happened(draft_tokens):
    model, statistics = bigram_model(TARGET), Statistics()
    rows = generate_speculative(
        model, NgramDraft([{(0,): 0}]), [[0], [1]], max_new_tokens=25, draft_tokens=draft_tokens,
        sampling=Sampling(seed=1), statistics=statistics,
    )  # fmt: skip
    assert statistics.tokens == sum(map(len, rows)) == 50
    assert statistics.tokens == statistics.passes + statistics.accepted, (
        "each pass adds one to the kept guesses"
    )
    assert Statistics().acceptance_rate == 0 and Statistics().tokens_per_pass == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"draft_tokens": 0}, "draft_tokens"),
        ({"ids": [[]]}, "empty"),
        ({"ids": [1, 2]}, "batch"),
        ({"ids": [[99]]}, "99"),
        ({"draft": build(vocab_size=7)}, "tokenizer"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(options, word):
    given = {"ids": [[1, 2]], "draft": build(seed=1), "max_new_tokens": 3, **options}
    with pytest.raises(UserError, match=word) as caught:
        generate_speculative(build(), given.pop("draft"), given.pop("ids"), **given)
    assert "\n" not in str(caught.value)
