"""Laws of memory and speed, as functions that raise: LG4 for training and decoding, and the convention of MFU.

The reference for bytes is torch's own CPU allocator: what it handed out and did not get back between two moments, as
its profiler records it. Configurations are drawn at random, so that no formula can be right for one shape by luck.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from attention_mechanisms import ATTENTIONS
from gpt_model import GPT, GPTConfig, costs, memory, mfu, preset
from gpt_model.config import CHOICES

# The formula counts every number that is a vector a token. Left out are the indices that the loss keeps (8 bytes a
# token), boolean masks (a byte a pair, once for all rows) and scalars: at most 1 % at these tiny widths, so 2 % finds
# a forgotten tensor (the least, one d of at least 16 d) and nothing else.
ACTIVATION_TOLERANCE = 0.02
# The peak of a step adds what comes and goes inside one operation, the largest of which is a few tensors of one layer.
PEAK_TOLERANCE = 0.10


def allocated(work: Callable[[], Any]) -> tuple[Any, int, int]:
    """(result, bytes that are still held when `work` returns, most bytes held at once), from the allocator itself."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = work()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert events, "torch's profiler recorded no allocation: nothing can be compared"
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return result, now, most


def random_model(rng: random.Random, **fixed: Any) -> GPTConfig:
    """Any small model of any choice, without dropout."""
    n_head = rng.choice([2, 4, 8])
    fields: dict[str, Any] = {
        "vocab_size": 50,
        "block_size": 160,
        "n_layer": rng.randint(1, 3),
        "n_head": n_head,
        "n_embd": n_head * rng.choice([8, 16, 32]),
        "attention": rng.choice(list(ATTENTIONS)),
        "bias": rng.random() < 0.5,
        "tie_weights": rng.random() < 0.5,
        "attn_backend": rng.choice(["auto", "sdpa", "manual"]),
        **{name: rng.choice(CHOICES[name]) for name in ("position", "norm", "norm_order", "mlp")},
    }
    fields |= fixed
    if fields["attention"] == "swa":
        fields.setdefault("global_every", rng.choice([0, 2]))
    if fields["attention"] == "mla":
        fields.setdefault("q_latent_dim", rng.choice([None, 16]))
    return GPTConfig(**fields)


def check_activations(trials: int = 25, seed: int = 0, **fixed: Any) -> None:
    """What a forward pass leaves allocated is the formula's activations and two tables of the vocabulary."""
    rng = random.Random(seed)
    for _ in range(trials):
        config = random_model(rng, **fixed)
        batch, length = rng.choice([2, 4]), rng.choice([40, 96, 160])
        model = GPT(config).train()
        ids = torch.randint(config.vocab_size, (batch, length))
        model(ids, targets=ids)  # whatever torch sets up once
        _, held, _ = allocated(lambda model=model, ids=ids: model(ids, targets=ids))
        held -= 2 * batch * length * config.vocab_size * 4  # logits and log-probabilities
        said = memory.activation_bytes(config, batch, length)
        assert abs(said / held - 1) <= ACTIVATION_TOLERANCE, (
            f"{held:,} bytes stay allocated between forward and backward, the formula says {said:,} "
            f"({said / held:.3f} of it) for {batch} × {length} tokens. Does every linear map keep its input, every "
            f"norm its input and its output, a gated layer four widths? {config}"
        )


def check_states_are_exact(trials: int = 6, seed: int = 1) -> None:
    """Weights, gradients and optimizer state: byte for byte what real tensors hold after a step."""
    rng = random.Random(seed)
    makers: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
        "adamw": lambda p: torch.optim.AdamW(p),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    }
    for trial in range(trials):
        config = random_model(rng, tie_weights=trial % 2 == 0)
        name = list(makers)[trial % 3]
        model = GPT(config).train()
        optimizer = makers[name](model.parameters())
        ids = torch.randint(config.vocab_size, (2, 20))
        model(ids, targets=ids).loss.backward()
        optimizer.step()
        held = {
            "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
            "gradients": sum(p.grad.numel() * p.grad.element_size() for p in model.parameters()),
            "optimizer": sum(
                value.numel() * value.element_size()
                for state in optimizer.state.values()
                for value in state.values()
                if isinstance(value, torch.Tensor)
            ),
        }
        said = vars(memory.training_memory(config, 2, 20, optimizer=name))
        for part, real in held.items():
            assert said[part] == real, (
                f"{part} under {name} take {real:,} bytes, the formula says {said[part]:,}: AdamW keeps two numbers a "
                f"weight and a counter a tensor, and a tied head is one tensor"
            )


def check_peak_of_a_step(trials: int = 6, seed: int = 2) -> None:
    """The most that is allocated at once in a step that adds to gradients is `total`, within what comes and goes."""
    rng = random.Random(seed)
    for _ in range(trials):
        config = random_model(
            rng, n_layer=3, vocab_size=rng.choice([50, 400]), attn_backend="sdpa", position="none"
        )
        model = GPT(config).train()
        ids = torch.randint(config.vocab_size, (4, 96))

        def step(model: GPT = model, ids: Any = ids) -> None:
            model(ids, targets=ids).loss.backward()

        step()  # gradients are there now
        _, _, most = allocated(step)
        said = memory.training_memory(config, 4, 96, optimizer="sgd")
        real = most + said.weights + said.gradients
        assert abs(said.total / real - 1) <= PEAK_TOLERANCE, (
            f"a step holds up to {real:,} bytes, the estimate says {said.total:,} ({said.total / real:.3f} of it): "
            f"activations and four tables of the vocabulary are alive together when the loss goes back. {config}"
        )


def check_decoding_memory(trials: int = 20, seed: int = 3) -> None:
    """Weights, fixed tables, cache and logits of decoding are bytes of real tensors, in every dtype."""
    rng = random.Random(seed)
    for _ in range(trials):
        config = random_model(rng)
        dtype, batch, capacity = (
            rng.choice([torch.float32, torch.bfloat16]),
            rng.randint(1, 3),
            rng.randint(1, 50),
        )
        model = GPT(config).to(dtype).eval()
        cache = model.new_cache(batch, capacity)
        with torch.no_grad():
            logits = model(torch.zeros(batch, 1, dtype=torch.long), cache=cache).logits
        real = {
            "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
            "tables": sum(b.numel() * b.element_size() for b in model.buffers()),
            "cache": sum(t.numel() * t.element_size() for t in cache.tensors()),
            "logits": logits.numel() * logits.element_size(),
        }
        said = vars(memory.decoding_memory(config, batch, capacity, dtype=dtype))
        assert said == real, f"decoding holds {real}, the formula says {said}. {config}"


def check_training_flops(trials: int = 30, seed: int = 4) -> None:
    """Forward and backward pass by torch's own counter: exactly three forward passes, every choice of model."""
    rng = random.Random(seed)
    for _ in range(trials):
        config = random_model(rng, attn_backend="manual")
        batch, length = rng.randint(1, 3), rng.choice([3, 17, 40])
        model = GPT(config).train()
        ids = torch.randint(config.vocab_size, (batch, length))
        with FlopCounterMode(display=False) as counter:
            model(ids, targets=ids).loss.backward()
        said = costs.training_flops(config, batch, length)
        assert said == counter.get_total_flops(), (
            f"torch counts {counter.get_total_flops():,} FLOPs for a step, the formula {said:,}: a product A B has two "
            f"gradients, and each is a product of the same size. {config}"
        )


@torch.no_grad()
def check_decode_flops(trials: int = 30, seed: int = 5) -> None:
    """One token on a warm cache by torch's own counter."""
    rng = random.Random(seed)
    for _ in range(trials):
        config = random_model(rng, attn_backend="manual")
        batch, past = rng.randint(1, 2), rng.choice([1, 9, 50])
        model = GPT(config).eval()
        cache = model.new_cache(batch, past + 1)
        model(torch.zeros(batch, past, dtype=torch.long), cache=cache)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(batch, 1, dtype=torch.long), cache=cache)
        said = costs.forward_flops(config, batch, 1, past)
        assert said == counter.get_total_flops(), (
            f"torch counts {counter.get_total_flops():,} FLOPs for a token after {past}, the formula {said:,}. {config}"
        )


def check_mfu_by_hand() -> None:
    """The convention on GPT-2 small, worked out by hand, and the limit it sets on an H100."""
    config = preset("gpt2")
    layers, heads, width, context = 12, 12, 64, 1024
    n = 124_439_808 - 1024 * 768  # the position table multiplies nothing; the token table is the head
    by_hand = 6 * n + 12 * layers * heads * width * context
    assert by_hand == 855_166_464  # 0.855 GFLOP a token
    said = mfu.flops_per_token(config, context)
    assert said == by_hand, (
        f"GPT-2 small takes {by_hand:,} FLOPs a token by 6 N + 12 L H Q T, the code says {said:,}: N leaves out the "
        "position table, and the second term has the context once"
    )
    peak = mfu.peak_flops("NVIDIA H100 80GB HBM3", "bf16")
    assert peak == 989.5e12, (
        f"an H100 SXM reaches 989.5 dense TFLOP/s in bf16, not {peak}: 1,979 is for sparse ones"
    )
    full = peak / by_hand
    share = mfu.utilisation(config, context, full / 2, peak)
    assert abs(share - 0.5) < 1e-12 and abs(full / 1.157e6 - 1) < 1e-3, (
        f"100 % is {full:,.0f} tokens/s, share {share}"
    )
    quarter = mfu.utilisation(config, context, full, peak, devices=4)
    assert abs(quarter - 0.25) < 1e-12, f"four devices have four peaks, but the share is {quarter}"
    untied = preset("llama-7b")
    looked_up = untied.vocab_size * untied.n_embd
    assert mfu.multiplied_parameters(untied) == 6_738_415_616 - looked_up, (
        "an untied token table is only looked up"
    )


def check_hardware_names() -> None:
    """Names as drivers give them; whatever is not exactly a machine of the table is unknown."""
    known = {
        "NVIDIA A100-SXM4-80GB": 312,
        "NVIDIA A100-PCIE-40GB": 312,
        "NVIDIA A100 80GB PCIe": 312,
        "NVIDIA H100 80GB HBM3": 989.5,
        "NVIDIA H100 PCIe": 756.5,
        "NVIDIA H100 NVL": 835.5,
        "NVIDIA H200": 989.5,
        "NVIDIA L4": 121,
        "NVIDIA L40S": 362.05,
        "NVIDIA GeForce RTX 3090": 71,
        "NVIDIA GeForce RTX 4090": 165.2,
        "NVIDIA GeForce RTX 4060 Ti": 44.1,
        "NVIDIA GeForce RTX 4060": 30.25,
    }
    for name, tera in known.items():
        said = mfu.peak_flops(name, "bf16")
        assert said == tera * 1e12, f"{name} reaches {tera} dense TFLOP/s in bf16, the table says {said}"
    assert mfu.peak_flops("Tesla T4", "fp16") == 65e12
    assert mfu.peak_flops("Tesla T4", "bf16") is None, "a T4 has no bf16: its fp16 peak is no stand-in"
    unknown = [
        *(
            "NVIDIA GeForce RTX 4060 Laptop GPU",
            "NVIDIA GeForce RTX 3090 Ti",
            "NVIDIA GeForce RTX 4080 SUPER",
        ),
        *(
            "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "NVIDIA H20",
            "NVIDIA L40",
        ),
        *("AMD Ryzen 9", "cpu", "", None, "NVIDIA H1000"),
    ]
    for name in unknown:
        said = mfu.peak_flops(name, "bf16")
        assert said is None, f"{name!r} is not in the table, but its peak is said to be {said / 1e12} TFLOP/s"
        assert mfu.describe(mfu.utilisation(preset("debug"), 8, 100.0, said)) == "peak unknown"
