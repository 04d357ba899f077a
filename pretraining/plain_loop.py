"""The training loop one writes first, over the GPT one writes first: what our step is measured against.

The idea: a peer must not lean on our model. So this is GPT-2 once more, from torch's own layers, in the widely known
form (nn.Linear, nn.LayerNorm, scaled_dot_product_attention, F.cross_entropy over all logits), trained as such loops
are trained on a CPU: float32, AdamW as torch builds it by default, `clip_grad_norm_`, torch's default settings. On a
GPU such loops are trained in bf16 autocast, with fused AdamW and compiled, so there it does that.
`plain_like` gives it the weights of one of our models, so that both must compute the same losses before either is
timed. Radford et al. 2019 (GPT-2). Left out on purpose: everything that this chapter adds.
Notebook: 02 of this chapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from utils.errors import UserError


class PlainBlock(nn.Module):
    """Attention, then feed-forward, each normed before and added to the stream."""

    def __init__(self, c: GPTConfig) -> None:
        super().__init__()
        self.n_head = c.n_head
        self.norm_1 = nn.LayerNorm(c.n_embd, bias=c.bias)
        self.qkv_proj = nn.Linear(c.n_embd, 3 * c.n_embd, bias=c.bias)
        self.attn_out = nn.Linear(c.n_embd, c.n_embd, bias=c.bias)
        self.norm_2 = nn.LayerNorm(c.n_embd, bias=c.bias)
        self.up_proj = nn.Linear(c.n_embd, 4 * c.n_embd, bias=c.bias)
        self.act = nn.GELU("tanh" if c.mlp == "gelu_tanh" else "none")
        self.mlp_out = nn.Linear(4 * c.n_embd, c.n_embd, bias=c.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, n_embd = x.shape
        q, k, v = self.qkv_proj(self.norm_1(x)).split(n_embd, dim=2)
        q, k, v = (y.view(batch, time, self.n_head, -1).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        x = x + self.attn_out(y.transpose(1, 2).contiguous().view(batch, time, n_embd))
        return x + self.mlp_out(self.act(self.up_proj(self.norm_2(x))))


class PlainGPT(nn.Module):
    """GPT-2 with a tied head; `forward` gives the mean loss."""

    def __init__(self, c: GPTConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(c.vocab_size, c.n_embd)
        self.places = nn.Embedding(c.block_size, c.n_embd)
        self.blocks = nn.ModuleList(PlainBlock(c) for _ in range(c.n_layer))
        self.norm = nn.LayerNorm(c.n_embd, bias=c.bias)
        self.head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.size(1), device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))  # (B, T, V)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-100)


OURS = {
    "attn_out": "attn.out_proj",
    "mlp_out": "mlp.out_proj",
    "qkv_proj": "attn.qkv_proj",
    "up_proj": "mlp.up_proj",
}


def plain_like(model: GPT) -> PlainGPT:
    """A PlainGPT with a copy of the weights of `model`. Raises UserError unless that is a GPT-2 without dropout."""
    c = model.config
    fits = {
        "attention": "mha",
        "position": "learned",
        "norm": "layernorm",
        "norm_order": "pre",
        "norm_eps": 1e-5,
    }
    wrong = [name for name, value in fits.items() if getattr(c, name) != value]
    if wrong or c.mlp not in ("gelu", "gelu_tanh") or c.mlp_ratio != 4 or not c.tie_weights or c.dropout:
        raise UserError(
            f"the plain loop knows GPT-2's architecture only, not {', '.join(wrong) or 'this one'}"
        )
    state = model.state_dict()
    names = {
        "tokens": "token_embedding",
        "places": "position_embedding",
        "norm": "final_norm",
        "head": "token_embedding",
    }
    plain = PlainGPT(c)
    for name, p in plain.named_parameters():
        first, _, rest = name.partition(".")
        if first == "blocks":
            number, part, kind = rest.split(".")
            source = f"blocks.{number}.{OURS.get(part, part)}.{kind}"
        else:
            source = f"{names[first]}.{rest}"
        with torch.no_grad():
            p.copy_(state[source])
    return plain


def plain_step(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    lr: float,
    *,
    half: bool = False,
    compile: bool = False,
) -> Callable[[], float]:
    """A function that takes one optimizer step of the loop one writes first and returns its loss.

    `half` is what its users switch on where there is a GPU: bf16 autocast and the fused AdamW; `compile` the rest.
    """
    fused = True if half else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1, fused=fused)
    forward = torch.compile(model) if compile else model
    place = next(model.parameters()).device.type

    def step() -> float:
        x, y = next(batches)
        with torch.autocast(place, torch.bfloat16, enabled=half):
            loss = forward(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    return step
