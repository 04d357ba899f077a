"""`python -m finetuning.benchmark_lora`: what an adapter costs and is worth beside tuning everything.

    python -m finetuning.benchmark_lora part=cost
    python -m finetuning.benchmark_lora part=quality ckpt=TUNED_RUN

*Cost*, at a shape of one's choice: the share of the numbers that trains, bytes of weights, optimizer state and the peak
of a step, and seconds a step, for tuning everything, LoRA, and LoRA over four bits; steps in turn, on the same batch.
Bytes are those of the tensors and of torch's allocator, counted, not sampled.
*Quality*: a model that answers requests in one form learns to answer them in another (`words`), by the ordinary command
in each way, with the same examples and as many steps, and is asked the same held-out requests. Rows of one seed are
compared; over seeds the spread of the runs counts. Every row is written at once; the same command goes on where it was
stopped. That is what adapters are for: what a model can do, done otherwise. Writes results/lora.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from finetuning.lora import LoRAConfig
from utils.cli import run_main
from utils.config import command_words, load_config, parse_args
from utils.errors import UserError

RESULT = Path(__file__).with_name("results") / "lora.json"
WAYS = ("full", "lora", "qlora")
GOAL = 0.02  # points of exact match that LoRA may stay behind
PARTS = ("cost", "quality", "both")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class LoRABenchmark:
    """What is measured. The cost of GPT-2's shape takes about two minutes on two cores."""

    part: str = _key("both", "cost, quality or both")
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    ways: tuple[str, ...] = _key(WAYS, "some of full, lora, qlora; full is what the others are compared with")
    preset: str = _key("gpt2", "cost: the model's shape")
    model: dict[str, Any] = field(default_factory=dict, metadata={"help": "cost: changes, model.n_layer=4"})
    batch_size: int = _key(2, "cost: sequences in a step")
    tokens: int = _key(128, "cost: tokens in a sequence")
    rounds: int = _key(5, "cost: of the timing")
    device: str = _key("auto", "auto, cpu, cuda")
    ckpt: str = _key("last", "quality: the model to tune, which can answer")
    seeds: tuple[int, ...] = _key((1, 2, 3), "quality: of requests, batches and adapters")
    steps: int = _key(400, "quality: of tuning, the same for every way")
    requests: int = _key(60_000, "quality: to learn from")
    held_out: int = _key(680, "quality: requests to ask, a multiple of 17")
    words: tuple[str, ...] = _key(("template=alpaca",), "quality: what is to be learned, key=value")
    full_words: tuple[str, ...] = _key(
        ("optimizer=adamw", "lr=1e-3"), "quality: more settings of full tuning, key=value"
    )
    lora_words: tuple[str, ...] = _key(
        ("optimizer=adamw", "lr=5e-3"), "quality: more settings of the adapters' tuning"
    )
    runs: str = _key("runs/benchmark_lora", "folder for the runs")
    fresh: bool = _key(False, "forget the rows that the results file holds")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise UserError(f"part is {self.part!r}: choose {', '.join(PARTS)}")
        if not self.ways or self.ways[0] != "full" or set(self.ways) - set(WAYS):
            raise UserError(f"ways={list(self.ways)}: begin with full, then some of {', '.join(WAYS[1:])}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError(f"seeds={list(self.seeds)}: give at least one, each once")
        for name in ("batch_size", "tokens", "rounds", "steps", "held_out"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: the least is 1")


# ---------------------------------------------------------------- cost


def prepared(way: str, config: LoRABenchmark, device: Any) -> Any:
    """A model of the shape, drawn from one seed, with what `way` says learning."""
    import torch

    from finetuning.lora import apply_lora
    from finetuning.qlora import quantize_base
    from finetuning.trainable import freeze_for
    from gpt_model.config import preset
    from gpt_model.gpt import GPT

    torch.manual_seed(0)
    model = GPT(preset(config.preset, **config.model)).to(device).train()
    if way == "qlora":
        quantize_base(model)
    if way != "full":
        apply_lora(model, config.lora, seed=0)
    freeze_for(model, "all" if way == "full" else "lora")
    return model


def cost_of(way: str, config: LoRABenchmark, device: Any) -> tuple[dict[str, Any], Callable[[], None]]:
    """Counts of one way, and a call that takes one step of it."""
    import torch

    from finetuning.trainable import count_numbers
    from pretraining.benchmark_memory import peak_bytes
    from pretraining.config import TrainConfig
    from pretraining.optimizers import build_optimizer, state_bytes

    model = prepared(way, config, device)
    optimizer = build_optimizer(model, TrainConfig(lr=1e-4))
    generator = torch.Generator().manual_seed(1)
    shape = (config.batch_size, config.tokens)
    ids = torch.randint(model.config.vocab_size, shape, generator=generator).to(device)

    def gradients() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(ids, targets=ids).loss.backward()

    def step() -> None:
        gradients()
        optimizer.step()

    step()  # the optimizer's state is made by the first step
    optimizer.zero_grad(set_to_none=True)
    learning, total = count_numbers(model)
    weights = sum({t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}.values())
    peak = peak_bytes(gradients, device)
    state = state_bytes(optimizer)
    row = {"trainable": learning, "numbers": total, "share": learning / total}
    parts = {"weight_bytes": weights, "optimizer_bytes": state, "step_bytes": peak}
    return {**row, **parts, "total_bytes": weights + state + peak}, step


def measure_cost(config: LoRABenchmark) -> dict[str, Any]:
    """Counts of every way, and their steps timed in turn."""
    from utils.device import pick_device
    from utils.timing import compare

    device = pick_device(config.device)
    rows, steps = {}, {}
    for way in config.ways:
        rows[way], steps[way] = cost_of(way, config, device)
    timed = compare(steps, rounds=config.rounds)
    for way, row in rows.items():
        row["seconds_per_step"] = timed["candidates"][way]["median_s"]
        row["speedup"] = timed["candidates"][way]["speedup"]
        row["memory_ratio"] = rows["full"]["total_bytes"] / row["total_bytes"]
    return {
        "ways": rows,
        "shape": {"preset": config.preset, **config.model},
        "device": str(device),
        "timing": timed,
    }


# ---------------------------------------------------------------- quality


def quality_row(way: str, seed: int, config: LoRABenchmark) -> dict[str, Any]:
    """Tune the base in one way through the ordinary command's own function, ask it, and say what came out."""
    from finetuning.instruction.train import tune_on_requests
    from finetuning.instruction.train_config import InstructionConfig

    words = [f"ckpt={config.ckpt}", f"steps={config.steps}", f"requests={config.requests}", f"seed={seed}"]
    words += [f"data_seed={seed}", f"held_out={config.held_out}", f"runs={config.runs}", "eval_every=0"]
    words += config.words
    words += [f"device={config.device}", "tune=all", *config.full_words] if way == "full" else []
    if way != "full":
        words += [
            f"device={config.device}",
            "tune=lora",
            f"qlora={str(way == 'qlora').lower()}",
            *config.lora_words,
        ]
    settings = replace(load_config(InstructionConfig, None, words), lora=config.lora)
    run = tune_on_requests(settings)
    if run.status != "complete":
        raise UserError(f"{way}, seed {seed}: the run {run.path} was stopped: start the same command again")
    result = run.meta["result"]
    return {
        "way": way,
        "seed": seed,
        "exact": result["exact_after"],
        "before": result["exact_before"],
        "answer_loss": result["answer_loss"],
        "seconds": result["seconds"],
        "steps": result["step"],
        "run": run.id,
    }


def same_study(config: LoRABenchmark) -> dict[str, Any]:
    """The settings that must agree for rows to stand in one table."""
    names = ("ckpt", "steps", "requests", "held_out", "words", "full_words", "lora_words")
    return json.loads(
        json.dumps({**{name: getattr(config, name) for name in names}, "lora": asdict(config.lora)})
    )


def summary(rows: list[dict[str, Any]], ways: tuple[str, ...]) -> dict[str, Any]:
    """Mean exact match of each way over seeds, and how far each stays from full tuning within a seed."""
    from finetuning.evaluation.resampling import over_seeds

    share = {(r["way"], r["seed"]): r["exact"]["hits"] / r["exact"]["total"] for r in rows}
    found: dict[str, Any] = {}
    for way in ways:
        seeds = [seed for own, seed in share if own == way]
        if not seeds:
            continue
        row: dict[str, Any] = {"exact": over_seeds([share[way, seed] for seed in seeds]).to_dict()}
        pairs = [share[way, seed] - share["full", seed] for seed in seeds if ("full", seed) in share]
        if way != "full" and pairs:
            row["over_full"] = over_seeds(pairs).to_dict()
        found[way] = row
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure what is asked for, print goal and reached, write the results file after every row."""
    config, _ = parse_args(
        argv,
        LoRABenchmark,
        prog="python -m finetuning.benchmark_lora",
        description=(__doc__ or "").split("\n\n")[0],
        aliases={"--ckpt": "ckpt", "--out": "out"},
    )
    from utils.timing import write_result

    out = Path(config.out)
    before = (
        json.loads(out.read_text(encoding="utf-8"))["figures"] if out.is_file() and not config.fresh else {}
    )
    figures: dict[str, Any] = {"goal": f"exact match within {GOAL:.0%} of full tuning", **before}
    words = " ".join(
        ["python -m finetuning.benchmark_lora", *command_words(config, ("out", "fresh", "lora"))]
    )
    words += "".join(
        f" lora.{key}={value}" for key, value in asdict(config.lora).items() if key in ("r", "alpha")
    )

    def write() -> Path:
        return write_result(out, name="lora", figures=figures, command=words, seed=config.seeds[0])

    if config.part != "quality":
        figures["cost"] = measure_cost(config)
        print_cost(figures["cost"])
        write()
    if config.part != "cost":
        study = same_study(config)
        if figures.get("study") not in (None, study):
            raise UserError(f"{out} holds rows of other settings: give another out=FILE, or fresh=true")
        rows = figures.setdefault("rows", [])
        figures["study"] = study
        for seed in config.seeds:
            for way in config.ways:
                if not any((r["way"], r["seed"]) == (way, seed) for r in rows):
                    rows.append(quality_row(way, seed, config))
                    figures["quality"] = summary(rows, config.ways)
                    write()
        print_quality(figures["quality"])
    print(write())
    return 0


def print_cost(cost: dict[str, Any]) -> None:
    """A line for each way."""
    for way, row in cost["ways"].items():
        print(
            f"{way:6} {row['trainable']:>12,} of {row['numbers']:,} numbers train ({row['share']:.2%})   "
            f"{row['total_bytes'] / 1e6:8.1f} MB ({row['memory_ratio']:.2f} × less)   "
            f"{1e3 * row['seconds_per_step']:8.1f} ms a step ({row['speedup']:.2f} × as fast)"
        )


def print_quality(quality: dict[str, Any]) -> None:
    """A line for each way, then goal and reached."""
    for way, row in quality.items():
        behind = row.get("over_full")
        print(
            f"{way:6} exact {row['exact']['value']:.1%}"
            + (f"   {behind['value']:+.1%} of full" if behind else "")
        )
    if "lora" in quality and "over_full" in quality["lora"]:
        reached = quality["lora"]["over_full"]["value"]
        print(f"goal: within {GOAL:.0%} of full tuning, reached {reached:+.1%}")


if __name__ == "__main__":
    raise SystemExit(run_main(main))
