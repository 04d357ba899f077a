"""Sweeps and pipelines: nothing lost, nothing stale, no failure that looks like a success."""

import sweep_checks as checks


def test_a_grid_has_every_combination_once_and_ids_come_from_settings():
    checks.check_grid_is_complete()


def test_halving_lets_the_best_go_on_and_no_failed_one():
    checks.check_halving_keeps_the_best()


def test_a_failed_trial_is_shown_with_its_reason_and_the_rest_goes_on(tmp_path):
    checks.check_a_failure_is_shown_and_the_rest_goes_on(tmp_path)


def test_the_same_sweep_again_trains_nothing_twice(tmp_path):
    checks.check_nothing_is_trained_twice(tmp_path)


def test_halving_trains_survivors_on_and_leaves_losers_at_their_rung(tmp_path):
    checks.check_halving_trains_the_survivors_on(tmp_path)


def test_a_stopped_sweep_lets_its_trial_save_and_begins_no_other(tmp_path):
    checks.check_stopping_lets_trials_save(tmp_path)


def test_an_exit_code_is_never_read_as_better_than_it_is():
    checks.check_endings()


def test_a_stage_is_made_again_exactly_when_something_that_decides_it_changed(tmp_path):
    checks.check_stages_are_kept_and_never_stale(tmp_path)


def test_a_failed_stage_is_told_truly_and_what_follows_is_not_reached(tmp_path):
    checks.check_a_failed_stage_is_told_truly(tmp_path)


def test_latest_is_the_newest_whole_product(tmp_path):
    checks.check_latest_and_given(tmp_path)


def test_a_paused_run_is_the_run_that_was_not(tmp_path):
    checks.check_a_paused_run_is_the_run_that_was_not(tmp_path)


def test_a_stopped_pipeline_says_so_and_goes_on(tmp_path):
    checks.check_a_stopped_pipeline_goes_on(tmp_path)
