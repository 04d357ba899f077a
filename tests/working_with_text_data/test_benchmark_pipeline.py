"""The benchmark of the pipeline runs, measures what it says, and its text is what it claims to be."""

import json
from itertools import islice

import pytest

from utils.cli import run_main
from working_with_text_data.benchmark_pipeline import made_texts, main, write_texts


def test_it_measures_a_small_pipeline(tmp_path, capsys):
    out = tmp_path / "pipeline.json"
    arguments = [
        "documents=300",
        "pretokenise_mb=0.05",
        "rounds=1",
        "vocab_size=300",
        "workers=1",
        f"out={out}",
    ]
    assert run_main(main, arguments) == 0
    figures = json.loads(out.read_text())["figures"]
    assert figures["text"]["documents"] == 300
    assert set(figures["stages"]) == {"load", "clean", "split", "statistics", "tokenizer", "tokenise"}
    assert 20 < figures["whole"]["peak_mb"] <= figures["whole"]["tree_peak_mb"]
    assert figures["projection_1_gb"]["seconds"] > 0
    assert figures["pretokenise"]["one_process"]["mb_per_s"] > 0
    assert figures["stages"]["clean"]["documents"] == figures["stages"]["clean"]["documents_in"] == 300, (
        "cleaning must keep the made-up text: otherwise the stages behind it are measured on less"
    )
    assert "1 GB would take" in capsys.readouterr().out


def test_the_text_is_of_the_size_asked_for_and_no_two_documents_are_alike(tmp_path):
    written = write_texts(tmp_path / "t.jsonl", 0, None, 400_000)
    texts = [json.loads(line)["text"] for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(set(texts)) == len(texts) == written["documents"]
    size = sum(len(text.encode()) for text in texts)
    assert size == written["text_bytes"] and 400_000 <= size < 402_000
    assert list(islice(made_texts(0), 5)) == texts[:5] != list(islice(made_texts(1), 5))


@pytest.mark.parametrize("wrong", ["documents=5", "gigabytes=0"])
def test_sizes_that_measure_nothing_are_refused(wrong, capsys):
    assert run_main(main, [wrong]) == 2
    assert "documents of at least 100" in capsys.readouterr().err
