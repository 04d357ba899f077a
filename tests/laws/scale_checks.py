"""What `scale_plan` says about memory and traffic, held to what torch allocates and what the sockets receive."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from distributed_checks import uneven_batch
from ranks import run_ranks
from training_checks import tiny_model

from pretraining import scale_plan
from pretraining.distributed import World
from pretraining.wire import received_bytes


def parts(model: Any) -> tuple[int, int]:
    """(all weights, those outside the blocks) of a model, by counting."""
    counts = {name: p.numel() for name, p in model.named_parameters()}
    return sum(counts.values()), sum(n for name, n in counts.items() if "blocks." not in name)


def one_step(world: World, strategy: str) -> tuple[int | None, int]:
    """(bytes received in the second step, bytes that weights, gradients and optimizer keep) of this rank."""
    model = tiny_model(n_embd=64)
    forward = world.wrap(model, strategy)
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = (part[: 8 // world.size] for part in uneven_batch())
    before = after = None
    for step in range(2):  # DDP lays out its buckets after the first
        if step == 1:
            world.barrier()
            time.sleep(0.05)
            before = received_bytes()
        forward(x, targets=y).loss.backward()
        if step == 1:
            time.sleep(0.05)
            after = received_bytes()
        if step == 0:
            optimizer.step()
            optimizer.zero_grad()
    local = [getattr(p, "to_local", lambda p=p: p)() for p in model.parameters()]
    grads = [p.grad.to_local() if hasattr(p.grad, "to_local") else p.grad for p in model.parameters()]
    state = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    kept = [*local, *grads, *(v.to_local() if hasattr(v, "to_local") else v for v in state)]
    received = None if before is None or after is None else after - before
    return received, sum(t.numel() * t.element_size() for t in kept)


def check_traffic(size: int, strategy: str) -> None:
    """Bytes that came over the sockets in a step are the formula's, to 3 % (headers, padding of the shards)."""
    weights, outside = parts(tiny_model(n_embd=64))
    kinds = {"outside": outside, "gathered": 4, "scatter": scale_plan.ring_bytes}
    expected = scale_plan.step_bytes(weights, size, strategy, **(kinds if strategy == "fsdp" else {}))
    for rank, (received, _) in enumerate(run_ranks(size, one_step, strategy)):
        if received is None:
            pytest.skip("this system does not count the bytes of a connection")
        assert abs(received / expected - 1) <= 0.03, (
            f"{strategy}, rank {rank} of {size}: {received:,} bytes came in, the formula says {expected:,.0f}"
        )


def check_state(size: int, strategy: str) -> None:
    """Bytes kept between steps are the formula's: exactly for DDP, to the last row of a shard for FSDP."""
    model = tiny_model(n_embd=64)
    weights, _ = parts(model)
    expected = scale_plan.state_bytes(weights, size, strategy)
    kept = [answer[1] for answer in run_ranks(size, one_step, strategy)]
    if strategy == "ddp":
        assert kept == [expected] * size, f"{kept} bytes by rank, the formula says {expected:,.0f}"
        return
    rows = sum(p.numel() // p.size(0) for p in model.parameters())  # a shard is whole rows
    assert sum(kept) == expected * size, (
        f"{sum(kept):,} bytes on all ranks, the formula says {expected * size:,.0f}"
    )
    for rank, bytes_kept in enumerate(kept):
        assert abs(bytes_kept - expected) <= scale_plan.STATE * rows, (
            f"rank {rank}: {bytes_kept:,} bytes, not {expected:,.0f}: a weight, its gradient and two moments"
        )


def check_plans() -> None:
    """Hand-worked values: GPT-2 124M on 8 GPUs by DDP, Llama 7B, which does not fit one and does fit eight."""
    from gpt_model.config import preset

    small = scale_plan.plan("gpt2", preset("gpt2"), 8, 524_288)
    assert small.strategy == "ddp" and small.fits and small.rows * small.accumulation == 64
    assert small.state == 16 * 124_439_808, f"{small.state:,}: 16 bytes a weight"
    assert small.traffic == 2 * 7 / 8 * 4 * 124_439_808, f"{small.traffic:,}: a ring over 8"
    flops = (6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024) * 524_288  # positions are looked up
    seconds = flops / (8 * 989.5e12 * 0.4)
    assert abs(small.compute_s / seconds - 1) < 1e-9, f"{small.compute_s} s, by hand {seconds}"
    big = preset("llama-7b")
    alone, eight = (scale_plan.plan("7b", big, gpus, 2_097_152) for gpus in (1, 8))
    assert not alone.fits and alone.needed > 16 * 6_738_415_616, "a 7B model with AdamW in fp32 fits no 80 GB"
    assert eight.fits and eight.strategy == "fsdp" and eight.state == 2 * 6_738_415_616
    many = [scale_plan.plan("gpt2", preset("gpt2"), gpus, 524_288) for gpus in (8, 64, 512)]
    seconds = (
        2 * 511 / 512 * 4 * 124_439_808 / (0.8 * 400e9) + 19 * 2 * 9 * 10e-6
    )  # 19 buckets, 9 hops there and back
    assert abs(many[2].message_s / seconds - 1) < 1e-9, (
        f"{many[2].message_s} s of messages, by hand {seconds}"
    )
    efficiency = [p.efficiency for p in many]
    assert efficiency[0] > efficiency[1] > efficiency[2] and efficiency[0] > 0.99 and efficiency[2] < 0.5, (
        f"efficiency {efficiency}: the same batch on more GPUs leaves each less work to hide the same bytes behind"
    )
