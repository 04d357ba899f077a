"""Saving and stopping over several ranks: each check raises AssertionError with a hint when its law is broken.

The reference is one process, or the same ranks without the pause (see `distributed_checks`).
"""

from __future__ import annotations

import errno
import os
import unittest.mock
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from distributed_checks import TRAIN, trainer_for, weights_of
from ranks import run_commands, run_ranks
from training_checks import Watch

from gpt_model.gpt import GPT
from pretraining import checkpoints, sharded_checkpoints
from pretraining.config import TrainConfig
from pretraining.distributed import SINGLE, World
from pretraining.trainer import Trainer
from utils.runs import Run, list_runs

# ---------------------------------------------------------------- LP4 saving, LP1 over ranks


def train_in(world: World, folder: Path, config: TrainConfig, resume: bool, dropout: float) -> Any:
    """A run in `folder`, new or gone on with; (weights, rows, what the generators are at the end)."""
    run = None
    if world.is_main:
        run = Run.open(folder / "law/a") if resume else Run.create("law", {}, root=folder, run_id="a")
    world.barrier()
    watch = Watch()
    trainer = trainer_for(world, config, run=run, dropout=dropout, watch=watch)
    if resume:
        trainer.resume(checkpoints.load_checkpoint(folder / "law/a"))
    trainer.fit()
    if run is not None:
        run.close()
    return weights_of(trainer.model), watch.rows, torch.get_rng_state()


def go_back_to(folder: Path, step: int) -> None:
    """Make the run in `folder` one that ended after `step`."""
    root = folder / "law/a/checkpoints"
    for path in checkpoints.step_folders(root):
        if path.name > checkpoints.step_name(step):
            checkpoints.shutil.rmtree(path)
    (root / "last").write_text(checkpoints.step_name(step) + "\n")


def check_resume_over_ranks_is_exact(folder: Path, size: int, strategy: str) -> None:
    """With dropout: 10 steps == 5 + save + new processes + 5 on every rank, with == and torch.equal (LP1)."""
    config = replace(TRAIN, strategy=strategy, save_every=5, keep_last=9, log_every=2)
    whole_run = run_ranks(size, train_in, folder, config, False, 0.2)
    go_back_to(folder, 5)
    resumed = run_ranks(size, train_in, folder, config, True, 0.2)
    assert not torch.equal(whole_run[0][2], whole_run[1][2]), (
        "all ranks drop out the same units: seed by rank"
    )
    for rank, (one, other) in enumerate(zip(whole_run, resumed, strict=True)):
        assert one[1][5:] == other[1], (
            f"rank {rank}: (step, loss, lr, norm, tokens) after the resume are others"
        )
        assert torch.equal(one[2], other[2]), f"rank {rank}: its generator is not where it was"
        for name, tensor in one[0].items():
            assert torch.equal(tensor, other[0][name]), f"rank {rank}: {name} differs after the resume"


def check_other_world_goes_on(folder: Path, strategy: str, sizes: tuple[int, int]) -> None:
    """Saved by `sizes[0]` processes, gone on with by `sizes[1]`: the steps that follow are one process's to 1e-5."""
    config = replace(TRAIN, save_every=5, keep_last=9)
    reference = train_in(SINGLE, folder / "alone", config, False, 0.0)
    before, after = (
        (lambda *a, n=n: run_ranks(n, train_in, *a) if n > 1 else [train_in(SINGLE, *a)]) for n in sizes
    )
    many = replace(config, strategy=strategy)
    before(folder / "moved", many if sizes[0] > 1 else config, False, 0.0)
    go_back_to(folder / "moved", 5)
    for weights, rows, _ in after(folder / "moved", many if sizes[1] > 1 else config, True, 0.0):
        for one, other in zip(reference[1][5:], rows, strict=True):
            assert one[0] == other[0] and one[4] == other[4], (
                f"step {other[0]} has {other[4]} tokens, not {one[4]}"
            )
            assert abs(one[1] - other[1]) <= 1e-5, (
                f"step {one[0]}: loss {other[1]} after {sizes[0]} → {sizes[1]} processes, {one[1]} without"
            )
        for name, tensor in reference[0].items():
            worst = float((weights[name] - tensor).abs().max())
            assert worst <= 1e-6, (
                f"{name} is {worst:.1e} away from one process's after {sizes[0]} → {sizes[1]} processes"
            )


def check_one_writer(folder: Path, size: int, strategy: str) -> None:
    """One line of metrics for each step and split, one sample, checkpoints that one process can load and use."""
    config = replace(
        TRAIN, steps=4, strategy=strategy, eval_every=2, save_every=2, sample_every=4, prompts=["a"]
    )
    config = replace(config, sample_tokens=3)
    run_ranks(size, train_in, folder, config, False, 0.0)
    run = Run.open(folder / "law/a")
    lines = [(r["split"], r["step"], r.get("whole")) for r in run.metrics()]
    assert len(lines) == len(set(lines)), f"metrics were written more than once: {lines}"
    assert len(run.samples()) == 1, f"{len(run.samples())} samples of one prompt: only rank 0 writes"
    for folder_of_step in checkpoints.step_folders(run.path / "checkpoints"):
        assert checkpoints.damage(folder_of_step) is None
    alone = trainer_for(SINGLE, replace(config, strategy="none"))
    alone.resume(checkpoints.load_checkpoint(run))
    assert alone.evaluate() is not None


def check_shards_go_on(folder: Path, sizes: tuple[int, int]) -> None:
    """Written in shards by `sizes[0]` ranks, gone on with by `sizes[1]`: one process's run; merged, its weights."""
    config = replace(TRAIN, save_every=5, keep_last=9)
    reference = train_in(SINGLE, folder / "alone", config, False, 0.0)
    sharded = replace(config, strategy="fsdp", sharded_checkpoints=True)
    run_ranks(sizes[0], train_in, folder / "moved", sharded, False, 0.0)
    step = folder / "moved/law/a/checkpoints/step_000010"
    assert not (step / "model.safetensors").exists() and len(list(step.glob("*.distcp"))) == sizes[0], (
        "each rank writes one file, and no rank the whole"
    )
    merged = GPT.load(sharded_checkpoints.merge(step, folder / "merged"))
    for name, tensor in reference[0].items():
        worst = float((merged.state_dict()[name] - tensor).abs().max())
        assert worst <= 1e-6, f"merged, {name} is {worst:.1e} away from one process's"
    go_back_to(folder / "moved", 5)
    if sizes[1] == 1:
        answers = [train_in(SINGLE, folder / "moved", config, True, 0.0)]
    else:
        answers = run_ranks(sizes[1], train_in, folder / "moved", sharded, True, 0.0)
    for weights, rows, _ in answers:
        assert [row[0] for row in rows] == [6, 7, 8, 9, 10], (
            f"steps {[row[0] for row in rows]} after the resume"
        )
        for one, other in zip(reference[1][5:], rows, strict=True):
            assert abs(one[1] - other[1]) <= 1e-5, f"step {one[0]}: loss {other[1]}, {one[1]} without shards"
        for name, tensor in reference[0].items():
            worst = float((weights[name] - tensor).abs().max())
            assert worst <= 1e-6, (
                f"{name} is {worst:.1e} away after {sizes[0]} → {sizes[1]} processes: moments lost?"
            )


def train_on_a_full_disk(world: World, folder: Path, config: TrainConfig) -> tuple[str, str]:
    """A run whose rank 1 cannot write its shards of step 5: (how it ended, what was said) on each rank."""
    from torch.distributed.checkpoint import FileSystemWriter

    honest = FileSystemWriter.write_data

    def full(self: Any, plan: Any, planner: Any) -> Any:
        if "step_000005" in str(self.path) and world.rank == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        return honest(self, plan, planner)

    with unittest.mock.patch.object(FileSystemWriter, "write_data", full):
        run = Run.create("law", {}, root=folder, run_id="a") if world.is_main else None
        trainer = trainer_for(world, config, run=run)
        try:
            trainer.fit()
        except BaseException as error:
            return type(error).__name__, str(error)
    return "complete", ""


def check_a_full_disk_of_one_rank(folder: Path) -> None:
    """One rank's disk is full while shards are saved: all ranks stop with one line, or all go on and save later."""
    config = replace(TRAIN, strategy="fsdp", sharded_checkpoints=True, save_every=5, keep_last=9)
    for way, ended in (("stop", "RunFailure"), ("continue", "complete")):
        answers = run_ranks(2, train_on_a_full_disk, folder / way, replace(config, on_save_error=way))
        assert [name for name, _ in answers] == [ended, ended], (
            f"on_save_error={way}: the ranks ended with {answers}: they must decide alike"
        )
        if way == "stop":
            said = answers[0][1]
            assert "step 5" in said and "No space left" in said and "\n" not in said, said
        names = [path.name for path in checkpoints.step_folders(folder / way / "law/a/checkpoints")]
        assert names == ([] if way == "stop" else ["step_000010"]), (
            f"{way}: {names}: half a step counts as one"
        )


# ---------------------------------------------------------------- stopping together


class StopOn(Watch):
    """Asks to stop after step 3, on one rank only."""

    def __init__(self, mine: bool) -> None:
        super().__init__()
        self.mine = mine

    def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        super().on_step_end(trainer, record)
        if self.mine and record["step"] == 3:
            trainer.stop.request("law")


def stop_somewhere(world: World, rank: int) -> tuple[int, str]:
    """The step at which this rank stopped, and how the run ended."""
    result = trainer_for(world, replace(TRAIN, steps=50), watch=StopOn(world.rank == rank)).fit()
    return result.step, result.status


def check_all_stop_together(size: int) -> None:
    """A stop request on the last rank alone ends the run of all after the same step."""
    answers = run_ranks(size, stop_somewhere, size - 1)
    assert answers == [(3, "stopped")] * size, (
        f"(step, status) by rank: {answers}; they must agree, or they hang"
    )


def out_of_time(world: World) -> int:
    """Steps that this rank took of a budget of 0.3 s, with a clock that runs at another speed on each rank.

    The clock counts 10 ms a step on rank 0 (30 steps) and more on the others, so that what is found does
    not depend on how busy the machine is.
    """
    trainer = trainer_for(world, replace(TRAIN, steps=None, minutes=0.3 / 60, warmup=0.1))
    trainer.elapsed = lambda: 0.01 * trainer.now.step * (1 + 0.5 * world.rank)  # type: ignore[method-assign]
    return trainer.fit().step


def check_clocks_agree(size: int) -> None:
    """A budget of wall time ends after the same step on all ranks, whatever their own clocks say."""
    steps = run_ranks(size, out_of_time)
    assert len(set(steps)) == 1 and steps[0] > 0, f"steps by rank {steps}: rank 0's clock decides for all"


# ---------------------------------------------------------------- elastic restart


def command(argv: list[str]) -> int:
    """`python -m pretraining.train`, whose last rank dies in step 5 where a file named `crash` says so."""
    from pretraining import train

    runs = Path(next(word for word in argv if word.startswith("runs=")).removeprefix("runs="))
    honest = Trainer._record

    def dies(trainer: Trainer, *arguments: Any) -> dict[str, Any]:
        if (
            trainer.now.step == 5
            and trainer.world.rank == trainer.world.size - 1
            and (runs / "crash").exists()
        ):
            os._exit(9)
        return honest(trainer, *arguments)

    Trainer._record = dies  # type: ignore[method-assign, assignment]
    return train.main(argv)


def recipe(folder: Path) -> list[str]:
    """Eight steps of a tiny model, saved after the fourth."""
    folder.mkdir()
    text = "data=storyland max_documents=60 preset=debug tokenizer=byte steps=8 batch_size=4 save_every=4 log_every=1"
    return [
        *text.split(),
        *["device=cpu", "dtype=fp32", "prompts=[]", "eval_every=0", "save_async=false"],
        f"runs={folder}",
    ]


def check_restart_goes_on(folder: Path, monkeypatch: Any) -> None:
    """Killed in step 5 and started again with the same command: one run, complete, its losses those of no crash."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "law")
    calm_words, words = recipe(folder / "calm"), recipe(folder / "crashed")
    run_commands(2, command, calm_words)
    (folder / "crashed/crash").touch()
    try:
        run_commands(2, command, words)
    except RuntimeError:
        pass  # rank 1 died, and rank 0 found out
    else:
        raise AssertionError("the first attempt was meant to die")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    (folder / "crashed/crash").unlink()
    run_commands(2, command, words)
    (calm,) = list_runs(root=folder / "calm")
    runs = list_runs(root=folder / "crashed")
    assert len(runs) == 1, f"{len(runs)} runs: the second attempt began again instead of going on"
    assert runs[0].status == "complete" and runs[0].meta.get("resumed"), f"the run is {runs[0].status}"
    losses = [{r["step"]: r["loss"] for r in run.metrics()} for run in (calm, runs[0])]
    assert losses[0] == losses[1], (
        f"losses by step are {losses[1]} after the restart, {losses[0]} without a crash"
    )
