"""Classic bugs of a chat and of a template, put back on purpose: each must break its law."""

from __future__ import annotations

import asyncio
import re

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
    from chat_ui.engine_thread import EngineThread

    def submit(self, request, listener):
        number = self.engine.submit(request)
        self._listeners[number] = (listener, request.n)
        loop = asyncio.get_running_loop()

        def step():
            if self.engine.busy:
                for event in self.engine.step():
                    self._tell(self._listener_of(event), event)
                loop.call_soon(step)

        loop.call_soon(step)
        return number

    monkeypatch.setattr(EngineThread, "submit", submit)
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
    import chat_ui.window as window

    box = {}
    shared = property(lambda talk: box["settings"], lambda talk, value: box.update(settings=value))
    monkeypatch.setattr(window.Talk, "settings", shared, raising=False)
    caught("alone the engine gives", checks.check_streamed_equals_generated, tmp_path)


def test_cancelling_only_the_task_is_caught(monkeypatch, tmp_path):
    """What a cancelled coroutine is to a thread: nothing, as long as nobody tells the engine."""
    checks = chat_checks()
    from chat_ui.engine_thread import EngineThread

    class Deaf(EngineThread):
        def cancel(self, number, listener, sample=None):
            listener._loop.call_soon_threadsafe(listener._over.set)

    monkeypatch.setattr("chat_ui.service.EngineThread", Deaf)
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
    import chat_ui.window as window

    monkeypatch.setattr(window.Talk, "hush", lambda self: None)
    caught("did not reach", checks.check_stopping_an_edited_answer, tmp_path)


def test_records_that_outlive_their_window_are_caught(monkeypatch, tmp_path):
    checks = chat_checks()
    import chat_ui.window as window

    kept, real = [], window.Talk.remember

    def remember(self, id, record):
        kept.append(self)
        real(self, id, record)

    monkeypatch.setattr(window.Talk, "remember", remember)
    caught("after 10 stopped chats there is", checks.check_cancelled_chats_leave_nothing, tmp_path, chats=10)


def test_places_that_are_never_given_back_are_caught(monkeypatch, tmp_path):
    checks = chat_checks()
    monkeypatch.setattr("chat_ui.service.Service._give_back", lambda self, samples: None)
    caught("after 10 stopped chats there is", checks.check_cancelled_chats_leave_nothing, tmp_path, chats=10)


def test_two_answers_with_one_setting_are_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    monkeypatch.setattr("chat_ui.window.with_strategy", lambda settings, name: settings)
    caught("side by side the window wrote", checks.check_side_by_side_equals_alone, tmp_path)


def test_a_choice_that_changes_only_the_page_is_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    from chat_ui.conversation import Conversation

    monkeypatch.setattr(Conversation, "replace", lambda self, id, text: True)
    caught("not the one the conversation goes on from", checks.check_side_by_side_equals_alone, tmp_path)


def test_probabilities_after_temperature_are_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    import gpt_model.engine as engine

    real = engine.log_probabilities
    monkeypatch.setattr(engine, "log_probabilities", lambda logits, *rest: real(logits / 1.7, *rest))
    caught("after temperature", checks.check_probabilities_are_the_models_own, tmp_path)


def test_probabilities_of_the_token_beside_are_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    from chat_ui.records import Record

    real = Record.rows

    def rows(self, tokenizer):
        made = real(self, tokenizer)
        return [{**row, "p": other["p"]} for row, other in zip(made, made[1:] + made[:1], strict=True)]

    monkeypatch.setattr(Record, "rows", rows)
    caught("the token beside it", checks.check_probabilities_are_the_models_own, tmp_path)


def test_keys_that_are_found_by_length_instead_of_ids_are_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    monkeypatch.setattr("gpt_model.prefix_cache.common", lambda one, other: min(len(one), len(other)))
    caught("keys of another text", checks.check_a_warm_conversation_is_a_cold_one, tmp_path)


def test_keys_that_are_never_kept_are_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    monkeypatch.setattr("gpt_model.prefix_cache.PrefixCache.keep", lambda *given: None)
    caught("nothing was reused", checks.check_a_warm_conversation_is_a_cold_one, tmp_path)


def test_an_answer_that_is_still_in_the_prompt_is_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    from chat_ui.conversation import Conversation

    def again(self, id):
        return next(turn.id for turn in reversed(self.turns) if turn.message["role"] == "user")

    monkeypatch.setattr(Conversation, "again", again)
    caught("must be forgotten before it is asked again", checks.check_written_again_is_asked_again, tmp_path)


def test_notes_and_titles_taken_for_answers_are_caught(monkeypatch, tmp_path):
    """The message that introduces two answers side by side is the program's, not the model's."""
    checks = chat_window_checks()

    def restore(conversation, thread):
        for step in thread["steps"]:
            if step["type"] == "user_message":
                conversation.ask(step["id"], step["output"])
            else:
                conversation.answer(step["id"], step["output"])

    monkeypatch.setattr("chat_ui.history.restore", restore)
    caught("must come back", checks.check_a_kept_conversation_goes_on_as_it_was, tmp_path)


def test_a_history_that_belongs_to_everyone_is_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    from chat_ui.history import History

    real = History.update_thread

    async def update_thread(self, thread_id, name=None, user_id=None, metadata=None, tags=None):
        await real(self, thread_id, name, user_id, metadata, tags)
        if user_id is not None:
            await self._run("UPDATE threads SET user = ? WHERE id = ?", user_id, thread_id)

    monkeypatch.setattr(History, "update_thread", update_thread)
    caught("stranger's list", checks.check_a_kept_conversation_goes_on_as_it_was, tmp_path)


def test_a_model_opened_as_a_path_is_caught(monkeypatch, tmp_path):
    checks = chat_window_checks()
    import chat_ui.app as app

    async def find(ref):
        return ref, await app.service().load(ref or app.service().models.default())

    monkeypatch.setattr(app, "find", find)
    caught("opened as a path", checks.check_a_model_is_looked_up_never_opened, tmp_path)


def test_reading_typed_markers_as_markers_is_caught_in_the_chat(monkeypatch, tmp_path):
    checks = chat_checks()
    obey_typed_markers(monkeypatch)
    caught("changed the roles", checks.check_typed_markers_stay_words_in_the_chat, HOSTILE[0], tmp_path)


def chat_checks():
    import chat_checks  # first: it says where Chainlit may write

    pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
    import chat_ui.app  # noqa: F401

    return chat_checks


def chat_window_checks():
    chat_checks()
    import chat_window_checks

    return chat_window_checks


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
