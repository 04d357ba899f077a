"""Past one machine: the same functions under `datasets` give the pipeline's texts, sides and ids."""

import json
import pickle
import sys

import pytest
from pipeline_checks import PLAIN, saved_bytes, texts_in, texts_in_shards, write_jsonl

from utils.errors import UserError
from working_with_text_data.pipeline import run_pipeline
from working_with_text_data.pipeline_config import PipelineConfig
from working_with_text_data.scale_out import (
    CleanBatch,
    SideBatch,
    TokeniseBatch,
    keep_first,
    with_datasets,
    with_ray,
)
from working_with_text_data.shards import write_shards
from working_with_text_data.tokenizer import load_tokenizer, tokenizer_hash


@pytest.fixture
def place(tmp_path):
    texts = [f"Text {n}:  two  blanks, " + "é and more " * (n % 5) for n in range(90)]
    write_jsonl(tmp_path / "in.jsonl", [*texts, "   ", *texts[:20], "Text 3:  TWO  blanks"])
    saved_bytes(tmp_path)
    return tmp_path


@pytest.mark.parametrize("num_proc", [None, 2])
def test_datasets_gives_what_the_pipeline_gives(place, num_proc):
    pytest.importorskip("datasets", reason="the extra `data` is not installed")
    shares = {"val_fraction": 0.2, "test_fraction": 0.1, "seed": 4}
    run_pipeline(
        PipelineConfig(
            input=str(place / "in.jsonl"),
            out=str(place / "out"),
            tokenizer=str(place / "bytes.json"),
            cleaning=PLAIN,
            statistics=False,
            split_method="threshold",
            **shares,
        )
    )
    tokenizer = load_tokenizer(place / "bytes.json")
    sides = with_datasets(
        str(place / "in.jsonl"),
        tokenizer,
        cleaning=PLAIN,
        num_proc=num_proc,
        cache_dir=place / "cache",
        **shares,
    )
    assert list(sides) == ["train", "val", "test"] and all(len(rows) for rows in sides.values())
    for side, rows in sides.items():
        assert list(rows["text"]) == texts_in(place / "out" / "split" / side)
        write_shards(
            place / "shards",
            side,
            rows["ids"],
            tokenizer_sha256=tokenizer_hash(tokenizer),
            vocab_size=tokenizer.vocab_size,
        )
        tokenizer.save(place / "shards" / "tokenizer.json")
        assert texts_in_shards(place / "shards", side) == texts_in_shards(place / "out" / "tokenise", side)


def test_the_functions_take_batches_and_travel():
    from working_with_text_data.byte_tokenizer import ByteTokenizer

    clean = CleanBatch(PLAIN)
    first = clean({"text": ["a  b ", " "]})
    assert (first["text"][0], first["reason"]) == ("a b", ["", "empty"])
    again = pickle.loads(pickle.dumps(clean))({"text": ["a  b ", " "]})
    assert again == first
    sides = SideBatch(0.3, 0.3)({"text": list("abcde")})["side"]
    assert (
        sides
        == SideBatch(0.3, 0.3)({"text": list("abc")})["side"]
        + SideBatch(0.3, 0.3)({"text": ["d", "e"]})["side"]
    )
    tokenise = pickle.loads(pickle.dumps(TokeniseBatch(ByteTokenizer())))
    assert tokenise({"text": ["ab", ""]}) == {"ids": [[97, 98], []]}


def test_the_first_of_several_copies_is_kept():
    assert list(keep_first(["", "", "short", "", ""], [b"a", b"b", b"c", b"a", b"c"])) == [0, 1, 4]
    assert list(keep_first(["", ""], [b"", b""])) == [0, 1], "without digests nothing is a copy"


def test_what_is_missing_is_named(place, monkeypatch):
    tokenizer = load_tokenizer(place / "bytes.json")
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(UserError, match="needs Ray Data"):
        with_ray("in", "out", tokenizer)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package datasets: pip install"):
        with_datasets("in.jsonl", tokenizer)
    with pytest.raises(UserError, match="together"):
        SideBatch(0.6, 0.5)
    assert json.loads((place / "bytes.json").read_text())["type"] == "byte"
