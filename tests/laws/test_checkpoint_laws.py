"""LP2 beside the loop, B6 in a training process, what stays on disk, a disk that refuses, fork and imports."""

import os
from dataclasses import replace

import checkpoint_checks as checks
import pytest
from training_checks import RESUME, check_resume_is_exact

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill is aimed in a forked child")


def test_a_checkpoint_written_in_a_thread_is_the_same_to_the_byte(tmp_path):
    checks.check_async_is_the_same_checkpoint(tmp_path)


def test_a_checkpoint_holds_the_moment_it_was_asked_for(tmp_path):
    checks.check_snapshot_is_of_its_moment(tmp_path)


@needs_fork
def test_killed_before_each_file_operation_of_the_thread_the_pointers_are_whole(tmp_path):
    points = checks.check_async_kill_at_any_time(tmp_path)
    assert points > 15, f"only {points} file operations were seen: the hook no longer sees the save"


def test_a_training_process_killed_again_and_again_ends_as_the_one_that_was_not(tmp_path):
    checks.check_killed_training_goes_on_exactly(tmp_path)


@pytest.mark.parametrize("changes", [{"save_async": False}, {"optimizer": "muon"}], ids=str)
def test_resume_is_exact_in_every_mode(changes, tmp_path):
    check_resume_is_exact(tmp_path, replace(RESUME, eval_every=10, sample_every=10, **changes))


@pytest.mark.parametrize("beside", [False, True], ids=["at once", "in a thread"])
def test_a_full_disk_can_be_waited_out(beside, tmp_path, monkeypatch):
    checks.check_full_disk_can_be_waited_out(tmp_path, monkeypatch, beside=beside)


def test_a_full_disk_may_cost_lines_but_not_the_run(tmp_path, monkeypatch):
    checks.check_full_disk_may_cost_lines_but_not_the_run(tmp_path, monkeypatch)


@pytest.mark.parametrize("beside", [False, True], ids=["at once", "in a thread"])
def test_a_full_disk_stops_the_run_with_the_earlier_checkpoint_intact(beside, tmp_path, monkeypatch):
    checks.check_full_disk_stops_cleanly(tmp_path, monkeypatch, beside=beside)


@pytest.mark.parametrize("beside", [False, True], ids=["at once", "in a thread"])
def test_a_run_whose_last_step_is_nowhere_is_not_complete(beside, tmp_path, monkeypatch):
    checks.check_lost_last_step_is_a_failure(tmp_path, monkeypatch, beside=beside)


def test_the_newest_and_the_best_stay(tmp_path):
    checks.check_last_and_best_are_kept(tmp_path)


def test_a_fork_takes_the_weights_and_nothing_else(tmp_path):
    checks.check_fork_takes_weights_and_nothing_else(tmp_path)
