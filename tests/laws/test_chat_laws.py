"""LS1, LS2 and LT4 through the chat's own handlers: streamed is generated, Stop stops, words stay words."""

from __future__ import annotations

import chat_checks  # first: it says where Chainlit may write
import chat_window_checks
import pytest
from template_checks import HOSTILE

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")


def test_two_windows_at_once_stream_exactly_what_generate_gives(tmp_path):
    chat_checks.check_streamed_equals_generated(tmp_path)


def test_the_event_loop_answers_in_the_middle_of_every_forward_pass(tmp_path):
    chat_checks.check_the_loop_is_free_while_a_token_is_computed(tmp_path)


def test_stop_stops_within_one_token_and_closes_the_message(tmp_path):
    chat_checks.check_stop_stops(tmp_path)


def test_stop_reaches_the_answer_to_an_edited_message(tmp_path):
    chat_checks.check_stopping_an_edited_answer(tmp_path)


def test_a_hundred_stopped_chats_leave_nothing_in_memory(tmp_path):
    chat_checks.check_cancelled_chats_leave_nothing(tmp_path)


@pytest.mark.parametrize("text", HOSTILE)
def test_markers_typed_into_the_chat_stay_words(text, tmp_path):
    chat_checks.check_typed_markers_stay_words_in_the_chat(text, tmp_path)


def test_two_answers_side_by_side_are_those_of_their_own_settings(tmp_path):
    chat_window_checks.check_side_by_side_equals_alone(tmp_path)


def test_the_probabilities_below_an_answer_are_the_models_own(tmp_path):
    chat_window_checks.check_probabilities_are_the_models_own(tmp_path)


def test_a_warm_conversation_writes_what_a_cold_one_writes(tmp_path):
    chat_window_checks.check_a_warm_conversation_is_a_cold_one(tmp_path)


def test_an_answer_written_again_is_asked_with_the_same_prompt(tmp_path):
    chat_window_checks.check_written_again_is_asked_again(tmp_path)


def test_a_kept_conversation_goes_on_as_it_was_for_its_owner_only(tmp_path):
    chat_window_checks.check_a_kept_conversation_goes_on_as_it_was(tmp_path)


def test_a_model_named_by_a_page_is_looked_up_never_opened(tmp_path):
    chat_window_checks.check_a_model_is_looked_up_never_opened(tmp_path)
