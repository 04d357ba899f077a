"""`python -m finetuning.benchmark_nf4`: what four bits a weight save, and what they cost.

    python -m finetuning.benchmark_nf4
    python -m finetuning.benchmark_nf4 ckpt=last documents=500

Three questions. How far are the numbers off: RMS error on draws of a bell curve and on the model's own matrices, beside
sixteen even steps with the same constants, and int4 with a smallest and a largest of each block, which takes 5 bits.
What does the model lose: perplexity on stories that no training used, with constants in floats and in bytes. What is
kept: bytes for each number of the matrices, counted from the tensors. The GPU's bytes are the same tensors; its
seconds are not measured here. Writes results/nf4.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

RESULT = Path(__file__).with_name("results") / "nf4.json"
GOALS = {"bits": 4.13, "error": 0.0919, "growth": 0.05}  # bits a weight, σ, growth of perplexity


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class NF4Benchmark:
    """Which model, on which text. The defaults take about a minute on two cores."""

    ckpt: str = _key("assets", "assets, last, best, a run's id or a checkpoint folder")
    text: str | None = _key(None, "file to measure on; null: Storyland's stories")
    documents: int = _key(200, "stories to measure on")
    seed: int = _key(777, "of the stories: one that no training uses")
    normals: int = _key(4096, "rows and columns of the bell curve's matrix")
    rounds: int = _key(5, "of the timing")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        for name in ("documents", "normals", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: the least is 1")


def errors_of(weight: Any) -> dict[str, float]:
    """RMS errors in units of the matrix's own: NF4 with float constants and with bytes, even steps, int4."""
    import torch

    from finetuning.nf4 import BLOCK, quantize_nf4, rms_error
    from gpt_model.int_codes import dequantize_groups, quantize_groups

    size = weight.square().mean().sqrt()
    whole = dequantize_groups(*quantize_groups(weight, BLOCK), weight.size(1)) - weight
    blocks = weight.flatten()[: weight.numel() // BLOCK * BLOCK].view(-1, BLOCK)
    absmax = blocks.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    even = ((blocks / absmax + 1) * 7.5).round() / 7.5 * absmax - absmax - blocks  # codes -1, -13/15, … 1
    return {
        "nf4": rms_error(weight, quantize_nf4(weight, double=False)),
        "nf4_double": rms_error(weight, quantize_nf4(weight, double=True)),
        "even": float(even.square().mean().sqrt() / size),
        "int4": float(whole.square().mean().sqrt() / size),
    }


def matrices_of(model: Any) -> dict[str, Any]:
    """The linear maps' matrices inside the blocks, by path."""
    from finetuning.lora import find_targets

    found: dict[str, Any] = dict(find_targets(model, ("all",)))
    return {path: layer.weight.detach() for path, layer in found.items()}


def perplexities(config: NF4Benchmark) -> dict[str, Any]:
    """Loss, perplexity and bytes of the model as it is and with its blocks in NF4, on the same tokens."""
    from finetuning.qlora import linear_bytes, quantize_base
    from gpt_model.loading import load_model
    from gpt_model.quantization_report import held_out_ids, measure, windows

    loaded = load_model(config.ckpt)
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer of ours: perplexity is measured on text, name another ckpt"
        )
    ids = held_out_ids(loaded.tokenizer, config.text, config.documents, config.seed)
    rows = windows(ids, loaded.config.block_size)
    table: dict[str, dict[str, float]] = {}
    for name in ("float", "nf4", "nf4_double"):
        model = load_model(config.ckpt).model
        if name != "float":
            quantize_base(model, double=name == "nf4_double")
        loss, _ = measure(model, rows)
        kept = linear_bytes(model)
        table[name] = {
            "loss": loss,
            "perplexity": math.exp(loss),
            "bits": 8 * kept["bytes_per_number"],
            **kept,
        }
    for row in table.values():
        row["growth"] = row["perplexity"] / table["float"]["perplexity"] - 1
    return {"modes": table, "tokens": rows.size(0) * (rows.size(1) - 1)}


def speeds(config: NF4Benchmark) -> dict[str, Any]:
    """Seconds of a forward and backward pass through one map, by floats, by the book and by bitsandbytes."""
    import importlib.util

    import torch

    from finetuning.qlora import BitsAndBytesLinear, NF4Linear
    from utils.timing import compare

    torch.manual_seed(config.seed)
    plain = torch.nn.Linear(768, 3072).requires_grad_(False)
    layers: dict[str, Any] = {"float": plain, "book": NF4Linear(plain.weight, plain.bias)}
    if importlib.util.find_spec("bitsandbytes") is not None:
        layers["bitsandbytes"] = BitsAndBytesLinear(plain.weight, plain.bias)
    x = torch.randn(256, 768, requires_grad=True)

    def both_ways(layer: Any) -> None:
        layer(x).sum().backward()

    calls = {name: (lambda layer=layer: both_ways(layer)) for name, layer in layers.items()}
    return {"shape": [768, 3072], "rows": len(x), **compare(calls, rounds=config.rounds)}


def measure_all(config: NF4Benchmark) -> dict[str, Any]:
    """Everything that the results file holds."""
    import torch

    from finetuning.nf4 import bits_per_weight, quantize_nf4
    from gpt_model.loading import load_model

    generator = torch.Generator().manual_seed(config.seed)
    bell = torch.randn(config.normals, config.normals, generator=generator)
    own = {path: errors_of(weight) for path, weight in matrices_of(load_model(config.ckpt).model).items()}
    mean = {
        kind: sum(e[kind] for e in own.values()) / len(own) for kind in ("nf4", "nf4_double", "even", "int4")
    }
    return {
        "goals": GOALS,
        "bell_curve": {
            **errors_of(bell),
            "bits": 8 * quantize_nf4(bell).nbytes / bell.numel(),
            "bits_single": 8 * quantize_nf4(bell, double=False).nbytes / bell.numel(),
            "bits_by_formula": bits_per_weight(),
        },
        "matrices": {"mean": mean, "each": own},
        **perplexities(config),
        "speed": speeds(config),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table with its goals, write the results file."""
    config, _ = parse_args(
        argv,
        NF4Benchmark,
        prog="python -m finetuning.benchmark_nf4",
        description=(__doc__ or "").split("\n\n")[0],
        aliases={"--ckpt": "ckpt", "--out": "out"},
    )
    from utils.timing import write_result

    figures = measure_all(config)
    bell, double = figures["bell_curve"], figures["modes"]["nf4_double"]
    print(
        f"bits a weight: goal {GOALS['bits']}, reached {bell['bits']:.4f} (the model's own: {double['bits']:.3f})"
    )
    print(f"RMS error on a bell curve: goal {GOALS['error']} σ within 2 %, reached {bell['nf4']:.4f} σ")
    print(f"  with constants in bytes {bell['nf4_double']:.4f} σ; even steps {bell['even']:.4f} σ")
    for name, row in figures["modes"].items():
        print(
            f"{name:12} perplexity {row['perplexity']:8.4f} {row['growth']:+8.2%}   {row['bits']:6.3f} bits a weight"
        )
    print(f"growth of perplexity: goal below {GOALS['growth']:.0%}, reached {double['growth']:+.2%}")
    for name, row in figures["speed"]["candidates"].items():
        print(f"{name:12} {1e3 * row['median_s']:7.2f} ms there and back")
    words = " ".join(["python -m finetuning.benchmark_nf4", *command_words(config)])
    print(write_result(config.out, name="nf4", figures=figures, command=words, seed=config.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
