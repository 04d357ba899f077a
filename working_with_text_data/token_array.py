"""Many arrays of token ids read as one, without copying them: what shards on disk look like from inside.

A memory map is one file; a corpus is many. `TokenArray` keeps the maps and the places where each ends,
finds the right one by bisection, and joins pieces only where a slice crosses an edge.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError


class TokenArray:
    """Many shards as one read-only array of ids: `len`, `a[i]`, `a[start:stop]` across the edges.

    A slice inside one shard is a view of the map (nothing is copied); across an edge it is a copy.
    """

    def __init__(
        self,
        shards: Sequence[NDArray[Any]],
        *,
        vocab_size: int | None = None,
        tokenizer_sha256: str | None = None,
    ) -> None:
        self.shards = [shard for shard in shards if len(shard)]
        self.dtype = self.shards[0].dtype if self.shards else np.dtype("<u2")
        self.vocab_size = vocab_size
        self.tokenizer_sha256 = tokenizer_sha256
        self._ends: list[int] = np.cumsum([len(shard) for shard in self.shards], dtype=np.int64).tolist()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def nbytes(self) -> int:
        """Bytes of ids, on disk and when mapped."""
        return len(self) * self.dtype.itemsize

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> NDArray[Any]: ...
    def __getitem__(self, key: int | slice) -> int | NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise UserError(f"a TokenArray slice has step {step}: only step 1 is supported")
            return self._read(start, max(start, stop))
        index = key + len(self) if key < 0 else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {key} is outside of {len(self):,} tokens")
        shard = bisect.bisect_right(self._ends, index)
        return int(self.shards[shard][index - (self._ends[shard - 1] if shard else 0)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        shard = bisect.bisect_right(self._ends, start)
        pieces = []
        while start < stop:
            begin = self._ends[shard - 1] if shard else 0
            end = min(stop, self._ends[shard])
            pieces.append(self.shards[shard][start - begin : end - begin])
            start, shard = end, shard + 1
        if len(pieces) == 1:
            return np.asarray(pieces[0])
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=self.dtype)
