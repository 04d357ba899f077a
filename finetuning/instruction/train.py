"""`python -m finetuning.instruction.train ckpt=RUN`: teach a pretrained model Storyland's requests, and ask it.

    python -m finetuning.instruction.train ckpt=last minutes=2

Requests and stories are generated (`data`), a twentieth of the requests is held out by the hash of its text, and the
share of exact answers to those is measured before and after, with its interval. The result is a run of its own, stage
`sft`, whose checkpoint any command takes. Left out: one's own conversations, adapters, going on with a stopped run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from pretraining.config import TrainConfig
from utils.cli import run_main
from utils.config import load_config, parse_args, to_dict
from utils.errors import UserError
from utils.runs import Run

STAGE = "sft"
# What the recipe's defaults do not say; the demo's recipe of instruction tuning.
RECIPE = [
    *("optimizer=muon", "batch_size=8", "lr=3e-3", "muon_lr=0.02", "warmup=0.05", "weight_decay=0.0"),
    *("save_every=0", "keep_last=1", "prompts=[]"),
]


@dataclass(frozen=True)
class InstructionConfig(TrainConfig):
    """`TrainConfig` plus which model, on how many requests."""

    ckpt: str = field(default="last", metadata={"help": "the pretrained model: last, a run, a folder"})
    requests: int = field(default=2000, metadata={"help": "generated requests to learn from"})
    held_out: int = field(
        default=140, metadata={"help": "requests never trained on, to ask before and after"}
    )
    data_seed: int = field(default=0, metadata={"help": "of the requests"})
    runs: str | None = field(
        default=None, metadata={"help": "where run folders go; null: $SCRATCHBOOK_RUNS, else ./runs"}
    )


def tune_on_requests(config: InstructionConfig) -> Run:
    """Tune, ask, record; the run, complete or stopped. Raises UserError for a model that cannot be tuned so."""
    from finetuning.evaluation.instructions import exact_match
    from finetuning.instruction.data import held_out_requests, training_examples
    from finetuning.instruction.tune import tune
    from gpt_model.loading import load_model
    from utils.device import pick_device
    from utils.seeding import set_seed

    if config.requests < 20:
        raise UserError(
            f"requests is {config.requests}: the least is 20, of which one in twenty judges the loss"
        )
    loaded = load_model(config.ckpt, device=pick_device(config.device))
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer.json of ours: it cannot be asked anything")
    examples = training_examples(loaded.tokenizer, config.requests, seed=config.data_seed)
    judged = max(1, len(examples) // 20)
    asked = held_out_requests(config.held_out, seed=config.data_seed)
    before = exact_match(loaded.model, loaded.tokenizer, asked).overall
    run = Run.create(
        STAGE, to_dict(config), root=config.runs, inputs={"model": loaded.path / "model.safetensors"}
    )
    with run:
        set_seed(config.seed)
        result = tune(loaded.model, loaded.tokenizer, examples[judged:], examples[:judged], config, run)
        after = exact_match(loaded.model.eval(), loaded.tokenizer, asked).overall
        run.meta["result"] = {
            "step": result.step,
            "seconds": result.seconds,
            "answer_loss": None if result.val is None else result.val.loss,
            "exact_before": {"hits": before.hits, "total": before.total, "interval": before.interval},
            "exact_after": {"hits": after.hits, "total": after.total, "interval": after.interval},
        }
        if result.checkpoint is not None:
            run.add_output("checkpoint", result.checkpoint)
        run.finish(result.status, result.reason)
    return run


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, tune, say what came out. Returns 0, or 130 when it was stopped."""
    config, options = parse_args(
        argv,
        InstructionConfig,
        prog="python -m finetuning.instruction.train",
        description="Teach a pretrained model Storyland's requests, and ask it before and after.",
    )
    config = load_config(InstructionConfig, options.config, [*RECIPE, *options.overrides])
    run = tune_on_requests(config)
    result = run.meta["result"]
    for when in ("before", "after"):
        share = result[f"exact_{when}"]
        low, high = share["interval"]
        print(
            f"exact answers {when}: {share['hits']} of {share['total']} (95 % interval {low:.0%} to {high:.0%})"
        )
    print(f"run: {run.path}")
    if run.status == "stopped":
        print("stopped: what was learned is saved", file=sys.stderr)
        return 130
    print(f"next: scratchbook chat --ckpt {run.path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
