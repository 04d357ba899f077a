"""The feed-forward layer: each token thinks on its own about what attention brought it.

The idea: widen the vector, bend it with a non-linearity, narrow it again. Two thirds of a GPT's parameters
live here. GELU: Hendrycks and Gimpel 2016 (arXiv 1606.08415). GPT-2's released weights were trained
with the tanh approximation, and loading them into the exact (erf) form gives slightly wrong logits, so
both have names. ReLU: Vaswani et al. 2017 (arXiv 1706.03762, section 3.3). ReLU²: So et al. 2021 (arXiv 2109.08668).
SwiGLU and GEGLU: Shazeer 2020 (arXiv 2002.05202, section 2).
Notebook: 01 of this chapter.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from attention_mechanisms.multi_head import has_bias
from gpt_model.config import GATED, GPTConfig


def activate(x: Tensor, name: str) -> Tensor:
    """The non-linearity `name` (gelu, gelu_tanh, relu, relu2), element by element."""
    if name == "gelu":
        return F.gelu(x)
    if name == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    return F.relu(x) if name == "relu" else F.relu(x).square()


class FeedForward(nn.Module):
    """down(activation(up(x))): (B, T, n_embd) -> the same shape through `hidden_width`."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = config.mlp
        self.up_proj = nn.Linear(config.n_embd, config.hidden_width, bias=has_bias(config, "mlp"))
        self.out_proj = nn.Linear(config.hidden_width, config.n_embd, bias=has_bias(config, "mlp"))

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(activate(self.up_proj(x), self.activation))


class GatedFeedForward(nn.Module):
    """down(bend(gate(x)) * up(x)): a gate decides, feature by feature, how much passes.

    `swiglu` bends the gate with SiLU (Llama), `geglu` with the exact GELU. gate and up are one matrix (`up_proj`,
    gate first), because one large product is faster than two.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.bend = F.silu if config.mlp == "swiglu" else F.gelu
        bias = has_bias(config, "mlp")
        self.up_proj = nn.Linear(config.n_embd, 2 * config.hidden_width, bias=bias)
        self.out_proj = nn.Linear(config.hidden_width, config.n_embd, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up_proj(x).chunk(2, dim=-1)  # each (B, T, hidden)
        return self.out_proj(self.bend(gate) * up)


def make_feed_forward(config: GPTConfig) -> nn.Module:
    """The feed-forward layer that the configuration names."""
    return GatedFeedForward(config) if config.mlp in GATED else FeedForward(config)
