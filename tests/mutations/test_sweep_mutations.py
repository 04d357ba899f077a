"""The bugs that the laws of sweeps and pipelines exist for, put back on purpose."""

import dataclasses

import pytest
import sweep_checks as checks

from pretraining import child_process, pipeline, pipeline_stages, sweep, sweep_plan, sweep_report


def test_an_id_by_position_instead_of_settings(monkeypatch):
    real = sweep_plan._trial
    count = iter(range(10_000))
    monkeypatch.setattr(
        sweep_plan, "_trial", lambda *words: dataclasses.replace(real(*words), id=f"t{next(count)}")
    )
    with pytest.raises(AssertionError, match="settings alone"):
        checks.check_grid_is_complete()


def test_halving_that_keeps_the_highest(monkeypatch):
    def worst(self, losses, rung):
        order = sorted((t for t in self.trials if losses.get(t.id) is not None), key=lambda t: -losses[t.id])
        return order[: max(1, len(losses) // self.eta)]

    monkeypatch.setattr(sweep_plan.SweepPlan, "survivors", worst)
    with pytest.raises(AssertionError, match="four lowest"):
        checks.check_halving_keeps_the_best()


def test_not_a_number_counts_as_a_loss(monkeypatch):
    """NaN compares false with everything, so an unguarded sort may let a diverged trial go on."""
    monkeypatch.setattr(sweep_plan.math, "isfinite", lambda _: True)
    with pytest.raises(AssertionError):
        checks.check_halving_keeps_the_best()


def test_an_exit_code_that_nobody_looks_at(monkeypatch, tmp_path):
    monkeypatch.setattr(child_process, "ending", lambda code, log="": child_process.Ending("complete", code))
    with pytest.raises(AssertionError):
        checks.check_endings()
    with pytest.raises(AssertionError):
        checks.check_a_failure_is_shown_and_the_rest_goes_on(tmp_path / "sweep")
    with pytest.raises(AssertionError):
        checks.check_a_failed_stage_is_told_truly(tmp_path / "pipeline")


def test_a_process_that_ended_well_and_left_nothing_is_complete(monkeypatch, tmp_path):
    def believing(self, trial, rung, end, child):
        self.endings[trial.id] = {"status": end.status, "reason": end.reason, "rung": rung}

    monkeypatch.setattr(sweep.Sweep, "_note", believing)
    with pytest.raises(AssertionError, match="1e7"):
        checks.check_a_failure_is_shown_and_the_rest_goes_on(tmp_path)


def test_a_sweep_that_forgets_what_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep.Sweep, "_finished", lambda self, trial, rung: False)
    with pytest.raises(AssertionError, match="begun again"):
        checks.check_nothing_is_trained_twice(tmp_path)


def test_survivors_by_the_plan_instead_of_the_loss(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep_report.Outcome, "at", lambda self, rung, metric="loss": 1.0)
    with pytest.raises(AssertionError):
        checks.check_halving_trains_the_survivors_on(tmp_path)


def test_a_stop_that_kills(monkeypatch, tmp_path):
    monkeypatch.setattr(child_process.Child, "stop", lambda self: self.process.kill())
    with pytest.raises(AssertionError, match="saves and stops"):
        checks.check_stopping_lets_trials_save(tmp_path / "sweep")
    with pytest.raises(AssertionError, match="asked to stop"):
        checks.check_a_stopped_pipeline_goes_on(tmp_path / "pipeline")


def test_a_stage_kept_by_its_settings_alone(monkeypatch, tmp_path):
    """The classic stale cache: the text behind the name has changed, and the key has not."""
    monkeypatch.setattr(pipeline, "input_content", lambda source: source)
    with pytest.raises(AssertionError, match="same name"):
        checks.check_stages_are_kept_and_never_stale(tmp_path)


def test_a_stage_whose_files_nobody_looks_at(monkeypatch, tmp_path):
    import json

    def trusting(self, stage, folder):
        try:
            record = json.loads((folder / pipeline_stages.RECORD).read_text())
        except OSError:
            return None
        return pipeline_stages.Product(record["path"], [o["sha256"] for o in record["outputs"]])

    monkeypatch.setattr(pipeline_stages.StageStore, "whole", trusting)
    with pytest.raises(AssertionError, match="changed byte"):
        checks.check_stages_are_kept_and_never_stale(tmp_path / "stale")
    with pytest.raises(AssertionError, match="latest whole"):
        checks.check_latest_and_given(tmp_path / "latest")


def test_a_key_that_leaves_out_what_is_read(monkeypatch, tmp_path):
    real = pipeline_stages.StageStore.key
    monkeypatch.setattr(
        pipeline_stages.StageStore,
        "key",
        lambda self, stage, settings, products, content=None: real(self, stage, settings, {}, content),
    )
    with pytest.raises(AssertionError):
        checks.check_stages_are_kept_and_never_stale(tmp_path)


def test_a_rung_as_a_budget_of_its_own(monkeypatch, tmp_path):
    """The usual way to halve: train for few steps, then for more. The learning rate has decayed twice by then."""
    from pretraining import train_job

    real = train_job.run_job

    def shorter(config, run_id, *, stop_at=None):
        return real(config if stop_at is None else dataclasses.replace(config, steps=stop_at), run_id)

    monkeypatch.setattr(train_job, "_same_config", lambda run, config: None)
    monkeypatch.setattr(
        train_job,
        "is_done",
        lambda run, stop_at: train_job.reached(run) >= (6 if stop_at is None else stop_at),
    )
    monkeypatch.setattr(train_job, "run_job", shorter)
    with pytest.raises(AssertionError):
        checks.check_a_paused_run_is_the_run_that_was_not(tmp_path)
