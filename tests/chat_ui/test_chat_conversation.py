"""What the model gets to read: history, edits, and what is left out when it does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_checks import conversation, role_tokenizer

from chat_ui.conversation import Conversation, fit
from finetuning.templates import render
from utils.errors import UserError

TOKENIZER = role_tokenizer()


def length(messages) -> int:
    return len(render(messages, TOKENIZER, add_generation_prompt=True).ids)


def test_history_is_what_was_said_in_order_after_the_system_line():
    talk = Conversation()
    talk.ask("1", "hi")
    talk.answer("2", "hello")
    talk.ask("3", "more")
    assert talk.messages("be kind") == conversation(
        ("system", "be kind"), ("user", "hi"), ("assistant", "hello"), ("user", "more")
    )
    assert talk.messages("  ")[0]["role"] == "user"


def test_an_edited_message_replaces_itself_and_everything_after_it():
    talk = Conversation()
    for id, text in (("1", "a"), ("3", "b")):
        talk.ask(id, text)
        talk.answer(id + "!", text.upper())
    talk.ask("1", "z")
    assert talk.messages() == conversation(("user", "z"))


def test_a_message_that_could_not_be_answered_is_taken_back():
    talk = Conversation()
    talk.ask("1", "a")
    talk.take_back("1")
    assert talk.messages() == []
    talk.ask("2", "b")
    talk.answer("3", "B")
    talk.take_back("2")
    assert len(talk.messages()) == 2, "what was answered stays"


def test_an_answer_is_forgotten_with_all_that_followed():
    talk = Conversation()
    for id, text in (("1", "a"), ("3", "b")):
        talk.ask(id, text)
        talk.answer(id + "!", text.upper())
    assert talk.again("1") is None and talk.again("x") is None and len(talk.turns) == 4, "only answers"
    assert talk.again("1!") == "1"
    assert talk.messages() == conversation(("user", "a"))


def test_only_the_last_answer_can_be_replaced():
    talk = Conversation()
    talk.ask("1", "a")
    talk.answer("2", "A")
    assert not talk.replace("1", "x") and talk.replace("2", "B")
    talk.ask("3", "c")
    assert not talk.replace("2", "C")
    assert talk.messages() == conversation(("user", "a"), ("assistant", "B"), ("user", "c"))


TURN = st.tuples(st.text("ab ", max_size=12), st.text("xy ", max_size=12))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(TURN, max_size=6),
    st.text("q", max_size=10),
    st.text("s", max_size=8),
    st.integers(24, 90),
    st.integers(1, 60),
)
def test_what_fits_is_kept_and_what_is_kept_fits(turns, last, system, block_size, wish):
    """Against a slow reference: the longest suffix that starts with a question and leaves the room."""
    opening = [("system", system)] if system else []
    said = [pair for q, a in turns for pair in (("user", q), ("assistant", a))] + [("user", last)]
    promised = min(wish, block_size // 2)
    possible = [
        start
        for start in range(0, len(said), 2)
        if length(conversation(*opening, *said[start:])) + promised <= block_size
    ]
    messages = conversation(*opening, *said)
    if not possible:
        with pytest.raises(UserError, match="shorten the message"):
            fit(messages, TOKENIZER, block_size=block_size, max_new_tokens=wish)
        return
    fitted = fit(messages, TOKENIZER, block_size=block_size, max_new_tokens=wish)
    expected = render(conversation(*opening, *said[possible[0] :]), TOKENIZER, add_generation_prompt=True).ids
    assert (fitted.left_out, fitted.ids) == (possible[0], expected)
    assert promised <= fitted.room <= wish
    assert len(fitted.ids) + fitted.room <= block_size


def test_the_error_of_a_message_that_is_too_long_names_all_three_numbers():
    with pytest.raises(
        UserError, match=r"has 103 tokens .* promised 32, but the model reads only 64"
    ) as caught:
        fit(conversation(("user", "x" * 100)), TOKENIZER, block_size=64, max_new_tokens=500)
    assert "\n" not in str(caught.value)
