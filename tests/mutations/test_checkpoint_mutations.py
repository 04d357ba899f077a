"""Classic bugs of saving, keeping, forking and importing, put back on purpose: each must break its law."""

import contextlib
import dataclasses
import os

import checkpoint_checks as laws
import pth_checks
import pytest
import torch

from pretraining import async_checkpoints, checkpoints, import_pth, recipe, starting_points, trainer
from pretraining.checkpoints import write_checkpoint

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill is aimed in a forked child")


def must_fail(check, *arguments, **named):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments, **named)


# ---------------------------------------------------------------- beside the loop


def test_a_snapshot_that_only_points_at_the_state_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(async_checkpoints.MemoryPool, "copy", lambda self, name, tensor: tensor.detach())
    must_fail(laws.check_snapshot_is_of_its_moment, tmp_path)


def test_weights_that_are_read_in_the_thread_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(async_checkpoints.AsyncCheckpoints, "_stand_in", lambda self: self._model)
    must_fail(laws.check_snapshot_is_of_its_moment, tmp_path)


def test_memory_that_is_not_filled_again_is_caught(monkeypatch, tmp_path):
    honest, seen = async_checkpoints.MemoryPool.copy, set()

    def once(self, name, tensor):
        if name in seen:
            return self.room(name, tensor)
        seen.add(name)
        return honest(self, name, tensor)

    monkeypatch.setattr(async_checkpoints.MemoryPool, "copy", once)
    must_fail(laws.check_async_is_the_same_checkpoint, tmp_path)


def test_memory_that_is_cleared_once_more_after_the_copy_is_caught(monkeypatch, tmp_path):
    honest = async_checkpoints.AsyncCheckpoints.save

    def save(self, root, step, **how):
        before = honest(self, root, step, **how)
        self._pool.touch()  # as a priming would that nobody waits for
        return before

    monkeypatch.setattr(async_checkpoints.AsyncCheckpoints, "save", save)
    must_fail(laws.check_snapshot_is_of_its_moment, tmp_path)


@needs_fork
def test_a_pointer_moved_before_the_folder_is_whole_is_caught(monkeypatch, tmp_path):
    honest_dir, honest_text = checkpoints.atomic_dir, checkpoints.atomic_write_text

    @contextlib.contextmanager
    def early(path):
        honest_text(path.parent / "last", path.name + "\n")
        with honest_dir(path) as folder:
            yield folder

    monkeypatch.setattr(checkpoints, "atomic_dir", early)
    must_fail(laws.check_async_kill_at_any_time, tmp_path)


@needs_fork
def test_removing_what_best_still_names_is_caught(monkeypatch, tmp_path):
    honest = checkpoints.atomic_write_text

    def remove_first(path, text):
        if path.name == "best":
            for folder in checkpoints.step_folders(path.parent)[:-1]:
                checkpoints.shutil.rmtree(folder)
        return honest(path, text)

    monkeypatch.setattr(checkpoints, "atomic_write_text", remove_first)
    must_fail(laws.check_async_kill_at_any_time, tmp_path)


# ---------------------------------------------------------------- a disk that refuses


def test_an_error_that_stays_in_the_thread_is_caught(monkeypatch, tmp_path):
    def run(self, root, step, how):
        with contextlib.suppress(Exception):
            self._outcome = async_checkpoints.Outcome(step, self._write(root, step, **how))

    monkeypatch.setattr(async_checkpoints.AsyncCheckpoints, "_run", run)
    must_fail(laws.check_full_disk_stops_cleanly, tmp_path / "a", monkeypatch, beside=True)
    must_fail(laws.check_lost_last_step_is_a_failure, tmp_path / "b", monkeypatch, beside=True)
    must_fail(laws.check_full_disk_can_be_waited_out, tmp_path / "c", monkeypatch, beside=True)


@pytest.mark.parametrize("beside", [False, True], ids=["at once", "in a thread"])
def test_a_run_called_complete_without_its_last_step_is_caught(beside, monkeypatch, tmp_path):
    def finish(self):
        if self.background is not None:
            self._settle(self.background.wait())

    monkeypatch.setattr(trainer.Saver, "finish", finish)
    must_fail(laws.check_lost_last_step_is_a_failure, tmp_path, monkeypatch, beside=beside)


@pytest.mark.parametrize("beside", [False, True], ids=["at once", "in a thread"])
def test_a_step_that_counts_as_saved_although_it_is_not_is_caught(beside, monkeypatch, tmp_path):
    honest = trainer.Saver._settle

    def settle(self, outcome):
        if outcome is not None and outcome.error is not None:
            outcome = async_checkpoints.Outcome(outcome.step, self.trainer.checkpoint_dir / "step_000002")
        honest(self, outcome)

    monkeypatch.setattr(trainer.Saver, "_settle", settle)
    must_fail(laws.check_full_disk_stops_cleanly, tmp_path, monkeypatch, beside=beside)


def test_a_journal_that_gives_up_is_caught(monkeypatch, tmp_path):
    honest = trainer.Journal.__init__
    monkeypatch.setattr(
        trainer.Journal, "__init__", lambda self, *a, patient: honest(self, *a, patient=False)
    )
    must_fail(laws.check_full_disk_may_cost_lines_but_not_the_run, tmp_path, monkeypatch)


# ---------------------------------------------------------------- which checkpoints stay


def test_calling_the_newest_the_best_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(
        checkpoints, "_ranked", lambda root: [path.name for path in reversed(checkpoints.step_folders(root))]
    )
    must_fail(laws.check_last_and_best_are_kept, tmp_path)


def test_remembering_the_best_loss_instead_of_looking_at_the_disk_is_caught(monkeypatch, tmp_path):
    honest, memory = checkpoints._ranked, []

    def remembered(root):
        ranked = honest(root)
        best = checkpoints.score_of(root / ranked[0])
        if not memory or best < memory[0][0]:
            memory[:] = [(best, ranked[0])]
        return [memory[0][1], *[name for name in ranked if name != memory[0][1]]]

    monkeypatch.setattr(checkpoints, "_ranked", remembered)
    must_fail(laws.check_last_and_best_are_kept, tmp_path)


def test_keeping_only_the_newest_is_caught(monkeypatch, tmp_path):
    honest = checkpoints._remove_old
    monkeypatch.setattr(checkpoints, "_remove_old", lambda root, step, k, kept: honest(root, step, k, set()))
    must_fail(laws.check_last_and_best_are_kept, tmp_path)


# ---------------------------------------------------------------- fork


def test_a_fork_without_the_weights_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(starting_points.Source, "give_weights", lambda self, model: None)
    must_fail(laws.check_fork_takes_weights_and_nothing_else, tmp_path)


def test_a_fork_that_takes_the_optimizer_too_is_caught(monkeypatch, tmp_path):
    honest = recipe.Trainer.fit

    def fit(self):
        others = [path for path in tmp_path.glob("pretrain/*") if path != self.run.path]
        if others:  # this is the fork
            self.optimizer.load_state_dict(checkpoints.load_checkpoint(others[0]).state["optimizer"])
        return honest(self)

    monkeypatch.setattr(recipe.Trainer, "fit", fit)
    must_fail(laws.check_fork_takes_weights_and_nothing_else, tmp_path)


def test_a_fork_that_writes_into_its_parent_is_caught(monkeypatch, tmp_path):
    honest = starting_points.open_fork

    def careless(ref, **kinds):
        source = honest(ref, **kinds)
        (checkpoints.Path(source.provenance["path"]) / "forked").write_text("yes")
        return source

    monkeypatch.setattr(recipe, "open_fork", careless)
    must_fail(laws.check_fork_takes_weights_and_nothing_else, tmp_path)


# ---------------------------------------------------------------- files of others


def changed_config(**changes):
    """An `understand` that mistakes something about the shape."""
    honest = import_pth.understand

    def understand(*arguments):
        config, moves = honest(*arguments)
        return dataclasses.replace(config, **changes), moves

    return understand


def test_the_other_gelu_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(import_pth, "understand", changed_config(mlp="gelu_tanh"))
    must_fail(pth_checks.check_nanogpt, tmp_path)


def test_a_forgotten_transpose_of_a_square_matrix_is_caught(monkeypatch, tmp_path):
    pytest.importorskip("transformers")
    honest = import_pth.understand

    def understand(*arguments):
        config, moves = honest(*arguments)
        square = "attn.out_proj.weight"
        return config, [
            type(m)(m.source, m.target, m.rows, m.transpose and not m.target.endswith(square)) for m in moves
        ]

    monkeypatch.setattr(import_pth, "understand", understand)
    must_fail(pth_checks.check_transformers, tmp_path)


def test_opening_a_pickle_without_weights_only_is_caught(monkeypatch, tmp_path):
    honest = torch.load
    monkeypatch.setattr(torch, "load", lambda path, **kinds: honest(path, **{**kinds, "weights_only": False}))
    must_fail(pth_checks.check_code_is_refused, tmp_path)


def test_the_checks_pass_on_the_code_as_it_is(tmp_path, monkeypatch):
    """Without this a check that always fails would make every mutation look caught."""
    assert checkpoints.write_checkpoint is write_checkpoint
    laws.check_async_is_the_same_checkpoint(tmp_path / "a")
    laws.check_snapshot_is_of_its_moment(tmp_path / "b")
    laws.check_last_and_best_are_kept(tmp_path / "c")
    laws.check_fork_takes_weights_and_nothing_else(tmp_path / "d")
    (tmp_path / "e").mkdir()
    pth_checks.check_nanogpt(tmp_path / "e")
    pth_checks.check_code_is_refused(tmp_path / "e")
    laws.check_full_disk_stops_cleanly(tmp_path / "f", monkeypatch, beside=True)
