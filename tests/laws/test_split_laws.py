"""LT8 ★ no leakage, for three sides, for a stream, and for classes."""

import random

import numpy as np
import pytest
import torch
from data_checks import documents_of, unique_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from split_checks import (
    check_a_test_set_leaves_validation_alone,
    check_classes_are_stratified,
    check_every_process_agrees,
    check_exact_shares,
    check_leaks_into_the_test_set_are_counted,
    check_new_documents_move_none,
    check_order_does_not_matter,
    check_shares_are_right_on_average,
    check_spans_three_ways,
    check_three_sides_share_nothing,
)

from working_with_text_data.splitting import split_documents


class TestLT8NoLeakageOnThreeSides:
    @pytest.mark.parametrize("method", ["documents", "threshold"])
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.text(max_size=3), min_size=2, max_size=40))
    def test_three_sides_share_no_text_and_lose_none(self, method, texts):
        check_three_sides_share_nothing(texts, method)

    def test_the_shares_are_exact_and_count_each_text_once(self):
        check_exact_shares()

    @pytest.mark.parametrize("method", ["documents", "threshold"])
    def test_order_does_not_matter(self, method):
        check_order_does_not_matter(method)

    def test_new_documents_move_none(self):
        check_new_documents_move_none()

    @pytest.mark.parametrize("method", ["documents", "threshold"])
    def test_a_test_set_leaves_validation_alone(self, method):
        check_a_test_set_leaves_validation_alone(method)

    def test_shares_are_right_on_average_and_seeds_are_independent(self):
        check_shares_are_right_on_average()

    def test_every_process_agrees(self):
        check_every_process_agrees()

    def test_one_text_is_cut_for_three_sides_with_gaps(self):
        check_spans_three_ways()

    def test_classes_are_stratified(self):
        check_classes_are_stratified()

    def test_leaks_into_the_test_set_are_counted(self):
        check_leaks_into_the_test_set_are_counted()

    @pytest.mark.parametrize("method", ["documents", "threshold", "spans"])
    def test_no_global_generator_moves(self, method):
        def states():
            return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

        before = states()
        split_documents(documents_of(unique_texts(40)), val_fraction=0.2, test_fraction=0.2, method=method)
        assert states() == before, "the split moved a global random generator: training would change with it"
