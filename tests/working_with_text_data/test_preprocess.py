"""The preprocess command: right shards, nothing done twice, safe to kill, one line for bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from utils.cli import run_main
from utils.errors import UserError
from working_with_text_data import preprocess as module
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.documents import load_documents
from working_with_text_data.preprocess import PreprocessConfig, main, preprocess
from working_with_text_data.shards import open_shards
from working_with_text_data.splitting import split_documents
from working_with_text_data.tokenizer import load_tokenizer, tokenizer_hash

END = "<|endoftext|>"


@pytest.fixture
def place(tmp_path):
    """A folder with forty texts, one of which spells out the end-of-text token, and a byte tokenizer."""
    texts = [
        f"Story {n}: " + "the cat sat. " * (n % 7) + ("It ended <|endoftext|> so." if n == 3 else "é")
        for n in range(40)
    ]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    ByteTokenizer((END,)).save(tmp_path / "bytes.json")
    return tmp_path


def config(place, **changes):
    paths = {
        "input": str(place / "texts.jsonl"),
        "tokenizer": str(place / "bytes.json"),
        "out": str(place / "out"),
    }
    return PreprocessConfig(**{**paths, "shard_tokens": 100, **changes})


def files(folder):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


class TestWhatIsWritten:
    def test_the_shards_decode_to_the_documents_of_the_split(self, place):
        result = preprocess(config(place))
        assert result.written
        tokenizer = load_tokenizer(place / "out" / "tokenizer.json")
        end = tokenizer.special_tokens[END]
        split = split_documents(load_documents(place / "texts.jsonl"))
        for name, documents in (("train", split.train), ("val", split.val)):
            ids = open_shards(place / "out", name, tokenizer_sha256=tokenizer_hash(tokenizer))[:].tolist()
            assert ids.count(end) == len(documents), "a text that spells the token out must not end itself"
            pieces, start = [], 0
            for at, token in enumerate(ids):
                if token == end:
                    pieces.append(tokenizer.decode(ids[start:at]))
                    start = at + 1
            assert pieces == [d.text for d in documents] and start == len(ids)
            entry = result.meta["splits"][name]
            assert entry["text_bytes"] == sum(len(d.text.encode()) for d in documents)
            assert (entry["documents"], entry["tokens"]) == (len(documents), len(ids))
        assert result.meta["split"]["leak_rate"] == split.report.leak_rate
        assert result.meta["end_of_text"] == end

    def test_a_tokenizer_without_specials_joins_texts_as_they_are(self, place):
        ByteTokenizer().save(place / "bytes.json")
        meta = preprocess(config(place)).meta
        assert meta["end_of_text"] is None
        assert meta["splits"]["train"]["tokens"] == meta["splits"]["train"]["text_bytes"]


class TestNothingTwice:
    def test_the_same_inputs_write_nothing(self, place):
        preprocess(config(place))
        before = files(place / "out")
        again = preprocess(config(place))
        assert not again.written and files(place / "out") == before

    def test_a_moved_but_equal_input_writes_nothing(self, place):
        preprocess(config(place))
        shutil.copy(place / "texts.jsonl", place / "same.jsonl")
        assert not preprocess(config(place, input=str(place / "same.jsonl"))).written

    @pytest.mark.parametrize(
        "change", [{"seed": 1}, {"val_fraction": 0.3}, {"shard_tokens": 90}, {"max_documents": 20}]
    )
    def test_another_option_writes_again(self, place, change):
        first = preprocess(config(place)).meta
        second = preprocess(config(place, **change))
        assert second.written and second.meta["key"] != first["key"]
        listed = {s["file"] for split in second.meta["splits"].values() for s in split["shards"]}
        assert {p.name for p in (place / "out").glob("*.bin")} == listed

    def test_another_tokenizer_writes_again(self, place):
        preprocess(config(place))
        ByteTokenizer((END, "<|user|>")).save(place / "bytes.json")
        assert preprocess(config(place)).written

    @pytest.mark.parametrize("damage", ["cut", "gone"])
    def test_a_damaged_shard_is_made_again(self, place, damage):
        preprocess(config(place))
        shard = place / "out" / "train_001.bin"
        whole = shard.read_bytes()
        shard.write_bytes(whole[:70]) if damage == "cut" else shard.unlink()
        assert preprocess(config(place)).written and shard.read_bytes() == whole


class TestKilled:
    def test_stopped_after_any_document_it_goes_on_and_ends_with_the_same_files(self, place):
        preprocess(config(place, out=str(place / "reference")))
        reference = {n: c for n, (c, _) in files(place / "reference").items() if n.endswith(".bin")}

        class Killed(BaseException):
            pass

        def kill_after(count):
            seen = []

            def on_document(split, n_bytes):
                seen.append(split)
                if len(seen) == count:
                    raise Killed

            return on_document

        for count in (1, 5, 20, 37, 38, 39, 40):
            out = place / f"killed_{count}"
            with pytest.raises(Killed):
                preprocess(config(place, out=str(out)), on_document=kill_after(count))
            with pytest.raises(UserError, match="no token shards"):
                open_shards(out, "train")
            done = []
            preprocess(
                config(place, out=str(out)), on_document=lambda split, size, done=done: done.append(split)
            )
            ended = {n: c for n, (c, _) in files(out).items() if n.endswith(".bin")}
            assert ended == reference, f"stopped after {count} documents, the shards differ"
            assert len(done) < 40 or count == 1, "it began again from nothing"
            assert not (out / "progress.json").exists()

    def test_progress_of_other_inputs_is_not_used(self, place):
        def stop(split, n_bytes):
            if split == "val":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            preprocess(config(place), on_document=stop)
        assert (place / "out" / "progress.json").exists()
        changed = preprocess(config(place, seed=5)).meta
        clean = preprocess(config(place, seed=5, out=str(place / "clean"))).meta
        assert changed["splits"] == clean["splits"]

    def test_a_killed_process_leaves_nothing_that_opens_and_the_next_one_finishes(self, place):
        lines = "".join(json.dumps({"text": f"{n} " + "long text " * 200}) + "\n" for n in range(1000))
        (place / "texts.jsonl").write_text(lines)
        command = [sys.executable, "-m", "working_with_text_data.preprocess", "shard_tokens=20000"]
        command += [f"input={place}/texts.jsonl", f"tokenizer={place}/bytes.json", f"out={place}/out"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not (place / "out" / "train_003.bin").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, (
            "it ended before it could be killed: make the input larger"
        )
        with pytest.raises(UserError, match="no token shards"):
            open_shards(place / "out", "train")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("wrote: "), done.stderr
        train, val = (open_shards(place / "out", name, verify=True) for name in ("train", "val"))
        assert len(train) + len(val) == sum(len(json.loads(line)["text"]) + 1 for line in lines.splitlines())
        left = {p.name for p in (place / "out").iterdir() if not p.name.endswith(".bin")}
        assert left == {"meta.json", "tokenizer.json"}


class TestCommandLine:
    def test_it_says_what_it_made(self, place, capsys):
        arguments = [f"input={place}/texts.jsonl", f"tokenizer={place}/bytes.json", f"out={place}/out"]
        assert run_main(main, arguments) == 0
        out = capsys.readouterr().out
        assert "wrote:" in out and "train  38 documents" in out and "val    2 documents" in out
        assert run_main(main, arguments) == 0
        assert "unchanged:" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"input": "nowhere.txt"}, "nowhere.txt: no such file"),
            ({"tokenizer": "nowhere.json"}, "nowhere.json"),
            ({"val_fraction": "2"}, "val_fraction is 2"),
            ({"shard_tokens": "0"}, "shard_tokens is 0"),
            ({"shards": "5"}, "shards"),
            ({"seed": "abc"}, "seed"),
            ({"split_method": "dice"}, "split_method"),
        ],
    )
    def test_bad_input_is_one_line_and_exit_code_2(self, place, capsys, change, says):
        settings = {
            "input": f"{place}/texts.jsonl",
            "tokenizer": f"{place}/bytes.json",
            "out": f"{place}/out",
        }
        code = run_main(main, [f"{key}={value}" for key, value in {**settings, **change}.items()])
        error = capsys.readouterr().err.strip()
        assert code == 2 and error.startswith("error: ") and says in error and "\n" not in error
        assert not (place / "out" / "meta.json").exists()

    def test_a_folder_of_something_else_is_left_alone(self, place, capsys):
        (place / "out").mkdir()
        (place / "out" / "thesis.doc").write_text("years of work")
        with pytest.raises(UserError, match="holds other files"):
            preprocess(config(place))
        assert [p.name for p in (place / "out").iterdir()] == ["thesis.doc"]
        with pytest.raises(UserError, match="a file where a folder"):
            preprocess(config(place, out=str(place / "texts.jsonl")))

    def test_a_full_disk_is_one_line_and_leaves_nothing_that_opens(self, place, capsys, monkeypatch):
        def full(path, data):
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr("working_with_text_data.shards.atomic_write_bytes", full)
        arguments = [f"input={place}/texts.jsonl", f"tokenizer={place}/bytes.json", f"out={place}/out"]
        assert run_main(main, arguments) == 1
        error = capsys.readouterr().err.strip()
        assert "the disk is full" in error and "\n" not in error
        with pytest.raises(UserError, match="no token shards"):
            open_shards(place / "out", "train")


def test_it_does_not_import_torch():
    code = f"import sys, {module.__name__}; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    )
