"""LS7: a job outlives its machine; modules import without an account; the spec reaches the provider; own pins."""

import deployment_checks as laws
import pytest

from deployment.image import SERVE_EXTRAS, TRAIN_EXTRAS, WORKSPACE_EXTRAS


@pytest.mark.parametrize("seed", [1, 2])
def test_a_job_whose_machine_is_killed_goes_on_by_its_name(tmp_path, seed):
    laws.check_killed_jobs_go_on(tmp_path, seed=seed)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    laws.check_a_run_without_checkpoints_begins_again(tmp_path)


def test_training_that_lost_its_machine_is_the_training_that_did_not(tmp_path):
    laws.check_real_training_survives_its_machine(tmp_path)


def test_every_checkpoint_is_committed_before_the_next(tmp_path):
    laws.check_each_checkpoint_is_committed_at_once(tmp_path)


def test_before_the_time_limit_it_saves_and_the_next_attempt_goes_on(tmp_path):
    laws.check_the_deadline_saves(tmp_path)


def test_only_what_may_end_better_is_tried_again(tmp_path):
    laws.check_what_is_tried_again(tmp_path)


def test_one_machine_at_a_time_holds_a_job(tmp_path):
    laws.check_one_machine_at_a_time(tmp_path)


def test_of_two_that_come_at_once_one_works(tmp_path):
    laws.check_two_that_come_at_once(tmp_path)


def test_a_training_machine_is_the_one_of_the_spec(monkeypatch):
    laws.check_training_gets_what_the_spec_says(monkeypatch)


def test_a_server_is_the_one_of_the_spec(monkeypatch):
    laws.check_serving_gets_what_the_spec_says(monkeypatch)


def test_a_workspace_is_the_one_of_the_spec(monkeypatch):
    laws.check_a_workspace_gets_what_the_spec_says(monkeypatch)


@pytest.mark.parametrize(
    ("app", "extras"),
    [("modal_train", TRAIN_EXTRAS), ("modal_serve", SERVE_EXTRAS), ("modal_vscode", WORKSPACE_EXTRAS)],
    ids=["train", "serve", "vscode"],
)
def test_an_image_holds_the_projects_own_pins(monkeypatch, app, extras):
    laws.check_images_hold_our_own_pins(monkeypatch, app, extras)


def test_a_function_of_modal_is_one_call_into_plain_functions():
    laws.check_bodies_are_one_call()


def test_the_apps_import_without_an_account_and_without_a_network(tmp_path):
    laws.check_apps_import_without_an_account(tmp_path)


def test_a_container_has_all_that_it_imports(tmp_path):
    laws.check_a_container_has_what_it_imports(tmp_path)


def test_local_runs_the_whole_job(monkeypatch, tmp_path):
    laws.check_local_runs_a_job(monkeypatch, tmp_path)
