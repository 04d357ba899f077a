"""Who may look at whom, as boolean tensors: True means "this query may look at this key".

The idea: a mask is a table of permissions, queries down, keys across. Several rules (the past only, no
padding, the last W tokens, the own document) are joined by a logical AND, and only the finished table meets
the scores. Booleans, not -inf floats, because they combine without thought and cost a quarter of the memory.

Every rule about order is one line on *positions*, `visible`; the tables for whole texts follow from it. The same
rules exist as FlexAttention block masks (`flex_block_mask`), which skip what is forbidden instead of computing it.

Causal self-attention: Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.3; windows: Beltagy et al. 2020
(arXiv 2004.05150); sinks: Xiao et al. 2023 (arXiv 2309.17453). Notebook: 02 of this chapter.
"""

from typing import Any

import torch
from torch import Tensor

from utils.errors import UserError


def visible(queries: Tensor, keys: Tensor, *, window: int | None = None, sinks: int = 0) -> Tensor:
    """The rule itself: positions (Q,) and (K,) of queries and keys -> bool (Q, K).

    A query at q sees a key at k when k <= q; with a `window` W also q - k < W, so that W counts the token
    itself; the first `sinks` positions of the text stay visible for ever.

    >>> visible(torch.tensor([3]), torch.arange(5), window=2).int().tolist()
    [[0, 0, 1, 1, 0]]
    """
    distance = queries[:, None] - keys[None, :]
    allowed = distance >= 0
    if window is not None:
        check_window(window)
        near = distance < window
        if sinks:
            near = near | (keys < sinks)[None, :]
        allowed = allowed & near
    return allowed


def check_window(window: int) -> None:
    """A window of at least the token itself, or a UserError."""
    if window < 1:
        raise UserError(f"window is {window}: it counts the token itself, so it must be at least 1")


def causal_mask(q_len: int, k_len: int, device: torch.device | str | None = None) -> Tensor:
    """The lower triangle, aligned at the bottom right. Returns a bool tensor (q_len, k_len).

    The last query always stands at the last key, because the queries are the newest tokens and the
    keys are everything so far (a KV cache plus the new tokens). PyTorch's own `is_causal=True` aligns
    top left, which is wrong as soon as q_len < k_len.

    >>> causal_mask(2, 4).int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    _check_lengths("causal_mask", q_len, k_len)
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def window_mask(
    q_len: int, k_len: int, window: int, device: torch.device | str | None = None, *, sinks: int = 0
) -> Tensor:
    """The causal band 0 <= q - k < window, aligned at the bottom right. Returns a bool tensor (q_len, k_len).

    >>> window_mask(3, 3, 2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    _check_lengths("window_mask", q_len, k_len)
    keys = torch.arange(k_len, device=device)
    return visible(keys[k_len - q_len :], keys, window=window, sinks=sinks)


def document_mask(documents: Tensor, key_documents: Tensor | None = None) -> Tensor:
    """For packed texts: a token sees its own document only. Numbers (B, Q) and (B, K) -> bool (B, 1, Q, K).

    Tokens with equal numbers belong together; the order of the numbers means nothing. Join it with the causal
    mask.

    >>> document_mask(torch.tensor([[7, 7, 3]])).int().tolist()
    [[[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]]
    """
    key_documents = documents if key_documents is None else key_documents
    for name, numbers in (("documents", documents), ("key_documents", key_documents)):
        if numbers.dim() != 2 or numbers.is_floating_point():
            raise UserError(
                f"{name} has shape {tuple(numbers.shape)} and dtype {numbers.dtype}: "
                "give integers of shape (batch, tokens), one document number for each token"
            )
    return (documents[:, :, None] == key_documents[:, None, :])[:, None]


def padding_mask(attention_mask: Tensor) -> Tensor:
    """From (B, K), 1 or True for a real token and 0 for padding, to a bool mask (B, 1, 1, K).

    The two inner dimensions stand for heads and queries: whatever the head and the query, nobody looks
    at padding. A bool table (B, Q, K), permissions that the caller has worked out, becomes (B, 1, Q, K).
    """
    if attention_mask.is_floating_point():
        raise UserError(
            f"attention_mask has dtype {attention_mask.dtype}: give booleans or integers "
            "(1 real, 0 padding), not an additive float mask"
        )
    if attention_mask.dim() == 2:
        return attention_mask.bool()[:, None, None, :]
    if attention_mask.dim() == 3:
        return attention_mask.bool()[:, None]
    raise UserError(
        f"attention_mask has shape {tuple(attention_mask.shape)}: "
        "give (batch, keys), 1 for a real token and 0 for padding, or (batch, queries, keys)"
    )


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


def positions_from_documents(documents: Tensor) -> Tensor:
    """Position of each token in its own document, for documents (B, T) packed one behind the other.

    >>> positions_from_documents(torch.tensor([[4, 4, 4, 9, 9]])).tolist()
    [[0, 1, 2, 0, 1]]
    """
    places = torch.arange(documents.size(1), device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def flex_block_mask(
    q_len: int,
    k_len: int,
    *,
    window: int | None = None,
    sinks: int = 0,
    documents: Tensor | None = None,
    device: torch.device | str = "cpu",
    block: int = 128,
) -> Any:
    """The same rules as a FlexAttention `BlockMask`: blocks without a permitted pair are skipped.

    Causal, aligned at the bottom right; `documents` (B, k_len) numbers the documents of packed text. Pass the
    result as `block_mask=` to `torch.nn.attention.flex_attention.flex_attention`.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    _check_lengths("flex_block_mask", q_len, k_len)
    if window is not None:
        check_window(window)
    offset = k_len - q_len

    def rule(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        allowed = k <= q + offset
        if window is not None:
            allowed = allowed & ((q + offset - k < window) | (k < sinks))
        if documents is not None:
            allowed = allowed & (documents[b, q + offset] == documents[b, k])
        return allowed

    batch = None if documents is None else documents.size(0)
    return create_block_mask(rule, batch, None, q_len, k_len, device=str(device), BLOCK_SIZE=block)


def _check_lengths(name: str, q_len: int, k_len: int) -> None:
    if q_len > k_len:
        raise UserError(
            f"{name}: {q_len} queries but only {k_len} keys: the keys must include those of the queries"
        )
