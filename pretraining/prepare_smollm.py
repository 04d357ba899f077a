"""`python -m pretraining.prepare_smollm`: a mixture of large text sources as token shards, made once.

    python -m pretraining.prepare_smollm sources=[smollm-corpus:cosmopedia-v2,fineweb-edu] tokens=50e6 out=data/smollm
    python -m pretraining.prepare_smollm sources=[my_texts/=3,notes.jsonl=1] tokens=2e6 out=data/mine

A source is a corpus of the catalogue (with `:config` for a part of it), a file, a folder or a glob, and has a weight
(`=3`; 1 without). Documents are taken in turn so that each source's share of the text stays near its weight at every
moment; when one ends, the others go on. From the Hub they are streamed: only what is used is downloaded. The first
documents become validation or training by the hash of their text, and are tokenised into shards in constant memory.
Killed, it goes on after the last whole shard; done twice, it writes nothing. `pretraining.train data=OUT` maps
them. The mixture of the paper is Ben Allal et al. 2024 (SmolLM-Corpus). Left out: python-edu, which holds
references and no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from working_with_text_data.documents import Document
    from working_with_text_data.write_splits import Written

PROBE_BYTES = 2_000_000  # text at the beginning of the mixture that says how many bytes a token stands for


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class MixtureConfig:
    """What is mixed, how much of it, and where the shards go."""

    sources: tuple[str, ...] = _key(
        ("smollm-corpus:cosmopedia-v2", "smollm-corpus:fineweb-edu-dedup"),
        "names or paths, each with =WEIGHT",
    )
    tokens: int = _key(50_000_000, "stop after about so many, validation included")
    tokenizer: str = _key("bpe", "bpe (trained on the beginning of the mixture), byte, gpt2, or a file")
    vocab_size: int = _key(16384, "tokenizer=bpe: size of its vocabulary")
    tokenizer_bytes: int = _key(20_000_000, "tokenizer=bpe: text that it is trained on")
    out: str = _key("data/smollm", "the folder for the shards")
    val_fraction: float = _key(0.005, "share of the documents held out")
    text_field: str = _key("text", "the field of a JSON line or parquet row that holds the text")
    shard_tokens: int = _key(1 << 24, "ids in a shard")
    workers: int = _key(0, "processes that tokenise; 0 is this one alone")
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("sources is empty: name at least one corpus, file or folder")
        for name, least in (("tokens", 1), ("vocab_size", 256), ("tokenizer_bytes", 1), ("shard_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, but the least is {least}: raise it")
        if not 0 < self.val_fraction < 1:
            raise UserError(
                f"val_fraction is {self.val_fraction}, but it is a share between 0 and 1: set 0.005"
            )
        for source in self.sources:
            parse_source(source)


def parse_source(text: str) -> tuple[str, str | None, float]:
    """A source as (name or path, config, weight).

    >>> parse_source("smollm-corpus:cosmopedia-v2=3"), parse_source("my_texts/")
    (('smollm-corpus', 'cosmopedia-v2', 3.0), ('my_texts/', None, 1.0))
    """
    name, equals, number = text.rpartition("=")
    if not equals:
        name, number = text, "1"
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf") or not name:
        raise UserError(
            f"source {text!r}: write NAME or NAME=WEIGHT, with a weight above 0, such as fineweb-edu=2"
        )
    from working_with_text_data.corpora import CORPORA

    corpus, colon, part = name.partition(":")
    if colon and corpus in CORPORA:
        return corpus, part, weight
    return name, None, weight


def mixture(config: MixtureConfig) -> Iterator[Document]:
    """Documents of all sources in turn: always of the one that is furthest behind its share of the text.

    Deterministic: it depends on the documents and weights alone. Sources that end leave the turn.
    """
    sources = [(_documents(source, config), parse_source(source)[2]) for source in config.sources]
    given = [0.0] * len(sources)  # bytes so far, divided by the weight
    waiting = set(range(len(sources)))
    while waiting:
        number = min(waiting, key=lambda i: (given[i], i))
        document = next(sources[number][0], None)
        if document is None:
            waiting.discard(number)
            continue
        given[number] += max(1, len(document.text.encode("utf-8"))) / sources[number][1]
        yield document


def _documents(source: str, config: MixtureConfig) -> Iterator[Document]:
    from working_with_text_data.documents import iter_documents

    name, part, _ = parse_source(source)
    options: dict[str, Any] = {} if part is None else {"config": part}
    return iter_documents(name, seed=config.seed, text_field=config.text_field, **options)


class SidedMixture:
    """The mixture with the side of each document, up to `n_bytes` of text: what `write_splits` reads."""

    def __init__(self, config: MixtureConfig, n_bytes: float) -> None:
        self.config, self.n_bytes = config, n_bytes
        self.counts = {side: {"documents": 0, "text_bytes": 0} for side in self.sides}
        self.by_source: dict[str, int] = {}
        self.report: dict[str, Any] = {"method": "threshold", "leak_rate": None, "duplicates": None}

    @property
    def sides(self) -> tuple[str, ...]:
        """Both parts."""
        return ("train", "val")

    def __iter__(self) -> Iterator[tuple[str, Document, str]]:
        from working_with_text_data.splitting import document_hash

        total = 0
        for document in mixture(self.config):
            digest = document_hash(document.text)
            side, size = side_of(digest, self.config), len(document.text.encode("utf-8"))
            self.counts[side]["documents"] += 1
            self.counts[side]["text_bytes"] += size
            self.by_source[document.source] = self.by_source.get(document.source, 0) + size
            yield side, document, digest
            total += size
            if total >= self.n_bytes:
                break
        self.report["bytes_by_source"] = self.by_source


def side_of(digest: str, config: MixtureConfig) -> str:
    """ "train" or "val", from the hash of a text and the seed alone."""
    from working_with_text_data.splitting import assign

    return assign(digest, val_fraction=config.val_fraction, seed=config.seed)


def make_tokenizer(config: MixtureConfig) -> Any:
    """The tokenizer that is named, or one trained on the training documents at the beginning of the mixture."""
    from working_with_text_data.splitting import document_hash
    from working_with_text_data.tokenizer import load_tokenizer

    if config.tokenizer != "bpe":
        return load_tokenizer(config.tokenizer)
    from pretraining.pretrain_config import SPECIAL_TOKENS
    from working_with_text_data.fast_bpe import train_bpe

    texts, total = [], 0
    for document in mixture(config):
        if side_of(document_hash(document.text), config) == "train":
            texts.append(document.text)
            total += len(document.text.encode("utf-8"))
        if total >= config.tokenizer_bytes:
            break
    if not texts:
        raise UserError(f"{', '.join(config.sources)}: no text in them: name sources that hold some")
    return train_bpe(texts, config.vocab_size, special_tokens=SPECIAL_TOKENS)


def bytes_for(config: MixtureConfig, tokenizer: Any) -> float:
    """How much text makes about `config.tokens`, by the bytes per token at the beginning of the mixture."""
    size = tokens = 0
    for document in mixture(config):
        size += len(document.text.encode("utf-8"))
        tokens += len(tokenizer.encode_ordinary(document.text)) + 1  # and the end of the document
        if size >= PROBE_BYTES or tokens >= config.tokens:
            break
    if not tokens:
        raise UserError(f"{', '.join(config.sources)}: no text in them: name sources that hold some")
    return config.tokens * size / tokens


def prepare(config: MixtureConfig, *, on_document: Any = None) -> Written:
    """Write the shards of the mixture into `config.out`, unless they are there already.

    Raises UserError for a source that is neither here nor reachable, before anything is written.
    """
    from utils.config import to_dict
    from working_with_text_data.tokenizer import tokenizer_hash
    from working_with_text_data.write_splits import Written, whole_meta, write_splits

    out = Path(config.out).expanduser()
    elsewhere = ("out", "workers", "shard_tokens")
    options = {name: value for name, value in to_dict(config).items() if name not in elsewhere}
    options["files"] = [_sums(source) for source in config.sources]
    meta = whole_meta(out)
    if meta is not None and meta.get("mixture") == options:
        return Written(out, meta, written=False)
    tokenizer = make_tokenizer(config)
    n_bytes = bytes_for(config, tokenizer)
    return write_splits(
        out,
        lambda: SidedMixture(config, n_bytes),
        tokenizer,
        options={"mixture": options, "tokenizer_sha256": tokenizer_hash(tokenizer)},
        source=options,
        about={"mixture": options},
        shard_tokens=config.shard_tokens,
        workers=config.workers,
        on_document=on_document,
    )


def _sums(source: str) -> Any:
    """What is equal when a source is: the sums of its files; the name of a corpus, whose content is fixed by it."""
    from working_with_text_data.content_cache import content_of, file_digests
    from working_with_text_data.corpora import CORPORA
    from working_with_text_data.documents import text_files

    name, part, weight = parse_source(source)
    if name in CORPORA:
        return [name, part, weight]
    return [content_of(file_digests(text_files(name))), weight]


def main(argv: list[str] | None = None) -> int:
    """Parse, prepare, say what is there and what to do next. Returns the exit code."""
    config, _ = parse_args(
        argv,
        MixtureConfig,
        prog="python -m pretraining.prepare_smollm",
        description=(__doc__ or "").split("\n\n")[0],
        aliases={f"--{name}": name for name in ("sources", "tokens", "tokenizer", "out", "workers")},
    )
    from working_with_text_data.preprocess import tokenising_bar

    with tokenising_bar(None) as on_document:
        result = prepare(config, on_document=on_document)
    print(f"{'wrote' if result.written else 'unchanged'}: {result.path}")
    for name, split in result.meta["splits"].items():
        print(f"  {name:<5}  {split['documents']:,} documents, {split['tokens']:,} tokens")
    shares = result.meta["split"]["bytes_by_source"]
    for name, size in shares.items():
        print(f"  {size / sum(shares.values()):6.1%} of the text  {name}")
    print(f"next: python -m pretraining.train data={config.out} preset=gpt2")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
