"""Sums of files: read once while nobody touches them, and never believed when somebody might have."""

import json
import os

import pytest

from utils.errors import UserError
from working_with_text_data import content_cache
from working_with_text_data.content_cache import FileDigest, as_records, content_of, file_digests, key_of


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that were read for their sum, in order."""
    names = []
    real = content_cache.sha256_file
    monkeypatch.setattr(content_cache, "sha256_file", lambda path: names.append(path.name) or real(path))
    return names


def later(digests, seconds=60):
    """The same digests, taken a while after the file was last changed, as JSON gives them back."""
    records = json.loads(json.dumps(as_records(digests)))
    return [{**record, "hashed_ns": record["ctime_ns"] + seconds * 10**9} for record in records]


def test_an_untouched_file_is_not_read_again(tmp_path, reads):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    first = file_digests([tmp_path / "a.txt", tmp_path / "b.txt"])
    again = file_digests([tmp_path / "b.txt", tmp_path / "a.txt"], later(first))
    assert reads == ["a.txt", "b.txt"]
    assert [d.sha256 for d in again] == [d.sha256 for d in first][::-1]


def test_a_sum_taken_just_after_a_change_is_taken_again(tmp_path, reads):
    (tmp_path / "a.txt").write_text("a")
    first = file_digests([tmp_path / "a.txt"])
    assert not first[0].settled
    file_digests([tmp_path / "a.txt"], first)
    assert reads == ["a.txt", "a.txt"]


def test_a_changed_byte_under_the_same_size_and_time_is_seen(tmp_path, reads):
    path = tmp_path / "a.txt"
    path.write_text("old")
    first = file_digests([path])
    stat = path.stat()
    path.write_text("new")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = file_digests([path], later(first))
    assert again[0].sha256 != first[0].sha256 and reads == ["a.txt", "a.txt"]


def test_a_file_put_in_its_place_is_seen(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    first = later(file_digests([path]))
    (tmp_path / "b.txt").write_text("new")
    os.replace(tmp_path / "b.txt", path)
    assert file_digests([path], first)[0].sha256 != first[0]["sha256"]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("a")
    real = content_cache.sha256_file

    def slow(name):
        name.write_text("something else")
        return real(name)

    monkeypatch.setattr(content_cache, "sha256_file", slow)
    with pytest.raises(UserError, match=r"a\.txt: changed while it was read"):
        file_digests([path])


def test_what_is_remembered_may_be_damaged(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    digests = file_digests([tmp_path / "a.txt"], [None, 3, {"path": "x"}, {"nonsense": 1}])
    assert isinstance(digests[0], FileDigest)
    with pytest.raises(UserError, match=r"b\.txt: no such file"):
        file_digests([tmp_path / "b.txt"])


def test_content_is_bytes_and_kind_and_not_the_name(tmp_path):
    for name in ("a.txt", "b.txt", "a.jsonl", "a.jsonl.gz"):
        (tmp_path / name).write_text("same")
    names = ("a.txt", "b.txt", "a.jsonl", "a.jsonl.gz")
    a, b, lines, packed = (content_of(file_digests([tmp_path / name])) for name in names)
    assert a == b and a != lines and lines != packed


def test_keys_do_not_depend_on_the_order_of_names():
    assert key_of({"a": 1, "b": {"c": [1, 2]}}) == key_of({"b": {"c": (1, 2)}, "a": 1})
    assert key_of([1, 2]) != key_of([2, 1])
