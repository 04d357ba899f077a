"""The laws of the REST routes: names stay in the list, streams lose nothing, numbers are those of the models."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import rest_checks as checks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_harness import RUN_ID, app_on, make_run, tiny
from template_checks import HOSTILE

SLOW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def test_no_name_in_a_request_reaches_a_file_outside_the_runs(tmp_path):
    checks.check_no_name_reaches_a_file_outside(tmp_path)


def test_no_model_or_tokenizer_name_is_a_path(tmp_path):
    checks.check_no_model_name_reaches_a_file_outside(tmp_path)


def test_a_link_to_a_run_elsewhere_is_not_shown(tmp_path):
    checks.check_a_linked_run_is_no_model(tmp_path)


@SLOW
@given(cuts=st.lists(st.integers(1, 200), max_size=6), leaves=st.lists(st.integers(1, 4), max_size=4))
def test_every_line_comes_once_however_it_is_written_and_read(cuts, leaves):
    from chat_ui.api import event_stream

    poll, event_stream.POLL = event_stream.POLL, 0.002
    try:
        with tempfile.TemporaryDirectory() as folder:
            checks.check_each_line_comes_once(Path(folder), cuts, leaves)
    finally:
        event_stream.POLL = poll


def test_the_last_line_of_a_run_that_ends_is_not_lost():
    checks.check_the_last_line_is_not_lost()


def test_a_log_line_is_one_event_whatever_is_in_it(tmp_path):
    checks.check_log_lines_stay_lines(tmp_path)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    root = tmp_path_factory.mktemp("rest") / "runs"
    make_run(root, loaded=tiny())
    with app_on(root) as app:
        yield app


@pytest.mark.parametrize("name", ["byte", f"pretrain/{RUN_ID}"], ids=["byte", "a-model"])
def test_text_comes_back_and_its_control_words_stay_words(app, name):
    for text in HOSTILE:
        checks.check_text_is_text(text, app, name)

    @SLOW
    @given(st.text(max_size=60))
    def any_text(text):
        checks.check_text_is_text(text, app, name)

    any_text()


def test_counts_are_those_of_models_really_built(tmp_path):
    checks.check_counts_are_those_of_the_model(tmp_path)


def test_attention_maps_are_the_shares_by_hand(tmp_path):
    checks.check_maps_are_the_shares(tmp_path)


def test_next_tokens_are_the_distribution_by_hand(tmp_path):
    checks.check_next_token_is_the_distribution(tmp_path)


def test_the_lens_ends_with_the_model_itself(tmp_path):
    checks.check_lens_ends_with_the_model(tmp_path)


def test_no_request_made_from_the_schema_breaks_the_server(tmp_path):
    checks.check_schema(tmp_path / "runs")
