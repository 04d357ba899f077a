"""Classic training bugs, put back on purpose: each must break the law that exists to catch it."""

import contextlib
import os
import types

import pytest
import torch
import training_checks as laws

from pretraining import checkpoints, evaluation, gradients, trainer, training_state
from pretraining.config import TrainConfig


def must_fail(check, *arguments):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments)


# ---------------------------------------------------------------- LP3


def test_averaging_the_means_of_micro_batches_is_caught(monkeypatch):
    def accumulate(model, micro_batches, **kinds):
        full = [(x, y) for x, y in micro_batches if (y != -100).any()]
        total = 0.0
        for x, y in full:
            loss = model(x, targets=y).loss / len(full)
            loss.backward()
            total += float(loss.detach())
        return total, sum(int((y != -100).sum()) for _, y in full)

    monkeypatch.setattr(gradients, "accumulate", accumulate)
    must_fail(laws.check_accumulation_is_token_weighted)


def test_weighing_micro_batches_by_their_rows_is_caught(monkeypatch):
    def accumulate(model, micro_batches, **kinds):
        rows = sum(len(y) for _, y in micro_batches)
        total = 0.0
        for x, y in micro_batches:
            loss = model(x, targets=y).loss * len(y) / rows
            loss.backward()
            total += float(loss.detach())
        return total, sum(int((y != -100).sum()) for _, y in micro_batches)

    monkeypatch.setattr(gradients, "accumulate", accumulate)
    must_fail(laws.check_accumulation_is_token_weighted)


def test_dividing_by_all_labels_instead_of_the_counted_ones_is_caught(monkeypatch):
    honest = gradients.accumulate

    def accumulate(model, micro_batches, **kinds):
        loss, tokens = honest(model, micro_batches, **kinds)
        share = tokens / sum(y.numel() for _, y in micro_batches)
        for p in model.parameters():
            p.grad.mul_(share)
        return loss, tokens

    monkeypatch.setattr(gradients, "accumulate", accumulate)
    must_fail(laws.check_accumulation_is_token_weighted)


def test_stepping_without_a_label_is_caught(monkeypatch):
    def usable(self, loss, norm, tokens):
        self.now.skipped_empty += tokens == 0
        for p in self.model.parameters():
            p.grad = torch.zeros_like(p)  # weight decay alone moves the weights
        return True

    monkeypatch.setattr(trainer.Trainer, "_usable", usable)
    must_fail(laws.check_step_without_labels_is_skipped)


# ---------------------------------------------------------------- LP1


def forgetting(part):
    """A `resume` that leaves one part of the state as it is in a fresh trainer."""
    honest = trainer.Trainer.resume

    def resume(self, checkpoint):
        fresh = {
            "optimizer": self.optimizer.state_dict(),
            "loader": self.train_batches.state_dict(),
            "rng": training_state.capture_rng(),
            "progress": {**checkpoint.state["progress"], "window_loss": 0.0, "window_tokens": 0},
        }
        checkpoint.state[part] = fresh[part]
        if part == "optimizer":
            kept = self.optimizer.load_state_dict
            self.optimizer.load_state_dict = lambda state: None
            honest(self, checkpoint)
            self.optimizer.load_state_dict = kept
        else:
            honest(self, checkpoint)

    return resume


@pytest.mark.parametrize("part", ["optimizer", "loader", "rng", "progress"])
def test_a_resume_that_forgets_a_part_is_caught(part, monkeypatch, tmp_path):
    monkeypatch.setattr(trainer.Trainer, "resume", forgetting(part))
    config = laws.replace(laws.RESUME, save_every=10, log_every=4)  # step 10 lies inside a window of the log
    must_fail(laws.check_resume_is_exact, tmp_path, config)


def test_a_schedule_that_starts_again_is_caught(monkeypatch, tmp_path):
    honest = trainer.Trainer.resume

    def resume(self, checkpoint):
        honest(self, checkpoint)
        start, progress = self.now.step, self.budget.progress
        self.budget.progress = lambda step, elapsed: 1.0 if step >= 20 else progress(step - start, elapsed)

    monkeypatch.setattr(trainer.Trainer, "resume", resume)
    must_fail(laws.check_resume_is_exact, tmp_path)


def test_saving_weights_in_bf16_is_caught(monkeypatch, tmp_path):
    honest = training_state.load_weights

    def rounded(model, folder):
        honest(model, folder)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.bfloat16())

    monkeypatch.setattr(training_state, "load_weights", rounded)
    must_fail(laws.check_resume_is_exact, tmp_path)


# ---------------------------------------------------------------- LP2

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill is aimed in a forked child")


@contextlib.contextmanager
def in_place(path):
    """Writes straight into the folder of its final name."""
    path.mkdir(exist_ok=True)
    yield path


@needs_fork
def test_writing_a_checkpoint_in_place_is_caught(monkeypatch, tmp_path):
    honest = checkpoints.atomic_write_text

    @contextlib.contextmanager
    def early(path):  # with the pointer moved first: behind a late pointer a torn folder could hide
        honest(path.parent / "last", path.name + "\n")
        with in_place(path) as folder:
            yield folder

    monkeypatch.setattr(checkpoints, "atomic_dir", early)
    must_fail(laws.check_kill_at_any_time, tmp_path)


@needs_fork
def test_a_pointer_truncated_before_it_is_written_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "atomic_write_text", lambda path, text: path.write_text(text))
    must_fail(laws.check_kill_at_any_time, tmp_path)


@needs_fork
def test_removing_old_checkpoints_before_saving_is_caught(monkeypatch, tmp_path):
    honest = checkpoints.atomic_dir

    def remove_first(path):
        for folder in checkpoints.step_folders(path.parent):
            checkpoints.shutil.rmtree(folder)
        return honest(path)

    monkeypatch.setattr(checkpoints, "atomic_dir", remove_first)
    with pytest.raises((AssertionError, checkpoints.CheckpointError)):
        laws.check_kill_at_any_time(tmp_path)


def test_a_loader_that_only_looks_at_sizes_is_caught(monkeypatch, tmp_path):
    def sizes_only(folder):
        manifest = checkpoints.json.loads((folder / "manifest.json").read_text())
        wrong = [n for n, e in manifest["files"].items() if (folder / n).stat().st_size != e["bytes"]]
        return wrong[0] if wrong else None

    monkeypatch.setattr(checkpoints, "damage", sizes_only)
    with pytest.raises((AssertionError, ValueError)):
        laws.check_flipped_byte_is_found(tmp_path)


def test_a_silent_fallback_is_caught(monkeypatch, tmp_path):
    honest = checkpoints.find_checkpoint
    monkeypatch.setattr(
        checkpoints, "find_checkpoint", lambda place, which="last": (honest(place, which)[0], None)
    )
    must_fail(laws.check_flipped_byte_is_found, tmp_path)


# ---------------------------------------------------------------- LP5


def test_leaving_the_model_in_evaluation_mode_is_caught(monkeypatch):
    @contextlib.contextmanager
    def forgetful(model):
        model.eval()
        with torch.no_grad(), evaluation.preserved_rng():
            yield

    monkeypatch.setattr(evaluation, "evaluating", forgetful)
    must_fail(laws.check_evaluation_does_not_disturb)
    must_fail(laws.check_evaluating_twice_is_the_same)


def test_evaluating_with_dropout_is_caught(monkeypatch):
    @contextlib.contextmanager
    def noisy(model):
        with torch.no_grad():
            yield

    monkeypatch.setattr(evaluation, "evaluating", noisy)
    must_fail(laws.check_evaluating_twice_is_the_same)
    must_fail(laws.check_evaluation_does_not_disturb)


def test_calling_train_on_every_module_afterwards_is_caught(monkeypatch):
    @contextlib.contextmanager
    def blunt(model):
        model.eval()
        with torch.no_grad(), evaluation.preserved_rng():
            yield
        model.train()

    monkeypatch.setattr(evaluation, "evaluating", blunt)
    must_fail(laws.check_evaluating_twice_is_the_same)


def test_sampling_with_the_global_generator_is_caught(monkeypatch):
    def careless(model, tokenizer, config):
        torch.rand(1)
        return ["" for _ in config.prompts]

    monkeypatch.setattr(trainer, "sample_for", careless)
    must_fail(laws.check_evaluation_does_not_disturb)


# ---------------------------------------------------------------- LP10


def test_a_step_with_an_infinite_gradient_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(trainer.Trainer, "_usable", lambda self, loss, norm, tokens: True)
    must_fail(laws.check_infinite_gradient_is_skipped, tmp_path)


def test_the_checks_pass_on_the_code_as_it_is(tmp_path):
    """Without this a check that always fails would make every mutation look caught."""
    assert isinstance(laws.BASE, TrainConfig)
    laws.check_accumulation_is_token_weighted()
    laws.check_step_without_labels_is_skipped()
    laws.check_evaluation_does_not_disturb()
    laws.check_evaluating_twice_is_the_same()
    laws.check_flipped_byte_is_found(tmp_path / "a")
    laws.check_infinite_gradient_is_skipped(tmp_path / "b")
    laws.check_resume_is_exact(tmp_path / "c", laws.replace(laws.RESUME, save_every=10, log_every=4))


# ---------------------------------------------------------------- LP9


def test_a_muon_without_its_transpose_or_with_plain_momentum_is_caught(monkeypatch):
    import test_muon_laws as muon_laws

    from pretraining import muon

    honest = muon.Muon.step

    def no_nesterov(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = self.state[p]["momentum"].clone() if self.state[p] else p.grad
        honest(self)

    monkeypatch.setattr(muon.Muon, "step", no_nesterov)
    must_fail(muon_laws.test_ten_steps_equal_torch_muon)
    monkeypatch.setattr(muon.Muon, "step", honest)
    forgetful = types.SimpleNamespace(sqrt=lambda x: 1.0)  # the longer reach of tall matrices forgotten
    monkeypatch.setattr(muon, "math", forgetful)
    must_fail(muon_laws.test_ten_steps_equal_torch_muon)
