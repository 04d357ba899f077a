"""LP3, LP4 and LP1 over 2 and 4 ranks: what several processes train is what one would have trained."""

import distributed_checks as laws
import distributed_saving_checks as saving
import pytest
from ranks import needs_fork

pytestmark = needs_fork


@pytest.mark.parametrize(("size", "strategy"), [(2, "ddp"), (4, "ddp"), (2, "fsdp")])
def test_gradients_of_ranks_are_those_of_one_batch(size, strategy):
    laws.check_gradients_of_ranks_are_those_of_one_batch(size, strategy)


@pytest.mark.parametrize("size", [2, 4])
def test_gradients_travel_once_a_step(size):
    laws.check_one_all_reduce_a_step(size)


@pytest.mark.parametrize(
    ("size", "strategy", "double"),
    [(2, "ddp", False), (4, "ddp", False), (2, "fsdp", False), (2, "ddp", True), (4, "fsdp", True)],
)
def test_ranks_train_like_one(size, strategy, double):
    laws.check_ranks_train_like_one(size, strategy, double)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_train_like_one_with_accumulation(strategy):
    laws.check_ranks_train_like_one(2, strategy, True, grad_accum=2, batch_size=4)


def test_ranks_share_galores_projector():
    laws.check_ranks_share_galores_projector()


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_see_other_rows(size):
    laws.check_ranks_see_other_rows(size)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_resume_over_ranks_is_exact(tmp_path, strategy):
    saving.check_resume_over_ranks_is_exact(tmp_path, 2, strategy)


@pytest.mark.parametrize(
    ("strategy", "sizes"), [("ddp", (2, 1)), ("fsdp", (2, 1)), ("fsdp", (1, 2)), ("ddp", (2, 4))]
)
def test_another_number_of_processes_goes_on(tmp_path, strategy, sizes):
    saving.check_other_world_goes_on(tmp_path, strategy, sizes)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_writer(tmp_path, strategy):
    saving.check_one_writer(tmp_path, 2, strategy)


@pytest.mark.parametrize("sizes", [(2, 2), (2, 4), (4, 1)])
def test_shards_go_on(tmp_path, sizes):
    saving.check_shards_go_on(tmp_path, sizes)


def test_a_full_disk_of_one_rank_is_known_to_all(tmp_path):
    saving.check_a_full_disk_of_one_rank(tmp_path)


def test_all_stop_together():
    saving.check_all_stop_together(2)


def test_clocks_agree():
    saving.check_clocks_agree(2)


@pytest.mark.parametrize(("size", "bucket_bytes"), [(2, 4000), (4, 4000), (2, 1 << 20)])
def test_forty_lines_of_ddp_are_torchs(size, bucket_bytes):
    laws.check_own_ddp_is_torchs(size, bucket_bytes)


def test_a_restart_goes_on(tmp_path, monkeypatch):
    saving.check_restart_goes_on(tmp_path, monkeypatch)
