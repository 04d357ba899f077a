"""A folder of anything becomes one corpus, and every file of it is told of."""

import json

import pytest

from utils.errors import UserError
from working_with_text_data import build_corpus
from working_with_text_data.build_corpus import build_corpus_from_sources
from working_with_text_data.documents import Document, load_documents


@pytest.fixture
def folder(tmp_path):
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    (mine / "SMSSpamCollection").write_text("ham\tSee you\nspam\tWIN\n")
    (mine / "a.json").write_text(
        json.dumps([{"instruction": "Add.", "input": "1 + 1", "output": "2", "level": 1}])
    )
    (mine / "b.jsonl").write_text(
        json.dumps({"id": 7, "instruction": "Rhyme.", "instances": [{"input": "cat", "output": "hat"},
                                                                     {"input": "", "output": "none"}]}) + "\n"
    )  # fmt: skip
    (mine / "c.jsonl").write_text('{"text": "plain", "n": 1}\n')
    (mine / "d.txt").write_text("  as it is\r\n")
    (mine / "sub" / "e.md").write_text("# deep\n")
    (mine / "picture.png").write_bytes(b"\x89PNG")
    return mine


def test_each_file_is_taken_for_what_it_is(folder):
    built = build_corpus_from_sources(folder)
    texts = [d.text for d in built.documents]
    assert texts[0] == (
        "### Instruction:\nIs this text message spam or ham? Answer with one word.\n\n"
        "### Input:\nSee you\n\n### Response:\nham"
    )
    assert texts[2] == "### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n2"
    assert texts[3:5] == [
        "### Instruction:\nRhyme.\n\n### Input:\ncat\n\n### Response:\nhat",
        "### Instruction:\nRhyme.\n\n### Response:\nnone",
    ]
    assert texts[5:] == ["plain", "  as it is\r\n", "# deep\n"]
    metas = [d.meta for d in built.documents]
    assert metas[1]["label"] == metas[1]["output"] == "spam" and metas[1]["input"] == "WIN"
    assert metas[2] == {"instruction": "Add.", "input": "1 + 1", "output": "2", "level": 1}
    assert metas[3] == {"id": 7, "instruction": "Rhyme.", "input": "cat", "output": "hat"}
    assert metas[5] == {"n": 1} and metas[6] is None


def test_the_report_names_every_file(folder):
    report = build_corpus_from_sources(folder).report
    assert [(f.path, f.kind, f.documents) for f in report.files] == [
        ("SMSSpamCollection", "sms", 2),
        ("a.json", "instructions", 1),
        ("b.jsonl", "instructions", 2),
        ("c.jsonl", "text", 1),
        ("d.txt", "text", 1),
        ("picture.png", "left out", 0),
        ("sub/e.md", "text", 1),
    ]
    assert not report.embedded and ".png is not a kind of text" in str(report)


@pytest.mark.parametrize("prepare", [lambda p: None, lambda p: (p / "x.png").write_bytes(b"x"),
                                     lambda p: (p / "empty.txt").write_text(" ")])  # fmt: skip
def test_nothing_found_gives_the_embedded_corpus_and_says_so(tmp_path, prepare):
    prepare(tmp_path)
    built = build_corpus_from_sources(tmp_path)
    assert built.report.embedded and "this is the embedded corpus, storyland" in str(built.report)
    assert len(built.documents) == build_corpus.EMBEDDED_STORIES
    assert built.documents[0].text == load_documents("storyland", max_documents=1)[0].text


def test_a_broken_record_stops_or_is_counted_as_asked(folder):
    (folder / "f.jsonl").write_text('{"text": "ok"}\n{"text": \n{"body": 1}\n')
    with pytest.raises(UserError, match=r"f\.jsonl, line 2: not JSON"):
        build_corpus_from_sources(folder)
    report = build_corpus_from_sources(folder, on_bad_line="skip").report
    assert report.problems.counts["skipped"] == 2 and "line 3: needs `text`" in report.problems.places[1]
    with pytest.raises(UserError, match="no such folder"):
        build_corpus_from_sources(folder / "none")


def test_the_command_writes_what_load_documents_reads(folder, tmp_path, capsys):
    out = tmp_path / "corpus.jsonl"
    assert build_corpus.main([f"dir={folder}", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "8 documents" in printed and "left out" in printed
    built = build_corpus_from_sources(folder).documents
    found = load_documents(out)
    assert [(d.text, d.meta) for d in found] == [(d.text, d.meta) for d in built]
    with pytest.raises(UserError, match=r"must end in \.jsonl"):
        build_corpus.main([f"dir={folder}", f"out={tmp_path / 'x.txt'}"])


def test_writing_is_whole_or_not_at_all(tmp_path):
    out = tmp_path / "corpus.jsonl"
    out.write_text("before")

    def breaks():
        yield Document("one", "s", 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus.write_jsonl(out, breaks())
    assert out.read_text() == "before" and list(tmp_path.iterdir()) == [out]


def test_real_sources(shared_data, tmp_path):
    for source in (
        "classify/SMSSpamCollection",
        "instruct/instruction-data-1100.json",
        "instruct/seed_tasks_175.jsonl",
        "text/the-verdict.txt",
    ):
        (tmp_path / source.split("/")[1]).write_bytes((shared_data / source).read_bytes())
    report = build_corpus_from_sources(tmp_path).report
    assert [f.documents for f in report.files] == [5574, 1100, 175, 1]
