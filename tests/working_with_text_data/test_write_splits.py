"""Shards from a stream: workers, kill -9, a full disk, long documents, inputs that change under way."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from utils.cli import run_main
from utils.errors import RunFailure, UserError
from working_with_text_data import preprocess as module
from working_with_text_data import shards
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.corpora import CORPORA, Corpus
from working_with_text_data.encode_stream import encode_stream
from working_with_text_data.preprocess import PreprocessConfig, main, preprocess
from working_with_text_data.shards import open_shards
from working_with_text_data.tree_memory import processes_below

END = "<|endoftext|>"


@pytest.fixture
def place(tmp_path):
    lines = [json.dumps({"text": f"Text {n}: " + "ab " * (n % 40)}) for n in range(300)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    ByteTokenizer((END,)).save(tmp_path / "bytes.json")
    return tmp_path


def config(place, **changes):
    paths = {"input": f"{place}/texts.jsonl", "tokenizer": f"{place}/bytes.json", "out": f"{place}/out"}
    return PreprocessConfig(**{**paths, "shard_tokens": 500, "split_method": "threshold", **changes})


def shard_bytes(folder):
    return {p.name: p.read_bytes() for p in folder.glob("*.bin")}


class TestSplits:
    def test_workers_write_the_same_bytes(self, place):
        preprocess(config(place))
        for workers in (1, 3):
            preprocess(config(place, out=f"{place}/out{workers}", workers=workers))
            assert shard_bytes(place / f"out{workers}") == shard_bytes(place / "out")

    def test_another_number_of_workers_is_no_reason_to_write_again(self, place):
        preprocess(config(place))
        assert not preprocess(config(place, workers=2)).written

    def test_three_sides(self, place):
        meta = preprocess(config(place, val_fraction=0.2, test_fraction=0.2)).meta
        assert set(meta["splits"]) == {"train", "val", "test"}
        assert sum(side["documents"] for side in meta["splits"].values()) == 300
        assert all(side["documents"] > 20 for side in meta["splits"].values())
        assert preprocess(config(place, val_fraction=0.2, test_fraction=0.0)).written
        assert not list((place / "out").glob("test_*")), "shards that nothing names any more stay behind"

    @pytest.mark.parametrize("method", ["auto", "documents"])
    def test_three_sides_in_exact_shares(self, place, method):
        meta = preprocess(config(place, val_fraction=0.1, test_fraction=0.2, split_method=method)).meta
        assert [meta["splits"][s]["documents"] for s in ("train", "val", "test")] == [210, 30, 60]

    def test_auto_holds_little_and_streams_much(self, place, monkeypatch):
        assert preprocess(config(place, split_method="auto")).meta["split"]["method"] == "documents"
        monkeypatch.setattr(module, "HOLD_BYTES", 2000)
        report = preprocess(config(place, split_method="auto")).meta["split"]
        assert report["method"] == "threshold" and report["leak_rate"] is None

    def test_one_long_document_is_held_and_cut_into_spans(self, place, monkeypatch):
        (place / "book.txt").write_text("word " * 20_000)
        monkeypatch.setattr(module, "HOLD_BYTES", 2000)
        meta = preprocess(config(place, input=f"{place}/book.txt", split_method="auto")).meta
        assert meta["split"]["method"] == "spans" and meta["splits"]["val"]["tokens"] > 1000


class TestSources:
    def test_a_corpus_that_is_no_file_is_read_again_but_not_tokenised(self, place, monkeypatch):
        texts = [f"corpus text {n}" for n in range(50)]
        made = Corpus("made-up", "for a test", "none", lambda **options: iter(texts))
        monkeypatch.setitem(CORPORA, "made-up", made)
        encoded = []
        real = ByteTokenizer.encode_ordinary
        monkeypatch.setattr(
            ByteTokenizer, "encode_ordinary", lambda self, text: encoded.append(text) or real(self, text)
        )
        assert preprocess(config(place, input="made-up")).written and len(encoded) == 50
        assert not preprocess(config(place, input="made-up")).written and len(encoded) == 50
        texts[9] = "another text"
        assert preprocess(config(place, input="made-up")).written, "a changed corpus gave stale shards"

    def test_a_corpus_that_changed_since_it_was_interrupted_is_begun_anew(self, place, monkeypatch):
        texts = [f"corpus text {n:03d}, some words" for n in range(200)]
        made = Corpus("made-up", "for a test", "none", lambda **options: iter(texts))
        monkeypatch.setitem(CORPORA, "made-up", made)
        count = []

        def stop(side, n_bytes):
            count.append(side)
            if len(count) == 150:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            preprocess(config(place, input="made-up"), on_document=stop)
        texts[3] = "corpus text 003, SOME words"  # of the same length
        preprocess(config(place, input="made-up"))
        preprocess(config(place, input="made-up", out=f"{place}/clean"))
        assert shard_bytes(place / "out") == shard_bytes(place / "clean"), "old and new texts were mixed"

    def test_a_corpus_that_shrank_since_it_was_interrupted_is_begun_anew(self, place, monkeypatch):
        texts = [f"corpus text {n:03d}, some words" for n in range(200)]
        made = Corpus("made-up", "for a test", "none", lambda **options: iter(texts))
        monkeypatch.setitem(CORPORA, "made-up", made)
        count = []

        def stop(side, n_bytes):
            count.append(side)
            if len(count) == 150:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            preprocess(config(place, input="made-up"), on_document=stop)
        del texts[50:]
        preprocess(config(place, input="made-up"))
        preprocess(config(place, input="made-up", out=f"{place}/clean"))
        assert shard_bytes(place / "out") == shard_bytes(place / "clean")

    def test_broken_lines_are_counted_when_they_may_be_skipped(self, place, capsys):
        with open(place / "texts.jsonl", "a") as file:
            file.write("not json\n")
        arguments = [f"input={place}/texts.jsonl", f"tokenizer={place}/bytes.json", f"out={place}/out"]
        assert run_main(main, arguments) == 2
        assert "line 301" in capsys.readouterr().err
        assert run_main(main, [*arguments, "on_bad_line=skip"]) == 0
        assert "1 skipped" in capsys.readouterr().out


class TestWhatGoesWrong:
    def test_a_disk_that_fills_up_is_one_line_and_the_next_attempt_goes_on(self, place, capsys, monkeypatch):
        preprocess(config(place, out=f"{place}/reference"))
        real = shards.atomic_write_bytes
        written = []

        def filling(path, data):
            if len(written) == 4:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            written.append(path.name)
            return real(path, data)

        monkeypatch.setattr(shards, "atomic_write_bytes", filling)
        arguments = [f"input={place}/texts.jsonl", f"tokenizer={place}/bytes.json", f"out={place}/out"]
        arguments += ["shard_tokens=500", "split_method=threshold", "workers=1"]
        assert run_main(main, arguments) == 1
        error = capsys.readouterr().err.strip()
        assert "the disk is full" in error and "\n" not in error
        first = {name: (place / "out" / name).stat().st_mtime_ns for name in written}
        monkeypatch.setattr(shards, "atomic_write_bytes", real)
        assert run_main(main, arguments) == 0
        assert shard_bytes(place / "out") == shard_bytes(place / "reference")
        after = {name: (place / "out" / name).stat().st_mtime_ns for name in written}
        assert first == after, "the shards that were safe were written again"

    def test_a_worker_that_is_killed_is_one_line(self):
        texts = ((n, "some text " * 3000) for n in range(10**6))
        with closing(encode_stream(texts, ByteTokenizer(), workers=1, chunk_chars=1000)) as stream:
            next(stream)
            for pid in processes_below(os.getpid())[1:]:
                if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
            with pytest.raises(RunFailure, match="worker process died"):
                for _ in stream:
                    pass

    def test_a_tokenizer_that_cannot_be_sent_is_refused(self):
        class Local(ByteTokenizer):
            pass

        with pytest.raises(UserError, match=r"a Local cannot be sent to worker processes .*workers=0"):
            list(encode_stream([(0, "text")], Local(), workers=1))

    @pytest.mark.parametrize(
        ("change", "says"), [({"workers": -1}, "workers is -1"), ({"test_fraction": 0.99}, "together")]
    )
    def test_settings_that_make_no_sense(self, place, change, says):
        with pytest.raises(UserError, match=says):
            preprocess(config(place, **change))

    def test_an_id_outside_of_the_vocabulary_is_named(self):
        class Liar(ByteTokenizer):
            def encode_ordinary(self, text):
                return [70_000]

        (_, ids), *_ = encode_stream([(0, "x")], Liar())
        assert ids.tolist() == [70_000], "an id must not be wrapped around to fit the width"

    def test_a_document_much_longer_than_a_chunk_or_a_shard(self, place):
        long = "word " * 400_000  # 2 MB: eight chunks, 500 shards
        (place / "texts.jsonl").write_text(
            json.dumps({"text": long}) + "\n" + json.dumps({"text": "b"}) + "\n"
        )
        meta = preprocess(config(place, workers=1, shard_tokens=4000, val_fraction=0.0)).meta
        assert meta["splits"]["train"]["tokens"] == len(long) + 3
        last = open_shards(place / "out", "train", verify=True)[-2:].tolist()
        assert last == [ord("b"), meta["end_of_text"]]

    @pytest.mark.parametrize("moment", [1, 3, 6])
    def test_killed_with_its_workers_it_goes_on_and_no_worker_stays(self, place, moment):
        lines = "".join(json.dumps({"text": f"{n} " + "long text " * 300}) + "\n" for n in range(1500))
        (place / "texts.jsonl").write_text(lines)
        command = [sys.executable, "-m", "working_with_text_data.preprocess", "shard_tokens=100000"]
        command += ["split_method=threshold", f"tokenizer={place}/bytes.json", f"input={place}/texts.jsonl"]
        process = subprocess.Popen(
            [*command, f"out={place}/out", "workers=2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 90
        while not (place / "out" / f"train_{moment:03d}.bin").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        workers = [pid for pid in processes_below(process.pid) if pid != process.pid]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
        assert workers, "there was no worker"
        while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(alive(pid) for pid in workers), "a worker outlived its parent"
        with pytest.raises(UserError, match="no token shards"):
            open_shards(place / "out", "train")
        kept = {p: p.stat().st_mtime_ns for p in (place / "out").glob("train_00[0-9].bin")}
        done = subprocess.run([*command, f"out={place}/out", "workers=2"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        subprocess.run([*command, f"out={place}/whole"], capture_output=True, check=True)
        assert shard_bytes(place / "out") == shard_bytes(place / "whole")
        assert sum(p.stat().st_mtime_ns == then for p, then in kept.items()) >= len(kept) - 1, (
            "it began again from nothing"
        )


def alive(pid):
    try:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]  # noqa: SIM115
    except OSError:
        return False
    return state != "Z"
