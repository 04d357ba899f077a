"""Bad input of several processes, and the commands around them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from distributed_checks import TRAIN, trainer_for
from ranks import needs_fork, run_ranks
from training_checks import Watch, tiny_model

from pretraining import benchmark_distributed, elastic, scale_plan, scale_sheet, sharded_checkpoints
from pretraining.config import TrainConfig
from pretraining.distributed import SINGLE, World, open_world
from pretraining.wire import received_bytes
from utils.errors import RunFailure, UserError


def test_a_batch_that_does_not_divide_is_refused_with_what_would():
    with pytest.raises(UserError, match=r"batch_size is 10, which 4 processes cannot share.*take 8 or 12"):
        World(rank=0, size=4).share_of(10)
    with pytest.raises(UserError, match="take 4, or another"):
        World(rank=0, size=4).share_of(3)


def test_strategies_are_checked(monkeypatch):
    with pytest.raises(UserError, match="strategy is 'zero'"):
        SINGLE.wrap(tiny_model(), "zero")
    with pytest.raises(UserError, match="strategy=fsdp needs a process group: start with torchrun"):
        SINGLE.wrap(tiny_model(), "fsdp")
    with pytest.raises(UserError, match="strategy is none, but 2 processes were started"):
        World(rank=0, size=2).wrap(tiny_model(), "none")
    with pytest.raises(UserError, match=r"optimizer is 'muon'.*whole matrices"):
        TrainConfig(strategy="fsdp", optimizer="muon")
    with pytest.raises(UserError, match="only strategy=fsdp has shards"):
        TrainConfig(sharded_checkpoints=True)


def test_a_broken_environment_is_named(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE is 'two', not a number"), open_world("cpu"):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(UserError, match="process 1 of this machine has no GPU of its own"),
        open_world("cuda"),
    ):
        pass


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with open_world("cpu") as world:
        assert world is SINGLE and world.is_main
        assert world.sum([1, 2]) == [1.0, 2.0] and world.tell("x") == "x" and world.gather(3) == [3]


def collectives(world):
    """What each rank hears from the others."""
    return (
        world.sum([1.0, world.rank]),
        world.any(world.rank == 1),
        world.from_main(10.0 + world.rank),
        world.tell({"path": world.rank}),
        world.gather(world.rank),
    )


@needs_fork
def test_what_ranks_say_to_each_other():
    assert run_ranks(3, collectives) == [([3.0, 3.0], True, 10.0, {"path": 0}, [0, 1, 2])] * 3


def sharded_alone(world):
    """A run of one process under torchrun whose model is sharded all the same."""
    trainer = trainer_for(world, replace(TRAIN, steps=2, strategy="fsdp", fast_loss=True))
    return trainer.fit().step


@needs_fork
def test_one_process_can_be_sharded():
    assert run_ranks(1, sharded_alone) == [2]


def uneven(world):
    """A global batch that two ranks cannot share, as the trainer's data sees it."""
    try:
        world.share_of(7)
    except UserError as error:
        return str(error)
    return ""


@needs_fork
def test_every_rank_refuses_an_uneven_batch():
    assert all("cannot share equally" in answer for answer in run_ranks(2, uneven))


def test_launches_are_told_apart():
    assert elastic.launch_id({}) is None
    assert elastic.launch_id({"TORCHELASTIC_RUN_ID": "a"}) == "a"
    assert str(os.getppid()) in elastic.launch_id({"TORCHELASTIC_RUN_ID": "none"})
    assert elastic.restarts({"TORCHELASTIC_RESTART_COUNT": "2"}) == 2 and elastic.restarts({}) == 0


def test_received_bytes_count_a_connection():
    import socket

    before = received_bytes()
    if before is None:
        pytest.skip("this system does not count the bytes of a connection")
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    with listener, sender, receiver:
        sender.sendall(b"x" * 12345)
        got = b""
        while len(got) < 12345:
            got += receiver.recv(12345)
        assert received_bytes() - before == 12345


def test_merging_what_is_not_in_shards_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not in shards"):
        sharded_checkpoints.merge(tmp_path, tmp_path / "out")


def test_plans_refuse_a_batch_that_does_not_divide():
    from gpt_model.config import preset

    with pytest.raises(UserError, match="not a whole number of rows of 1024 for each of 3 GPUs"):
        scale_plan.plan("gpt2", preset("gpt2"), 3, 2**19)
    with pytest.raises(UserError, match="choose ddp or fsdp"):
        scale_plan.step_bytes(10, 2, "zero")


def test_the_sheet_is_what_the_formulas_say():
    """SCALE.md is generated: a changed formula or measurement must change it too."""
    made = scale_sheet.sheet(scale_sheet.read_result(scale_sheet.RESULT))
    assert scale_sheet.SHEET.read_text(encoding="utf-8") == made, f"run {scale_sheet.COMMAND}"


def test_the_sheet_says_when_nothing_was_measured(tmp_path):
    out = tmp_path / "SCALE.md"
    assert scale_sheet.main([f"out={out}", f"measured={tmp_path / 'none.json'}"]) == 0
    assert "Not measured on this machine yet" in out.read_text()


def here(world, config):
    """One rank of a launch, in a forked child."""
    return benchmark_distributed.measure_here(config, world)


@needs_fork
def test_the_benchmark_measures_a_small_setting(tmp_path, monkeypatch):
    """All four kinds, with forked ranks in place of torchrun's (the launch itself is the next test's)."""
    monkeypatch.setattr(
        benchmark_distributed,
        "launch",
        lambda config, mode: run_ranks(1 if mode == "one" else 2, here, replace(config, mode=mode))[0],
    )
    out = tmp_path / "distributed.json"
    words = ["preset=debug", "batch_size=4", "steps=2", "rounds=1", f"out={out}"]
    assert benchmark_distributed.main(words) == 0
    result = json.loads(out.read_text())
    figures = result["figures"]
    assert set(figures["median_seconds"]) == set(benchmark_distributed.MODES)
    assert result["command"].startswith("python -m pretraining.benchmark_distributed preset=debug")
    assert figures["measured"]["ddp_state_bytes"] == figures["formula"]["ddp_state_bytes"]
    sheet = scale_sheet.sheet(result)
    assert "measured / formula" in sheet and "`debug`" in sheet


def test_a_launch_of_the_benchmark_is_torchruns():
    small = benchmark_distributed.DistributedConfig(preset="debug", batch_size=4, steps=1, rounds=1)
    figures = benchmark_distributed.launch(small, "ddp")
    assert figures["seconds_per_step"] > 0 and figures["link_seconds"] > 0
    with pytest.raises(RunFailure, match="ddp: the processes ended with"):
        benchmark_distributed.launch(replace(small, batch_size=3), "ddp")


def test_torchrun_trains_one_run(tmp_path):
    """The command itself, started by torchrun: one run folder, one line a step, exit code 0."""
    words = "data=storyland max_documents=40 preset=debug tokenizer=byte steps=4 batch_size=4 log_every=1 device=cpu"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "pretraining.train", *words.split(), "prompts=[]", "--quiet", f"runs={tmp_path}"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("validation loss") == 1, "only rank 0 says how it went"
    (run,) = (tmp_path / "pretrain").iterdir()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in lines if row["split"] == "train"] == [1, 2, 3, 4]
    meta = json.loads((run / "run.json").read_text())
    assert meta["status"] == "complete" and meta["launch"]


def half_sharded(world):
    """Losses of six sharded steps whose gathered weights are bf16, and the precision of what is kept."""
    watch = Watch()
    config = replace(TRAIN, steps=6, strategy="fsdp", dtype="bf16", clip=0.5)
    trainer = trainer_for(world, config, watch=watch)
    trainer.fit()
    kept = {t.dtype for p in trainer.parameters for t in (p, *trainer.optimizer.state[p].values())}
    return [row[1] for row in watch.rows], kept


@needs_fork
def test_gathering_in_bf16_keeps_everything_else_in_fp32():
    watch = Watch()
    trainer_for(SINGLE, replace(TRAIN, steps=6, clip=0.5), watch=watch).fit()
    (losses, kept), (others, _) = run_ranks(2, half_sharded)
    assert losses == others and kept == {torch.float32}, f"a shard, a moment or a step is {kept}"
    for (_, loss, *_), half in zip(watch.rows, losses, strict=True):
        assert abs(half / loss - 1) < 0.01, f"loss {half} with bf16 gathers, {loss} in fp32"
