"""Classic bugs of a chat and of a template, put back on purpose: each must break its law."""

from __future__ import annotations

import re
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from template_checks import (
    END,
    HOSTILE,
    check_only_answers_are_trained,
    check_prompt_is_a_prefix_of_training,
    check_words_are_never_markers,
    conversation,
    role_tokenizer,
)

from finetuning import templates
from working_with_text_data.byte_tokenizer import ByteTokenizer

TALK = conversation(("user", "hi"), ("assistant", "hello"), ("user", "more"), ("assistant", "no"))


def caught(says, check, *arguments, **options):
    """The law fails, and for the reason that was put back, which its message names."""
    with pytest.raises(AssertionError, match=says):
        check(*arguments, **options)


# ---- the chat


def test_computing_on_the_event_loop_is_caught(monkeypatch, tmp_path):
    checks = chat_checks()

    @asynccontextmanager
    async def inline(start, *, stop, every):
        async def pieces():
            for piece in start(stop):
                yield piece

        yield pieces()

    monkeypatch.setattr("chat_ui.app.background", inline)
    caught(
        "ran on the event loop",
        checks.check_the_loop_is_free_while_a_token_is_computed,
        tmp_path,
        patience=0.3,
    )


def test_one_random_generator_for_all_windows_is_caught(monkeypatch, tmp_path):
    import torch

    shared = torch.Generator()

    def make_generators(seed, rows):
        return [shared.manual_seed(seed)] * rows

    monkeypatch.setattr("gpt_model.engine.make_generators", make_generators)
    caught("alone the engine gives", chat_checks().check_streamed_equals_generated, tmp_path)


def test_settings_of_another_window_are_caught(monkeypatch, tmp_path):
    checks = chat_checks()
    import chat_ui.app as app

    box = {}
    shared = property(lambda talk: box["settings"], lambda talk, value: box.update(settings=value))
    monkeypatch.setattr(app.Talk, "settings", shared, raising=False)
    caught("alone the engine gives", checks.check_streamed_equals_generated, tmp_path)


class DeafEvent(threading.Event):
    """An event that nobody looks at: what a cancelled task is to a thread."""

    def is_set(self) -> bool:
        return False


def test_cancelling_only_the_task_is_caught(monkeypatch, tmp_path):
    checks = chat_checks()
    monkeypatch.setattr("chat_ui.app.threading", SimpleNamespace(Event=DeafEvent))
    caught("more tokens were computed after Stop", checks.check_stop_stops, tmp_path)


def test_a_message_left_open_is_caught(monkeypatch, tmp_path):
    checks = chat_checks()
    import chainlit

    async def forgotten(self):
        return True

    monkeypatch.setattr(chainlit.Message, "update", forgotten)
    caught("left open", checks.check_stop_stops, tmp_path)


def test_stop_that_cancels_only_chainlits_task_is_caught_on_an_edit(monkeypatch, tmp_path):
    checks = chat_checks()
    import chat_ui.app as app

    monkeypatch.setattr(app.Talk, "hush", lambda self: None)
    caught("did not reach", checks.check_stopping_an_edited_answer, tmp_path)


def test_generators_that_are_never_closed_are_caught(monkeypatch, tmp_path):
    checks = chat_checks()
    import chat_ui.app as app

    real, kept = app.write, []

    class Unclosable:
        def __init__(self, pieces):
            self.pieces = pieces
            kept.append(self)

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.pieces)

    monkeypatch.setattr(app, "write", lambda *given: Unclosable(real(*given)))
    caught("after 10 stopped chats there is", checks.check_cancelled_chats_leave_nothing, tmp_path, chats=10)


def test_reading_typed_markers_as_markers_is_caught_in_the_chat(monkeypatch, tmp_path):
    checks = chat_checks()
    obey_typed_markers(monkeypatch)
    caught("changed the roles", checks.check_typed_markers_stay_words_in_the_chat, HOSTILE[0], tmp_path)


def chat_checks():
    import chat_checks  # first: it says where Chainlit may write

    pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
    import chat_ui.app  # noqa: F401

    return chat_checks


# ---- the template


def obey_typed_markers(monkeypatch):
    real = ByteTokenizer.encode_ordinary

    def encode_ordinary(self, text):
        ids, special = [], self.special_tokens
        for piece in re.split("(" + "|".join(map(re.escape, special)) + ")", text):
            ids += [special[piece]] if piece in special else real(self, piece)
        return ids

    monkeypatch.setattr(ByteTokenizer, "encode_ordinary", encode_ordinary)


def put_back(monkeypatch, template):
    monkeypatch.setitem(templates.TEMPLATES, "scratchbook", template)


def test_reading_typed_markers_as_markers_is_caught(monkeypatch):
    obey_typed_markers(monkeypatch)
    caught("became special tokens", check_words_are_never_markers, HOSTILE[0], role_tokenizer())


def test_an_end_token_that_is_not_trained_is_caught(monkeypatch):
    def template(messages, tokenizer, add):
        end = tokenizer.special_tokens[END]
        for ids, trained in templates.scratchbook(messages, tokenizer, add):
            yield ids, trained and ids != [end]

    put_back(monkeypatch, template)
    caught("^trained on", check_only_answers_are_trained, TALK, role_tokenizer())


def test_a_trained_role_marker_is_caught(monkeypatch):
    def template(messages, tokenizer, add):
        marker = tokenizer.special_tokens["<|assistant|>"]
        for ids, trained in templates.scratchbook(messages, tokenizer, add):
            yield ids, trained or ids == [marker]

    put_back(monkeypatch, template)
    caught("^trained on", check_only_answers_are_trained, TALK, role_tokenizer())


def test_training_on_the_questions_is_caught(monkeypatch):
    def template(messages, tokenizer, add):
        for ids, _ in templates.scratchbook(messages, tokenizer, add):
            yield ids, True

    put_back(monkeypatch, template)
    caught("^trained on", check_only_answers_are_trained, TALK, role_tokenizer())


def test_training_only_on_the_last_answer_is_caught(monkeypatch):
    def template(messages, tokenizer, add):
        pieces = list(templates.scratchbook(messages, tokenizer, add))
        for index, (ids, trained) in enumerate(pieces):
            yield ids, trained and index >= len(pieces) - 2

    put_back(monkeypatch, template)
    caught("^trained on", check_only_answers_are_trained, TALK, role_tokenizer())


def test_a_prompt_with_a_space_that_training_never_saw_is_caught(monkeypatch):
    def template(messages, tokenizer, add):
        yield from templates.scratchbook(messages, tokenizer, add)
        if add:
            yield tokenizer.encode_ordinary(" "), False

    put_back(monkeypatch, template)
    caught(
        "not how training showed it",
        check_prompt_is_a_prefix_of_training,
        TALK,
        role_tokenizer(),
        "scratchbook",
    )
