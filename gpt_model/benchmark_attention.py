"""`python -m gpt_model.benchmark_attention`: a whole model's decode step for every attention, against context.

    python -m gpt_model.benchmark_attention contexts=[1024,4096] dtypes=[bf16]

The idea: a step reads every weight once and the cache once. While the context is short, the weights are most of it and
no attention can help; the longer it gets, the more of the step is cache. So beside each time stand the bytes that had
to be read and the rate at which they came. Twelve layers' caches do not fit into the CPU's last cache level, so
this is the honest cousin of the one-layer figures in `attention_mechanisms.benchmark`.

Weights are random, and so are caches, filled to one token less than the context. The 12-layer, 768-wide shape needs
about 0.3 GB for each variant in bf16 plus its cache (MHA at 16k: 0.6 GB). Left out: prefill, sampling, batches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from attention_mechanisms.benchmark_harness import DTYPES, bandwidth, exponent, race, times_faster
from attention_mechanisms.benchmark_layers import fill
from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.device import pick_device
from utils.errors import UserError
from utils.timing import Timer, write_result

RESULT = Path(__file__).with_name("results") / "attention_decode.json"


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ModelDecodeConfig:
    """The shape that is measured, and how."""

    contexts: tuple[int, ...] = _key((1024, 4096, 16384), "tokens in the cache at the step")
    dtypes: tuple[str, ...] = _key(("bf16",), "some of bf16, fp32")
    n_layer: int = _key(12, "layers")
    n_head: int = _key(12, "query heads")
    n_embd: int = _key(768, "width")
    vocab_size: int = _key(50257, "rows of the embedding and of the tied head")
    n_kv_head: int = _key(4, "key heads of gqa")
    kv_latent_dim: int = _key(256, "latent of mla")
    rope_dim: int = _key(32, "rotary key of mla")
    window: int = _key(256, "window of swa")
    rounds: int = _key(5, "rounds of each comparison")
    threads: int | None = _key(None, "threads of torch; null: what it takes by itself")
    device: str = _key("cpu", "cpu or cuda")
    seed: int = _key(0, "of weights and caches")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        if not self.contexts or min(self.contexts) < 2:
            raise UserError(f"contexts={list(self.contexts)}: give lengths of at least 2 tokens")
        if not self.dtypes or set(self.dtypes) - set(DTYPES):
            raise UserError(f"dtypes={list(self.dtypes)} must name some of {list(DTYPES)}")
        if self.rounds < 1:
            raise UserError(f"rounds is {self.rounds}: at least one is needed")

    @property
    def shapes(self) -> dict[str, GPTConfig]:
        """The model of every variant; all but the attention is the same."""
        base = GPTConfig(
            vocab_size=self.vocab_size,
            block_size=max(self.contexts),
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_embd=self.n_embd,
            position="rope",
        )
        latent = {"kv_latent_dim": self.kv_latent_dim, "rope_dim": self.rope_dim}
        return {
            "mha": base,
            "gqa": replace(base, attention="gqa", n_kv_head=self.n_kv_head),
            "mla": replace(base, attention="mla", **latent),  # type: ignore[arg-type]
            "swa": replace(base, attention="swa", window=self.window),
        }


@torch.inference_mode()
def measure_model_decode(
    config: ModelDecodeConfig, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Every variant's step at every context, in turn: seconds, tokens a second, bytes read, ratios to MHA."""
    torch.manual_seed(config.seed)
    models = {name: GPT(shape).to(device=device, dtype=dtype).eval() for name, shape in config.shapes.items()}
    ids = torch.zeros(1, 1, dtype=torch.long, device=device)

    def step(model: GPT, cache: Any) -> None:
        model(ids, cache=cache)
        cache.length -= 1  # the same step again

    contexts: dict[str, Any] = {}
    for context in config.contexts:
        caches = {name: model.new_cache(1, context) for name, model in models.items()}
        for cache in caches.values():
            fill(cache, context - 1)
        steps = {name: partial(step, model, caches[name]) for name, model in models.items()}
        timed = race(steps, rounds=config.rounds)
        for name, row in timed.items():
            row["cache_bytes"] = caches[name].nbytes
            row["weight_bytes"] = sum(p.nbytes for p in models[name].parameters())
            row["bytes_read"] = row["cache_bytes"] + row["weight_bytes"]
            row["bytes_per_s"] = row["bytes_read"] / row["median_s"]
            row["tokens_per_second"] = 1 / row["median_s"]
        ratios = {f"{name}_over_mha": times_faster(timed, name, "mha") for name in ("gqa", "mla", "swa")}
        contexts[str(context)] = {"candidates": timed, "ratios": ratios}
    grown = {}
    if len(config.contexts) > 1:
        for name in models:
            seconds = {int(c): row["candidates"][name]["median_s"] for c, row in contexts.items()}
            grown[name] = exponent(seconds)
    return {"contexts": contexts, "exponents": grown}


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the results file."""
    config, _ = parse_args(
        argv,
        ModelDecodeConfig,
        prog="python -m gpt_model.benchmark_attention",
        description="Time one decode step of a whole model for every attention variant.",
        aliases={"--out": "out", "--rounds": "rounds", "--device": "device"},
    )
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    rates = bandwidth(device)
    figures: dict[str, Any] = {
        "shape": config.shapes["mha"].to_dict(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
        "bandwidth": rates,
    }
    with Timer() as timer:
        for name in config.dtypes:
            figures[name] = own = measure_model_decode(config, DTYPES[name], device)
            for context, row in own["contexts"].items():
                print(f"{name} {int(context):,} tokens")
                for variant, figure in row["candidates"].items():
                    share = figure["bytes_per_s"] / rates["read_bytes_per_s"]
                    print(
                        f"  {variant:4} {figure['tokens_per_second']:8.1f} tokens/s  "
                        f"{figure['bytes_read'] / 1e6:8.1f} MB read at {share:.0%} of memory's rate"
                    )
    path = write_result(
        Path(config.out),
        name="attention_decode",
        figures=figures,
        command=" ".join(["python -m gpt_model.benchmark_attention", *command_words(config)]),
        seed=config.seed,
        notes="Random weights and caches; a step reads all weights and the cache once.",
    )
    print(f"wrote {path} after {timer.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
