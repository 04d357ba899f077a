"""Classic bugs of sources, uploads and manifests, put back one at a time: each law must see its own."""

import gzip
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from source_checks import (
    check_archive_refused,
    check_gzip_is_bounded_by_what_comes_out,
    check_links_do_not_lead_out,
    check_manifest_sum,
    check_manifest_verifies,
    check_names_stay_inside,
    check_nothing_is_lost,
    check_replaced_bytes_are_counted,
    check_sanitising_keeps_newlines,
    check_stream_resumes,
    stream_files,
)

from utils.errors import UserError
from utils.files import sha256_bytes
from working_with_text_data import (
    dataset_formats,
    documents,
    huggingface_source,
    manifest,
    published_forms,
    readers,
    safe_archives,
    user_dataset,
)


def caught(match: str | None = None):
    return pytest.raises(AssertionError, match=match)


# --- LT10 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgotten", [{"rows": None}, {"yielded": 0}])
def test_a_stream_state_that_is_half_saved_is_caught(monkeypatch, tmp_path, forgotten):
    real = huggingface_source.HubSource.state_dict
    monkeypatch.setattr(huggingface_source.HubSource, "state_dict", lambda self: {**real(self), **forgotten})
    with caught("goes on differently"):
        check_stream_resumes(stream_files(tmp_path, "jsonl"), 20)


def test_a_forgotten_half_document_is_caught(monkeypatch, tmp_path):
    real = huggingface_source.HubSource.state_dict
    monkeypatch.setattr(
        huggingface_source.HubSource, "state_dict", lambda self: {**real(self), "pending": []}
    )
    with caught("goes on differently"):
        check_stream_resumes(stream_files(tmp_path, "wikitext"), 5, "wikitext")


def test_a_limit_that_starts_again_after_a_resume_is_caught(monkeypatch, tmp_path):
    real = huggingface_source.HubSource.load_state_dict
    monkeypatch.setattr(
        huggingface_source.HubSource,
        "load_state_dict",
        lambda self, state: real(self, {**state, "yielded": 0}),
    )
    with caught("goes on differently"):
        check_stream_resumes(stream_files(tmp_path, "jsonl"), 10, max_examples=25)


def test_a_state_without_the_title_that_was_read_ahead_is_caught(monkeypatch, tmp_path):
    real = published_forms.joined

    def drops(lines, begins, pending):
        for whole in real(lines, begins, pending):
            kept = list(pending)
            pending.clear()
            yield whole
            pending[:] = kept

    monkeypatch.setattr(huggingface_source, "joined", drops)
    with caught("goes on differently"):
        check_stream_resumes(stream_files(tmp_path, "wikitext"), 3, "wikitext")


# --- LT11 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bug", "says"),
    [
        (lambda rows: sha256_bytes("".join(sorted(r.sha256 for r in rows)).encode()), "hash paths too"),
        (
            lambda rows: sha256_bytes("".join(f"{r.path}{r.bytes}" for r in rows).encode()),
            "not size and time",
        ),
        (
            lambda rows: sha256_bytes(
                ("".join(sorted(r.path for r in rows)) + "".join(sorted(r.sha256 for r in rows))).encode()
            ),
            "each path with its own sum",
        ),
    ],
    ids=["contents only", "sizes only", "paths and sums apart"],
)
def test_a_sum_that_forgets_something_is_caught(monkeypatch, tmp_path, bug, says):
    monkeypatch.setattr(manifest, "whole_sha256", bug)
    with caught(says):
        check_manifest_sum(tmp_path)


def test_a_sum_in_the_order_of_selection_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(manifest, "sorted", lambda items: list(items), raising=False)
    with caught("order or the way"):
        check_manifest_sum(tmp_path)


def test_a_sum_with_absolute_paths_is_caught(monkeypatch, tmp_path):
    real = manifest.make_manifest

    def absolute(paths, **options):
        made = real(paths, **options)
        rows = [manifest.FileRow(f"{made.root}/{r.path}", r.bytes, r.sha256) for r in made.files]
        return manifest.Manifest(made.root, made.selection, tuple(rows), manifest.whole_sha256(rows))

    monkeypatch.setattr(manifest, "make_manifest", absolute)
    with caught("place of the folder"):
        check_manifest_sum(tmp_path)


def test_a_check_by_size_alone_is_caught(monkeypatch, tmp_path):
    real = manifest.sha256_file
    monkeypatch.setattr(
        manifest, "sha256_file", lambda path: real(path) if path.stat().st_size != 8 else "same"
    )
    with caught("changed by a byte"):
        check_manifest_verifies(tmp_path)


def test_new_files_that_nobody_looks_for_are_caught(monkeypatch, tmp_path):
    real = manifest.selected_files

    def only_known(selection, root, *, must_exist=True):
        return real(selection, root) if must_exist else {}

    monkeypatch.setattr(manifest, "selected_files", only_known)
    with caught("new.txt is new"):
        check_manifest_verifies(tmp_path)


# --- LS5 ----------------------------------------------------------------------------------------------


def test_a_check_by_the_beginning_of_the_path_is_caught(monkeypatch, tmp_path):
    def starts_with(root, name):
        path = os.path.normpath(os.path.join(root, name))
        if not path.startswith(str(root)):
            raise UserError("outside")
        return Path(path)

    monkeypatch.setattr(safe_archives, "target_in", starts_with)
    with caught("whole parts of paths"):
        check_names_stay_inside(tmp_path)


def test_a_check_without_links_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(safe_archives, "target_in", lambda root, name: root / safe_archives.safe_name(name))
    with caught("resolve links first"):
        check_names_stay_inside(tmp_path)


def test_a_tar_that_is_unpacked_in_full_trust_is_caught(monkeypatch, tmp_path):
    def trusting(stream, root, budget):
        with tarfile.open(fileobj=stream) as bundle:
            bundle.extractall(root, filter="fully_trusted")
        budget.files = 1

    monkeypatch.setattr(safe_archives, "_unpack_tar", trusting)
    for number, name in enumerate(("tar: link, then through it", "tar: climbs")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with caught("written outside"):
            check_archive_refused(folder, name)


def test_a_link_in_a_zip_that_is_made_and_followed_is_caught(monkeypatch, tmp_path):
    def follows(stream, root, budget):
        with zipfile.ZipFile(stream) as bundle:
            for member in bundle.infolist():
                target = root / member.filename
                if stat.S_ISLNK(member.external_attr >> 16):
                    target.symlink_to(bundle.read(member).decode())
                else:
                    target.write_bytes(bundle.read(member))
        budget.files = 1

    monkeypatch.setattr(safe_archives, "_unpack_zip", follows)
    with caught("written outside"):
        check_archive_refused(tmp_path, "zip: link")


@pytest.mark.parametrize("name", ["zip: too much in all", "tar: too much in all"])
def test_a_limit_for_each_member_alone_is_caught(monkeypatch, tmp_path, name):
    real = safe_archives._Budget.spend

    def each_alone(self, count, member):
        if member != getattr(each_alone, "member", None):
            each_alone.member, self.taken = member, 0
        real(self, count, member)

    monkeypatch.setattr(safe_archives._Budget, "spend", each_alone)
    with caught("must be refused"):
        check_archive_refused(tmp_path, name)


def test_a_bomb_judged_by_its_packed_size_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(safe_archives._Budget, "spend", lambda self, count, member: None)
    with caught("must be refused"):
        check_archive_refused(tmp_path, "zip: bomb by ratio")


def test_archives_within_known_by_their_suffix_alone_are_caught(monkeypatch, tmp_path):
    def by_suffix(source, root, name, budget):
        target = safe_archives.target_in(root, name)
        budget.enter(safe_archives.safe_name(name))
        if name.endswith(".zip"):
            raise UserError("an archive within")
        target.write_bytes(source.read())

    monkeypatch.setattr(safe_archives, "_write", by_suffix)
    with caught("must be refused"):
        check_archive_refused(tmp_path, "zip: zip within, renamed")


def test_an_archive_that_is_unpacked_in_place_is_caught(monkeypatch, tmp_path):
    from contextlib import contextmanager

    @contextmanager
    def in_place(folder):
        folder.mkdir(parents=True)
        yield folder

    monkeypatch.setattr(safe_archives, "atomic_dir", in_place)
    with caught("half of it was left"):
        check_archive_refused(tmp_path, "zip: climbs")


def _by_trailer(path: Path, limit: int) -> bool:
    return int.from_bytes(path.read_bytes()[-4:], "little") > limit


def test_a_size_taken_from_the_end_of_the_gzip_file_is_caught(monkeypatch, tmp_path):
    def trailer(path, size, options):
        if options.max_bytes is not None and _by_trailer(path, options.max_bytes):
            raise UserError(f"{options.max_bytes:,}")

    monkeypatch.setattr(readers, "_check_size", trailer)
    with caught("header or trailer lies"):
        check_gzip_is_bounded_by_what_comes_out(tmp_path)


def test_a_data_set_measured_before_it_is_unpacked_is_caught(monkeypatch, tmp_path):
    def packed_size(stream, report, max_bytes):
        data = stream.read()
        return gzip.decompress(data) if len(data) <= max_bytes else None

    monkeypatch.setattr(user_dataset, "contents", packed_size)
    assert dataset_formats.contents is not packed_size
    with caught("header or trailer lies"):
        check_gzip_is_bounded_by_what_comes_out(tmp_path)


# --- nothing is lost ----------------------------------------------------------------------------------


def test_bad_lines_that_are_dropped_without_a_count_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(readers, "_bad", lambda error, options, problems: None)
    with caught("counted as skipped"):
        check_nothing_is_lost(tmp_path)


def test_empty_documents_that_nobody_counts_are_caught(monkeypatch, tmp_path):
    real = documents.Problems.add
    monkeypatch.setattr(
        documents.Problems,
        "add",
        lambda self, kind, where, count=1: None if kind == "empty" else real(self, kind, where, count),
    )
    with caught("white space"):
        check_nothing_is_lost(tmp_path)


def test_links_that_are_followed_are_caught(monkeypatch, tmp_path):
    def follows(folder, problems=None):
        for root, _, files in os.walk(folder, followlinks=True):
            yield from (path for name in files if (path := Path(root, name)).exists())

    monkeypatch.setattr(documents, "walk", follows)
    with caught("leads out of the folder"):
        check_links_do_not_lead_out(tmp_path)


def test_line_numbers_that_leave_out_skipped_lines_are_caught(monkeypatch, tmp_path):
    real = readers.text_lines

    def renumbered(path, options, problems, too_long=None):
        good = 0
        for _, line in real(path, options, problems, too_long):
            yield good + 1, line
            good += line.startswith('{"text": "text')

    monkeypatch.setattr(readers, "text_lines", renumbered)
    with caught("but the list says"):
        check_nothing_is_lost(tmp_path)


def test_bytes_that_are_ignored_are_caught(monkeypatch, tmp_path):
    def ignoring(data, path, offset, options, problems, where=None):
        return data.decode("utf-8", "ignore")

    monkeypatch.setattr(readers, "_decode", ignoring)
    with caught("change nothing else"):
        check_replaced_bytes_are_counted(tmp_path, b"caf\xe9")


@pytest.mark.parametrize("data", ["\ufffd".encode() + b"\xe9", b"\xe9\xe9\xe9"])
def test_a_count_of_lines_or_of_all_marks_is_caught(monkeypatch, tmp_path, data):
    real = documents.Problems.add
    count = 2 if data.startswith(b"\xef") else 1
    monkeypatch.setattr(
        documents.Problems, "add", lambda self, kind, where, n=1: real(self, kind, where, count)
    )
    with caught("were counted"):
        check_replaced_bytes_are_counted(tmp_path, data)


@pytest.mark.parametrize(
    "bug",
    [
        lambda text: (" ".join(text.split()), 0, 0),
        lambda text: ("".join(c for c in text if c.isprintable()), 0, 0),
        lambda text: (text, 0, 0),
    ],
    ids=["split and join", "printable only", "not at all"],
)
def test_sanitising_that_eats_newlines_is_caught(monkeypatch, bug):
    monkeypatch.setattr(user_dataset, "sanitise", bug)
    with caught("keeps its newlines"):
        check_sanitising_keeps_newlines("one\n\ttwo\x00\r\nthree")
