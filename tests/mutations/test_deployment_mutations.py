"""Classic bugs of jobs on rented machines, put back on purpose: each must break its law (LS7)."""

import dataclasses
import shutil

import deployment_checks as laws
import pytest

from deployment import image, jobs, lease, resume, spec


def must_fail(check, *arguments, **named):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments, **named)


# ---------------------------------------------------------------- jobs


def test_a_dead_machine_that_is_believed_to_live_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(resume, "take_over", lambda path: None)
    must_fail(laws.check_killed_jobs_go_on, tmp_path, kills=1)


def test_beginning_again_instead_of_going_on_is_caught(monkeypatch, tmp_path):
    honest = resume.look

    def forget(root, stage, run_id):
        found = honest(root, stage, run_id)
        return dataclasses.replace(found, state="dead", step=0) if found.state == "resumable" else found

    monkeypatch.setattr(resume, "look", forget)
    must_fail(laws.check_killed_jobs_go_on, tmp_path, kills=1)


def test_a_new_name_for_every_attempt_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(
        jobs, "prepare", lambda root, stage, run_id: resume.Found("new", root / stage / run_id)
    )
    monkeypatch.setattr(jobs, "RUN_ID_VARIABLE", "SOMETHING_ELSE")
    must_fail(laws.check_killed_jobs_go_on, tmp_path, kills=1)


def test_a_complete_job_that_is_run_again_is_caught(monkeypatch, tmp_path):
    honest = jobs.prepare

    def never_done(root, stage, run_id):
        found = honest(root, stage, run_id)
        if found.state == "complete":
            shutil.rmtree(found.path)
            return resume.Found("new", found.path)
        return found

    monkeypatch.setattr(jobs, "prepare", never_done)
    must_fail(laws.check_killed_jobs_go_on, tmp_path, kills=1)


def test_committing_only_at_the_end_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "_newest", lambda path: 0)
    monkeypatch.setattr(lease.Lease, "renew", lambda self: None)
    must_fail(laws.check_each_checkpoint_is_committed_at_once, tmp_path)


def test_killing_instead_of_asking_at_the_deadline_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs.Child, "stop", lambda self: self.process.kill())
    must_fail(laws.check_the_deadline_saves, tmp_path)


@pytest.mark.parametrize("always", ["again", "failed"])
def test_treating_all_endings_alike_is_caught(monkeypatch, tmp_path, always):
    honest = jobs.verdict
    monkeypatch.setattr(
        jobs, "verdict", lambda *a, **k: "complete" if honest(*a, **k) == "complete" else always
    )
    must_fail(laws.check_what_is_tried_again, tmp_path)


# ---------------------------------------------------------------- leases


def test_a_lease_that_anyone_may_take_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(lease.Lease, "_is_free", lambda self, note: True)
    must_fail(laws.check_one_machine_at_a_time, tmp_path)


def test_a_renewal_that_does_not_look_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(lease.Lease, "renew", lambda self: self._write())
    must_fail(laws.check_one_machine_at_a_time, tmp_path)


def test_a_lease_that_is_not_renewed_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(lease.Lease, "renew", lambda self: None)
    must_fail(laws.check_one_machine_at_a_time, tmp_path)


def test_not_reading_the_note_back_is_caught(monkeypatch, tmp_path):
    honest = lease.Lease._is_mine
    calls = []

    def believe(self, note):
        calls.append(1)
        return True if len(calls) == 1 else honest(self, note)

    monkeypatch.setattr(lease.Lease, "_is_mine", believe)
    must_fail(laws.check_two_that_come_at_once, tmp_path)


# ---------------------------------------------------------------- the provider


@pytest.mark.parametrize("lost", ["volumes", "retries", "timeout", "secrets", "single_use_containers", "gpu"])
def test_an_option_that_does_not_arrive_is_caught(monkeypatch, lost):
    honest = spec.train_options
    default = {
        "volumes": {},
        "retries": None,
        "timeout": 300,
        "secrets": [],
        "single_use_containers": False,
        "gpu": None,
    }
    monkeypatch.setattr(spec, "train_options", lambda *a, **k: {**honest(*a, **k), lost: default[lost]})
    must_fail(laws.check_training_gets_what_the_spec_says, monkeypatch)


@pytest.mark.parametrize(
    ("name", "value"), [("min_containers", 1), ("max_containers", None), ("secrets", [])]
)
def test_a_server_that_costs_more_or_is_open_is_caught(monkeypatch, name, value):
    honest = spec.serve_options
    monkeypatch.setattr(spec, "serve_options", lambda *a: {**honest(*a), name: value})
    must_fail(laws.check_serving_gets_what_the_spec_says, monkeypatch)


def test_a_floating_version_in_the_image_is_caught(monkeypatch):
    honest = image.pins
    monkeypatch.setattr(image, "pins", lambda *a: [text.replace("torch==", "torch>=") for text in honest(*a)])
    must_fail(laws.check_images_hold_our_own_pins, monkeypatch, "modal_train", image.TRAIN_EXTRAS)


def test_a_package_that_the_image_forgot_is_caught(monkeypatch):
    honest = image.pins
    monkeypatch.setattr(image, "pins", lambda *a: honest(*a)[1:])
    must_fail(laws.check_images_hold_our_own_pins, monkeypatch, "modal_train", image.TRAIN_EXTRAS)


def test_logic_in_the_body_of_a_remote_function_is_caught(tmp_path):
    for app in laws.APPS:
        shutil.copy(laws.ROOT / "deployment" / f"{app}.py", tmp_path)
    file = tmp_path / "modal_train.py"
    honest = file.read_text()
    file.write_text(honest.replace("    return attempt(job", "    job = dict(job)\n    return attempt(job"))
    assert file.read_text() != honest
    must_fail(laws.check_bodies_are_one_call, tmp_path)


def test_a_file_that_the_image_forgot_is_caught(monkeypatch, tmp_path):
    honest = image.files
    monkeypatch.setattr(image, "files", lambda: [path for path in honest() if path.name != "lease.py"])
    must_fail(laws.check_a_container_has_what_it_imports, tmp_path)
