"""A configuration laid open: where its parameters are, what it costs to train and to write; or two side by side.

    python -m gpt_model.analyze gpt2
    python -m gpt_model.analyze gpt2 llama-tiny
    python -m gpt_model.analyze gpt2 gpt2 attention=mla position=rope context=1024 dtype=bf16

The idea: everything follows from the configuration, so nothing is built and a model of seven billion parameters takes
as long as a tiny one. A name is a preset, or a checkpoint (`assets`, `last`, a run, a folder); settings of a model
stand behind its name, those of the analysis anywhere. `analysis` gives the numbers, and the command only prints them.

Sources of the numbers: `costs` (parameters, FLOPs), `memory` (training, decoding), `mfu` (what a machine's peak would
allow). Left out on purpose: time, which has to be measured.
Notebook: 02 of this chapter.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_model.config import PRESETS, GPTConfig, preset, with_attention
from utils.cli import run_main
from utils.errors import UserError

if TYPE_CHECKING:
    import argparse

    from rich.console import Console
    from rich.tree import Tree

    from gpt_model.costs import Part

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class AnalyzeConfig:
    """What the costs are asked for."""

    batch: int = _key(8, "rows of a training step, and rows written at once")
    context: int | None = _key(None, "tokens of a row; null: what every model here can read, at most 1024")
    dtype: str = _key("fp32", f"of weights, activations and cache: {', '.join(DTYPES)}")
    optimizer: str = _key("adamw", "adamw, momentum or sgd")
    hardware: str | None = _key(None, "a GPU as its driver names it, such as H100 SXM; null: this machine's")
    tokens_per_second: float | None = _key(None, "a measured training speed, for its MFU")

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"dtype is {self.dtype!r}: choose one of {', '.join(DTYPES)}")
        for name in ("batch", "context", "tokens_per_second"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value}: it must be above 0")


def analysis(config: GPTConfig, asked: AnalyzeConfig | None = None) -> dict[str, dict[str, Any]]:
    """All numbers of one configuration, by section: plain values, ready for JSON. Bytes, FLOPs, counts.

    Raises UserError where the model cannot read `context` tokens.
    """
    import torch

    from gpt_model import costs, memory, mfu
    from gpt_model.gpt import INIT_STD

    asked = asked or AnalyzeConfig()
    context, batch = asked.context or min(config.block_size, 1024), asked.batch
    dtype = getattr(torch, DTYPES[asked.dtype])
    parts = costs.parameter_breakdown(config)
    total = sum(parts.values())
    tables = parts["token embedding"] + parts["position embedding"]
    training = memory.training_memory(config, batch, context, optimizer=asked.optimizer, dtype=dtype)
    decoding = memory.decoding_memory(config, batch, context, dtype=dtype)
    one_cache = costs.cache_bytes(config, 1, context, dtype)
    multi_head = with_attention(config, "mha")
    hardware = asked.hardware or mfu.this_machine()
    peak = mfu.peak_flops(hardware, asked.dtype)
    per_token = mfu.flops_per_token(config, context)
    speed = asked.tokens_per_second
    return {
        "parameters": {"total": total, "non-embedding": total - tables, **parts},
        "initialisation": {
            "matrices, std": INIT_STD,
            "out_proj, std": INIT_STD / math.sqrt(2 * config.n_layer),
            "token embedding, std": config.embedding_std,
        },
        "FLOPs": {
            "forward pass of one row": costs.forward_flops(config, 1, context),
            "training step": costs.training_flops(config, batch, context),
            "decode step at this context": costs.forward_flops(config, 1, 1, context - 1),
            "a trained token, 6N + 12LHQT": per_token,
        },
        "training memory, bytes": {**vars(training), "all at once": training.total},
        "decoding memory, bytes": {
            **vars(decoding),
            "all at once": decoding.total,
            "cache of one row": one_cache,
            "share of multi-head's cache": one_cache / costs.cache_bytes(multi_head, 1, context, dtype),
        },
        "speed": {
            "hardware": hardware or "no GPU here",
            "peak, FLOP/s": mfu.UNKNOWN if peak is None else peak,
            "tokens/s at 100 %": mfu.UNKNOWN if peak is None else peak / per_token,
            "MFU": "no speed given"
            if speed is None
            else mfu.describe(mfu.utilisation(config, context, speed, peak)),
        },
    }


def explain_parameters(config: GPTConfig) -> list[str]:
    """Where the total comes from, in sentences: the tables, the blocks, the tied head."""
    from gpt_model.costs import parameter_breakdown, parameter_tree

    parts = parameter_breakdown(config)
    total = sum(parts.values())
    tables = {name: parts[name] for name in ("token embedding", "position embedding") if parts[name]}
    rest = total - sum(tables.values())
    tree = parameter_tree(config)
    blocks = next(part for part in tree.children if part.name == "blocks")
    one = blocks.count // blocks.copies
    vectors = sum(leaf.count for leaf in _leaves(blocks) if len(leaf.shape) == 1)
    other = [
        f"{part.count:,} {part.name}"
        for part in tree.children
        if part.name in ("final_norm", "head") and part.count
    ]
    lines = [
        f"{total:,} total = {' + '.join(f'{n:,} {name}' for name, n in tables.items())} + {rest:,} non-embedding",
        f"{rest:,} non-embedding = {blocks.copies} blocks × {one:,}{''.join(f' + {text}' for text in other)}",
        f"{one:,} a block = {one - vectors:,} in matrices + {vectors:,} in biases and gains",
    ]
    head = config.vocab_size * config.n_embd
    if config.tie_weights:
        lines.append(
            f"the head is the token embedding used again: untied, the total would be {total + head:,}"
        )
    else:
        lines.append(f"the head is a matrix of its own, {head:,}: tied, the total would be {total - head:,}")
    return lines


def _leaves(part: "Part") -> list["Part"]:
    return [part] if part.shape else [leaf for child in part.children for leaf in _leaves(child)]


# ---------------------------------------------------------------------------- the command


def read_shape(name: str, settings: dict[str, Any]) -> GPTConfig:
    """A preset or the configuration of a checkpoint, with settings of it replaced."""
    if name in PRESETS:
        return preset(name, **settings)
    from gpt_model.huggingface import config_from_huggingface
    from gpt_model.loading import find_checkpoint
    from gpt_model.weights_io import MODEL_TYPE, read_config

    if name not in ("assets", "last", "best") and not Path(name).exists() and "/" not in name:
        try:
            path = find_checkpoint(name)
        except UserError:
            return preset(name)  # whose error lists the presets
    else:
        path = find_checkpoint(name)
    values = read_config(path)
    own = values.get("model_type", MODEL_TYPE) == MODEL_TYPE
    values = {key: value for key, value in values.items() if key != "model_type" or not own}
    config = GPTConfig.from_dict(values) if own else config_from_huggingface(values)
    return GPTConfig.from_dict({**config.to_dict(), **settings})


def split_words(argv: Sequence[str]) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Names with their settings, and the words that are not about a model."""
    from gpt_model.costs import parse_setting

    own = {f.name for f in fields(AnalyzeConfig)}
    shapes: list[tuple[str, dict[str, Any]]] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word.startswith("-"):
            rest += [word, *([next(words, "")] if word in ("--config", "--set") else [])]
        elif "=" not in word:
            shapes.append((word, {}))
        elif word.partition("=")[0] in own:
            rest.append(word)
        elif not shapes:
            raise UserError(f"{word!r} stands before any model: write the name first, such as gpt2 {word}")
        else:
            key, value = parse_setting(word)
            shapes[-1][1][key] = value
    return shapes, rest


def main(argv: Sequence[str] | None = None) -> int:
    """Print the analysis of one configuration, or the comparison of two. Returns 0."""
    from dataclasses import replace

    from utils.config import parse_args

    shapes, rest = split_words(sys.argv[1:] if argv is None else argv)
    asked, namespace = parse_args(
        rest,
        AnalyzeConfig,
        prog="python -m gpt_model.analyze MODEL [key=value ...] [MODEL [key=value ...]]",
        description="Parameters, FLOPs and memory of a model, or of two side by side. MODEL is "
        f"{', '.join(PRESETS)}, assets, last, a run or a folder; settings of a model follow its name.",
        configure=_add_flags,
    )
    if not 1 <= len(shapes) <= 2:
        raise UserError(f"{len(shapes)} models were named: give one, or two to compare (gpt2 llama-tiny)")
    configs = [read_shape(name, settings) for name, settings in shapes]
    if asked.context is None:
        asked = replace(asked, context=min(1024, *(config.block_size for config in configs)))
    names = [_label(name, settings) for name, settings in shapes]
    results = [analysis(config, asked) for config in configs]
    if namespace.json:
        import json

        rows = [
            {"name": name, "config": config.to_dict(), "asked": vars(asked), **result}
            for name, config, result in zip(names, configs, results, strict=True)
        ]
        print(json.dumps(rows if len(rows) > 1 else rows[0], indent=1))
        return 0
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    if len(configs) == 1:
        console.print(_tree(configs[0], names[0]))
    for name, config in zip(names, configs, strict=True):
        console.print(f"\n[bold]{name}[/bold]")
        for line in explain_parameters(config):
            console.print(f"  {line}", soft_wrap=True)
    console.print()
    _print_tables(console, names, configs, results, asked)
    return 0


def _add_flags(parser: "argparse.ArgumentParser") -> None:
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def _label(name: str, settings: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in settings.items())])


def _tree(config: GPTConfig, name: str) -> "Tree":
    from rich.tree import Tree

    from gpt_model.costs import parameter_tree

    def grow(tree: Any, part: "Part") -> None:
        shape = f"  {' × '.join(map(str, part.shape))}" if part.shape else ""
        copies = f" × {part.copies}" if part.copies > 1 else ""
        text = (
            f"{part.name}{copies}  [bold]{part.count:,}[/bold]{shape}"
            if part.count
            else f"{part.name}  {part.note}"
        )
        branch = tree.add(text)
        for child in part.children:
            grow(branch, child)

    whole = parameter_tree(config)
    root = Tree(f"{name}  [bold]{whole.count:,}[/bold]")
    for part in whole.children:
        grow(root, part)
    return root


def _print_tables(
    console: "Console",
    names: list[str],
    configs: list[GPTConfig],
    results: list[dict[str, dict[str, Any]]],
    asked: AnalyzeConfig,
) -> None:
    from rich.table import Table

    two = len(results) == 2
    table = Table(
        title=f"{asked.batch} rows of {asked.context:,} tokens, {asked.dtype}, {asked.optimizer}",
        title_justify="left",
    )
    for heading in ("", *names, *(["second / first"] if two else [])):
        table.add_column(heading, justify="right" if heading else "left")
    if two:
        table.add_row("[bold]settings that differ[/bold]")
        first, second = (config.to_dict() for config in configs)
        for key in first:
            if first[key] != second[key]:
                table.add_row(f"  {key}", str(first[key]), str(second[key]), "")
    for section in results[0]:
        table.add_row(f"[bold]{section}[/bold]")
        for key, value in results[0][section].items():
            values = [value, *(result[section][key] for result in results[1:])]
            ratio = [_ratio(*values)] if two else []
            table.add_row(f"  {key}", *(_shown(section, key, v) for v in values), *ratio)
    console.print(table)


def _ratio(first: Any, second: Any) -> str:
    numbers = isinstance(first, int | float) and isinstance(second, int | float)
    return f"{second / first:.3f}" if numbers and first else ""


def _shown(section: str, key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if key.startswith("share"):
        return f"{value:.4f}"
    if "bytes" in section:
        return f"{value / 2**20:,.1f} MiB"
    if section == "FLOPs" or "FLOP/s" in key:
        return f"{value / 1e9:,.3f} G" if value < 1e12 else f"{value / 1e12:,.1f} T"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5f}" if value < 10 else f"{value:,.0f}"


if __name__ == "__main__":
    raise SystemExit(run_main(main))
