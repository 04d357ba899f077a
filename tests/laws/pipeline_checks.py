"""What the way from files to shards must keep: no leakage, nothing stale, the same bytes however it is done.

As in `data_checks`: functions that raise AssertionError, for the laws and for the mutations.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from data_checks import documents_of, unique_texts

from working_with_text_data import encode_stream, pipeline, preprocess, split_stream, splitting
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.cleaning import CleaningConfig
from working_with_text_data.shards import open_shards
from working_with_text_data.tokenizer import load_tokenizer

END = "<|endoftext|>"
PLAIN = CleaningConfig(mojibake=False, quality=False, pii=False, near_duplicates=False)


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def texts_in(folder: Path) -> list[str]:
    lines = [line for part in sorted(folder.glob("*.jsonl")) for line in part.read_text().splitlines()]
    return [json.loads(line)["text"] for line in lines]


def texts_in_shards(folder: Path, side: str) -> list[str]:
    """The documents of a side, read back out of the ids."""
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    end = tokenizer.special_tokens[END]
    texts, start = [], 0
    ids = open_shards(folder, side, verify=True)[:].tolist()
    for at, token in enumerate(ids):
        if token == end:
            texts.append(tokenizer.decode(ids[start:at]))
            start = at + 1
    assert start == len(ids), "the last document does not end in the end-of-text token"
    return texts


# --- LT8: no leakage ----------------------------------------------------------------------------------


def check_a_stream_is_split_by_content(hold_bytes: int = 0) -> None:
    """Streamed documents go where their text sends them: copies together, order and neighbours unheeded."""
    texts = unique_texts(400, words=4)
    texts += texts[:100]

    def sides(order: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        stream = split_stream.SplitStream(
            documents_of(order), val_fraction=0.2, test_fraction=0.1, hold_bytes=hold_bytes
        )
        count = 0
        for side, document, _ in stream:
            count += 1
            assert found.setdefault(document.text, side) == side, (
                f"copies of one text went to {found[document.text]} and {side}: decide by its hash"
            )
        assert stream.report["method"] == "threshold"
        assert count == len(order), f"{len(order)} documents came in and {count} went out"
        return found

    first = sides(texts)
    assert first == sides(texts[::-1]), "the side of a text depends on the order of the documents"
    few = sides(texts[:50])
    assert all(first[text] == side for text, side in few.items()), "more documents moved old ones"
    counts = Counter(first.values())
    assert 0.14 < counts["val"] / 400 < 0.26 and 0.06 < counts["test"] / 400 < 0.14, f"shares are {counts}"


def check_the_pipeline_does_not_leak(folder: Path, **options) -> None:
    """From file to shards: sides share no text, nothing is lost but copies, the ids are the sides' texts."""
    texts = unique_texts(60, words=8)
    source = write_jsonl(folder / "in.jsonl", texts + texts[:20])
    config = pipeline.PipelineConfig(
        input=str(source),
        out=str(folder / "out"),
        **{"tokenizer": str(saved_bytes(folder)), "cleaning": PLAIN, "val_fraction": 0.2, **options},
    )
    record = pipeline.run_pipeline(config)
    out = folder / "out"
    sides = {side: texts_in(out / "split" / side) for side in ("train", "val")}
    both = set(sides["train"]) & set(sides["val"])
    assert not both, f"{len(both)} texts stand on both sides: split whole documents, by content, once"
    assert sorted(sides["train"] + sides["val"]) == sorted(texts), "texts were lost, or copies kept"
    for side, expected in sides.items():
        assert texts_in_shards(out / "tokenise", side) == expected, f"the {side} shards hold other texts"
    cleaned = record["stages"]["clean"]["cleaning"]
    assert cleaned["processed"] == 80 and cleaned["kept"] == 60, "the account of the cleaning is not exact"


def check_the_tokenizer_learns_from_training_alone(folder: Path) -> None:
    """A word that only held-out texts have, however often, never becomes a token."""

    def side(text: str) -> str:
        return splitting.assign(splitting.document_hash(text), val_fraction=0.5)

    texts = [text for text in unique_texts(200, words=6) if side(text) == "train"]
    strange = [f"{n} " + " ".join(["xylophone"] * 40) for n in range(100)]
    held_out = [text for text in strange if side(text) == "val"]
    assert len(held_out) > 20 and len(texts) > 50
    config = pipeline.PipelineConfig(
        input=str(write_jsonl(folder / "in.jsonl", texts + held_out)),
        out=str(folder / "out"),
        vocab_size=400,
        cleaning=PLAIN,
        statistics=False,
        split_method="threshold",
        val_fraction=0.5,
    )
    pipeline.run_pipeline(config)
    assert len(texts_in(folder / "out" / "split" / "val")) == len(held_out)
    tokenizer = load_tokenizer(folder / "out" / "tokenizer" / "tokenizer.json")
    learnt = [t for t in map(tokenizer.token_bytes, range(256, tokenizer.vocab_size - 1)) if b"x" in t]
    assert not any(b"ylo" in t or b"pho" in t for t in learnt), (
        f"{learnt} became tokens, but only held-out texts have that word: train on the training side alone"
    )


def saved_bytes(folder: Path) -> Path:
    path = folder / "bytes.json"
    ByteTokenizer((END,)).save(path)
    return path


# --- LT9: the same bytes ------------------------------------------------------------------------------


def check_workers_change_nothing() -> None:
    """Ids are the same, in order, for any number of processes and any size of chunk."""
    tokenizer = ByteTokenizer((END,))
    texts = ["a" * (n % 50) + chr(0x100 + n) for n in range(300)] + ["long " * 30_000]
    items = list(enumerate(texts))
    expected = [(n, [*tokenizer.encode_ordinary(text), tokenizer.special_tokens[END]]) for n, text in items]
    for workers, chunk in ((0, 1), (1, 1 << 18), (2, 60), (3, 1000)):
        stream = encode_stream.encode_stream(
            iter(items), tokenizer, end=tokenizer.special_tokens[END], workers=workers, chunk_chars=chunk
        )
        got = [(what, ids.tolist()) for what, ids in stream]
        assert [what for what, _ in got] == list(range(301)), (
            f"{workers} workers: documents come out of order"
        )
        assert got == expected, f"{workers} workers, chunks of {chunk}: other ids than one process gives"


# --- nothing stale ------------------------------------------------------------------------------------


def change_one_byte(path: Path, old: bytes, new: bytes) -> None:
    """Change a file behind the back of whoever only looks at its size and its time."""
    assert len(old) == len(new)
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size and path.stat().st_mtime_ns == stat.st_mtime_ns


def check_a_changed_byte_is_never_overlooked(folder: Path) -> None:
    """Same size, same time of modification, one byte changed: the shards are made again."""
    source = write_jsonl(folder / "in.jsonl", unique_texts(30, words=5))
    config = preprocess.PreprocessConfig(
        input=str(source), tokenizer=str(saved_bytes(folder)), out=str(folder / "shards")
    )
    assert preprocess.preprocess(config).written
    assert not preprocess.preprocess(config).written, "the same input was tokenised twice"
    change_one_byte(source, b"w3x0", b"w3y0")
    assert preprocess.preprocess(config).written, (
        "a byte of the input changed and the old shards were called up to date: size and time of "
        "modification do not tell, the sum of the content does"
    )
    everything = texts_in_shards(folder / "shards", "train") + texts_in_shards(folder / "shards", "val")
    assert sorted(everything) == sorted(texts_in(folder)), "the shards are not those of the new input"
