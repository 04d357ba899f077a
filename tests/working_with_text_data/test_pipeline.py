"""The pipeline command: every stage once, only what changed again, safe to kill, one line for bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from pipeline_checks import PLAIN, saved_bytes, texts_in, texts_in_shards, write_jsonl

from utils.cli import run_main
from utils.errors import UserError
from working_with_text_data import pipeline, pipeline_stages
from working_with_text_data.corpora import CORPORA, Corpus
from working_with_text_data.document_files import DocumentWriter, read_documents
from working_with_text_data.documents import Document
from working_with_text_data.pipeline import main, run_pipeline
from working_with_text_data.pipeline_config import PipelineConfig
from working_with_text_data.preprocess import PreprocessConfig, preprocess
from working_with_text_data.tree_memory import TreeMemorySampler, processes_below, tree_memory_bytes

ALL = ("load", "clean", "split", "statistics", "tokenise")


@pytest.fixture
def place(tmp_path):
    texts = [f"Text {n}: " + "the cat sat on the mat. " * (n % 9 + 1) for n in range(120)]
    write_jsonl(tmp_path / "in" / "texts.jsonl", texts)
    saved_bytes(tmp_path)
    return tmp_path


def config(place, **changes):
    given = {"input": str(place / "in"), "out": str(place / "out"), "cleaning": PLAIN}
    if "vocab_size" not in changes:
        given["tokenizer"] = str(place / "bytes.json")
    return PipelineConfig(**{**given, **changes})


def statuses(record):
    return {name: made["status"] for name, made in record["stages"].items()}


def contents(folder):
    """Every file's bytes, but for reports that say when and how fast."""
    changing = ("pipeline.json", "meta.json", "report.html", "statistics.json")
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in changing
    }


class TestStages:
    def test_each_leaves_its_folder_and_its_figures(self, place):
        record = run_pipeline(config(place))
        assert record["status"] == "complete" and statuses(record) == dict.fromkeys(ALL, "made")
        assert record == json.loads((place / "out" / "pipeline.json").read_text())
        texts = texts_in(place / "in")
        for name in ALL:
            made = record["stages"][name]
            assert made["documents_in"] == 120 and made["documents"] == 120
            # Cleaning takes the blank off each text's end; before it, and as it comes in, that is still there.
            blanks = 120 if name in ("load", "clean") else 0
            assert made["text_bytes_in"] == sum(len(t.strip()) for t in texts) + blanks
            assert made["documents_per_s"] == pytest.approx(120 / made["seconds"])
            assert 10**7 < made["peak_bytes"] <= made["tree_peak_bytes"]
        assert (place / "out" / "statistics" / "report.html").stat().st_size > 1000
        sides = [texts_in(place / "out" / "split" / side) for side in ("train", "val")]
        assert sorted(sides[0] + sides[1]) == sorted(t.strip() for t in texts)

    def test_it_gives_the_shards_of_preprocess(self, place):
        run_pipeline(config(place, clean=False, statistics=False))
        preprocess(
            PreprocessConfig(
                input=str(place / "in"), tokenizer=f"{place}/bytes.json", out=str(place / "shards")
            )
        )
        for side in ("train", "val"):
            ours, theirs = (
                (folder / f"{side}_000.bin").read_bytes()
                for folder in (place / "out" / "tokenise", place / "shards")
            )
            assert ours == theirs

    @pytest.mark.parametrize("left_out", ["load", "clean", "statistics", "tokenise"])
    def test_each_may_be_left_out(self, place, left_out):
        record = run_pipeline(config(place, **{left_out: False}))
        assert set(record["stages"]) == {*ALL} - {left_out}
        assert not (place / "out" / left_out).exists()
        assert len(texts_in(place / "out" / "split" / "train")) == 114

    def test_without_a_split_the_shards_are_split_on_the_way(self, place):
        whole = run_pipeline(config(place))
        record = run_pipeline(config(place, split=False, statistics=False, out=str(place / "other")))
        assert set(record["stages"]) == {"load", "clean", "tokenise"}
        for side in ("train", "val"):
            assert texts_in_shards(place / "other" / "tokenise", side) == texts_in_shards(
                place / "out" / "tokenise", side
            )
        assert record["stages"]["tokenise"]["split"] == whole["stages"]["tokenise"]["split"]

    @pytest.mark.parametrize("load", [True, False])  # the size of the text is known before the split, or not
    def test_text_too_long_to_hold_is_split_by_its_hash(self, place, monkeypatch, load):
        monkeypatch.setattr(pipeline, "HOLD_BYTES", 2000)
        record = run_pipeline(config(place, load=load, clean=False, statistics=False))
        assert record["stages"]["split"]["split"]["method"] == "threshold"
        by_hash = config(
            place, out=str(place / "by_hash"), clean=False, statistics=False, split_method="threshold"
        )
        run_pipeline(by_hash)
        for side in ("train", "val"):
            ours, theirs = (texts_in(place / out / "split" / side) for out in ("out", "by_hash"))
            assert ours == theirs and ours

    def test_it_trains_a_tokenizer_of_its_own(self, place):
        record = run_pipeline(config(place, vocab_size=300, statistics=False))
        assert record["stages"]["tokenizer"]["vocab_size"] == 300
        assert record["stages"]["tokenizer"]["documents"] == 114
        assert (
            record["stages"]["tokenise"]["tokens"]["train"] < record["stages"]["tokenise"]["text_bytes"] / 2
        )

    def test_a_tokenizer_may_be_trained_on_the_beginning_alone(self, place):
        record = run_pipeline(config(place, vocab_size=300, statistics=False, tokenizer_bytes=3000))
        assert 3000 <= record["stages"]["tokenizer"]["text_bytes"] < 3300

    def test_workers_change_nothing(self, place):
        run_pipeline(config(place))
        run_pipeline(config(place, workers=2, out=str(place / "other")))
        assert contents(place / "out") == contents(place / "other")

    def test_three_sides_and_what_documents_carry(self, place):
        lines = [json.dumps({"text": f"text {n} " * 9, "label": n % 2, "title": "é"}) for n in range(60)]
        (place / "in" / "texts.jsonl").write_text("\n".join(lines))
        run_pipeline(config(place, test_fraction=0.2, val_fraction=0.2))
        for side, count in (("train", 36), ("val", 12), ("test", 12)):
            documents = list(read_documents(place / "out" / "split" / side))
            assert len(documents) == count
            assert all(d.meta["title"] == "é" and d.meta["label"] in (0, 1) for d in documents)


class TestNothingTwice:
    def test_the_second_run_changes_nothing(self, place):
        run_pipeline(config(place))
        before = {p: p.stat().st_mtime_ns for p in (place / "out").rglob("*.*") if p.name != "pipeline.json"}
        assert set(statuses(run_pipeline(config(place))).values()) == {"unchanged"}
        assert before == {p: p.stat().st_mtime_ns for p in before}
        assert set(statuses(run_pipeline(config(place, workers=2))).values()) == {"unchanged"}

    @pytest.mark.parametrize(
        ("change", "again"),
        [
            ({"shard_tokens": 500}, ("tokenise",)),
            ({"val_fraction": 0.3}, ("split", "statistics", "tokenise")),
            ({"seed": 3}, ("split", "statistics", "tokenise")),
            ({"max_documents": 50}, ALL),
        ],
    )
    def test_an_option_repeats_the_stages_behind_it(self, place, change, again):
        run_pipeline(config(place))
        record = run_pipeline(config(place, **change))
        assert tuple(n for n, status in statuses(record).items() if status == "made") == again
        run_pipeline(config(place, **change, out=str(place / "fresh")))
        assert contents(place / "out") == contents(place / "fresh")

    def test_a_changed_input_repeats_all(self, place):
        run_pipeline(config(place))
        path = place / "in" / "texts.jsonl"
        path.write_text(path.read_text().replace("Text 7:", "Text X:"))
        assert set(statuses(run_pipeline(config(place))).values()) == {"made"}

    def test_what_cleaning_removes_anyway_repeats_nothing_behind_it(self, place):
        run_pipeline(config(place))
        with open(place / "in" / "texts.jsonl", "a") as file:
            file.write(json.dumps({"text": texts_in(place / "in")[0]}) + "\n")  # a copy
        record = run_pipeline(config(place))
        assert statuses(record) == {
            "load": "made",
            "clean": "made",
            "split": "unchanged",
            "statistics": "unchanged",
            "tokenise": "unchanged",
        }

    @pytest.mark.parametrize("damage", ["gone", "longer", "one byte"])
    def test_a_damaged_folder_is_made_again_and_no_other(self, place, damage):
        run_pipeline(config(place))
        part = place / "out" / "clean" / "part_00000.jsonl"
        whole = part.read_bytes()
        if damage == "gone":
            part.unlink()
        else:
            part.write_bytes(whole + b"\n" if damage == "longer" else whole.replace(b"cat", b"rat", 1))
        record = run_pipeline(config(place))
        assert [n for n, status in statuses(record).items() if status == "made"] == ["clean"]
        assert part.read_bytes() == whole

    def test_a_corpus_that_is_no_file_is_compared_by_what_it_gives(self, place, monkeypatch):
        texts = [f"corpus text number {n}" for n in range(40)]
        made = Corpus("made-up", "for a test", "none", lambda **options: iter(texts))
        monkeypatch.setitem(CORPORA, "made-up", made)
        for load in (True, False):
            out = str(place / f"out_{load}")
            run_pipeline(config(place, input="made-up", load=load, out=out))
            record = run_pipeline(config(place, input="made-up", load=load, out=out))
            assert set(statuses(record).values()) == {"unchanged"}
            texts[3] += " changed"
            record = run_pipeline(config(place, input="made-up", load=load, out=out))
            assert set(statuses(record).values()) == {"made"}

    def test_stages_left_out_later_are_called_skipped(self, place):
        run_pipeline(config(place))
        assert statuses(run_pipeline(config(place, statistics=False)))["statistics"] == "skipped"


class TestKilled:
    @pytest.mark.parametrize("stage", ["load", "clean", "split", "statistics", "tokenise"])
    def test_stopped_in_any_stage_it_leaves_nothing_half_made_and_goes_on(self, place, monkeypatch, stage):
        run_pipeline(config(place, out=str(place / "reference")))
        real = getattr(pipeline_stages, stage)

        def stopped(*arguments, **options):
            real(*arguments, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(pipeline_stages, stage, stopped)
            with pytest.raises(KeyboardInterrupt):
                run_pipeline(config(place))
        if stage != "tokenise":
            assert not (place / "out" / stage).exists()
        record = run_pipeline(config(place))
        before = ALL[: ALL.index(stage)]
        assert all(record["stages"][name]["status"] == "unchanged" for name in before)
        assert record["stages"][stage]["status"] == "made"
        assert contents(place / "out") == contents(place / "reference")

    @pytest.mark.parametrize("seconds", [0.0, 0.3, 0.9])
    def test_killed_at_any_moment_the_next_run_ends_as_if_nothing_had_been(self, place, seconds):
        texts = [f"{n} " + "the cat sat on the mat. " * 40 for n in range(3000)]
        write_jsonl(place / "in" / "texts.jsonl", texts)
        command = [sys.executable, "-m", "working_with_text_data.pipeline", f"input={place}/in", "workers=2"]
        command += [f"tokenizer={place}/bytes.json", "statistics=false", "shard_tokens=300000"]
        command += ["cleaning.pii=false", "cleaning.mojibake=false", "cleaning.near_duplicates=false"]
        command += ["cleaning.quality=false"]
        process = subprocess.Popen(
            [*command, f"out={place}/out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not (place / "out" / "load").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
        for out in ("out", "whole"):
            done = subprocess.run([*command, f"out={place}/{out}"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        assert contents(place / "out") == contents(place / "whole")
        assert not list((place / "out").glob(".*.tmp")), "left-overs of the killed run were not removed"


class TestCommandLine:
    def arguments(self, place, **changes):
        given = {"input": f"{place}/in", "out": f"{place}/out", "tokenizer": f"{place}/bytes.json"}
        plain = {f"cleaning.{stage}": "false" for stage in ("mojibake", "pii", "near_duplicates", "quality")}
        return [f"{k}={v}" for k, v in {**given, **plain, **changes}.items() if v is not None]

    def test_it_says_what_it_made_and_what_comes_next(self, place, capsys):
        write_jsonl(
            place / "in" / "texts.jsonl", [f"{n} " + "the cat sat with the dog. " * 12 for n in range(40)]
        )
        assert run_main(main, self.arguments(place)) == 0
        out = capsys.readouterr().out
        assert "clean      made" in out and f"wrote: {place}/out/pipeline.json" in out
        assert f"next: python -m pretraining.train data={place}/out/clean tokenizer=" in out
        assert run_main(main, self.arguments(place)) == 0
        assert "clean      unchanged" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"input": "nowhere.txt"}, "nowhere.txt: no such file"),
            ({"tokenizer": None}, "no tokenizer: give tokenizer=FILE"),
            ({"vocab_size": "300"}, "tokenizer and vocab_size are both given"),
            ({"tokenizer": None, "vocab_size": "300", "split": "false"}, "trained on the training side only"),
            ({"split": "false"}, "statistics with split=false"),
            ({"val_fraction": "2"}, "val_fraction is 2"),
            ({"workers": "-2"}, "workers is -2"),
            ({"cleaning.speed": "9"}, "unknown key cleaning.speed"),
            (
                {"cleaning.quality": "true", "cleaning.rules.min_words": "1000"},
                "cleaning left none of 120 documents (120 quality_word_count)",
            ),
            ({"tokenizer": "nowhere.json"}, "nowhere.json"),
        ],
    )
    def test_bad_input_is_one_line_and_exit_code_2(self, place, capsys, change, says):
        code = run_main(main, self.arguments(place, **change))
        error = capsys.readouterr().err.strip()
        assert code == 2 and error.startswith("error: ") and says in error and "\n" not in error, error

    def test_a_folder_of_something_else_is_left_alone(self, place):
        (place / "out").mkdir()
        (place / "out" / "thesis.doc").write_text("years of work")
        with pytest.raises(UserError, match="holds other files"):
            run_pipeline(config(place))
        assert [p.name for p in (place / "out").iterdir()] == ["thesis.doc"]
        with pytest.raises(UserError, match="a file where a folder"):
            run_pipeline(config(place, out=str(place / "bytes.json")))

    def test_a_damaged_record_is_named(self, place):
        run_pipeline(config(place))
        (place / "out" / "pipeline.json").write_text('{"version"')
        with pytest.raises(UserError, match=r"pipeline\.json: damaged JSON"):
            run_pipeline(config(place))
        (place / "out" / "pipeline.json").write_text('{"version": 99}')
        with pytest.raises(UserError, match=r"pipeline\.json: not a record that this program reads"):
            run_pipeline(config(place))

    def test_an_input_of_blank_lines_is_refused(self, place):
        (place / "in" / "texts.jsonl").write_text("\n \n")
        with pytest.raises(UserError, match="no text"):
            run_pipeline(config(place))


class TestParts:
    def test_documents_come_back_as_they_were_across_parts(self, tmp_path):
        documents = [
            Document(f"é\n{n}\u2028", "a/b.txt", n, {"label": n} if n % 2 else None) for n in range(50)
        ]
        with DocumentWriter(tmp_path / "d", part_bytes=300) as write:
            for document in documents:
                write(document)
        assert len(list((tmp_path / "d").iterdir())) > 5
        assert list(read_documents(tmp_path / "d")) == documents
        assert write.documents == 50 and write.text_bytes == sum(len(d.text.encode()) for d in documents)

    @pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc to see other processes")
    def test_the_memory_of_a_tree_holds_its_children(self):
        code = "import time; held = bytearray(80_000_000); print('ready', flush=True); time.sleep(60)"
        with TreeMemorySampler(0.01) as memory:
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            try:
                child.stdout.readline()
                assert child.pid in processes_below(os.getpid())
                assert tree_memory_bytes(child.pid) > 80_000_000
                assert tree_memory_bytes() > tree_memory_bytes(child.pid)
                time.sleep(0.1)
            finally:
                child.kill()
                child.communicate()
        assert memory.tree_peak_bytes > 80_000_000 + memory.start_bytes / 2
        assert memory.peak_bytes < memory.tree_peak_bytes


def test_nothing_is_left_of_the_working_folder(place):
    run_pipeline(config(place))
    assert {p.name for p in (place / "out").iterdir()} == {*ALL, "pipeline.json"}
    shutil.rmtree(place / "out" / "split")
    assert statuses(run_pipeline(config(place)))["split"] == "made"
    assert pipeline.RECORD == "pipeline.json"
