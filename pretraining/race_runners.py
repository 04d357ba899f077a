"""Who runs in `pretraining.race`: equal sizes for unequal attentions, the table of results, and speeds in turn.

The idea: two models are compared fairly when they have the same number of parameters. An attention with fewer key heads
or a latent has smaller matrices; what it saves goes into a wider feed-forward layer, so that all are within 2 %.
Left out: equal FLOPs, another fair rule, under which the windowed and grouped variants would get more steps.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from attention_mechanisms.benchmark_harness import race as in_turn
from attention_mechanisms.benchmark_layers import fill
from attention_mechanisms.costs import bytes_per_token, cache_bytes
from gpt_model.config import GPTConfig
from gpt_model.costs import skeleton
from gpt_model.gpt import GPT
from utils.errors import UserError

TOLERANCE = 0.02  # largest difference in parameters, as a share
WIDTH_STEP = 8  # the feed-forward layer's width is a multiple of this, as fast kernels like it

# Name -> what is changed in the preset. The heads are four, so two key heads are half of the cache.
RUNNERS: dict[str, dict[str, Any]] = {
    "mha": {},
    "gqa": {"attention": "gqa", "n_kv_head": 2},
    "mqa": {"attention": "gqa", "n_kv_head": 1},
    "mla": {"attention": "mla", "kv_latent_dim": 48, "rope_dim": 16},
    "swa": {"attention": "swa", "window": 64},
    "swa-global": {"attention": "swa", "window": 64, "global_every": 4},
    "learned": {"position": "learned"},
    "sinusoidal": {"position": "sinusoidal"},
    "alibi": {"position": "alibi"},
    "none": {"position": "none"},
}


def runner(name: str, base: GPTConfig) -> GPTConfig:
    """The model of one variant, its feed-forward width chosen so that it has as many parameters as `base`.

    Raises UserError where no width comes within 2 %.
    """
    target = skeleton(base).num_parameters()
    changed = replace(base, **RUNNERS[name])

    def size(width: int) -> int:
        return skeleton(replace(changed, mlp_hidden=width)).num_parameters()

    per_step = size(2 * WIDTH_STEP) - size(WIDTH_STEP)  # parameters grow with the width in a straight line
    steps = max(1, round((target - size(WIDTH_STEP)) / per_step) + 1)
    # A width that is right as it is stays: the first runner is the preset itself.
    widths = [changed.hidden_width, steps * WIDTH_STEP]
    width = min(widths, key=lambda w: abs(size(w) - target))
    off = abs(size(width) - target) / target
    if off > TOLERANCE:
        raise UserError(
            f"{name} comes no nearer than {off:.1%} to the {target:,} parameters of {base.attention}: "
            "take a larger model (model.n_embd=…)"
        )
    return replace(changed, mlp_hidden=width)


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation (of a sample; None for a single value), range and number."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def tabulate(rows: Sequence[Mapping[str, Any]], base: GPTConfig) -> dict[str, dict[str, Any]]:
    """One entry a variant: losses with their spread, the difference to the first one seed by seed, bytes of cache."""
    by_variant: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], {})[row["seed"]] = row
    first = next(iter(by_variant.values()))
    length, dtype = base.block_size, torch.bfloat16
    table: dict[str, dict[str, Any]] = {}
    for name, own in by_variant.items():
        shape = replace(base, **RUNNERS[name])
        shared = sorted(own.keys() & first.keys())
        table[name] = {
            "val_loss": spread([row["val_loss"] for row in own.values()]),
            "bits_per_byte": spread([row["bits_per_byte"] for row in own.values()]),
            "difference": spread([own[s]["val_loss"] - first[s]["val_loss"] for s in shared]) if shared else None,
            "parameters": next(iter(own.values()))["parameters"],
            "mlp_hidden": next(iter(own.values()))["mlp_hidden"],
            "train_tokens_per_second": statistics.median(row["tokens_per_second"] for row in own.values()),
            "cache_bytes_per_token": bytes_per_token(shape.attention, shape, dtype),
            "cache_bytes": cache_bytes(shape.attention, shape, length, dtype),
        }  # fmt: skip
    whole = cache_bytes(base.attention, base, length, dtype)
    for entry in table.values():
        entry["share_of_mha"] = entry["cache_bytes"] / whole
    return table


def measure_speeds(
    shapes: Mapping[str, GPTConfig],
    batch_size: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    rounds: int,
) -> dict[str, dict[str, float]]:
    """Tokens a second of every variant, in turn: a decode step at the end of a full block, and a training step."""
    models = {name: GPT(shape).to(device) for name, shape in shapes.items()}
    base = next(iter(shapes.values()))
    ids = torch.randint(base.vocab_size, (batch_size, base.block_size), device=device)

    def learn(model: GPT) -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = model(ids, targets=ids).loss
        assert loss is not None
        loss.backward()
        model.zero_grad(set_to_none=True)

    trained = in_turn({name: partial(learn, model) for name, model in models.items()}, rounds=rounds)

    @torch.inference_mode()
    def decode(model: GPT, cache: Any) -> None:
        model(ids[:1, :1], cache=cache)
        cache.length -= 1  # the same step again

    decoders = {}
    for name, model in models.items():
        model.eval().to(dtype)
        cache = model.new_cache(1)
        fill(cache, base.block_size - 1)
        decoders[name] = partial(decode, model, cache)
    decoded = in_turn(decoders, rounds=rounds)
    return {
        name: {
            "train_step_tokens_per_second": ids.numel() / trained[name]["median_s"],
            "train_step_seconds": trained[name]["median_s"],
            "decode_tokens_per_second": 1 / decoded[name]["median_s"],
            "decode_seconds": decoded[name]["median_s"],
            "decode_seconds_min": decoded[name]["min_s"],
            "decode_seconds_max": decoded[name]["max_s"],
        }
        for name in shapes
    }
