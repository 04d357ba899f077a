"""`python -m pretraining.train`: train a GPT from text, stop it, resume it.

    python -m pretraining.train data=storyland minutes=2
    python -m pretraining.train --preset laptop data=book.txt
    python -m pretraining.train --config pretraining/configs/laptop.yaml data=book.txt lr=2e-3 model.n_layer=6
    python -m pretraining.train --resume last
    python -m pretraining.train --fork last@best data=book.txt lr=3e-4
    torchrun --standalone --nproc-per-node 2 -m pretraining.train data=storyland strategy=ddp

Ctrl-C finishes the step, saves, and says how to go on (exit code 130).

Two things are called preset. `--preset NAME` is a whole recipe, the file configs/NAME.yaml of this chapter;
`preset=NAME` is a key of a recipe and names the model's shape (`gpt_model.PRESETS`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import load_config, parse_args
from utils.errors import UserError, closest, did_you_mean

if TYPE_CHECKING:
    from pretraining.config import PretrainConfig
    from pretraining.distributed import World

CONFIGS = Path(__file__).parent / "configs"
ALIASES = {
    **{f"--{name}": name for name in ("data", "steps", "minutes", "epochs", "batch_size", "grad_accum")},
    **{f"--{name}": name for name in ("optimizer", "lr", "schedule", "warmup", "dtype", "device", "seed")},
    **{f"--{name}": name for name in ("tokenizer", "vocab_size", "runs")},
    "--model": "preset",
    "--eval_interval": "eval_every",
    "--save_interval": "save_every",
    "--log_interval": "log_every",
    "--sample_interval": "sample_every",
    "--gradient_accumulation_steps": "grad_accum",
    "--weight_decay": "weight_decay",
}
BOTH = "--preset and --config both name a recipe: give one of them, and change it with key=value"
MODEL_FLAGS = ("block_size", "n_layer", "n_head", "n_embd", "dropout", "attention", "position")


class _Preset(argparse.Action):
    """`--preset NAME` is another way to write `--config` with the file of that name."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if namespace.config is not None:
            raise UserError(BOTH)
        namespace.preset_file = namespace.config = preset_file(values)


def recipes() -> list[str]:
    """The names that `--preset` knows."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def preset_file(name: str) -> Path:
    """The YAML file of a recipe of this chapter. Raises UserError, also for the name of a model's shape."""
    path = CONFIGS / f"{name}.yaml"
    if name in recipes():
        return path
    from gpt_model.presets import PRESETS

    if name in PRESETS:
        raise UserError(
            f"--preset {name}: that is the shape of a model: write preset={name} (or --model {name}); "
            f"--preset takes a recipe, one of {', '.join(recipes())}"
        )
    hint = did_you_mean(closest(name, recipes()))
    raise UserError(f"--preset {name}: there is no such recipe: {hint}they are {', '.join(recipes())}")


def _own_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        action=_Preset,
        dest="preset_file",
        metavar="RECIPE",
        help=f"a recipe of this chapter: {', '.join(recipes())}",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run: last, best, a step, an id or a path, ID@best, ID@500",
    )
    parser.add_argument(
        "--fork",
        metavar="RUN",
        help="begin a new run with the weights of one, or of assets, gpt2, a .pth, a folder",
    )
    parser.add_argument(
        "--track", action="append", metavar="SINK", help="the same as track=[SINK]; may be repeated"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the result")
    for name in MODEL_FLAGS:
        spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        parser.add_argument(
            *spellings, metavar="VALUE", dest=f"model_{name}", help=f"the same as model.{name}=…"
        )


def as_overrides(config: Mapping[str, Any]) -> list[str]:
    """A saved config as `key=value` texts, so that it can be changed by more of them.

    >>> as_overrides({"lr": 0.001, "data": "storyland", "steps": None})
    ['lr=0.001', 'data=storyland', 'steps=null']
    """
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in config.items()
    ]


def saved_config(resume: str | None, fork: str | None, runs: str | None) -> dict[str, Any]:
    """The config of the run to go on with, or that of the parent without what described it; else nothing."""
    from pretraining.starting_points import STAGE, find_start

    if resume is not None:
        return find_start(resume, root=runs)[0].meta["config"]
    if fork is None:
        return {}
    try:
        parent = find_start(fork, stage=None, root=runs)[0]
    except UserError:
        return {}  # weights that no run of ours has made
    described = ("name", "version", "parent", "created")
    return (
        {k: v for k, v in parent.meta["config"].items() if k not in described}
        if parent.stage == STAGE
        else {}
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, train, say what came out and what to do next. Returns the exit code."""
    from pretraining.config import PretrainConfig

    config, options = parse_args(
        argv,
        PretrainConfig,
        prog="python -m pretraining.train",
        description=(__doc__ or "").split("\n\n")[0],
        aliases=ALIASES,
        configure=_own_flags,
    )
    if options.preset_file is not None and options.config != options.preset_file:
        raise UserError(BOTH)
    from pretraining.distributed import open_world

    with open_world(config.device) as world:
        return _train(config, options, world)


def _train(config: PretrainConfig, options: argparse.Namespace, world: World) -> int:
    """What `main` does, in one process or in each of several. Returns the exit code."""
    from pretraining.config import PretrainConfig
    from pretraining.elastic import run_to_go_on_with

    again = world.tell(run_to_go_on_with("pretrain", config.runs) if world.is_main else None)
    if again is not None:  # torchrun has started us again: the command says how to begin, and that was done
        options.resume, options.fork, options.config = str(again), None, None
    shape = [f"model.{n}={v}" for n in MODEL_FLAGS if (v := getattr(options, f"model_{n}")) is not None]
    if options.track:
        shape.append(f"track=[{','.join(options.track)}]")
    overrides = [*options.overrides, *shape]
    if options.resume is not None and options.config is not None:
        raise UserError(
            "--resume takes the run's own config: leave --config out and change keys with key=value"
        )
    saved = saved_config(options.resume, options.fork if options.config is None else None, config.runs)
    overrides = [*as_overrides(saved), *overrides]
    if shape or saved:
        config = load_config(PretrainConfig, options.config, overrides)

    from pretraining.progress import ProgressBar
    from pretraining.recipe import train
    from utils.device import keep_freed_memory

    keep_freed_memory()
    bar = None if options.quiet or not world.is_main else ProgressBar()
    try:
        run = train(
            config, resume=options.resume, fork=options.fork, callbacks=[bar] if bar else [], world=world
        )
    finally:
        if bar is not None:
            bar.close()
    if not world.is_main:
        return 130 if run.meta["status"] == "stopped" else 0
    result = run.meta["result"]
    if run.status == "stopped":
        print(
            f"stopped by {result['reason']} at step {result['step']}, saved in {result['checkpoint']}\n"
            f"go on with: python -m pretraining.train --resume {run.path}",
            file=sys.stderr,
        )
        return 130
    _print_result(run, result)
    return 0


def _print_result(run: Any, result: dict[str, Any]) -> None:
    val, counted = result["val"], result["baselines"]
    print(f"{result['step']} steps, {result['tokens']:,} tokens, {result['seconds']:.0f} s")
    print(
        f"validation loss {val['loss']:.4f} nats per token, {val['bits_per_byte']:.3f} bits per byte "
        f"(counting alone: unigram {counted['unigram']:.4f}, bigram {counted['bigram']:.4f})"
    )
    print(f"run: {run.path}")
    print(f"next: scratchbook sample --ckpt {run.id}   or   python -m pretraining.plot_curves {run.path}")


class _CallableModule(ModuleType):
    """`pretraining.train` is a function in the book's imports and a module on the command line.

    Importing the module sets the package's attribute of that name, so the two cannot be kept apart; the
    module can be called instead.
    """

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from pretraining.recipe import train

        return train(*arguments, **named)


sys.modules[__name__].__class__ = _CallableModule


if __name__ == "__main__":
    from pretraining.elastic import leave

    raise SystemExit(leave(run_main(main)))
