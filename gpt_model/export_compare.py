"""Is what was written the model? Run it back and compare logits, place by place.

The idea: every export ends here. Random ids go through our model and through what was read back, and the largest
difference decides. Two float32 programs add the same numbers in another order, which changes a logit by about
1e-6 of the largest; a forgotten transpose changes it by all of it. The limit lies between: 1e-5 of the largest
logit, or 1e-5 where all are smaller than one.

Left out: comparing texts alone, which agree as long as the likeliest token does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.errors import RunFailure

SHARE = 1e-5  # of the largest logit, in float32


@dataclass(frozen=True)
class Agreement:
    """The largest difference of `logits` numbers, and the limit that it had to keep."""

    largest: float
    limit: float
    logits: int

    @property
    def holds(self) -> bool:
        """Whether the two agree (a NaN does not)."""
        return self.largest <= self.limit

    def __str__(self) -> str:
        return f"largest difference of {self.logits:,} logits {self.largest:.2g} (limit {self.limit:.2g})"

    def __add__(self, other: Agreement) -> Agreement:
        worse = max(self, other, key=lambda each: each.largest / each.limit)
        return Agreement(worse.largest, worse.limit, self.logits + other.logits)

    def require(self, what: str) -> Agreement:
        """Itself, or a RunFailure that names what was read back."""
        if not self.holds:
            raise RunFailure(f"{what} computes something else than the model: {self}; nothing was kept")
        return self


def agree(ours: Tensor, theirs: Tensor, *, share: float = SHARE) -> Agreement:
    """Compare logits of one shape. In half precision the limit is four units in the last place."""
    if ours.shape != theirs.shape:
        raise RunFailure(f"logits of shape {tuple(theirs.shape)} came back, not {tuple(ours.shape)}")
    share = max(share, 4 * torch.finfo(ours.dtype).eps)
    ours, theirs = ours.detach().cpu().double(), theirs.detach().cpu().double()
    largest = (ours - theirs).abs().max().item()
    return Agreement(largest, share * max(1.0, ours.abs().max().item()), ours.numel())


def probe_ids(vocab_size: int, *, rows: int, length: int, seed: int = 0) -> Tensor:
    """Random ids (rows, length), always the same ones."""
    return torch.randint(vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))
