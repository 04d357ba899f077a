"""QK-norm: queries and keys are brought to one length before they are compared.

The idea: a score is |q| |k| cos(q, k). Nothing bounds the lengths, and at a high learning rate they grow until softmax
looks at one token only and its gradient dies. RMSNorm over each head's own coordinates leaves the direction free and
fixes the length; one gain a coordinate, shared by all heads, lets the model choose how sharp attention may be.

Henry et al. 2020 (arXiv 2010.04245), Dehghani et al. 2023 (arXiv 2302.05442, section 2). It comes before the rotation,
as in Qwen3, which keeps lengths, so a cached key is normalised once. Left out on purpose: latent attention, whose keys
are maps of a latent that is normalised already, and whose absorbed path needs them to stay linear.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HeadNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, (B, H, T, D) -> the same, in the precision of x."""

    def __init__(self, head_dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(head_dim))

    def forward(self, x: Tensor) -> Tensor:
        # One precision for both: under autocast x is bf16, and torch has a fused kernel for equal ones only.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)
