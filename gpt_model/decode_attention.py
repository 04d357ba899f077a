"""The attention of a decode step: one query a row, over the slots of a preallocated cache.

The idea: what does not depend on the layer is worked out once a step (`Place`: which slot the new key takes, which
slots count, by what angle to turn), and each layer does the rest: project, turn, write one row, two products.

Eagerly Python knows how many slots are filled, and `attend` reads those. In a compiled program that number may not
appear, or each step would be another program: `over_all_slots` reads them all and gives those not filled a share of
exactly 0. With one query the products are sums over a loop, which is what they are written as; a query head that shares
its key head with others reads it again from the CPU's cache.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attention_mechanisms.attention import attend
from attention_mechanisms.kv_cache import LayerCache
from attention_mechanisms.multi_head import MultiHeadAttention
from attention_mechanisms.positions import alibi_slopes


@dataclass
class Place:
    """Where the new token of each row stands, and what it may look at."""

    slot: int | Tensor  # where its key goes; a tensor (1,) in a compiled program
    mask: Tensor | None  # bool (B, K), K slots that are looked at; None: all of them are
    bias: Tensor | None  # ALiBi, (H, 1, K)
    cos: Tensor | None  # of the rotation, (1, D/2) or (B, 1, 1, D/2)
    sin: Tensor | None


@dataclass
class StepLayer:
    """One layer's keys and values, (B, H_kv, slots, D) each, and the place."""

    k: Tensor
    v: Tensor
    place: Place


def place_of(
    attn: MultiHeadAttention,
    slot: int | Tensor,
    slots: int,
    positions: Tensor | None,
    mask: Tensor | None,
    device: torch.device,
) -> Place:
    """The place of a token in slot `slot` among `slots`; `positions` (B,) where rows are padded, else None."""
    cos = sin = bias = None
    if attn.rope is not None:
        if positions is None:
            assert isinstance(slot, int)
            cos, sin = attn.rope.cos[slot : slot + 1], attn.rope.sin[slot : slot + 1]
        else:
            cos, sin = (table[positions][:, None, None] for table in (attn.rope.cos, attn.rope.sin))
    if attn.alibi:  # distances between slots are distances between tokens: padding stands on the left
        distance = slot - torch.arange(slots, device=device)
        bias = -alibi_slopes(attn.n_head).to(device)[:, None, None] * distance
    return Place(slot, mask, bias, cos, sin)


class StepAttention(nn.Module):
    """`MultiHeadAttention` or a grouped one for one token a row, over a `StepLayer`; over any cache as before."""

    def __init__(self, attn: MultiHeadAttention) -> None:
        super().__init__()
        self.attn = attn

    def forward(
        self,
        x: Tensor,
        *,
        cache: StepLayer | LayerCache | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        attn = self.attn
        if not isinstance(cache, StepLayer):
            return attn(x, cache=cache, positions=positions, attention_mask=attention_mask)
        place, rows = cache.place, x.size(0)
        q, k, v = attn.project(x)  # (B, H, 1, D), twice (B, H_kv, 1, D)
        if place.cos is not None and place.sin is not None and attn.rope is not None:
            q, k = (attn.rope._rotate(part, place.cos, place.sin).to(part.dtype) for part in (q, k))
        keys, values = cache.k[:rows], cache.v[:rows]
        if isinstance(place.slot, int):
            keys[:, :, place.slot], values[:, :, place.slot] = k[:, :, 0], v[:, :, 0]
            filled = place.slot + 1
            mask = None if place.mask is None else place.mask[:, None, None]
            parts = (q, keys[:, :, :filled], values[:, :, :filled])
            if q.dtype == torch.bfloat16 and rows == 1 and q.device.type == "cpu":
                # torch's one-query kernels for bf16 take twice as long as float32 ones with the conversion.
                parts = (parts[0].float(), parts[1].float(), parts[2].float())
            y = attend(*parts, mask, bias=place.bias, backend=attn.backend).to(q.dtype)
        else:
            keys.index_copy_(2, place.slot, k.to(keys.dtype))
            values.index_copy_(2, place.slot, v.to(values.dtype))
            y = over_all_slots(q, keys, values, place)
        return attn.out_proj(y.reshape(rows, 1, -1))  # heads side by side: with one token they lie so already


def over_all_slots(q: Tensor, keys: Tensor, values: Tensor, place: Place) -> Tensor:
    """q (B, H, 1, D) over k, v (B, H_kv, slots, D) -> (B, H, D), for a compiler to fuse."""
    rows, heads, _, dim = q.shape
    wide = torch.promote_types(q.dtype, torch.float32)
    grouped = q.reshape(rows, keys.size(1), -1, 1, dim).to(wide) * dim**-0.5  # (B, H_kv, H/H_kv, 1, D)
    scores = (grouped * keys.unsqueeze(2).to(wide)).sum(-1)  # (B, H_kv, H/H_kv, slots)
    if place.bias is not None:
        scores = scores + place.bias.view(1, keys.size(1), -1, place.bias.size(-1))
    values = values.unsqueeze(2).to(wide)
    if (
        place.mask is not None
    ):  # chosen, not added or multiplied: whatever an unused slot holds, NaN too, is not read
        seen = place.mask[:, None, None]  # (B, 1, 1, slots)
        scores = torch.where(seen, scores, torch.finfo(wide).min)
        values = torch.where(seen.unsqueeze(-1), values, 0.0)
    shares = scores.softmax(dim=-1)
    mixed = (shares.unsqueeze(-1) * values).sum(-2)  # (B, H_kv, H/H_kv, D)
    return mixed.reshape(rows, heads, dim).to(q.dtype)


def layers_of(stores: list[Tensor], place: Place) -> list[StepLayer]:
    """Keys and values of the layers in turn, as the step sees them."""
    return [StepLayer(k, v, place) for k, v in zip(stores[::2], stores[1::2], strict=True)]
