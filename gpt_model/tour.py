"""A first look at one variant: build it, count it, let it write a few tokens, and weigh its cache beside MHA's.

The idea: `python -m gpt_model.gpt`, `gpt_gqa`, `gpt_mla` and `gpt_swa` are one walk with another attention. Weights
are random, so the tokens mean nothing; the counts and the bytes are those of the trained model. Cache bytes are read
off caches that are really allocated. Left out on purpose: speed (`benchmark_attention`) and a trained text (`sample`).
"""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt_model.config import PRESETS, GPTConfig, preset, with_attention
from utils.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

ABOUT = {
    "mha": "multi-head attention: a key and a value for every head",
    "gqa": "grouped-query attention: several query heads share a key head",
    "mla": "multi-head latent attention: one compressed vector a token",
    "swa": "sliding-window attention: the newest tokens only",
}
PROMPT = (1, 2, 3, 5, 8)


def take_tour(attention: str, argv: Sequence[str] | None = None) -> int:
    """The command of one variant: print its counts, a few tokens and its cache. Returns 0."""
    module = "gpt" if attention == "mha" else f"gpt_{attention}"
    parser = argparse.ArgumentParser(
        prog=f"python -m gpt_model.{module}", description=f"A model with {ABOUT[attention]}."
    )
    parser.add_argument("preset", nargs="?", default="gpt2", help=f"{', '.join(PRESETS)} (default: gpt2)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="change a setting of the preset")
    parser.add_argument("--new-tokens", type=int, default=8, help="how many to write (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the draw (default: 0)")
    args = parser.parse_args(argv)
    from gpt_model.costs import parse_setting

    words = [args.preset, *args.settings]
    name = "gpt2" if "=" in words[0] else words.pop(0)
    settings = dict(map(parse_setting, words))
    if settings.get("attention", attention) != attention:
        raise UserError(f"attention is {settings['attention']} but {module} is {attention}: leave it out")
    show(name, preset(name, **{**settings, "attention": attention}), args.new_tokens, args.seed)
    return 0


def show(name: str, config: GPTConfig, new_tokens: int, seed: int) -> None:
    """Print the tour of a configuration."""
    import torch
    from rich.console import Console

    from gpt_model.costs import parameter_breakdown
    from gpt_model.generation import generate
    from gpt_model.gpt import GPT
    from gpt_model.sampling import Sampling

    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    room = config.block_size - new_tokens
    if room < 1 or new_tokens < 1:
        raise UserError(
            f"--new-tokens is {new_tokens}: give 1 to {config.block_size - 1}, so that a prompt fits too"
        )
    prompt = [token % config.vocab_size for token in PROMPT][:room]
    parts = parameter_breakdown(config)
    needed, there = 4 * sum(parts.values()), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UserError(
            f"{name} takes {needed / 2**30:.1f} GiB in float32 and this machine has {there / 2**30:.1f}: "
            f"count it without building it (python -m gpt_model.analyze {name}), or take a smaller preset"
        )
    torch.manual_seed(seed)
    model = GPT(config).eval()
    plain = parameter_breakdown(with_attention(config, "mha"))
    console.print(f"[bold]{name} with {ABOUT[config.attention]}[/bold]")
    console.print(
        f"{model.num_parameters():,} parameters, {model.num_parameters(non_embedding=True):,} without embeddings; "
        f"{parts['attention']:,} in attention (with mha {plain['attention']:,})"
    )
    (written,) = generate(model, [prompt], max_new_tokens=new_tokens, sampling=Sampling(seed=seed))
    console.print(f"ids {prompt} go on with {written}: chance, the weights are random\n", soft_wrap=True)
    console.print(_cache_table(config))


def _cache_table(config: GPTConfig) -> "Table":
    """Bytes of an allocated bf16 cache at a few lengths, for this variant and MHA; for MHA, for all."""
    import torch
    from rich.table import Table

    from attention_mechanisms.registry import ATTENTIONS

    longest = min(
        config.block_size, 4096
    )  # a cache is really allocated: not more than a text one would wait for
    lengths = sorted({max(1, longest // 16), max(1, longest // 4), longest})
    names = list(ATTENTIONS) if config.attention == "mha" else ["mha", config.attention]

    def allocated(name: str, length: int) -> int:
        made = ATTENTIONS[name].make_cache(with_attention(config, name), 1, length, torch.bfloat16, "cpu")
        return sum(tensor.numel() * tensor.element_size() for tensor in made.tensors())

    table = Table(
        title="KV cache of one row in bf16, bytes allocated (and the share of mha's)", title_justify="left"
    )
    table.add_column("attention")
    for length in lengths:
        table.add_column(f"{length:,} tokens", justify="right")
    for name in names:
        cells = [f"{allocated(name, n):,} ({allocated(name, n) / allocated('mha', n):.3f})" for n in lengths]
        table.add_row(name, *cells)
    return table
