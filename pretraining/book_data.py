"""One book after another: batches that read a shelf in order, and a validation part from every book.

Most training shuffles everything. Here a model reads the first book to its end (its windows shuffled), then the
second, and so on, as many simple recipes do; after each book one can look at what it writes now. The last tenth of
every book is held out, so that all books are judged and no window of validation was read. State: which book of which
pass, and the place in it. Left out: several processes, which would each need a shelf of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pretraining.callbacks import Callback
from pretraining.distributed import SINGLE, World
from pretraining.evaluation import count_bytes_per_token
from pretraining.prepared_data import PreparedData, encode_documents
from pretraining.pretrain_config import PretrainConfig
from utils.errors import UserError
from working_with_text_data.documents import Document
from working_with_text_data.windows import BatchLoader


class BookBatches:
    """Endless batches (x, y), int64 (batch_size, block_size): every window of book 1, then of book 2, …, then again.

    `epoch` counts passes over the shelf, `book` is the number of the one being read. A book too short for one window
    is a UserError; the last batch of a book is filled up with windows that it has given out before.
    """

    def __init__(
        self, books: Sequence[np.ndarray], batch_size: int, block_size: int, *, seed: int = 0
    ) -> None:
        self.loaders = [
            BatchLoader(tokens, batch_size, block_size, seed=seed + number)
            for number, tokens in enumerate(books)
        ]
        self.block_size = block_size
        self.tokens_per_epoch = sum(loader.tokens_per_epoch for loader in self.loaders)
        self.epoch = self.book = 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch of this book, or the first of the next one."""
        loader = self.loaders[self.book]
        if loader.epoch > self.epoch:  # read to its end
            self.book += 1
            if self.book == len(self.loaders):
                self.epoch, self.book = self.epoch + 1, 0
            loader = self.loaders[self.book]
            loader.epoch, loader.position = self.epoch, 0
        return next(loader)

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: pass, book, and the place in that book."""
        return {
            "epoch": self.epoch,
            "book": self.book,
            "books": len(self.loaders),
            "place": self.loaders[self.book].state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken, with the same shelf."""
        if state["books"] != len(self.loaders):
            raise UserError(
                f"the saved place is in a shelf of {state['books']} books, this one has {len(self.loaders)}: "
                "resume with the same books"
            )
        self.epoch, self.book = int(state["epoch"]), int(state["book"])
        self.loaders[self.book].load_state_dict(state["place"])


@dataclass(frozen=True)
class BookData(PreparedData):
    """A shelf: `train` and `val` are all books joined; `books` are the training parts apart, `titles` their names."""

    books: tuple[np.ndarray, ...]
    titles: tuple[str, ...]
    held_out: tuple[np.ndarray, ...]

    def batches(self, config: PretrainConfig, block_size: int, world: World = SINGLE) -> BookBatches:
        """Book after book."""
        if world.size > 1:
            raise UserError("a shelf is read by one process: use python -m pretraining.train with several")
        return BookBatches(self.books, config.batch_size, block_size, seed=config.seed)


def read_shelf(documents: Sequence[Document], tokenizer: Any, block_size: int, val_share: float) -> BookData:
    """Encode each book and hold out its last `val_share`. Books too short for both are left out, and named.

    Raises UserError when none is long enough.
    """
    books, held_out, titles, short = [], [], [], []
    for document in documents:
        ids = encode_documents([document], tokenizer)
        cut = len(ids) - max(2, round(val_share * len(ids)))
        if cut < block_size + 1:
            short.append(document.source)
            continue
        books.append(ids[:cut])
        held_out.append(ids[cut:])
        titles.append(str((document.meta or {}).get("title") or document.source))
    if not books:
        raise UserError(f"no book has {block_size + 3} tokens: give longer ones, or a smaller block_size")
    val = np.concatenate(held_out)
    report = {
        "method": "last share of each book",
        "val_share": val_share,
        "books": titles,
        "too_short": short,
    }
    shelf = (tuple(books), tuple(titles), tuple(held_out))
    return BookData(
        tokenizer, np.concatenate(books), val, count_bytes_per_token(tokenizer, val), report, *shelf
    )


class BookTeller(Callback):
    """Says which book is being read, and lets the model write when one has been finished."""

    def __init__(self, titles: Sequence[str], quiet: bool = False) -> None:
        self.titles, self.quiet = titles, quiet
        self.last: tuple[int, int] | None = None

    def on_step_end(self, trainer: Any, record: dict[str, Any]) -> None:
        """The first step of another book: what does the model write after the last one?"""
        now = (trainer.train_batches.epoch, trainer.train_batches.book)
        if now == self.last:
            return
        if self.last is not None:
            trainer.sample()
        self.last = now
        if not self.quiet:
            print(f"book {now[1] + 1} of {len(self.titles)}, pass {now[0] + 1}: {self.titles[now[1]]}")
