"""LF1 to LF4 for instruction tuning: the label shift, the mask, one template, packing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_checks import (
    GOLDEN,
    SPELLED,
    bare_tokenizer,
    check_a_perfect_model_has_no_loss,
    check_cutting_keeps_part_of_the_answer,
    check_every_door_renders_alike,
    check_masked_logits_have_no_gradient,
    check_packed_equals_separate,
    check_packed_gradient_equals_padded,
    check_published_form,
    check_spelled_markers_cannot_be_typed,
    rich_tokenizer,
)
from model_checks import build, table, variant_id

from attention_mechanisms import ATTENTIONS
from finetuning.templates import TEMPLATES, render, stop_ids, stop_texts
from gpt_model.config import CHOICES
from utils.errors import UserError
from working_with_text_data.byte_tokenizer import ByteTokenizer

PACKED_VARIANTS = [
    *table(attention=ATTENTIONS, position=CHOICES["position"]),
    *table(attention=ATTENTIONS, position=["rope"], attn_backend=["manual", "sdpa"]),
    {"attention": "swa", "position": "rope", "window": 4},
]


@pytest.mark.parametrize("template", sorted(GOLDEN))
def test_a_template_writes_its_published_form_and_trains_the_answers_alone(template):
    check_published_form(template)


def test_every_template_has_a_golden_text():
    assert set(GOLDEN) == set(TEMPLATES), "a new template needs its text here, written by hand"


MARKS = sorted({mark for marks in SPELLED.values() for mark in marks})
WORDS = st.lists(
    st.sampled_from([*MARKS, "#", "##", "[", "<", "/", " ", "\n", "x", "|>", "</s", "# ## Input:"])
).map("".join)


@pytest.mark.parametrize("template", sorted(SPELLED))
@settings(max_examples=40, deadline=None)
@given(words=WORDS)
def test_markers_of_letters_cannot_be_typed(template, words):
    check_spelled_markers_cannot_be_typed(template, words)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_door_asks_with_the_same_ids(template, monkeypatch):
    model = build(vocab_size=rich_tokenizer().vocab_size, block_size=400)
    check_every_door_renders_alike(template, rich_tokenizer(), model, monkeypatch)


def test_a_cut_conversation_keeps_part_of_its_answer_or_is_counted():
    check_cutting_keeps_part_of_the_answer()


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
def test_masked_logits_have_no_gradient(packing):
    check_masked_logits_have_no_gradient(packing)


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
def test_a_model_that_knows_every_next_id_has_no_loss(packing):
    check_a_perfect_model_has_no_loss(packing)


@pytest.mark.parametrize("variant", PACKED_VARIANTS, ids=variant_id)
def test_packed_logits_are_those_of_the_lone_run(variant):
    check_packed_equals_separate(variant)


def test_a_packed_step_has_the_gradient_of_a_padded_one():
    check_packed_gradient_equals_padded()


def test_a_template_without_a_word_for_the_end_says_so():
    with pytest.raises(UserError, match=r"no <\|endoftext\|>.*chatml"):
        render(
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            ByteTokenizer(()),
            template="alpaca",
        )


def test_an_answer_ends_where_another_turn_would_begin_spelled_or_not():
    assert set(stop_texts(bare_tokenizer(), "triplet")) == set(SPELLED["triplet"])
    assert "<|im_end|>" not in stop_texts(rich_tokenizer(), "chatml")
    assert rich_tokenizer().special_tokens["<|im_end|>"] in stop_ids(rich_tokenizer(), "chatml")


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ({"documents": torch.zeros(1, 3, dtype=torch.long)}, "a number for each token"),
        (
            {
                "documents": torch.ones(1, 5, dtype=torch.long),
                "attention_mask": torch.ones(1, 5, dtype=torch.long),
            },
            "leave cache and attention_mask out",
        ),
    ],
)
def test_documents_that_do_not_fit_are_one_line(kinds, says):
    with pytest.raises(UserError, match=says):
        build()(torch.zeros(1, 5, dtype=torch.long), **kinds)
