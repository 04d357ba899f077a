"""LA9: what is shown is what is computed. Numbers about maps, pages about maps, and heads taken away."""

import analysis_checks as laws
import pytest

from attention_mechanisms import ATTENTIONS


def test_entropy_is_in_nats_of_a_row_and_within_its_bounds():
    laws.check_entropy()


def test_every_score_is_the_mean_share_on_its_keys():
    laws.check_scores()


def test_a_head_made_for_one_purpose_scores_one_and_gets_its_name():
    laws.check_perfect_heads()


def test_positional_score_is_the_variance_that_distance_explains():
    laws.check_positional_score()


def test_top_links_name_who_looks_at_whom():
    laws.check_top_links()


def test_a_page_holds_the_maps_to_half_a_step_of_a_byte():
    laws.check_page_shows_the_maps()


def test_a_page_is_inert_whatever_the_tokens_hold():
    laws.check_page_is_inert()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_maps_of_every_attention_are_those_it_used(attention):
    laws.check_maps_of_a_model(attention)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_ablated_head_is_one_that_out_proj_does_not_read(attention):
    laws.check_ablation(attention)
