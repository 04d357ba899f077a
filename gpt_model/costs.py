"""What a model costs before it is built: parameters by part, FLOPs of a forward pass, bytes of a cache.

The idea: all of it follows from the configuration. Parameters are counted on a model without memory (torch's
meta device), so the table can never disagree with the code; FLOPs are the two per multiply-add of every
matrix product and nothing else, the convention of torch's FlopCounterMode and of Kaplan et al. 2020 (arXiv
2001.08361, section 2.1). A training step costs three forward passes: the gradient of a product A B needs two
more products of the same size, one for A and one for B.

    python -m gpt_model.costs gpt2 n_layer=6

Left out on purpose: memory (`memory`), the share of a machine's peak (`mfu`), and both of these for two models side
by side (`analyze`).
Notebook: 02 of this chapter.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt_model.config import PRESETS, GPTConfig, preset
from utils.cli import run_main
from utils.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gpt_model.gpt import GPT

# Part of a GPT -> what the names of its parameters contain. The first match counts.
PARTS = {
    "token embedding": "token_embedding.",
    "position embedding": "position_embedding.",
    "attention": ".attn.",
    "feed-forward": ".mlp.",
    "norms": "norm",
    "output head": "head.",
}


_kept: ContextVar["dict[GPTConfig, GPT] | None"] = ContextVar("kept skeletons", default=None)


def skeleton(config: GPTConfig) -> "GPT":
    """The model without memory for its weights: shapes and names only."""
    import torch

    from gpt_model.gpt import GPT

    kept = _kept.get()
    if kept is not None and config in kept:
        return kept[config]
    with torch.device("meta"):
        model = GPT(config)
    if kept is not None:
        kept[config] = model
    return model


@contextmanager
def keeping_skeletons() -> Iterator[None]:
    """Within this context a skeleton is built once for each configuration: a whole analysis asks twenty times."""
    before = _kept.set({} if _kept.get() is None else _kept.get())  # one within another shares what there is
    try:
        yield
    finally:
        _kept.reset(before)


def parameter_breakdown(config: GPTConfig) -> dict[str, int]:
    """Parameters of each part, all parts of the model summed; the values add up to `num_parameters()`.

    A tied output head has no parameters of its own and shows 0.
    """
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in skeleton(config).named_parameters():
        counts[next(part for part, key in PARTS.items() if key in name)] += parameter.numel()
    return counts


@dataclass(frozen=True)
class Part:
    """A node of the parameter tree: `count` is of all its `copies`, `children` are those of one copy."""

    name: str
    count: int
    copies: int = 1
    shape: tuple[int, ...] = ()  # of a single tensor
    note: str = ""
    children: tuple["Part", ...] = ()


def parameter_tree(config: GPTConfig) -> Part:
    """Every parameter where it lives: model, blocks, sub-layers, tensors. Equal blocks stand once, with their count."""
    model = skeleton(config)
    parts = [_part(name, child) for name, child in model.named_children()]
    blocks = _part("blocks", model.blocks[0])
    repeated = Part("blocks", blocks.count * config.n_layer, config.n_layer, (), "", blocks.children)
    parts = [repeated if part.name == "blocks" else part for part in parts if part.count]
    if config.tie_weights:
        parts.append(Part("head", 0, note="tied: the token embedding, used again"))
    return Part("model", sum(part.count for part in parts), children=tuple(parts))


def _part(name: str, module: "nn.Module") -> Part:
    own = [
        Part(key, tensor.numel(), shape=tuple(tensor.shape))
        for key, tensor in module.named_parameters(recurse=False)
    ]
    below = [_part(key, child) for key, child in module.named_children()]
    children = (*own, *(part for part in below if part.count))
    return Part(name, sum(part.count for part in children), children=children)


def forward_flops(config: GPTConfig, batch: int, length: int, past: int = 0) -> int:
    """FLOPs of one forward pass over ids (batch, length) with all logits, 2 per multiply-add.

    `past` tokens stand in the cache already: a decode step at a context of T tokens is `length=1, past=T - 1`.
    Attention is counted as the whole table of new tokens × keys, which is what `manual` computes; a kernel
    that skips the masked part does less work for the same count.
    """
    from attention_mechanisms.costs import attention_flops

    attention = attention_flops(config.attention, config, length, past, batch=batch).total
    # A plain matrix multiplies each of its numbers once a token; biases and norms are no matrix products.
    blocks = [p for n, p in skeleton(config).named_parameters() if ".mlp." in n and p.dim() == 2]
    matrices = sum(p.numel() for p in blocks) + config.vocab_size * config.n_embd
    return attention + 2 * batch * length * matrices


def training_flops(config: GPTConfig, batch: int, length: int) -> int:
    """FLOPs of one forward and backward pass: three times the forward pass, for every matrix product alike."""
    return 3 * forward_flops(config, batch, length)


def cache_bytes(config: GPTConfig, batch: int, capacity: int, dtype: "torch.dtype | None" = None) -> int:
    """Bytes of a KV cache for `batch` rows of `capacity` tokens (float32 by default); nothing is allocated."""
    import torch

    from attention_mechanisms.costs import cache_bytes as bytes_of

    return bytes_of(config.attention, config, capacity, dtype or torch.float32, batch=batch)


def main(argv: list[str] | None = None) -> int:
    """Print the table of a preset. Returns 0."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(
        prog="python -m gpt_model.costs", description="Where the parameters are."
    )
    parser.add_argument("preset", nargs="?", default="gpt2", help=", ".join(PRESETS))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change a setting of the preset")
    args = parser.parse_args(argv)
    config = preset(args.preset, **dict(map(parse_setting, args.overrides)))  # type: ignore[arg-type]
    parts = parameter_breakdown(config)
    total = sum(parts.values())
    table = Table("part", "parameters", "share", title=args.preset)
    for part, count in parts.items():
        table.add_row(part, f"{count:,}", f"{count / total:.1%}")
    table.add_row("total", f"{total:,}", "", style="bold")
    console = Console()
    console.print(table)
    block = config.block_size
    console.print(f"weights in float32: {total * 4 / 2**20:,.1f} MiB")
    console.print(f"one forward pass over {block} tokens: {forward_flops(config, 1, block) / 1e9:,.2f} GFLOP")
    console.print(f"KV cache for {block} tokens in float32: {cache_bytes(config, 1, block) / 2**20:,.1f} MiB")
    return 0


def parse_setting(pair: str) -> tuple[str, object]:
    """`key=value` as a name and a Python value; GPTConfig checks what they mean."""
    import json

    key, sign, text = pair.partition("=")
    if not sign:
        raise UserError(f"{pair!r} is no key=value: write for example n_layer=6")
    try:
        return key, json.loads(text)
    except json.JSONDecodeError:
        return key, {"True": True, "False": False, "None": None}.get(text, text)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
