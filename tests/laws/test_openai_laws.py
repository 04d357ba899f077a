"""LS4, and LS2 over the wire: /v1 for OpenAI's own client, on a real server."""

from __future__ import annotations

import openai_checks
import pytest


def test_a_chat_is_what_the_model_writes_whole_and_streamed(tmp_path):
    openai_checks.check_chat(tmp_path)


def test_a_stream_ends_as_openais(tmp_path):
    openai_checks.check_stream_ends_as_openais(tmp_path)


def test_log_probabilities_are_the_models_own(tmp_path):
    openai_checks.check_logprobs(tmp_path)


def test_completions_keep_their_prompts_their_order_and_their_stop(tmp_path):
    openai_checks.check_completions(tmp_path)


def test_an_embedding_is_the_mean_over_real_tokens(tmp_path):
    openai_checks.check_embeddings(tmp_path)


def test_only_models_that_are_listed_can_be_asked(tmp_path):
    openai_checks.check_models(tmp_path)


def test_a_mistake_of_the_client_is_a_4xx_with_a_reason(tmp_path):
    openai_checks.check_bad_requests(tmp_path)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_client_that_goes_away_ends_its_answer(tmp_path, stream):
    openai_checks.check_going_away_stops(tmp_path, stream=stream)


def test_one_answer_too_many_is_a_429(tmp_path):
    openai_checks.check_busy_is_429(tmp_path)


def test_a_broken_step_is_not_the_end_of_the_server(tmp_path):
    openai_checks.check_broken_engine(tmp_path)


def test_requests_made_from_the_schema_never_get_a_5xx(tmp_path):
    openai_checks.check_schema(tmp_path)
