"""LT8 and LT9 on the way from files to shards: no leakage, the same bytes, nothing stale."""

import pytest
from pipeline_checks import (
    check_a_changed_byte_is_never_overlooked,
    check_a_stream_is_split_by_content,
    check_the_pipeline_does_not_leak,
    check_the_tokenizer_learns_from_training_alone,
    check_workers_change_nothing,
)


class TestLT8NoLeakage:
    def test_a_stream_is_split_by_content_alone(self):
        check_a_stream_is_split_by_content()

    def test_a_stream_that_is_found_too_long_to_hold_is_split_in_the_same_way(self):
        check_a_stream_is_split_by_content(hold_bytes=500)

    @pytest.mark.parametrize("method", ["auto", "threshold"])
    def test_the_pipeline_does_not_leak(self, tmp_path, method):
        check_the_pipeline_does_not_leak(tmp_path, split_method=method)

    def test_the_tokenizer_learns_from_the_training_side_alone(self, tmp_path):
        check_the_tokenizer_learns_from_training_alone(tmp_path)


class TestLT9SameBytes:
    def test_workers_and_chunks_change_nothing(self):
        check_workers_change_nothing()


def test_a_changed_byte_is_never_overlooked(tmp_path):
    check_a_changed_byte_is_never_overlooked(tmp_path)
