"""Near duplicates on a stream: a text is new unless an earlier kept one holds almost the same runs of words.

The idea is in `minhash.py`: signatures of k numbers, bands, candidates, and an estimate that must reach the
threshold. Two engines give the same answers within the estimator's error: "readable" is that module, "rensa"
is a library in Rust (https://github.com/beowolx/rensa) some hundred times as fast. Which texts are kept does
not depend on how the work is shared out: signatures are made anywhere, the filter sees them in order.

Lee et al., "Deduplicating training data makes language models better" (2021, arXiv:2107.06499).
Memory: a kept text costs its signature, k × 4 bytes, and an entry in each band (rensa: 2.0 to 2.5 kB at
k = 128, measured); `remember=n` forgets the oldest beyond n. Left out: clusters (a text is compared with
kept ones, and the first is kept), likeness of meaning. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from utils.errors import UserError

from . import minhash
from .optional_packages import need

Engine = Literal["rensa", "readable"]
ENGINES: tuple[Engine, ...] = ("rensa", "readable")


class Signer:
    """Makes signatures: `signer(text)`, None for a text without words. Can be used in any process."""

    def __init__(
        self, engine: Engine = "rensa", *, k: int = 128, shingle_words: int = 5, seed: int = 0
    ) -> None:
        if engine not in ENGINES:
            raise UserError(f"near-duplicate engine is {engine!r}: choose {' or '.join(ENGINES)}")
        if k < 1 or shingle_words < 1:
            raise UserError(f"permutations is {k} and shingle_words {shingle_words}: each must be at least 1")
        self.engine, self.k, self.shingle_words, self.seed = engine, k, shingle_words, seed
        self._rensa = need("rensa", "finding near duplicates") if engine == "rensa" else None
        self._functions = minhash.permutations(k, seed) if engine == "readable" else []

    def __call__(self, text: str) -> Any:
        items = minhash.shingles(text, self.shingle_words)
        if not items:
            return None
        if self._rensa is None:
            return minhash.signature(items, self._functions)
        sketch = self._rensa.RMinHash(self.k, self.seed)
        try:
            sketch.update(list(items))
        except UnicodeEncodeError:  # half of a surrogate pair: no UTF-8, but still a text
            sketch = self._rensa.RMinHash(self.k, self.seed)
            sketch.update([item.encode("utf-8", "surrogatepass") for item in items])
        return sketch

    def likeness(self, left: Any, right: Any) -> float:
        """The estimated Jaccard likeness of two texts from their signatures."""
        return minhash.estimate(left, right) if self._rensa is None else float(left.jaccard(right))


class NearDuplicateFilter:
    """Keeps the first of each group of alike texts. `signer` makes what `add` takes.

    Args:
        threshold: the estimated share of common shingles from which two texts are alike.
        engine: "rensa" or "readable".
        k: numbers in a signature; the standard error of an estimate is √(J(1−J)/k).
        shingle_words: words in a shingle.
        remember: forget the oldest kept texts beyond this many (None: never).
    """

    def __init__(
        self,
        threshold: float = 0.8,
        *,
        engine: Engine = "rensa",
        k: int = 128,
        shingle_words: int = 5,
        seed: int = 0,
        remember: int | None = None,
    ) -> None:
        self.signer = Signer(engine, k=k, shingle_words=shingle_words, seed=seed)
        self.threshold, self.remember = threshold, remember
        self.bands, self.rows = minhash.choose_bands(threshold, k)
        self._kept: deque[int] = deque()
        self._readable = minhash.BandIndex(threshold, k) if engine == "readable" else None
        self._rensa: Any = None
        if engine == "rensa":
            rensa = need("rensa", "finding near duplicates")
            self._rensa = rensa.RMinHashDeduplicator(threshold, k, True, self.bands, seed)

    def add(self, key: int, signature: Any) -> bool:
        """True when no remembered text is alike; this one is then remembered under `key` (used once)."""
        if signature is None:
            return True
        if self._readable is not None:
            new = self._readable.add(key, signature)
        else:
            new = bool(self._rensa.add(str(key), signature))
        if new and self.remember is not None:
            self._kept.append(key)
            if len(self._kept) > self.remember:
                self._forget(self._kept.popleft())
        return new

    def alike(self, signature: Any) -> list[int]:
        """The keys of the remembered texts that are alike, the earliest first."""
        if self._readable is not None:
            return self._readable.alike(signature)
        return sorted(map(int, self._rensa.get_duplicates(signature)))

    def _forget(self, key: int) -> None:
        if self._readable is not None:
            self._readable.remove(key)
        else:
            self._rensa.remove(str(key))
