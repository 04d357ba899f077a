"""LS1, LS2, LS3 of the service: streamed is generated, leaving stops, warm is cold, and nobody waits for the loop."""

from __future__ import annotations

import service_checks
from server_harness import tiny


def test_answers_at_once_stream_exactly_what_generate_gives(tmp_path):
    service_checks.check_streamed_equals_generated(tmp_path)


def test_the_event_loop_answers_in_the_middle_of_every_forward_pass(tmp_path):
    service_checks.check_the_loop_is_free(tmp_path)


def test_leaving_an_answer_stops_it_within_one_token(tmp_path):
    service_checks.check_leaving_stops(tmp_path)


def test_a_stop_string_across_tokens_ends_its_sample_and_no_other(tmp_path):
    service_checks.check_stop_strings(tmp_path)


def test_a_hundred_left_answers_leave_nothing_in_memory(tmp_path):
    service_checks.check_cancelled_answers_leave_nothing(tmp_path)


def test_a_warm_conversation_writes_what_a_cold_one_writes(tmp_path):
    service_checks.check_warm_is_cold(tmp_path)


def test_sixteen_chats_at_once_all_finish_while_health_answers(tmp_path):
    service_checks.check_sixteen_chats(tiny(), tmp_path, words="hello", length=80)


def test_sixteen_chats_with_the_books_own_model_all_finish(tmp_path):
    from gpt_model.loading import load_model

    service_checks.check_sixteen_chats(load_model("assets"), tmp_path, words="Once upon a time", length=100)
