"""Classic bugs between files and shards, put back one at a time: each law must see its own."""

import random

import pytest
from pipeline_checks import (
    check_a_changed_byte_is_never_overlooked,
    check_a_stream_is_split_by_content,
    check_the_pipeline_does_not_leak,
    check_the_tokenizer_learns_from_training_alone,
    check_workers_change_nothing,
)

from working_with_text_data import (
    content_cache,
    document_files,
    encode_stream,
    pipeline,
    pipeline_stages,
    split_stream,
    worker_pool,
)


def caught(match: str):
    return pytest.raises(AssertionError, match=match)


@pytest.mark.parametrize(
    "bug",
    ["every seventh", "by chance"],
)
def test_sides_that_do_not_depend_on_the_text_are_caught(monkeypatch, bug):
    numbers = iter(range(10**6))
    rng = random.Random(0)
    by = {
        "every seventh": lambda digest, **shares: "train" if next(numbers) % 7 else "val",
        "by chance": lambda digest, **shares: rng.choice(["train", "val"]),
    }
    monkeypatch.setattr(split_stream, "assign", by[bug])
    with caught("copies of one text"):
        check_a_stream_is_split_by_content()


def test_a_stream_whose_held_beginning_is_lost_is_caught(monkeypatch):
    monkeypatch.setattr(split_stream, "_drained", lambda held: iter(()))
    with caught("came in and"):
        check_a_stream_is_split_by_content(hold_bytes=500)


def test_a_pipeline_that_splits_sentences_and_not_documents_is_caught(monkeypatch, tmp_path):
    real = pipeline.SplitStream

    def cut(documents, **shares):
        halves = (
            type(d)(half, d.source, d.index)
            for d in documents
            for half in (d.text[: len(d.text) // 2], d.text[len(d.text) // 2 :])
        )
        return real(halves, **shares)

    monkeypatch.setattr(pipeline, "SplitStream", cut)
    with caught("texts were lost"):
        check_the_pipeline_does_not_leak(tmp_path)


def test_a_validation_side_that_stays_in_training_is_caught(monkeypatch, tmp_path):
    real = pipeline_stages.split

    def keep_all(stream, folder):
        counts = real(stream, folder)
        for part in (folder / "val").glob("*.jsonl"):
            with open(folder / "train" / "part_00000.jsonl", "ab") as train:
                train.write(part.read_bytes())
        return counts

    monkeypatch.setattr(pipeline_stages, "split", keep_all)
    with caught("on both sides"):
        check_the_pipeline_does_not_leak(tmp_path)


def test_sides_written_under_each_others_names_are_caught(monkeypatch, tmp_path):
    real = pipeline_stages.StoredSides.__iter__
    swapped = {"train": "val", "val": "train"}
    monkeypatch.setattr(
        pipeline_stages.StoredSides,
        "__iter__",
        lambda self: ((swapped[side], document, digest) for side, document, digest in real(self)),
    )
    with caught("shards hold other texts"):
        check_the_pipeline_does_not_leak(tmp_path)


def test_a_tokenizer_that_sees_held_out_texts_is_caught(monkeypatch, tmp_path):
    real = pipeline_stages.train_tokenizer

    def from_everything(documents, folder, **options):
        everything = document_files.read_documents(tmp_path / "out" / "clean")
        return real(everything, folder, **options)

    monkeypatch.setattr(pipeline_stages, "train_tokenizer", from_everything)
    with caught("train on the training side alone"):
        check_the_tokenizer_learns_from_training_alone(tmp_path)


def test_results_in_the_order_in_which_workers_finish_are_caught(monkeypatch):
    real = worker_pool.map_in_order

    def as_they_come(function, items, workers, **options):
        results = list(real(function, items, workers, **options))
        return iter(results[::-1])

    monkeypatch.setattr(encode_stream, "map_in_order", as_they_come)
    with pytest.raises((AssertionError, ValueError)):
        check_workers_change_nothing()


def test_an_end_of_text_token_once_a_chunk_is_caught(monkeypatch):
    real = encode_stream._chunks

    def joined(items, chunk_chars):
        for whats, texts in real(items, chunk_chars):
            yield whats, ["".join(texts)] + [""] * (len(texts) - 1)

    monkeypatch.setattr(encode_stream, "_chunks", joined)
    with caught("other ids"):
        check_workers_change_nothing()


def test_a_cache_by_size_and_time_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(content_cache, "RACY_NS", -(10**18))
    real = content_cache._fingerprint
    monkeypatch.setattr(content_cache, "_fingerprint", lambda path: (*real(path)[:3], 0, 0))
    with caught("called up to date"):
        check_a_changed_byte_is_never_overlooked(tmp_path)


def test_a_cache_by_name_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "working_with_text_data.preprocess.content_of", lambda digests: [d.path for d in digests]
    )
    with caught("called up to date"):
        check_a_changed_byte_is_never_overlooked(tmp_path)
