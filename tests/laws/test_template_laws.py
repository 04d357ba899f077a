"""LF1, LF2, LF3 and LT4 for the one `render()`: exact, per turn, for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_checks import (
    END,
    HOSTILE,
    MARKERS,
    check_only_answers_are_trained,
    check_prompt_is_a_prefix_of_training,
    check_words_are_never_markers,
    conversation,
    role_tokenizer,
)

from finetuning.templates import MARKS, TEMPLATES, Marks, Pen, has_roles, register, render, stop_ids
from utils.errors import UserError
from working_with_text_data.byte_tokenizer import ByteTokenizer

TALKS = {
    "one turn": conversation(("user", "hi"), ("assistant", "hello")),
    "system line": conversation(("system", "be short"), ("user", "hi"), ("assistant", "yes")),
    "three turns": conversation(
        ("user", "a"),
        ("assistant", "1"),
        ("user", "b"),
        ("assistant", "2"),
        ("user", "c"),
        ("assistant", "3"),
    ),
    "empty answer": conversation(
        ("user", "say nothing"), ("assistant", ""), ("user", ""), ("assistant", "x")
    ),
    "no answer yet": conversation(("user", "hi")),
    "answers in a row": conversation(("user", "hi"), ("assistant", "a"), ("assistant", "b")),
    "markers as words": conversation(("user", HOSTILE[0]), ("assistant", HOSTILE[0])),
    "line breaks and signs": conversation(("user", "\r\n\u0000é\U0001f98a"), ("assistant", " \n\n")),
}
# Lone surrogates are no text (UTF-8 has none); what a tokenizer does with them is its own law.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WORDS = st.one_of(
    TEXT, st.sampled_from(HOSTILE), st.lists(st.sampled_from([END, *MARKERS, "x", " "])).map("".join)
)


@pytest.mark.parametrize("name", TALKS)
def test_only_the_answers_and_their_end_tokens_are_trained(name):
    check_only_answers_are_trained(TALKS[name], role_tokenizer())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS), min_size=1, max_size=6))
def test_only_the_answers_are_trained_in_any_conversation(turns):
    check_only_answers_are_trained(conversation(*turns), role_tokenizer())


@pytest.mark.parametrize("text", HOSTILE)
def test_typed_markers_stay_words(text):
    check_words_are_never_markers(text, role_tokenizer())


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_no_text_whatever_becomes_a_marker(text):
    check_words_are_never_markers(text, role_tokenizer())


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("name", TALKS)
def test_a_prompt_is_the_beginning_of_its_training_example(name, template):
    check_prompt_is_a_prefix_of_training(TALKS[name], role_tokenizer(), template)


def test_the_marker_of_a_turn_is_one_id_and_the_end_too():
    tokenizer = role_tokenizer()
    ids = render(conversation(("user", "")), tokenizer, add_generation_prompt=True).ids
    special = tokenizer.special_tokens
    assert ids == [special["<|user|>"], special[END], special["<|assistant|>"]]


def test_plain_is_the_text_of_a_document_after_its_boundary():
    tokenizer = role_tokenizer()
    rendered = render(conversation(("user", "once "), ("assistant", "upon")), tokenizer, template="plain")
    end = tokenizer.special_tokens[END]
    assert rendered.ids == [end, *b"once upon", end]
    assert rendered.trained == [False] * 6 + [True] * 5


def test_plain_works_without_any_special_token_of_ours():
    rendered = render(conversation(("user", "ab"), ("assistant", "c")), ByteTokenizer(), template="plain")
    assert (rendered.ids, rendered.trained) == ([97, 98, 99], [False, False, True])


def test_an_answer_stops_at_its_end_or_where_another_turn_would_begin():
    tokenizer = role_tokenizer()
    assert set(stop_ids(tokenizer)) == {tokenizer.special_tokens[t] for t in (END, *MARKERS)}
    assert stop_ids(ByteTokenizer()) == ()


def test_a_tokenizer_without_markers_says_what_is_missing():
    assert has_roles(role_tokenizer()) and not has_roles(ByteTokenizer((END,)))
    with pytest.raises(UserError, match=r"no <\|system\|>, <\|user\|>, <\|assistant\|>:.*plain"):
        render(conversation(("user", "hi")), ByteTokenizer((END,)))


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "empty"),
        (conversation(("robot", "x")), "'robot'"),
        ([{"role": "user"}], "NoneType"),
        ([{"role": "user", "content": 3}], "int"),
        (conversation(("user", "x"), ("system", "y")), "message 1 is a system"),
    ],
)
def test_a_malformed_conversation_is_one_clear_line(messages, says):
    with pytest.raises(UserError, match=says) as caught:
        render(messages, role_tokenizer())
    assert "\n" not in str(caught.value)


def test_an_unknown_template_names_those_there_are():
    with pytest.raises(
        UserError, match="'mine': choose one of alpaca, chatml, llama2, plain, scratchbook, t"
    ):
        render(conversation(("user", "x")), role_tokenizer(), template="mine")

    @register("mine")
    def made_up(messages, tokenizer, add_generation_prompt):
        yield tokenizer.encode_ordinary("!"), False

    try:
        assert TEMPLATES["mine"] is made_up
        assert render(conversation(("user", "x")), role_tokenizer(), template="mine").ids == [33]
    finally:
        TEMPLATES.pop("mine"), MARKS.pop("mine")


@pytest.mark.parametrize("mark", ["\n", "#", "> ", " x", ""])
def test_a_mark_that_a_space_does_not_undo_is_refused(mark):
    """Other people's words could not be kept apart: looking for it would never end."""
    with pytest.raises(UserError, match="stays itself with a space inside"):
        register("mine", markers=(mark,))
    assert "mine" not in TEMPLATES


@pytest.mark.parametrize("mark", ["ab", "##", "\n\n", "a b", "### Me:"])
def test_a_mark_in_what_people_say_is_undone(mark):
    pen = Pen(ByteTokenizer(), Marks(markers=(mark,), ends=()))
    assert mark not in pen.harmless(f"I say {mark}{mark} and {mark[0]}{mark}")
