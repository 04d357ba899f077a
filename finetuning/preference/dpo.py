"""`python -m finetuning.preference.dpo ckpt=RUN`: teach an instruction-tuned model which answers are better.

    python -m finetuning.preference.dpo ckpt=last
    python -m finetuning.preference.dpo ckpt=assets source=both beta=0.1 epochs=2
    python -m finetuning.preference.dpo ckpt=last data=my_pairs.jsonl tune=lora
    python -m finetuning.preference.dpo --resume last

Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290): `losses` has the mathematics, `sources` the
pairs, `train` the way. Ctrl-C finishes the step, saves, and says how to go on (exit code 130).
Notebook: `04_preferences_dpo.ipynb`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from finetuning.preference.settings import PreferenceConfig
from utils.cli import run_main
from utils.config import load_config, parse_args
from utils.errors import UserError


def _own_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resume", metavar="RUN", help="go on with a run: last, an id or a path, ID@500")
    parser.add_argument("--quiet", action="store_true", help="print only the result")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, tune, say what came out. Returns 0, or 130 when it was stopped."""
    config, options = parse_args(
        argv,
        PreferenceConfig,
        prog="python -m finetuning.preference.dpo",
        description="Teach a model which of two answers is better, by direct preference optimisation.",
        configure=_own_flags,
    )
    if options.resume is not None:
        if options.config is not None:
            raise UserError(
                "--resume takes the run's own config: leave --config out and change keys with key=value"
            )
        from pretraining.starting_points import find_start
        from pretraining.train import as_overrides

        run = find_start(options.resume, stage="dpo", root=config.runs)[0]
        config = load_config(PreferenceConfig, None, [*as_overrides(run.meta["config"]), *options.overrides])
    from finetuning.preference.train import prefer
    from pretraining.progress import ProgressBar

    bar = None if options.quiet else ProgressBar(title="dpo")
    try:
        run = prefer(config, resume=options.resume, callbacks=[bar] if bar else [])
    finally:
        if bar is not None:
            bar.close()
    if run.status == "stopped":
        print(
            f"stopped, what was learned is saved; go on with: python -m finetuning.preference.dpo --resume {run.path}",
            file=sys.stderr,
        )
        return 130
    _print_result(run)
    return 0


def _print_result(run: Any) -> None:
    result = run.meta["result"]
    found = result["preferences"]
    share = found["accuracy"]
    low, high = share["interval"]
    print(
        f"preference accuracy, held out: {share['hits']} of {share['total']} (95 % interval {low:.0%} to {high:.0%}), "
        f"mean margin {found['margin']:.2f}"
    )
    if "drift" in result:
        gone = result["drift"]
        print(f"answers drawn: {gone['kl']:.2f} nats from the reference, {gone['length']:.1f} tokens long")
    for when in ("before", "after"):
        if (exact := result.get(f"exact_{when}")) is not None:
            low, high = exact["interval"]
            print(
                f"exact answers {when}: {exact['hits']} of {exact['total']} (95 % interval {low:.0%} to {high:.0%})"
            )
    if (won := result.get("win_rate")) is not None:
        print(f"against its reference: {won['wins']} won, {won['ties']} even, {won['losses']} lost")
    print(f"run: {run.path}")
    print(f"next: scratchbook chat --ckpt {run.path}")


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
