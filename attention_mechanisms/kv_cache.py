"""The KV cache: keys and values of the tokens already seen, so that a new token costs one row.

The idea: without a cache, writing token t means running all t tokens again. The keys and values of
old tokens never change (attention is causal), so they are kept. Memory is allocated once, for `capacity`
tokens, and filled from the left; appending copies only what is new. The cache belongs to the *call*: it is
made by `model.new_cache()`, passed in and thrown away, never stored on a module, so any number of
conversations can share one model.

Pope et al. 2022 (arXiv 2211.05102, section 2.1). Left out on purpose: rolling and latent caches.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from utils.errors import UserError


class KVCache(ABC):
    """What every cache offers: `length`, `capacity`, `nbytes`, `layer(i)`, `advance`, `crop`, `reset`.

    The cache also remembers which of its tokens are padding (`attention_mask`): a forward pass that
    is given the mask of all tokens so far stores it here, and later passes may leave it out; tokens that come
    without a mask are real.
    """

    def __init__(self, batch: int, capacity: int, device: torch.device | str) -> None:
        self.batch, self.capacity = batch, capacity
        self.device = torch.device(device)
        self.length = 0
        self._mask: Tensor | None = None  # (batch, capacity) bool, allocated when padding first appears

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes held for keys and values, whether filled or not."""

    @abstractmethod
    def layer(self, index: int) -> "LayerKVCache":
        """The view of one layer that its attention appends to."""

    @property
    def attention_mask(self) -> Tensor | None:
        """Bool (batch, length): True for a real token, False for padding; None when all are real."""
        return None if self._mask is None else self._mask[:, : self.length]

    def set_attention_mask(self, mask: Tensor) -> None:
        """Remember the mask (B, n) of the first n tokens; n may run ahead of `length` by the new ones."""
        if self._mask is None:
            with torch.inference_mode(False):
                self._mask = torch.ones(self.batch, self.capacity, dtype=torch.bool, device=self.device)
        self._mask[: mask.size(0), : mask.size(1)] = mask.bool()

    def mask_with_new(self, batch: int, new: int) -> Tensor | None:
        """The remembered mask with `new` real tokens behind it, (batch, length + new); None if no padding."""
        return None if self._mask is None else self._mask[:batch, : self.length + new]

    def check_room(self, batch: int, new: int) -> None:
        """Raise a UserError that names both numbers when `new` more tokens or `batch` rows do not fit."""
        if self.length + new > self.capacity:
            raise UserError(
                f"the KV cache has room for {self.capacity} tokens but {self.length} + {new} = "
                f"{self.length + new} are needed: make it with a larger capacity or crop it"
            )
        if batch > self.batch:
            raise UserError(
                f"the KV cache was made for a batch of {self.batch} but {batch} rows came: "
                "make it with a larger batch"
            )

    def advance(self, new: int) -> None:
        """Count `new` tokens as seen: called once per forward pass, by the model, after all layers."""
        self.check_room(self.batch, new)
        self.length += new

    def crop(self, length: int) -> None:
        """Forget everything after the first `length` tokens (undo a draft, reuse a shared prefix)."""
        if not 0 <= length <= self.length:
            raise UserError(f"cannot crop the KV cache to {length} tokens: it holds {self.length}")
        self.length = length
        if self._mask is not None:
            self._mask[:, length:] = True

    def reset(self) -> None:
        """Forget everything; the memory stays for the next use."""
        self.length = 0
        self._mask = None


class LayerKVCache:
    """One layer of a `FullKVCache`: k and v of shape (batch, n_kv_head, capacity, head_dim)."""

    def __init__(self, cache: KVCache, k: Tensor, v: Tensor) -> None:
        self.cache, self.k, self.v = cache, k, v

    @property
    def length(self) -> int:
        """Tokens seen before this forward pass: the position of the first new token."""
        return self.cache.length

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H_kv, T_new, D); return all keys and values so far, (B, H_kv, length + T_new, D).

        What is returned are views of the filled part: unused slots are never read, and no old token is
        copied. Values are stored without gradient; a cache is for inference. `length` does not
        move here, because the next layer must write to the same slots: see `KVCache.advance`.
        """
        batch, _, new, _ = k.shape
        self.cache.check_room(batch, new)
        start, end = self.cache.length, self.cache.length + new
        self.k[:batch, :, start:end] = k.detach()
        self.v[:batch, :, start:end] = v.detach()
        return self.k[:batch, :, :end], self.v[:batch, :, :end]


class FullKVCache(KVCache):
    """Keys and values of every token and head: 2 * n_layer * n_kv_head * head_dim numbers per token."""

    def __init__(
        self,
        n_layer: int,
        batch: int,
        capacity: int,
        n_kv_head: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(batch, capacity, device)
        self.dtype = dtype
        shape = (n_layer, batch, n_kv_head, capacity, head_dim)
        # Plain tensors even when made under inference mode, so that a cache may be used anywhere.
        with torch.inference_mode(False):
            self.k = torch.zeros(shape, dtype=dtype, device=device)
            self.v = torch.zeros(shape, dtype=dtype, device=device)
        self._layers = [LayerKVCache(self, self.k[i], self.v[i]) for i in range(n_layer)]

    @property
    def nbytes(self) -> int:
        return self.k.nbytes + self.v.nbytes

    def layer(self, index: int) -> LayerKVCache:
        return self._layers[index]
