"""Manifests and snapshots: made, read back, verified, kept, and refused where they do not fit."""

import json
import os

import pytest

from utils.errors import RunFailure, UserError
from utils.files import sha256_bytes
from working_with_text_data import manifest
from working_with_text_data.manifest import Manifest, make_manifest, snapshot, verify


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one\n<|endoftext|>\ntwo")
    (root / "sub" / "b.jsonl").write_text('{"text": "three"}\n')
    (root / "sub" / "c.bin").write_bytes(b"\0\1")
    (root / ".hidden").write_text("no")
    (root / "out").symlink_to(tmp_path)
    return root


def test_a_row_for_every_file_with_what_was_asked(folder):
    made = make_manifest(
        folder, licence="CC0", command="mine", parents=["ab"], sources=["here"], count_documents=True
    )
    assert [(r.path, r.bytes, r.documents, r.licence) for r in made.files] == [
        ("a.txt", 21, 2, "CC0"),
        ("sub/b.jsonl", 18, 1, "CC0"),
        ("sub/c.bin", 2, None, "CC0"),
    ]
    assert made.files[2].sha256 == sha256_bytes(b"\0\1") and made.bytes == 41
    assert made.lineage == {"command": "mine", "parents": ["ab"], "sources": ["here"]}


def test_the_sum_is_the_documented_one(folder):
    made = make_manifest(folder)
    pairs = [[r.path, r.sha256] for r in made.files]
    assert made.sha256 == sha256_bytes(json.dumps(pairs, separators=(",", ":")).encode())


def test_files_folders_and_globs_select(folder):
    assert [r.path for r in make_manifest(folder / "*.txt").files] == ["a.txt"]
    assert [
        r.path for r in make_manifest([folder / "**" / "*.jsonl", folder / "a.txt"], root=folder).files
    ] == [
        "a.txt",
        "sub/b.jsonl",
    ]
    assert [r.path for r in make_manifest([folder / "a.txt", folder / "sub"]).files] == [
        "a.txt",
        "sub/b.jsonl",
        "sub/c.bin",
    ]


def test_saved_and_read_back_it_is_the_same(folder, tmp_path):
    made = make_manifest(folder, licence="CC0")
    assert Manifest.load(made.save(tmp_path / "m.json")) == made


def test_verify_looks_only_at_what_was_selected(folder):
    made = make_manifest(folder / "*.txt")
    (folder / "sub" / "new.jsonl").write_text("x")
    assert verify(made).ok
    (folder / "z.txt").write_text("x")
    assert verify(made).new == ["z.txt"]


def test_verify_elsewhere(folder, tmp_path):
    made = make_manifest(folder)
    folder.rename(tmp_path / "moved")
    assert len(verify(made).missing) == 3
    assert verify(made, tmp_path / "moved").ok


@pytest.mark.parametrize("how", ["copy", "link"])
def test_a_snapshot_keeps_the_files_under_their_sum(folder, tmp_path, how):
    made = make_manifest(folder)
    kept = snapshot(made, tmp_path / "snapshots", how=how)
    assert kept.name == made.sha256[:16]
    assert (kept / "files" / "sub" / "c.bin").read_bytes() == b"\0\1"
    assert os.path.samefile(kept / "files" / "a.txt", folder / "a.txt") == (how == "link")
    inside = Manifest.load(kept / "manifest.json")
    assert inside.sha256 == made.sha256 and verify(inside).ok
    kept.rename(tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere" / "manifest.json").ok, "a snapshot may be moved"


def test_the_same_files_are_kept_once_and_a_damaged_snapshot_is_named(folder, tmp_path):
    made = make_manifest(folder)
    kept = snapshot(made, tmp_path / "snapshots")
    assert snapshot(make_manifest([folder / "sub", folder / "a.txt"]), tmp_path / "snapshots") == kept
    (kept / "files" / "a.txt").write_text("changed")
    with pytest.raises(UserError, match=r"damaged snapshot .*a\.txt"):
        snapshot(made, tmp_path / "snapshots")


@pytest.mark.parametrize("change", [lambda p: p.write_text("changed"), lambda p: p.unlink()])
def test_a_file_that_changed_in_between_leaves_no_snapshot(folder, tmp_path, change):
    made = make_manifest(folder)
    change(folder / "a.txt")
    with pytest.raises(UserError, match="since the manifest was made"):
        snapshot(made, tmp_path / "snapshots")
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_what_does_not_fit_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="no file there"):
        make_manifest(tmp_path / "none")
    with pytest.raises(UserError, match="lies outside root"):
        make_manifest(tmp_path, root=folder)
    with pytest.raises(UserError, match="nothing was selected"):
        make_manifest([])
    path = make_manifest(folder).save(tmp_path / "m.json")
    good = json.loads(path.read_text())
    for change, says in (
        ({"version": 2}, "manifest version 2, but this code reads 1"),
        ({"sha256": "0" * 64}, "it was edited"),
        ({"files": [{**good["files"][0], "bytes": 1, "sha256": "0" * 64}]}, "it was edited"),
        ({"files": 5}, "not a manifest"),
        ({"surprise": 1}, "not a manifest"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(UserError, match=says):
            Manifest.load(path)
    path.write_text("[")
    with pytest.raises(UserError, match="not a manifest"):
        Manifest.load(path)
    with pytest.raises(UserError, match="no such manifest"):
        Manifest.load(tmp_path / "none.json")


def test_the_command_makes_verifies_and_keeps(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert manifest.main(["make", "data", "licence=CC BY 4.0"]) == 0
    assert "3 files, 41 bytes, sha256 " in capsys.readouterr().out
    assert Manifest.load("manifest.json").files[0].licence == "CC BY 4.0"
    assert manifest.main(["verify", "manifest.json"]) == 0
    assert manifest.main(["snapshot", "data"]) == 0
    printed = capsys.readouterr().out.splitlines()
    kept = next(line for line in printed if line.startswith("wrote ")).removeprefix("wrote ")
    assert manifest.main(["verify", f"{kept}/manifest.json"]) == 0
    (folder / "a.txt").write_text("changed")
    with pytest.raises(RunFailure, match="1 changed, 0 missing, 0 new"):
        manifest.main(["verify", "manifest.json"])
    assert "changed  a.txt" in capsys.readouterr().out
    with pytest.raises(UserError, match="action is 'mend'"):
        manifest.main(["mend", "data"])
