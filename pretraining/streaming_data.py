"""Training from a stream: text that is tokenised while the model learns, in constant memory.

`streaming=true` reads documents from files, from a corpus, or from a data set of the Hugging Face Hub, and never
holds more than a buffer of windows. A stream cannot be split by counting, so the side of each document is decided by
the hash of its text (`splitting.assign`): the same whatever else there is. Before training, one pass over its
beginning collects the validation tokens (`stream_val_tokens`), text for a tokenizer where one is to be trained, and
training tokens for the baselines. The loader's state is a place in the stream, so a resumed run goes on with exactly
the batches that would have come (law LT10), whatever lay ready in the prefetching thread.

Left out: weights for mixing several streams, for which `prepare_smollm` writes shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pretraining.distributed import SINGLE, World
from pretraining.evaluation import count_bytes_per_token
from pretraining.prepared_data import PreparedData, encode_documents, need_validation
from pretraining.pretrain_config import PretrainConfig
from pretraining.registries import find_own, own_documents
from utils.errors import UserError
from working_with_text_data.documents import Document, iter_documents
from working_with_text_data.prefetch import Prefetcher
from working_with_text_data.splitting import assign, document_hash
from working_with_text_data.streaming_windows import DocumentStream, Source, StreamingLoader

TOKENIZER_BYTES = 20_000_000  # of text that a tokenizer is trained on
BASELINE_SHARE = 4  # training tokens for the baselines, for each validation token


@dataclass(frozen=True)
class StreamData(PreparedData):
    """A stream: `train` is its beginning only, which baselines are counted on; batches come from the stream."""

    def origin(self, config: PretrainConfig) -> Any:
        """By name: a stream is not read to its end for a checksum."""
        return {"stream": config.data, **config.data_options}

    def batches(self, config: PretrainConfig, block_size: int, world: World = SINGLE) -> Any:
        """This process's documents of the stream, tokenised by a thread a few batches ahead."""
        loader = StreamingLoader(
            OneSide(open_source(config), "train", config.val_fraction, config.data_seed),
            self.tokenizer,
            world.share_of(config.batch_size),
            block_size,
            buffer_windows=config.buffer_windows,
            seed=config.seed,
            rank=world.rank,
            world_size=world.size,
        )
        return Prefetcher(loader) if world.size == 1 else PerRank(Prefetcher(loader), world)


class PerRank:
    """A loader whose place differs from rank to rank: its state holds those of all of them. Collective.

    Ranks deal documents out, and documents have different lengths, so one rank's place does not tell another's.
    As many processes as before must go on (the loader refuses another number).
    """

    def __init__(self, loader: Any, world: World) -> None:
        self.loader, self.world = loader, world

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """The places of all ranks, by rank. Every rank must call it."""
        return {"ranks": self.world.gather(self.loader.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to this rank's place."""
        ranks = state.get("ranks", [])
        if len(ranks) != self.world.size:
            raise UserError(
                f"the saved places in the stream are those of {len(ranks) or 1} processes, now there are "
                f"{self.world.size}: start as many as before, or train from shards"
            )
        self.loader.load_state_dict(ranks[self.world.rank])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "loader":  # not there yet, or no business of others
            raise AttributeError(name)
        return getattr(self.loader, name)


class OneSide:
    """The documents of a source whose hash puts them on one side of the split; the state is the source's own."""

    def __init__(self, source: Source, side: str, val_fraction: float, seed: int) -> None:
        self.source, self.side, self.val_fraction, self.seed = source, side, val_fraction, seed

    def __iter__(self) -> Iterator[Document | str]:
        for document in self.source:
            if self.side_of(document) == self.side:
                yield document

    def side_of(self, document: Document | str) -> str:
        """ "train" or "val": a pure function of the text and the seed."""
        text = document if isinstance(document, str) else document.text
        return assign(document_hash(text), val_fraction=self.val_fraction, seed=self.seed)

    def state_dict(self) -> dict[str, Any]:
        """The place before the next document."""
        return self.source.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place."""
        self.source.load_state_dict(state)


class Endless:
    """A source that begins again when it ends, and counts how often it did."""

    def __init__(self, source: Source) -> None:
        self.source, self.epoch = source, 0

    def __iter__(self) -> Iterator[Document | str]:
        while True:
            some = self.source.state_dict().get("yielded", 0) > 0
            for document in self.source:
                some = True
                yield document
            if not some:
                raise UserError("the stream has no document at all: name a data set or split that has some")
            self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """How often it began again, and the source's place."""
        return {"epoch": self.epoch, "source": self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place."""
        self.epoch = int(state["epoch"])
        self.source.load_state_dict(state["source"])


def open_source(config: PretrainConfig, *, repeat: bool = True) -> Source:
    """The documents of `config.data` from the beginning, endless unless `repeat` is off.

    Files are parts in an order of their own each epoch; what the Hub streams goes on by its own row numbers;
    anything else (a generated corpus, the first `max_documents`) is read over to where a resumed run stands.
    """
    if (own := find_own("data", config.data)) is not None:
        return DocumentStream([partial(own_documents, own, config)], repeat=repeat)
    hub = _on_the_hub(config)
    if hub is not None:
        return Endless(hub) if repeat else hub
    named = _is_corpus(config.data)
    if named or config.max_documents is not None:
        part = partial(
            iter_documents,
            config.data,
            max_documents=config.max_documents,
            seed=config.data_seed,
            **config.data_options,
        )
        return DocumentStream([part], repeat=repeat)
    if config.data_options:
        raise UserError(f"{config.data}: a file has no options: data_options are for named corpora")
    return DocumentStream.from_files(config.data, seed=config.data_seed, shuffle=True, repeat=repeat)


def _is_corpus(name: str) -> bool:
    from working_with_text_data.corpora import CORPORA

    return name in CORPORA


def _on_the_hub(config: PretrainConfig) -> Any:
    """A data set of the Hub that is not on this machine, as a stream with exact resume; else None."""
    from working_with_text_data.catalogue import Entry
    from working_with_text_data.corpora import CORPORA

    entry = CORPORA[config.data].loader if config.data in CORPORA else None
    if not isinstance(entry, Entry) or not entry.hub:
        return None
    options = dict(config.data_options)
    split, subset = options.pop("split", None), options.pop("config", None)
    if options:
        raise UserError(f"data_options.{next(iter(options))}: {config.data} has the options split and config")
    if entry.local_files(split or entry.splits[0]):
        return None
    return entry.stream(split, subset, max_examples=config.max_documents)


def open_stream_data(config: PretrainConfig, tokenizer: Any = None) -> StreamData:
    """Read the beginning of the stream once, for validation, tokenizer and baselines.

    Raises UserError when the stream (or what `max_documents` leaves of it) holds too little to be judged on.
    """
    from pretraining.recipe import make_tokenizer

    if config.copy_first or config.copy_until:
        raise UserError("copy_first and copy_until need tokens in memory: leave them out, or streaming=false")
    wanted = config.stream_val_tokens
    sides = OneSide(open_source(config, repeat=False), "val", config.val_fraction, config.data_seed)
    train_texts: list[str] = []
    val_documents: list[Document] = []
    held = 0
    train_bytes, val_bytes = 0, 0
    # Text is held by its bytes, a token being at most 8 of them here: the tokenizer does not exist yet.
    for document in sides.source:
        text = document if isinstance(document, str) else document.text
        if sides.side_of(document) == "val":
            if val_bytes < 8 * wanted:
                val_documents.append(Document(text, "stream", len(val_documents)))
                val_bytes += len(text.encode())
        elif train_bytes < TOKENIZER_BYTES:
            train_texts.append(text)
            train_bytes += len(text.encode())
        held += 1
        if val_bytes >= 8 * wanted and train_bytes >= min(TOKENIZER_BYTES, 8 * BASELINE_SHARE * wanted):
            break
    if not train_texts:
        raise UserError(f"{config.data} has no training document among {held}: a stream needs many documents")
    if tokenizer is None:
        tokenizer = make_tokenizer(config, train_texts)
    val = encode_documents(val_documents, tokenizer, at_least=wanted)[:wanted]
    need_validation(val, f"{config.data} as a stream of {held} documents")
    documents = (Document(text, "stream", i) for i, text in enumerate(train_texts))
    train: np.ndarray = encode_documents(documents, tokenizer, at_least=BASELINE_SHARE * wanted)
    report = {"method": "threshold", "documents_looked_at": held, "val_documents": len(val_documents)}
    return StreamData(tokenizer, train, val, count_bytes_per_token(tokenizer, val), report)
