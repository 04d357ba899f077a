"""Texts as rows of ids, and rows as batches: cut to a length, sorted into batches of equal length, padded with −1.

A batch is as wide as its longest row, so a batch of mixed lengths computes mostly padding. Sorting all texts by length
would waste nothing and show the model one kind of text after another; so an epoch is shuffled first, cut into pools of
many batches, each pool sorted by length and cut into batches, and those shuffled again. All of it is a pure function
of (seed, epoch), so `state_dict` is three numbers and a resumed run reads the same batches (law LP1).
Left out: several ranks (a classifier of this book trains in minutes on one).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetuning.classification.model import KEEPS, PADDING
from utils.errors import UserError
from working_with_text_data.shuffling import shuffled

POOL = 32  # batches that are sorted by length together


def cut(ids: Sequence[int], limit: int, keep: str = "start") -> list[int]:
    """At most `limit` ids: the first, the last, or a half of each.

    What is left of a long text matters: a review's verdict often stands at its end (Sun et al. 2019, arXiv 1905.05583,
    section 5.3.1, found both ends best).

    >>> cut(range(9), 4, "start"), cut(range(9), 4, "end"), cut(range(9), 4, "ends")
    ([0, 1, 2, 3], [5, 6, 7, 8], [0, 1, 7, 8])
    """
    ids = list(ids)
    if keep not in KEEPS:
        raise UserError(f"keep is {keep!r}: choose {', '.join(KEEPS)}")
    if len(ids) <= limit:
        return ids
    first = {"start": limit, "end": 0, "ends": limit // 2}[keep]
    return ids[:first] + (ids[-(limit - first) :] if first < limit else [])


def encode(texts: Sequence[str], tokenizer: Any, limit: int, keep: str = "start") -> list[list[int]]:
    """Each text as at most `limit` ids, after the token that ends a document, where the tokenizer has one.

    In pretraining every document follows the end of another, so the model knows a text's beginning by it. A special
    token written in a text stays text (law LT4).
    """
    from pretraining.samples import end_id

    end = end_id(tokenizer)
    begin = [] if end is None else [end]
    return [begin + cut(tokenizer.encode_ordinary(text), limit - len(begin), keep) for text in texts]


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> Tensor:
    """Rows of ids as one int64 tensor (B, longest), −1 where a row has no token."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), PADDING, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, width - len(row) if left else 0 : width if left else len(row)] = row
    return torch.from_numpy(ids)


class ClassBatches:
    """An endless iterator of (ids (B, T), labels (B,)), each text once an epoch, with exact resume.

    The last batch of an epoch may be smaller. Raises UserError when rows and labels do not fit together.
    """

    block_size = 1

    def __init__(
        self, rows: Sequence[Sequence[int]], labels: Sequence[int], batch_size: int, *, seed: int = 0
    ) -> None:
        if len(rows) != len(labels) or not rows or batch_size < 1:
            raise UserError(
                f"{len(rows)} texts, {len(labels)} labels, batch_size {batch_size}: as many of one as of the other, "
                "and at least one a batch"
            )
        if not all(rows):
            raise UserError("a text has no token: an empty text cannot be classified")
        self.rows = [np.asarray(row, dtype=np.int64) for row in rows]
        self.labels = np.asarray(labels, dtype=np.int64)
        self.batch_size, self.seed = batch_size, int(seed)
        self.epoch = self.position = 0  # batches of this epoch given out
        self._plan: tuple[int, list[NDArray[np.int64]]] | None = None

    @property
    def tokens_per_epoch(self) -> int:
        """What the Trainer counts an epoch by: labels, of which a text has one (so `block_size` is 1)."""
        return len(self.rows)

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        if self._plan is None or self._plan[0] != self.epoch:
            self._plan = (self.epoch, self._batches(self.epoch))
        chosen = self._plan[1][self.position]
        self.position += 1
        if self.position == self.batches_per_epoch:
            self.epoch, self.position = self.epoch + 1, 0
        return padded([self.rows[i] for i in chosen]), torch.from_numpy(self.labels[chosen])

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The numbers of the texts of each batch of an epoch."""
        count = len(self.rows)
        order = shuffled(np.arange(count), count, self.seed, epoch)
        lengths = np.array([len(row) for row in self.rows])
        batches = []
        for start in range(0, count, POOL * self.batch_size):
            pool = order[start : start + POOL * self.batch_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        mixed = shuffled(np.arange(len(batches)), len(batches), self.seed + 1, epoch)
        return [batches[i] for i in mixed]

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: where it is, and what that is only valid for."""
        mine = {"seed": self.seed, "batch_size": self.batch_size, "texts": len(self.rows)}
        return {"epoch": self.epoch, "position": self.position, **mine}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken, with the same texts and settings. Raises UserError."""
        mine = self.state_dict()
        for key in ("seed", "batch_size", "texts"):
            if state.get(key) != mine[key]:
                raise UserError(
                    f"the saved position is for {key} {state.get(key)}, the loader has {mine[key]}: resume with the "
                    "same texts and settings, or start a new run"
                )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def fixed_batches(
    rows: Sequence[Sequence[int]], labels: Sequence[int], batch_size: int
) -> list[tuple[Tensor, Tensor]]:
    """Each text once, the same batches at every call, neighbours of equal length together: for evaluation."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    some = (order[i : i + batch_size] for i in range(0, len(order), batch_size))
    return [(padded([rows[i] for i in b]), torch.tensor([labels[i] for i in b])) for b in some]
