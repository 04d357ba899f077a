"""Classic bugs of several processes, put back on purpose: each must break the law that exists to catch it.

Ranks are forked from this process, so what is patched here is patched in all of them.
"""

import contextlib

import distributed_checks as laws
import distributed_saving_checks as saving
import pytest
import ranks
import torch

from pretraining import (
    distributed,
    elastic,
    fsdp,
    galore,
    gradients,
    local_ranks,
    own_ddp,
    sharded_checkpoints,
    trainer,
    training_state,
)
from pretraining.distributed import World

pytestmark = ranks.needs_fork


def must_fail(check, *arguments):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments)


def must_fail_or_hang(monkeypatch, check, *arguments):
    """As `must_fail`, for bugs that make ranks wait for each other: they are killed after a while."""
    monkeypatch.setattr(local_ranks, "SECONDS", 8.0)
    with pytest.raises((AssertionError, RuntimeError)):
        check(*arguments)


def test_weighing_by_the_tokens_of_one_rank_is_caught(monkeypatch):
    monkeypatch.setattr(World, "sum", lambda self, values: [float(value) for value in values])
    must_fail(laws.check_gradients_of_ranks_are_those_of_one_batch, 2, "ddp")


def test_skipping_a_micro_batch_that_others_wait_for_is_caught(monkeypatch):
    honest = gradients.accumulate

    def accumulate(model, micro_batches, **kinds):
        return honest(model, [(x, y) for x, y in micro_batches if (y != -100).any()], **kinds)

    monkeypatch.setattr(gradients, "accumulate", accumulate)
    monkeypatch.setattr(laws, "uneven_batch", empty_rank)
    must_fail_or_hang(monkeypatch, laws.check_gradients_of_ranks_are_those_of_one_batch, 2, "ddp")


def empty_rank():
    """A batch of which the second half has no label at all."""
    x, y = HONEST_BATCH()
    y[4:] = -100
    return x, y


HONEST_BATCH = laws.uneven_batch


def test_a_rank_without_a_label_is_harmless(monkeypatch):
    """The mutation above, without the bug: it is the bug that fails, not the batch."""
    monkeypatch.setattr(laws, "uneven_batch", empty_rank)
    laws.check_gradients_of_ranks_are_those_of_one_batch(2, "ddp")
    laws.check_gradients_of_ranks_are_those_of_one_batch(2, "fsdp")


def test_gradients_that_travel_with_each_micro_batch_are_caught(monkeypatch):
    monkeypatch.setattr(World, "accumulating", lambda self, forward, last: contextlib.nullcontext())
    must_fail(laws.check_one_all_reduce_a_step, 2)


def test_clipping_by_the_norm_of_a_shard_is_caught(monkeypatch):
    def clip(parameters, limit):
        shards = [p.grad.to_local() for p in parameters]
        norm = torch.nn.utils.get_total_norm(shards)
        for shard in shards:
            shard.mul_(min(1.0, float(limit / (norm + 1e-6))))
        return float(norm)

    honest = gradients.clip_gradients
    monkeypatch.setattr(
        trainer,
        "clip_gradients",
        lambda ps, limit: (clip if hasattr(ps[0], "to_local") else honest)(ps, limit),
    )
    must_fail(laws.check_ranks_train_like_one, 2, "fsdp", True)


def test_a_projector_for_each_rank_is_caught(monkeypatch):
    monkeypatch.setattr(galore, "share", lambda tensor: tensor)
    must_fail(laws.check_ranks_share_galores_projector)


def test_ranks_that_read_the_same_rows_are_caught(monkeypatch):
    honest = laws.BatchLoader
    monkeypatch.setattr(
        laws, "BatchLoader", lambda *arguments, rank, world_size, **kinds: honest(*arguments, **kinds)
    )
    must_fail(laws.check_ranks_see_other_rows, 2)
    must_fail(laws.check_ranks_train_like_one, 2, "ddp", True)


def test_validation_counted_by_every_rank_is_caught(monkeypatch):
    monkeypatch.setattr(World, "deal", lambda self, items: ((item, True) for item in items))
    must_fail(laws.check_ranks_train_like_one, 2, "ddp", True)


def test_the_generator_of_rank_0_given_to_all_is_caught(monkeypatch, tmp_path):
    honest = World.gather
    monkeypatch.setattr(World, "gather", lambda self, value: [honest(self, value)[0]] * self.size)
    must_fail(saving.check_resume_over_ranks_is_exact, tmp_path, 2, "ddp")


def test_one_seed_for_all_ranks_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(World, "seed", lambda self, seed: seed)
    must_fail(saving.check_resume_over_ranks_is_exact, tmp_path, 2, "ddp")


def test_a_sharded_optimizer_that_begins_anew_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(fsdp, "scattered", lambda optimizer, saved: {**saved, "state": {}})
    must_fail(saving.check_resume_over_ranks_is_exact, tmp_path, 2, "fsdp")


def test_moments_that_are_not_read_from_their_shards_are_caught(monkeypatch, tmp_path):
    honest = training_state.put_together

    def forgetful(optimizer, saved, folder):
        with monkeypatch.context() as patch:
            patch.setattr(sharded_checkpoints, "read_shards", lambda folder, into: None)
            return honest(optimizer, saved, folder)

    monkeypatch.setattr(training_state, "put_together", forgetful)
    must_fail(saving.check_shards_go_on, tmp_path, (2, 2))


def test_torchs_own_exception_for_a_full_disk_is_caught(monkeypatch, tmp_path):
    """Shards written as torch offers it: its exception is no Exception, and ends a run that was told to go on."""

    def trusting(folder, shards):
        import torch.distributed.checkpoint as dcp

        dcp.save(dict(shards), checkpoint_id=folder)

    monkeypatch.setattr(sharded_checkpoints, "write_shards", trusting)
    must_fail(saving.check_a_full_disk_of_one_rank, tmp_path)


def test_a_place_in_the_data_that_counts_one_rank_is_caught(monkeypatch, tmp_path):
    honest = laws.BatchLoader.state_dict

    def state_dict(self):
        state = honest(self)
        return {**state, "position": state["position"] // self.world_size}

    monkeypatch.setattr(laws.BatchLoader, "state_dict", state_dict)
    must_fail(saving.check_other_world_goes_on, tmp_path, "ddp", (2, 1))


def test_a_second_writer_is_caught(monkeypatch, tmp_path):
    honest = laws.trainer_for

    def trainer_for(world, config=laws.TRAIN, *, run=None, **kinds):
        made = honest(world, config, run=run, **kinds)
        if not world.is_main:
            made.journal.run = saving.Run.open(tmp_path / "law/a")
        return made

    monkeypatch.setattr(saving, "trainer_for", trainer_for)
    must_fail(saving.check_one_writer, tmp_path, 2, "ddp")


def test_stopping_alone_is_caught(monkeypatch):
    monkeypatch.setattr(World, "any", lambda self, flag: flag)
    must_fail_or_hang(monkeypatch, saving.check_all_stop_together, 2)


def test_a_clock_of_ones_own_is_caught(monkeypatch):
    monkeypatch.setattr(World, "from_main", lambda self, value: value)
    must_fail_or_hang(monkeypatch, saving.check_clocks_agree, 2)


def test_beginning_again_after_a_crash_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(elastic, "restarts", lambda environment=None: 0)
    must_fail(saving.check_restart_goes_on, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "bug", ["sum instead of mean", "sends in no_sync", "own first weights", "not waited for"]
)
def test_bugs_in_the_forty_lines_are_caught(monkeypatch, bug):
    honest = own_ddp.OwnDDP._finish

    def finish(self):
        if bug == "not waited for":
            self._under_way = [(NoWork(), flat.clone(), bucket) for _, flat, bucket in self._under_way]
        honest(self)
        if bug == "sum instead of mean":
            for p in self._bucket_of:
                p.grad *= laws.world_size()

    monkeypatch.setattr(own_ddp.OwnDDP, "_finish", finish)
    if bug == "sends in no_sync":
        monkeypatch.setattr(own_ddp.OwnDDP, "no_sync", contextlib.nullcontext)
    if bug == "own first weights":
        monkeypatch.setattr(own_ddp.dist, "broadcast", keeping_to_oneself(own_ddp.dist.broadcast))
    must_fail(laws.check_own_ddp_is_torchs, 2, 4000)


class NoWork:
    """A message that is taken for delivered when it was only posted."""

    def wait(self):
        pass


def keeping_to_oneself(honest):
    """A broadcast that only numbers of one element take part in."""
    return lambda tensor, src=0, **kinds: honest(tensor, src, **kinds) if tensor.numel() == 1 else None


def test_the_patched_names_exist():
    """A renamed function would turn a mutation into a test of nothing."""
    assert distributed.World.gather and gradients.accumulate and fsdp.scattered and elastic.restarts
