"""LF5: a classifier reads the last real token, judges fairly, and says how sure it is."""

import classification_checks as checks
import pytest

TUNES = ("all", "last-1", "head", "lora")


@pytest.mark.parametrize("pool", ["last", "mean"])
@pytest.mark.parametrize("shape", sorted(checks.SHAPES))
def test_logits_are_those_of_the_text_alone_whatever_pads_it(shape, pool):
    checks.check_it_reads_the_last_real_token(shape, pool)


def test_a_row_without_a_token_is_refused():
    checks.check_an_empty_row_is_refused()


def test_probabilities_come_back_in_the_order_of_the_texts():
    checks.check_probabilities_come_back_in_their_order()


@pytest.mark.parametrize("weights", [None, (1.0, 4.0, 0.5)], ids=["plain", "weighted"])
def test_the_loss_is_the_mean_over_texts_however_the_batch_is_cut(weights):
    checks.check_the_loss_is_the_mean_over_texts(weights)


def test_balanced_weights_are_scikit_learns():
    checks.check_balanced_weights()


@pytest.mark.parametrize("tune", TUNES)
def test_a_step_changes_the_head_and_what_tune_names(tune):
    checks.check_only_what_tune_names_changes(tune)


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_saved_and_loaded_it_says_the_same(tune, tmp_path):
    checks.check_saved_and_loaded_is_the_same(tmp_path, tune)


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_twenty_steps_are_ten_a_resume_and_ten(tune, tmp_path):
    checks.check_a_resumed_run_is_the_whole_run(tmp_path, tune)


def test_each_text_comes_once_an_epoch_beside_texts_of_its_length():
    checks.check_each_text_once_an_epoch()


def test_a_cut_text_keeps_the_end_that_was_asked_for():
    checks.check_cutting_keeps_what_it_says()


def test_no_text_judges_itself_and_no_rare_label_is_lost(tmp_path):
    checks.check_no_text_judges_itself(tmp_path)


def test_a_part_of_a_sorted_set_has_all_labels(tmp_path):
    checks.check_what_is_taken_is_mixed(tmp_path)


def test_a_bad_line_is_named_or_counted(tmp_path):
    checks.check_bad_lines_are_named_or_counted(tmp_path)


def test_one_label_an_unseen_label_and_foreign_bytes_are_refused(tmp_path):
    checks.check_unusable_sets_are_refused(tmp_path)


def test_scores_are_scikit_learns():
    checks.check_scores_equal_scikit_learns()


def test_calibration_is_its_definition():
    checks.check_calibration_equals_a_loop()


def test_intervals_cover_texts_and_seeds():
    checks.check_intervals_cover_texts_and_seeds()


def test_validation_chooses_and_the_test_set_judges_once(tmp_path, monkeypatch):
    checks.check_the_test_set_judges_once(tmp_path, monkeypatch)


def test_early_stopping_waits_and_ends(tmp_path):
    checks.check_early_stopping_waits_and_ends(tmp_path)
