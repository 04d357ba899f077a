"""A file is complete or not there, whatever happens while it is written."""

import dataclasses
import enum
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import files
from utils.errors import UserError
from utils.files import (
    JsonlWriter,
    LineWriter,
    atomic_dir,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    jsonable,
    read_jsonl,
    read_lines,
    sha256_bytes,
    sha256_file,
    sha256_folder,
)


@pytest.fixture
def full_disk(monkeypatch):
    """From now on a write takes half of what it is given, once, and then the disk is full."""
    real = os.write
    state = {"calls": 0}

    def write(descriptor, data):
        state["calls"] += 1
        if state["calls"] == 1:
            return real(descriptor, bytes(data)[: max(1, len(data) // 2)])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "write", write)
    return state


@pytest.fixture
def read_only_folder():
    """A folder that this process may read and not write. Root may write anywhere, so it steps down."""
    folder = Path(tempfile.mkdtemp(prefix="scratchbook-read-only-"))
    folder.chmod(0o555)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        folder.chmod(0o755)
        leftovers = list(folder.iterdir())
        for path in leftovers:
            path.unlink()
        folder.rmdir()
        assert leftovers == []


def test_written_bytes_are_read_back_and_parents_are_made(tmp_path):
    path = atomic_write_bytes(tmp_path / "a" / "b.bin", b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    atomic_write_text(path, "é\r\n")
    assert path.read_bytes() == "é\r\n".encode(), "line ends are kept as they are"
    atomic_write_json(path, {"é": (1, float("nan"))})
    assert json.loads(path.read_text()) == {"é": [1, None]}
    assert os.listdir(path.parent) == ["b.bin"]


def test_permissions_follow_the_umask_as_for_any_file(tmp_path):
    before = os.umask(0o022)
    try:
        assert atomic_write_bytes(tmp_path / "x", b"").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with pytest.raises(OSError) as caught:
        atomic_write_bytes(path, b"new and longer")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path), "the error names the file that the person knows"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_short_writes_are_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    assert atomic_write_bytes(tmp_path / "x", b"0123456789").read_bytes() == b"0123456789"


def test_a_read_only_folder_is_an_os_error_and_nothing_is_left(read_only_folder):
    with pytest.raises(PermissionError) as caught:
        atomic_write_bytes(read_only_folder / "x", b"data")
    assert caught.value.filename == str(read_only_folder / "x")


def test_atomic_dir_appears_whole(tmp_path):
    with atomic_dir(tmp_path / "step_5") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "w.bin").write_bytes(b"1")
        assert not (tmp_path / "step_5").exists()
    assert (tmp_path / "step_5" / "deep" / "w.bin").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["step_5"]


def test_atomic_dir_replaces_a_folder_without_mixing_old_and_new(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.bin").write_bytes(b"old")
    with atomic_dir(target) as folder:
        (folder / "new.bin").write_bytes(b"new")
    assert os.listdir(target) == ["new.bin"]
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("exc", [ValueError("no"), KeyboardInterrupt()])
def test_atomic_dir_that_fails_leaves_what_was_there(tmp_path, exc):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.bin").write_bytes(b"old")
    with pytest.raises(type(exc)):
        with atomic_dir(target) as folder:
            (folder / "new.bin").write_bytes(b"new")
            raise exc
    assert os.listdir(target) == ["old.bin"]
    assert os.listdir(tmp_path) == ["model"]


def test_atomic_dir_puts_the_old_folder_back_when_the_rename_fails(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.bin").write_bytes(b"old")
    real = os.replace
    renames = []

    def replace(source, destination):
        renames.append(str(destination))
        if len(renames) == 2:
            raise OSError(errno.EIO, "broken disk")
        real(source, destination)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(OSError, match="broken disk"):
        with atomic_dir(target) as folder:
            (folder / "new.bin").write_bytes(b"new")
    assert os.listdir(target) == ["old.bin"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_process_killed_while_building_a_folder_leaves_no_half_folder(tmp_path):
    code = (
        "import sys, time\n"
        "from utils.files import atomic_dir\n"
        "with atomic_dir(sys.argv[1]) as folder:\n"
        "    (folder / 'half.bin').write_bytes(b'half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "step_7")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "step_7").exists()
    assert all(name.startswith(".step_7.") and name.endswith(".tmp") for name in os.listdir(tmp_path))
    with atomic_dir(tmp_path / "step_7") as folder:
        (folder / "whole.bin").write_bytes(b"whole")
    assert os.listdir(tmp_path / "step_7") == ["whole.bin"]


def test_a_process_killed_while_replacing_a_file_leaves_old_or_new(tmp_path):
    path = tmp_path / "x.json"
    code = (
        "import sys\n"
        "from utils.files import atomic_write_json\n"
        "for i in range(10**6):\n"
        "    atomic_write_json(sys.argv[1], {'i': i, 'pad': 'x' * 20000})\n"
        "    if i == 3: print('go', flush=True)\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02)
        process.kill()
        process.wait()
        process.stdout.close()
        assert len(json.loads(path.read_text())["pad"]) == 20000


@given(st.binary(max_size=2000))
def test_sums_of_bytes_and_files_agree(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        assert sha256_file(path) == sha256_bytes(data)


def test_a_known_sum():
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_s_sum_sees_names_and_contents_but_not_hidden_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"1")
    first = sha256_folder(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"noise")
    assert sha256_folder(tmp_path) == first
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    renamed = sha256_folder(tmp_path)
    (tmp_path / "sub" / "b").write_bytes(b"2")
    assert len({first, renamed, sha256_folder(tmp_path)}) == 3


class Kind(enum.Enum):
    ONE = "one"


@dataclasses.dataclass
class Point:
    x: float
    where: Path


def test_jsonable_takes_what_the_project_holds():
    import numpy as np
    import torch

    value = {
        1: (True, None),
        "set": {"b", "a"},
        "point": Point(float("inf"), Path("a/b")),
        "kind": Kind.ONE,
        "numpy": np.float32(0.5),
        "array": np.arange(2),
        "torch": torch.tensor([1.0, float("nan")]),
    }
    assert jsonable(value) == {
        "1": [True, None],
        "set": ["a", "b"],
        "point": {"x": None, "where": "a/b"},
        "kind": "one",
        "numpy": 0.5,
        "array": [0, 1],
        "torch": [1.0, None],
    }
    assert jsonable(float("inf"), finite=False) == float("inf")
    with pytest.raises(TypeError, match="no JSON form"):
        jsonable(object())


def test_each_record_can_be_read_as_soon_as_it_is_written(tmp_path):
    writer = JsonlWriter(tmp_path / "m.jsonl")
    for step in range(3):
        writer.write({"step": step, "text": "line\nbreak \u2028 é"})
        assert [r["step"] for r in read_jsonl(tmp_path / "m.jsonl")] == list(range(step + 1))
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write({})


def test_a_torn_last_line_is_ignored_and_the_next_writer_removes_it(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    assert read_jsonl(path) == [{"step": 1}]
    writer = JsonlWriter(path)
    writer.write({"step": 3})
    writer.close()
    assert read_jsonl(path) == [{"step": 1}, {"step": 3}]


def test_a_file_that_is_all_torn_line_longer_than_a_block_becomes_empty(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"x" * 200_000)
    JsonlWriter(path).close()
    assert path.read_bytes() == b""
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    JsonlWriter(path).close()
    assert path.read_bytes() == b"{}\n"


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\nnot json\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"m\.jsonl, line 2 is not JSON"):
        read_jsonl(path)


def test_a_record_that_does_not_fit_on_the_disk_leaves_no_torn_line(tmp_path, full_disk, monkeypatch):
    writer = LineWriter(tmp_path / "m.jsonl")
    with pytest.raises(OSError) as caught:
        writer.write_line("x" * 50)
    assert caught.value.filename == str(tmp_path / "m.jsonl")
    assert (tmp_path / "m.jsonl").read_bytes() == b""
    monkeypatch.undo()
    writer.write_line("after")
    writer.close()
    assert (tmp_path / "m.jsonl").read_bytes() == b"after\n"


def test_an_absent_file_has_no_records(tmp_path):
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_only_line_ends_end_a_line(tmp_path):
    inside = "a\u0085b\u2028c\x0cd"
    path = tmp_path / "x.txt"
    path.write_bytes(f"{inside}\r\nsecond\n\nlast".encode())
    assert read_lines(path) == [inside, "second", "", "last"]
