"""Who may look at whom, as boolean tensors: True means "this query may look at this key".

The idea: a mask is a table of permissions, queries down, keys across. Several rules (the past only, no
padding) are joined by a logical AND, and only the finished table meets the scores. Booleans, not
-inf floats, because they combine without thought and cost a quarter of the memory.

Causal self-attention: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.3. Left out on purpose:
sliding windows and packed documents, which belong to their own variants.
"""

import torch
from torch import Tensor

from utils.errors import UserError


def causal_mask(q_len: int, k_len: int, device: torch.device | str | None = None) -> Tensor:
    """The lower triangle, aligned at the bottom right. Returns a bool tensor (q_len, k_len).

    The last query always stands at the last key, because the queries are the newest tokens and the
    keys are everything so far (a KV cache plus the new tokens). PyTorch's own `is_causal=True` aligns
    top left, which is wrong as soon as q_len < k_len.

    >>> causal_mask(2, 4).int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    if q_len > k_len:
        raise UserError(
            f"causal_mask: {q_len} queries but only {k_len} keys: the keys must include those of the queries"
        )
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def padding_mask(attention_mask: Tensor) -> Tensor:
    """From (B, K), 1 or True for a real token and 0 for padding, to a bool mask (B, 1, 1, K).

    The two inner dimensions stand for heads and queries: whatever the head and the query, nobody looks
    at padding.
    """
    if attention_mask.dim() != 2:
        raise UserError(
            f"attention_mask has shape {tuple(attention_mask.shape)}: "
            "give (batch, keys), 1 for a real token and 0 for padding"
        )
    if attention_mask.is_floating_point():
        raise UserError(
            f"attention_mask has dtype {attention_mask.dtype}: give booleans or integers "
            "(1 real, 0 padding), not an additive float mask"
        )
    return attention_mask.bool()[:, None, None, :]


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """Logical AND of all masks that are not None (broadcast against each other); None when all are."""
    combined: Tensor | None = None
    for mask in masks:
        if mask is not None:
            combined = mask if combined is None else combined & mask
    return combined


def positions_from_mask(attention_mask: Tensor) -> Tensor:
    """Position of each token among the real tokens of its row: (B, K) -> int64 (B, K).

    A left-padded row must see the positions of its lone run, so the first real token is 0 however much
    padding stands before it. Padding itself gets 0; nobody looks at it.

    >>> positions_from_mask(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])).tolist()
    [[0, 0, 0, 1], [0, 1, 2, 3]]
    """
    return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
