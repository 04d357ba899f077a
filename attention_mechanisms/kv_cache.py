"""The KV cache: keys and values of the tokens already seen, so that a new token costs one row.

The idea: without a cache, writing token t means running all t tokens again. The keys and values of
old tokens never change (attention is causal), so they are kept. Memory is allocated once, for `capacity`
tokens, and filled from the left; appending copies only what is new. The cache belongs to the *call*: it is
made by `model.new_cache()`, passed in and thrown away, never stored on a module, so any number of
conversations can share one model.

    FullKVCache     every token, every key head (fewer heads than queries: grouped-query attention)
    LatentKVCache   one small latent and one rotary key a token (multi-head latent attention)
    RollingKVCache  the newest W tokens of a sliding window, in a ring (`rolling_cache`)

Each is a list of layers; a layer knows how to append. Keys may be kept in int8, a quarter of float32
(`quantized_store`). Pope et al. 2022 (arXiv 2211.05102, section 2.1). Notebook: 05 of this chapter.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from attention_mechanisms.ragged_rows import RaggedLayer, RaggedRows
from attention_mechanisms.token_store import TokenStore, make_store
from utils.errors import UserError


class LayerCache(RaggedLayer, ABC):
    """What one layer keeps. `length` is that of the whole cache: tokens seen before this forward pass."""

    def __init__(self, cache: "KVCache") -> None:
        self.cache = cache

    @property
    def length(self) -> int:
        """Tokens seen before this forward pass: the position of the first new token."""
        return self.cache.length

    @property
    @abstractmethod
    def stores(self) -> tuple[TokenStore, ...]:
        """Where the numbers are, each (batch, …, slots, numbers)."""

    def key_positions(self, new: int) -> Tensor:
        """The positions (K,) of the keys that `append` gives for `new` tokens: here all, in order."""
        return torch.arange(self.length + new, device=self.cache.device)

    def copy_rows(self, other: "LayerCache", rows: Tensor) -> None:
        """Row i becomes a copy of row rows[i] of the same layer of another cache."""
        for mine, theirs in zip(self.stores, other.stores, strict=True):
            mine.copy_rows(theirs, rows)

    def check_crop(self, length: int) -> None:
        """Raise a UserError if what a crop to `length` tokens needs is no longer kept. Here all is kept."""
        assert 0 <= length <= self.length


class KVCache(RaggedRows, ABC):
    """What every cache offers: `length`, `capacity`, `nbytes`, `layer(i)`, `advance`, `crop`, `reset`, `branch`.

    Rows of different lengths come and go by `shift` and `put_row` (`ragged_rows`).

    The cache also remembers which of its tokens are padding (`attention_mask`): a forward pass that
    is given the mask of all tokens so far stores it here, and later passes may leave it out; tokens that come
    without a mask are real.
    """

    def __init__(self, batch: int, capacity: int, device: torch.device | str) -> None:
        if batch < 1 or capacity < 1:
            raise UserError(f"a KV cache needs batch and capacity of at least 1, not {batch} and {capacity}")
        self.batch, self.capacity = batch, capacity
        self.device = torch.device(device)
        self.length = 0
        self.layers: Sequence[LayerCache] = ()
        self.ids: IdLayer | None = None
        self._mask: Tensor | None = None  # (batch, capacity) bool, allocated when padding first appears

    @property
    def nbytes(self) -> int:
        """Bytes held for keys and values, whether filled or not."""
        return sum(tensor.nbytes for tensor in self.tensors())

    def tensors(self) -> list[Tensor]:
        """Every tensor that holds keys and values, layer by layer."""
        return [tensor for layer in self.layers for store in layer.stores for tensor in store.tensors()]

    def layer(self, index: int) -> LayerCache:
        """The view of one layer that its attention appends to."""
        return self.layers[index]

    @abstractmethod
    def like(self, batch: int) -> "KVCache":
        """An empty cache of the same kind for another number of rows."""

    @property
    def attention_mask(self) -> Tensor | None:
        """Bool (batch, length): True for a real token, False for padding; None when all are real."""
        return None if self._mask is None else self._mask[:, : self.length]

    def keep_ids(self) -> None:
        """Keep the ids of the tokens too, for a model that looks at earlier ones. Only while the cache is empty."""
        if self.ids is not None:
            return
        if self.length:
            raise UserError(
                f"this KV cache holds {self.length} tokens without their ids, which n-gram embeddings need: "
                "make it with model.new_cache()"
            )
        self.ids = IdLayer(self)
        self.layers = [
            *self.layers,
            self.ids,
        ]  # behind the others, so that it is cropped, copied and moved with them

    def remember(self, ids: Tensor) -> Tensor:
        """Store the ids (B, T) of the new tokens; return those of all tokens so far, (B, length + T)."""
        self.keep_ids()
        assert self.ids is not None
        return self.ids.append(ids)

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
        """Forget everything after the first `length` tokens (undo a draft, reuse a shared prefix).

        A rolling cache may have overwritten what it would need then: a UserError says how far back it can go,
        and nothing is changed.
        """
        if not 0 <= length <= self.length:
            raise UserError(f"cannot crop the KV cache to {length} tokens: it holds {self.length}")
        for layer in self.layers:
            layer.check_crop(length)
        self.length = length
        if self._mask is not None:
            self._mask[:, length:] = True

    def reset(self) -> None:
        """Forget everything; the memory stays for the next use."""
        self.length = 0
        self._mask = None

    def branch(self, rows: Sequence[int] | Tensor) -> "KVCache":
        """A new cache whose row i continues row `rows[i]` of this one: beams, or n samples of one prompt.

        Nothing is shared with the old cache afterwards.
        """
        index = torch.as_tensor(rows, device=self.device, dtype=torch.long)
        if index.dim() != 1 or not len(index):
            raise UserError("branch needs a list of at least one row number")
        if int(index.min()) < 0 or int(index.max()) >= self.batch:
            raise UserError(f"branch: rows {index.tolist()} but the cache has rows 0 to {self.batch - 1}")
        new = self.like(len(index))
        if self.ids is not None:
            new.keep_ids()
        for old_layer, new_layer in zip(self.layers, new.layers, strict=True):
            new_layer.copy_rows(old_layer, index)
        new.length = self.length
        if self._mask is not None:
            with torch.inference_mode(False):
                new._mask = self._mask[index].clone()
        return new


class IdLayer(LayerCache):
    """The ids of the tokens, (batch, capacity, 1) int64: beside the layers, for embeddings of several tokens."""

    def __init__(self, cache: KVCache) -> None:
        super().__init__(cache)
        self.store = TokenStore((cache.batch, cache.capacity, 1), torch.int64, cache.device)

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        return (self.store,)

    def append(self, ids: Tensor) -> Tensor:
        """Store (B, T); return all ids so far, (B, length + T)."""
        batch, new = ids.shape
        self.cache.check_room(batch, new)
        self.store.write(self.cache.length, ids[..., None])
        return self.store.read(batch, self.cache.length + new, torch.int64)[..., 0]


class LayerKVCache(LayerCache):
    """One layer of a `FullKVCache`: k and v of shape (batch, n_kv_head, capacity, head_dim)."""

    def __init__(self, cache: KVCache, k: TokenStore, v: TokenStore) -> None:
        super().__init__(cache)
        self.k, self.v = k, v

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        return self.k, self.v

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H_kv, T_new, D); return all keys and values so far, (B, H_kv, length + T_new, D).

        What is returned are views of the filled part: unused slots are never read, and no old token is
        copied (int8 has to be turned back into numbers first). Values are stored without gradient; a cache is
        for inference. `length` does not move here, because the next layer must write to the same slots: see
        `KVCache.advance`.
        """
        batch, _, new, _ = k.shape
        self.cache.check_room(batch, new)
        start, end = self.cache.length, self.cache.length + new
        self.k.write(start, k.detach())
        self.v.write(start, v.detach())
        return self.k.read(batch, end, k.dtype), self.v.read(batch, end, v.dtype)


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
        self._shape = (n_layer, n_kv_head, head_dim)

        def store() -> TokenStore:
            return make_store((batch, n_kv_head, capacity, head_dim), dtype, device)

        self.layers = [LayerKVCache(self, store(), store()) for _ in range(n_layer)]

    @property
    def kind(self) -> tuple[object, ...]:
        return (*self._shape, self.dtype)

    def like(self, batch: int) -> "FullKVCache":
        n_layer, n_kv_head, head_dim = self._shape
        return FullKVCache(n_layer, batch, self.capacity, n_kv_head, head_dim, self.dtype, self.device)


class LatentLayerCache(LayerCache):
    """One layer of a `LatentKVCache`: latents (batch, capacity, d_latent), rotary keys (batch, capacity, d_rope)."""

    def __init__(self, cache: KVCache, latent: TokenStore, rope: TokenStore) -> None:
        super().__init__(cache)
        self.latent, self.rope = latent, rope

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        return self.latent, self.rope

    def append(self, latent: Tensor, rope: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, T_new, d_latent) and (B, T_new, d_rope); return both for all tokens so far."""
        batch, new, _ = latent.shape
        self.cache.check_room(batch, new)
        start, end = self.cache.length, self.cache.length + new
        self.latent.write(start, latent.detach())
        self.rope.write(start, rope.detach())
        return self.latent.read(batch, end, latent.dtype), self.rope.read(batch, end, rope.dtype)


class LatentKVCache(KVCache):
    """What multi-head latent attention keeps: n_layer * (d_latent + d_rope) numbers per token, for all heads."""

    def __init__(
        self,
        n_layer: int,
        batch: int,
        capacity: int,
        d_latent: int,
        d_rope: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(batch, capacity, device)
        self.dtype = dtype
        self._shape = (n_layer, d_latent, d_rope)
        self.layers = [
            LatentLayerCache(
                self,
                make_store((batch, capacity, d_latent), dtype, device),
                make_store((batch, capacity, d_rope), dtype, device),
            )
            for _ in range(n_layer)
        ]

    @property
    def kind(self) -> tuple[object, ...]:
        return (*self._shape, self.dtype)

    def like(self, batch: int) -> "LatentKVCache":
        n_layer, d_latent, d_rope = self._shape
        return LatentKVCache(n_layer, batch, self.capacity, d_latent, d_rope, self.dtype, self.device)
