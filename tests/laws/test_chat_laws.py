"""LS1, LS2 and LT4 through the chat's own handlers: streamed is generated, Stop stops, words stay words."""

from __future__ import annotations

import chat_checks  # first: it says where Chainlit may write
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
