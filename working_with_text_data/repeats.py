"""A warm-up in copying: early batches in which a few tokens of real text are said again and again.

To say the name of a story's hero, a model must look for names far back and copy the one it finds. Neither
half pays before the other works: attention that finds names is of no use while nothing is copied, and
copying is hardly trained while attention is spread over a hundred tokens. Left alone, a small model stays on
that plateau for all the minutes of a demo. A text that repeats every few tokens has a shorter way in: a head
that looks back by a fixed distance can copy at once, and heads that copy then learn to look for content.
(Olsson et al. 2022, arXiv 2209.11895, describe the induction heads that form; that repeated sequences
call them forth is how the paper finds them.) What it was worth here is in `finetuning/LOG.md`.

Left out: anything cleverer than the step count to say when the warm-up is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from .windows import BatchLoader

SHORTEST, LONGEST = 3, 39  # tokens of one period


class WithRepeats:
    """`BatchLoader`'s interface over another loader, some of whose early batches are made to repeat.

    Args:
        batches: where the text comes from; every batch of it is used, repeating or not.
        first: so many batches at the start repeat, all of them.
        every, until: after that each `every`-th, up to batch number `until`; then none.
        seed: with the batch's number decides its period, 3 to 39 tokens.
    """

    def __init__(self, batches: BatchLoader, *, first: int, every: int, until: int, seed: int = 0) -> None:
        self.batches, self.first, self.every, self.until = batches, first, every, until
        self.seed, self.count = seed, 0
        self.tokens_per_epoch, self.block_size = batches.tokens_per_epoch, batches.block_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next (x, y), int64 (batch_size, block_size) each; y is x one token later, repeating or not."""
        x, y = next(self.batches)
        self.count += 1
        if not self.repeats(self.count):
            return x, y
        period, width = self.period(self.count), x.size(1)
        said = x[:, :period].repeat(1, width // period + 2)  # (B, more than block_size)
        return said[:, :width].contiguous(), said[:, 1 : width + 1].contiguous()

    def repeats(self, number: int) -> bool:
        """Whether batch `number`, counted from 1, repeats."""
        return number <= self.first or (number <= self.until and number % self.every == 0)

    def period(self, number: int) -> int:
        """How many tokens batch `number` says before it says them again."""
        digest = hashlib.blake2b(f"{self.seed}:{number}".encode(), digest_size=8).digest()
        return SHORTEST + int.from_bytes(digest, "big") % (LONGEST - SHORTEST + 1)

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: the inner loader's place and how many batches were given out."""
        return {"batches": self.batches.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken."""
        self.batches.load_state_dict(state["batches"])
        self.count = int(state["count"])
