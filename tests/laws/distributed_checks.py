"""The laws of several processes: each check raises AssertionError with a hint when its law is broken.

The reference is always one process on the same rows. Ranks are forked children over gloo (`ranks.run_ranks`), so
a bug that a mutation puts into this process is in all of them. Models are two layers of width 16.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from ranks import run_ranks
from torch import nn
from training_checks import BASE, BLOCK, VOCAB, Watch, tiny_model, tiny_tokens

from pretraining import galore, gradients
from pretraining.config import TrainConfig
from pretraining.distributed import SINGLE, World
from pretraining.evaluation import EvalBatches
from pretraining.trainer import Trainer
from utils.runs import Run
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.windows import BatchLoader

ROWS = 8  # of the global batch
TRAIN = replace(BASE, steps=10, lr=1e-3, batch_size=ROWS, log_every=1, prompts=[], exact_fast_matmul=False)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A plain tensor, also of a shard."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters by name, whole."""
    return {name: whole(p) for name, p in model.state_dict().items()}


# ---------------------------------------------------------------- LP3 over ranks


def uneven_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight rows, a different share of labels in each; rows 4 and 5 (a rank's whole micro-batch) have none."""
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.randint(VOCAB, (ROWS, BLOCK), generator=generator) for _ in range(2))
    keep = torch.rand(ROWS, 1, generator=generator)
    y[torch.rand(ROWS, BLOCK, generator=generator) > keep] = -100
    y[4:6] = -100
    return x, y


def rank_gradients(world: World, strategy: str, split: int) -> tuple[float, int, list[torch.Tensor], int]:
    """(loss, tokens, gradients, buckets sent) of this rank's rows of `uneven_batch`, in micro-batches of `split`."""
    model = tiny_model().double()
    forward, sent = world.wrap(model, strategy), []
    if strategy == "ddp" and world.size > 1:
        forward.register_comm_hook(sent, counted)  # type: ignore[operator]
    mine = slice(world.rank * ROWS // world.size, (world.rank + 1) * ROWS // world.size)
    x, y = (part[mine].split(split) for part in uneven_batch())
    loss, tokens = gradients.accumulate(forward, list(zip(x, y, strict=True)), world=world)
    return loss, tokens, [whole(p.grad) for p in model.parameters() if p.grad is not None], len(sent)


def counted(sent, bucket):  # type: ignore[no-untyped-def]  # torch reads the annotations, and asks for none as text
    """torch's own averaging all-reduce, which also counts the buckets."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    sent.append(bucket.buffer().numel())
    return allreduce_hook(None, bucket)


def check_gradients_of_ranks_are_those_of_one_batch(size: int, strategy: str) -> None:
    """Rows over `size` ranks, uneven labels: the gradient of (sum of losses) / (labels of all), fp64, to 1e-12."""
    x, y = uneven_batch()
    model = tiny_model().double()
    labelled = y != -100
    losses = F.cross_entropy(model(x).logits[labelled], y[labelled], reduction="none")
    expected_loss = losses.sum() / labelled.sum()
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))
    for split in {ROWS // size, 1}:
        for loss, tokens, found, _ in run_ranks(size, rank_gradients, strategy, split):
            assert tokens == int(labelled.sum()), (
                f"{tokens} tokens counted, {int(labelled.sum())} on all ranks"
            )
            assert abs(loss - float(expected_loss.detach())) <= 1e-12, (
                "the loss is not that of all ranks' tokens"
            )
            for (name, _), mine, reference in zip(model.named_parameters(), found, expected, strict=True):
                worst = float((mine - reference).abs().max())
                assert worst <= 1e-12, (
                    f"{strategy}, {size} ranks, micro-batches of {split}: {name} is off by {worst:.1e}: a token "
                    "must weigh the same on a rank with few labels as on one with many"
                )


def check_one_all_reduce_a_step(size: int) -> None:
    """As many buckets travel for a step of four micro-batches as for a step of one."""
    once = [answer[3] for answer in run_ranks(size, rank_gradients, "ddp", ROWS // size)]
    four = [answer[3] for answer in run_ranks(size, rank_gradients, "ddp", 1)]
    assert once == [1] * size, f"{once} all-reduces by rank for 80 kB of gradients: one bucket holds them"
    assert four == once, (
        f"{four[0]} all-reduces for {ROWS // size} micro-batches: gradients travel once, after the last (no_sync)"
    )


# ---------------------------------------------------------------- LP4 training


def trainer_for(
    world: World,
    config: TrainConfig = TRAIN,
    *,
    run: Run | None = None,
    dropout: float = 0.0,
    watch: Watch | None = None,
    double: bool = False,
) -> Trainer:
    """The trainer of one rank: its share of the same global batches, the same 200 validation tokens."""
    tokenizer = ByteTokenizer()
    model = tiny_model(vocab_size=tokenizer.vocab_size, dropout=dropout)
    share = world.share_of(config.batch_size)
    return Trainer(
        model.double() if double else model,
        config,
        BatchLoader(tiny_tokens(), share, BLOCK, seed=3, rank=world.rank, world_size=world.size),
        val_batches=EvalBatches(tiny_tokens(200), BLOCK, 4),
        run=run if world.is_main else None,
        tokenizer=tokenizer,
        callbacks=(watch,) if watch else (),
        world=world,
    )


def train_here(
    world: World, config: TrainConfig, double: bool = False
) -> tuple[dict[str, torch.Tensor], list[Any], Any]:
    """Weights, (step, loss, lr, norm, tokens) rows and the validation result of a run without a folder."""
    watch = Watch()
    trainer = trainer_for(world, config, watch=watch, double=double)
    result = trainer.fit()
    return weights_of(trainer.model), watch.rows, result.val


def check_ranks_train_like_one(size: int, strategy: str, double: bool, **changes: Any) -> None:
    """Ten clipped steps: weights, losses and norms of `size` ranks are one process's, and alike on all ranks.

    To 1e-6 in fp32, where sums in another order round differently, and to 1e-10 in fp64, where nothing hides.
    """
    config = replace(TRAIN, clip=0.3, **changes)  # every step is clipped: the norm matters
    limit = 1e-10 if double else 1e-6
    weights, rows, val = train_here(SINGLE, config, double)
    assert all(row[3] > 0.3 for row in rows), "the reference was meant to be clipped"
    answers = run_ranks(size, train_here, replace(config, strategy=strategy), double)
    for rank, (theirs, their_rows, their_val) in enumerate(answers):
        for one, other in zip(rows, their_rows, strict=True):
            assert one[4] == other[4], (
                f"step {one[0]} counted {other[4]} tokens on rank {rank}, {one[4]} alone"
            )
            assert abs(one[3] - other[3]) <= 10 * limit * one[3], (
                f"step {one[0]}: gradient norm {other[3]} on rank {rank}, {one[3]} alone: clip by the norm of "
                "all gradients, not of this rank's"
            )
            assert abs(one[1] - other[1]) <= 10 * limit, (
                f"step {one[0]}: loss {other[1]} on rank {rank}, not {one[1]}"
            )
        for name, tensor in weights.items():
            worst = float((theirs[name] - tensor).abs().max())
            assert worst <= limit, f"{strategy}: {name} on rank {rank} is {worst:.1e} away from one process's"
            assert torch.equal(theirs[name], answers[0][0][name]), (
                f"{name} differs between ranks 0 and {rank}"
            )
        assert val.tokens == their_val.tokens, (
            f"rank {rank} judged on {their_val.tokens} tokens of {val.tokens}"
        )
        assert abs(val.loss - their_val.loss) <= 10 * limit, f"validation {their_val.loss} on rank {rank}"


def galore_on_another_machine(world: World, config: TrainConfig) -> dict[str, torch.Tensor]:
    """Weights after a run in which the SVD of rank 1 finds the same subspace with other directions in it.

    Where singular values are nearly equal, rounding decides. (Signs alone would cancel out.)
    """
    honest = galore.projectors

    def turned(*arguments: Any) -> dict[str, torch.Tensor]:
        found = {}
        for side, directions in honest(*arguments).items():
            rank = directions.size(1 if side == "left" else 0)
            turn, _ = torch.linalg.qr(torch.arange(1.0, rank * rank + 1).sin().view(rank, rank))
            turn = turn.to(directions.dtype)
            found[side] = directions @ turn if side == "left" else turn @ directions
        return found

    if world.rank == 1:
        galore.projectors = turned  # type: ignore[assignment]
    try:
        return train_here(world, config, double=True)[0]
    finally:
        galore.projectors = honest


def check_ranks_share_galores_projector() -> None:
    """All ranks project with rank 0's directions: their weights are alike, and one process's."""
    config = replace(TRAIN, optimizer="galore", galore_rank=4, galore_gap=4)
    alone = galore_on_another_machine(SINGLE, config)
    first, second = run_ranks(2, galore_on_another_machine, config)
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), (
            f"{name} differs between ranks: each went on with the projector of its own SVD"
        )
        worst = float((first[name] - tensor).abs().max())
        assert worst <= 1e-6, f"{name} is {worst:.1e} away from one process's"  # the SVD runs in fp32


def seen_rows(world: World, steps: int) -> list[list[int]]:
    """The rows of the first batches that this rank is given."""
    loader = trainer_for(world).train_batches
    return [row.tolist() for _ in range(steps) for row in next(loader)[0]]  # type: ignore[call-overload]


def check_ranks_see_other_rows(size: int) -> None:
    """Each step the ranks' rows together are exactly the rows of one process's batch, none of them twice."""
    alone = seen_rows(SINGLE, 3)
    answers = run_ranks(size, seen_rows, 3)
    share = ROWS // size
    for step in range(3):
        together = [row for rows in answers for row in rows[step * share : (step + 1) * share]]
        assert together == alone[step * ROWS : (step + 1) * ROWS], (
            f"step {step}: the {size} ranks do not share out the one global batch: is rank given to the loader?"
        )


# ---------------------------------------------------------------- forty lines of DDP


def own_against_torch(world: World, bucket_bytes: int) -> tuple[float, int, int]:
    """(largest difference to torch's DDP as a share of the gradient, all-reduces of two backward passes, buckets)."""
    from pretraining import own_ddp

    mine = slice(world.rank * ROWS // world.size, (world.rank + 1) * ROWS // world.size)
    x, y = (part[mine] for part in uneven_batch())
    found: list[list[torch.Tensor]] = []
    own = own_ddp.OwnDDP(tiny_model(seed=world.rank), bucket_bytes)  # it begins with rank 0's weights
    for forward in (own, world.wrap(tiny_model(), "ddp")):
        with forward.no_sync():  # type: ignore[operator]
            forward(x[:1], targets=y[:1].clamp(min=0)).loss.backward()
        forward(x, targets=y.clamp(min=0)).loss.backward()
        found.append([p.grad.clone() for p in forward.parameters()])
    worst = max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in zip(*found, strict=True)
    )
    return worst, own.sent, len(own.buckets)


def world_size() -> int:
    """Of the process group that this rank is in."""
    return torch.distributed.get_world_size()


def check_own_ddp_is_torchs(size: int, bucket_bytes: int) -> None:
    """Gradients after a micro-batch in no_sync and one that sends are torch's; one message a bucket.

    To the bit for two ranks; four numbers have several sums, and which one a ring takes depends on the bucket.
    """
    for rank, (worst, sent, buckets) in enumerate(run_ranks(size, own_against_torch, bucket_bytes)):
        limit = 0.0 if size == 2 else 8 * 2.0**-24  # a few roundings of fp32
        assert worst <= limit, f"rank {rank}: a gradient is {worst:.1e} away from DistributedDataParallel's"
        assert sent == buckets, (
            f"rank {rank}: {sent} all-reduces for {buckets} buckets: nothing travels in no_sync"
        )
