"""Normalisation: keep each token's vector at a steady size, so that deep stacks of layers train.

LayerNorm subtracts the mean over the features and divides by their standard deviation (Ba et al. 2016,
arXiv 1607.06450, section 3). RMSNorm skips the mean and divides by the root mean square (Zhang and Sennrich
2019, arXiv 1910.07467, section 4). GroupNorm cuts the features into groups, one for each head by default, and
normalises each group by itself (Wu and He 2018, arXiv 1803.08494, section 3).

All work on one token at a time, so they cannot leak the future. Subtle: `torch.nn.GroupNorm` takes (B, C, T) and
averages over T as well; in a language model that lets every token see the whole text, the future included.
Left out on purpose: BatchNorm, which mixes tokens and rows.
Notebook: 01 of this chapter.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_model.config import GPTConfig


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimension; the bias is optional."""

    def __init__(self, n_embd: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * weight over the last dimension."""

    def __init__(self, n_embd: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class GroupNorm(nn.Module):
    """LayerNorm of each of `groups` equal parts of a token's vector; weight and bias are one number a feature.

    One group is LayerNorm. Tokens stand where `F.group_norm` expects the batch, so no mean reaches over time.
    """

    def __init__(self, n_embd: int, groups: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.size(-1))  # (B · T, n_embd)
        return F.group_norm(tokens, self.groups, self.weight, self.bias, self.eps).view(x.shape)


def make_norm(config: GPTConfig) -> nn.Module:
    """The norm that the configuration names."""
    if config.norm == "layernorm":
        return LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias)
    if config.norm == "groupnorm":
        return GroupNorm(config.n_embd, config.groups_of_norm, eps=config.norm_eps, bias=config.bias)
    return RMSNorm(config.n_embd, eps=config.norm_eps)
