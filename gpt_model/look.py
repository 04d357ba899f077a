"""`python -m gpt_model.look`: where a model looks while it reads a text, as one HTML file.

python -m gpt_model.look "Once upon a time there was a fox." ckpt=assets out=maps.html

Loads a model, reads the text once, takes the maps of every head and writes the page of
`attention_mechanisms.viewer`. The file needs no network. Left out: generating text (`sample`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from attention_mechanisms.viewer import AttentionView
    from gpt_model.loading import LoadedModel


@dataclass(frozen=True)
class LookConfig:
    """What to look at and where to write it."""

    ckpt: str = field(default="last", metadata={"help": "assets, last, best, a run, or a checkpoint folder"})
    out: str = field(default="maps.html", metadata={"help": "the HTML file to write"})
    layers: tuple[int, ...] = field(
        default=(), metadata={"help": "show these layers only, [0, 3]; [] for all"}
    )
    max_bytes: int = field(default=300_000, metadata={"help": "largest file"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or mps"})


def look(
    loaded: LoadedModel, text: str, *, layers: tuple[int, ...] = (), max_bytes: int = 300_000
) -> AttentionView:
    """The view of a text: every head of the named layers (default: all), with windows and shared key heads drawn.

    The text is read as one of the training texts: behind <|endoftext|>, where the tokenizer has it.
    """
    import torch

    from attention_mechanisms.viewer import show_attention
    from gpt_model.trace import attention_maps

    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer.json of ours: copy the one it was trained with beside it"
        )
    end = loaded.tokenizer.special_tokens.get("<|endoftext|>")
    ids = ([] if end is None else [end]) + loaded.tokenizer.encode_ordinary(text)
    if not text or not ids:
        raise UserError("the text is empty: there is nothing to look at")
    chosen = list(layers) or list(range(loaded.config.n_layer))
    for layer in chosen:
        if not 0 <= layer < loaded.config.n_layer:
            raise UserError(
                f"layers names {layer} but the model's layers are 0 to {loaded.config.n_layer - 1}"
            )
    maps = attention_maps(loaded.model, torch.tensor([ids]))[chosen]
    attentions: list[Any] = [loaded.model.blocks[layer].attn for layer in chosen]
    return show_attention(
        maps,
        [loaded.tokenizer.decode([token]) for token in ids],
        title=f"Where {loaded.path.name} looks",
        window=[attention.window for attention in attentions],
        sinks=max(int(attention.sinks) for attention in attentions),
        kv_groups=attentions[0].n_kv_head,
        layer_numbers=chosen,
        max_bytes=max_bytes,
    )


def main(argv: list[str] | None = None) -> int:
    """Read, draw, write. Returns 0."""
    config, words = parse_args(
        argv,
        LookConfig,
        prog="python -m gpt_model.look",
        description="Where a model looks while it reads a text, as one HTML file.",
        positional={"text": "the text to read"},
    )
    from gpt_model.loading import load_model
    from utils.device import pick_device

    loaded = load_model(config.ckpt, device=pick_device(config.device))
    view = look(loaded, words.text, layers=config.layers, max_bytes=config.max_bytes)
    path = view.save(Path(config.out))
    print(f"{path}  ({len(view.page.encode()):,} bytes)")
    print(f"open it in a browser, or continue the text: scratchbook sample --ckpt {config.ckpt}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
