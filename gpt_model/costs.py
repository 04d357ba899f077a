"""What a model costs before it is built: parameters by part, FLOPs of a forward pass, bytes of a cache.

The idea: all of it follows from the configuration. Parameters are counted on a model without memory (torch's
meta device), so the table can never disagree with the code; FLOPs are the two per multiply-add of every
matrix product and nothing else, the convention of torch's FlopCounterMode and of Kaplan et al. 2020 (arXiv
2001.08361, section 2.1).

    python -m gpt_model.costs gpt2 n_layer=6

Left out on purpose: the memory of training, and model FLOPs utilisation.
"""

import argparse

import torch

from attention_mechanisms.costs import attention_flops
from gpt_model.config import PRESETS, GPTConfig, preset
from gpt_model.gpt import GPT
from utils.cli import run_main
from utils.errors import UserError

# Part of a GPT -> what the names of its parameters contain. The first match counts.
PARTS = {
    "token embedding": "token_embedding.",
    "position embedding": "position_embedding.",
    "attention": ".attn.",
    "feed-forward": ".mlp.",
    "norms": "norm",
    "output head": "head.",
}


def skeleton(config: GPTConfig) -> GPT:
    """The model without memory for its weights: shapes and names only."""
    with torch.device("meta"):
        return GPT(config)


def parameter_breakdown(config: GPTConfig) -> dict[str, int]:
    """Parameters of each part, all parts of the model summed; the values add up to `num_parameters()`.

    A tied output head has no parameters of its own and shows 0.
    """
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in skeleton(config).named_parameters():
        counts[next(part for part, key in PARTS.items() if key in name)] += parameter.numel()
    return counts


def forward_flops(config: GPTConfig, batch: int, length: int) -> int:
    """FLOPs of one forward pass over ids (batch, length) with all logits, 2 per multiply-add.

    Attention is counted as the whole length × length table, which is what `manual` computes; a kernel
    that skips the masked part does less work for the same count.
    """
    attention = attention_flops(config.attention, config, length, batch=batch).total
    # A plain matrix multiplies each of its numbers once a token; biases and norms are no matrix products.
    blocks = [p for n, p in skeleton(config).named_parameters() if ".mlp." in n and p.dim() == 2]
    matrices = sum(p.numel() for p in blocks) + config.vocab_size * config.n_embd
    return attention + 2 * batch * length * matrices


def cache_bytes(config: GPTConfig, batch: int, capacity: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of a KV cache for `batch` rows of `capacity` tokens."""
    return skeleton(config).new_cache(batch, capacity, dtype).nbytes


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
    config = preset(args.preset, **_parse_overrides(args.overrides))
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


def _parse_overrides(pairs: list[str]) -> dict[str, object]:
    """`key=value` pairs as Python values; GPTConfig checks what they mean."""
    import json

    values: dict[str, object] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            raise UserError(f"{pair!r} is no key=value: write for example n_layer=6")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = {"True": True, "False": False, "None": None}.get(text, text)
    return values


if __name__ == "__main__":
    raise SystemExit(run_main(main))
