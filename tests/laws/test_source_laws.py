"""Laws of the sources: LT10 for streams, LT11 for manifests, LS5, and nothing lost in silence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_checks import (
    attacks,
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
    open_stream,
    seen,
    stream_files,
    tar_of,
    zip_of,
)

from utils.errors import UserError
from working_with_text_data import safe_archives

ANY_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plain_tar(*members):
    return tar_of(*members, mode="w")


def bz2_tar(*members):
    return tar_of(*members, mode="w:bz2")


class TestAStreamGoesOnWhereItStopped:
    @pytest.mark.parametrize("kind", ["jsonl", "parquet", "wikitext"])
    def test_at_any_place(self, tmp_path, kind):
        paths = stream_files(tmp_path, kind)
        form = "wikitext" if kind == "wikitext" else "text"
        whole = len(list(open_stream(paths, form)))
        for before in (0, 7, whole // 3, whole // 3 + 1, whole - 1, whole):
            check_stream_resumes(paths, before, form)

    def test_max_examples_counts_from_the_beginning(self, tmp_path):
        paths = stream_files(tmp_path, "jsonl")
        check_stream_resumes(paths, 10, max_examples=25)
        source = open_stream(paths, max_examples=25)
        assert len(list(source)) == 25

    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    def test_in_a_new_process(self, tmp_path, kind):
        paths = stream_files(tmp_path, kind)
        first = open_stream(paths)
        walk = iter(first)
        for _ in range(53):
            next(walk)
        state = first.state_dict()
        code = (
            "import json, sys; from source_checks import open_stream, seen; from pathlib import Path; "
            "state, paths = json.load(sys.stdin); source = open_stream([Path(p) for p in paths]); "
            "source.load_state_dict(state); print(json.dumps(seen(source)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([state, [str(p) for p in paths]]),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            cwd=Path(__file__).resolve().parents[2],
        )
        assert done.returncode == 0, done.stderr
        assert [tuple(row) for row in json.loads(done.stdout)] == seen(walk)

    def test_a_second_pass_starts_at_the_beginning(self, tmp_path):
        source = open_stream(stream_files(tmp_path, "jsonl"))
        assert seen(source) == seen(source)

    def test_the_state_of_another_source_is_refused(self, tmp_path):
        paths = stream_files(tmp_path, "jsonl")
        state = open_stream(paths).state_dict()
        with pytest.raises(UserError, match="belongs to"):
            open_stream(paths[:2]).load_state_dict(state)


class TestManifests:
    def test_the_sum_is_that_of_names_and_bytes(self, tmp_path):
        check_manifest_sum(tmp_path)

    def test_what_changed_is_named(self, tmp_path):
        check_manifest_verifies(tmp_path)


class TestFilesFromStrangers:
    def test_names_stay_inside(self, tmp_path):
        check_names_stay_inside(tmp_path)

    @pytest.mark.parametrize("name", list(attacks(Path("/x"))))
    def test_a_hostile_archive_is_refused_whole(self, tmp_path, name):
        check_archive_refused(tmp_path, name)

    @pytest.mark.parametrize(
        "pack", [zip_of, tar_of, lambda *m: tar_of(*m, mode="w"), lambda *m: tar_of(*m, mode="w:bz2")]
    )
    def test_a_good_archive_comes_out_as_it_is(self, tmp_path, pack):
        members = {"a.txt": b"one", "sub/b.jsonl": b'{"text": "two"}\n', "sub/deep/c.md": b"x" * 200_000}
        found = safe_archives.safe_extract(pack(*members.items()), tmp_path / "out")
        assert {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in found} == members

    @given(
        cut=st.integers(0, 400),
        flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=6),
    )
    @settings(ANY_FOLDER, max_examples=150)
    def test_a_damaged_archive_is_refused_or_harmless(self, tmp_path_factory, cut, flips):
        folder = tmp_path_factory.mktemp("damaged")
        for pack in (zip_of, plain_tar):
            data = bytearray(pack(("a.txt", b"some text"), ("b/c.txt", b"more text")))
            for place, change in flips:
                data[place % len(data)] ^= change
            target = folder / pack.__name__
            try:
                found = safe_archives.safe_extract(bytes(data[: len(data) - cut % 60]), target)
            except UserError:
                assert not target.exists()
            else:
                assert all(p.resolve().is_relative_to(target.resolve()) for p in found)
        assert {p.name for p in folder.iterdir()} <= {"zip_of", "plain_tar"}, (
            "something was left beside the target"
        )

    def test_a_folder_with_files_in_it_is_not_replaced(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "work.txt").write_text("kept")
        with pytest.raises(UserError, match="not an empty folder"):
            safe_archives.safe_extract(zip_of(("a.txt", b"x")), tmp_path / "mine")
        assert (tmp_path / "mine" / "work.txt").read_text() == "kept"

    def test_gzip_is_bounded_by_what_comes_out(self, tmp_path):
        check_gzip_is_bounded_by_what_comes_out(tmp_path)


class TestNothingIsLost:
    def test_every_line_is_accounted_for(self, tmp_path):
        check_nothing_is_lost(tmp_path)

    def test_links_do_not_lead_out(self, tmp_path):
        check_links_do_not_lead_out(tmp_path)

    @given(data=st.binary(max_size=60))
    @ANY_FOLDER
    def test_replaced_bytes_are_counted(self, tmp_path, data):
        check_replaced_bytes_are_counted(tmp_path, data)

    @pytest.mark.parametrize(
        "data", [b"caf\xe9", "\ufffd".encode() + b"\xf0\x9f", b"\xef\xbf\xef\xbf\xbd\x00", b"ok"]
    )
    def test_replaced_bytes_are_counted_at_the_edges(self, tmp_path, data):
        check_replaced_bytes_are_counted(tmp_path, data)

    @given(text=st.text(max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_sanitising_keeps_newlines(self, text):
        check_sanitising_keeps_newlines(text)

    def test_sanitising_keeps_newlines_of_every_kind(self):
        check_sanitising_keeps_newlines("a\r\nb\rc\nd\te\x00\x07\x1b\x7f\x85\u2028👩‍🚀")
