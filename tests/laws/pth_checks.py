"""What reading a `.pth` of others must hold: the same logits, and no code of theirs is ever run.

References that share nothing with the importer: a nanoGPT written here as its weights prescribe, the GPTModel of the
package llms-from-scratch, and GPT2LMHeadModel of transformers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretraining import import_pth
from utils.errors import UserError

VOCAB, BLOCK, WIDTH, HEADS, LAYERS = 61, 16, 24, 3, 2


class NanoBlock(nn.Module):
    """The names and the arithmetic of nanoGPT's checkpoints: one map for q, k, v, and the exact GELU."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        wide = 4 * WIDTH
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, bias=bias), nn.LayerNorm(WIDTH, bias=bias)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(WIDTH, 3 * WIDTH, bias=bias), "c_proj": nn.Linear(WIDTH, WIDTH, bias=bias)}
        )
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(WIDTH, wide, bias=bias), "c_proj": nn.Linear(wide, WIDTH, bias=bias)}
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        parts = self.attn["c_attn"](self.ln_1(x)).split(WIDTH, dim=2)
        q, k, v = (part.view(batch, time, HEADS, WIDTH // HEADS).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](y.transpose(1, 2).reshape(batch, time, WIDTH))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCAB, WIDTH),
                "wpe": nn.Embedding(BLOCK, WIDTH),
                "h": nn.ModuleList(NanoBlock(bias) for _ in range(LAYERS)),
                "ln_f": nn.LayerNorm(WIDTH, bias=bias),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.size(1)))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


@torch.no_grad()
def large(model: nn.Module, seed: int = 3) -> nn.Module:
    """Weights so large that a wrong activation, order or transpose cannot hide behind small numbers."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.copy_(
            torch.randn(p.shape, generator=generator) * (0.4 if p.dim() > 1 else 0.2) + (p.dim() == 1) * 0.7
        )
    return model.eval()


@torch.no_grad()
def check_same_logits(reference: Any, path: Path, **options: Any) -> None:
    """Our model from `path` gives the reference's logits, 1e-5 of the largest."""
    model = import_pth.read_pth(path, **options)
    ids = torch.randint(VOCAB, (2, BLOCK), generator=torch.Generator().manual_seed(1))
    wanted, got = reference(ids), model(ids).logits
    assert got.shape == wanted.shape, f"logits are {tuple(got.shape)}, the original's {tuple(wanted.shape)}"
    off = float((got - wanted).abs().max() / wanted.abs().max())
    assert off < 1e-5, (
        f"the imported model's logits are off by {off:.1e} of the largest: is the order of q, k, v, the activation, or "
        "a transpose another one there?"
    )


def check_nanogpt(folder: Path, *, bias: bool = True, prefix: str = "") -> None:
    """A checkpoint as nanoGPT writes it: settings beside the weights, perhaps with torch.compile's prefix."""
    model = large(NanoGPT(bias))
    settings = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": BLOCK, "bias": bias}
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters()).state_dict()
    torch.save(
        {"model": state, "model_args": settings, "optimizer": optimizer, "iter_num": 5}, folder / "ckpt.pt"
    )
    check_same_logits(model, folder / "ckpt.pt")


def check_llms_from_scratch(folder: Path, *, qkv_bias: bool, inside: str | None = None) -> None:
    """The package's own GPTModel; its three maps of attention become one, its head is not tied."""
    from llms_from_scratch.ch04 import GPTModel

    torch.manual_seed(0)
    settings = {"vocab_size": VOCAB, "context_length": BLOCK, "emb_dim": WIDTH, "n_heads": HEADS}
    model = large(GPTModel({**settings, "n_layers": LAYERS, "drop_rate": 0.1, "qkv_bias": qkv_bias}))
    state: Any = model.state_dict()
    torch.save({inside: state} if inside else state, folder / "model.pth")
    check_same_logits(model, folder / "model.pth", n_head=HEADS)


def check_transformers(folder: Path) -> None:
    """GPT2LMHeadModel: the names of nanoGPT, but stored (in, out), and the tanh GELU."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(
        vocab_size=VOCAB,
        n_positions=BLOCK,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        attn_implementation="eager",
    )
    model = large(GPT2LMHeadModel(shape))
    torch.save(model.state_dict(), folder / "hf.pth")
    check_same_logits(lambda ids: model(ids).logits, folder / "hf.pth", n_head=HEADS)


class Bomb:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def check_code_is_refused(folder: Path) -> None:
    """A file with code in it is refused by one line, and the code has not run."""
    mark = folder / "it_ran"
    torch.save({"model": {"a": torch.zeros(2)}, "extra": Bomb(str(mark))}, folder / "bad.pth")
    said = "nothing was said"
    try:
        import_pth.read_pth(folder / "bad.pth")
    except UserError as error:
        said = str(error)
    except Exception as error:  # judged below
        said = f"{type(error).__name__}: {error}"
    assert not mark.exists(), "reading a .pth ran the code that was in it: open it with weights_only=True"
    assert "cannot be read safely (it asks for posix.system)" in said and "\n" not in said, (
        f"the refusal must be one clear line: {said}"
    )
