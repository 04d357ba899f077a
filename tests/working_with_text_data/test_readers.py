"""Parquet, JSON, long lines and links: every format in, and each way of going on after a bad record."""

import gzip
import json
import tracemalloc

import pytest

from utils.errors import UserError
from working_with_text_data.documents import Document, Problems, iter_documents, load_documents
from working_with_text_data.readers import ReadOptions, read_records

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write_parquet(path, rows, **options):
    pq.write_table(pa.Table.from_pylist(rows, **options), path, row_group_size=3)
    return path


class TestParquet:
    def test_one_document_a_row_with_its_plain_columns(self, tmp_path):
        rows = [{"text": f"té {i}", "label": i, "tags": ["x"], "url": None} for i in range(200)]
        path = write_parquet(tmp_path / "a.parquet", rows)
        expected = [Document(f"té {i}", str(path), i, {"label": i, "url": None}) for i in range(200)]
        assert load_documents(path) == expected
        assert load_documents(tmp_path) == expected, "a folder takes parquet too"

    def test_another_column(self, tmp_path):
        path = write_parquet(tmp_path / "a.parquet", [{"body": "b", "n": 1}])
        assert load_documents(path, text_field="body")[0].text == "b"
        with pytest.raises(
            UserError, match=r"no column 'text'; its columns are 'body', 'n': pass text_field"
        ):
            load_documents(path)
        with pytest.raises(UserError, match="'n' is int64, not a string"):
            load_documents(path, text_field="n")

    def test_null_is_a_bad_record(self, tmp_path):
        path = write_parquet(tmp_path / "a.parquet", [{"text": "a"}, {"text": None}, {"text": "c"}])
        with pytest.raises(UserError, match="row 2: 'text' is null"):
            load_documents(path)
        problems = Problems()
        found = load_documents(path, on_bad_line="skip", problems=problems)
        assert [d.text for d in found] == ["a", "c"] and problems.counts == {"skipped": 1}

    def test_bytes_that_are_no_utf8_are_named_by_row(self, tmp_path):
        array = pa.array([b"good", b"caf\xe9"], pa.binary()).view(pa.string())
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": array}), path)
        with pytest.raises(UserError, match="row 2: not a text file: 0xe9, which is not UTF-8 at byte 3"):
            load_documents(path)
        problems = Problems()
        assert load_documents(path, errors="replace", problems=problems)[1].text == "caf\ufffd"
        assert problems.counts["replaced"] == 1

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"text"])
    def test_a_damaged_file_is_one_line(self, tmp_path, content):
        path = tmp_path / "a.parquet"
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a parquet file that can be read"):
            load_documents(path)

    def test_gzip_around_parquet_is_refused(self, tmp_path):
        path = tmp_path / "a.parquet.gz"
        path.write_bytes(gzip.compress(b"x"))
        with pytest.raises(UserError, match=r"unpack the \.gz first"):
            load_documents(path)

    def test_without_pyarrow_it_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(UserError, match=r"pip install -c constraints.txt -e '.\[data\]'"):
            load_documents(write_parquet(tmp_path / "a.parquet", [{"text": "a"}]))

    def test_memory_is_that_of_some_rows_not_of_the_file(self, tmp_path):
        path = tmp_path / "big.parquet"
        table = pa.table({"text": [str(i) * 5000 for i in range(1000, 2000)]})  # 20 MB
        pq.write_table(table, path, row_group_size=50)
        tracemalloc.start()
        count = sum(1 for _ in iter_documents(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 1000 and peak < 8e6, f"reading held {peak / 1e6:.0f} MB of a 20 MB file"


class TestJson:
    def test_a_list_of_objects_or_strings_or_one_object(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(json.dumps([{"text": "a", "n": 1}, "b"], indent=1))
        assert [(d.text, d.meta) for d in load_documents(path)] == [("a", {"n": 1}), ("b", None)]
        path.write_text('{"text": "only"}')
        assert load_documents(path)[0].text == "only"

    def test_errors_name_the_record(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text('[{"text": "a"}, {"body": "b"}, 5]')
        with pytest.raises(UserError, match="record 2: the field 'text' is missing"):
            load_documents(path)
        problems = Problems()
        assert len(load_documents(path, on_bad_line="skip", problems=problems)) == 1
        assert problems.counts["skipped"] == 2
        path.write_text("[1")
        with pytest.raises(UserError, match="not JSON"):
            load_documents(path)
        with pytest.raises(UserError, match=r"more than 1 bytes.*\.jsonl"):
            load_documents(path, max_line_bytes=1)

    def test_a_folder_does_not_take_it(self, tmp_path):
        (tmp_path / "meta.json").write_text("{}")
        (tmp_path / "a.txt").write_text("a")
        assert [d.text for d in load_documents(tmp_path)] == ["a"]

    def test_real_instructions(self, shared_data):
        found = load_documents(shared_data / "instruct" / "instruction-data-1100.json", text_field="output")
        assert len(found) == 1100 and set(found[0].meta) == {"instruction", "input"}


class TestLongLines:
    def test_a_line_of_a_hundred_megabytes_is_read(self, tmp_path):
        path = tmp_path / "long.jsonl"
        with open(path, "wb") as file:
            file.write(b'{"text": "short"}\n{"text": "')
            for _ in range(100):
                file.write(b"0123456789abcde " * 65536)
            file.write(b'"}\n{"text": "after"}\n')
        lengths = [len(d.text) for d in iter_documents(path)]
        assert lengths == [5, 100 * 2**20, 5]

    @pytest.mark.parametrize("name", ["long.jsonl", "long.txt", "long.jsonl.gz"])
    def test_a_line_above_the_limit_is_named_with_both_numbers_and_never_held(self, tmp_path, name):
        path = tmp_path / name
        data = b'{"text": "a"}\n' + b"x" * 30_000_000 + b'\n{"text": "c"}\n'
        path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
        tracemalloc.start()
        with pytest.raises(
            UserError, match=r"line 2: 30,000,001 bytes, more than max_line_bytes=100,000: pass"
        ):
            list(iter_documents(path, max_line_bytes=100_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8e6, f"{peak / 1e6:.0f} MB were held for a line that is refused"

    def test_it_can_be_skipped_among_json_lines(self, tmp_path):
        path = tmp_path / "long.jsonl"
        path.write_bytes(b'{"text": "a"}\n' + b"x" * 5000 + b'\n{"text": "c"}\n' + b"y" * 4000)
        problems = Problems()
        found = load_documents(path, on_bad_line="skip", max_line_bytes=1000, problems=problems)
        assert [d.text for d in found] == ["a", "c"] and problems.counts["skipped"] == 2
        assert "line 2: 5,001 bytes" in problems.places[0] and "line 4: 4,000 bytes" in problems.places[1]

    @pytest.mark.parametrize("size", [9, 10, 11])
    def test_the_limit_is_exact(self, tmp_path, size):
        path = tmp_path / "a.txt"
        path.write_bytes(b"x" * (size - 1) + b"\nlast")
        if size <= 10:
            assert len(load_documents(path, max_line_bytes=10)) == 1
        else:
            with pytest.raises(UserError, match="line 1: 11 bytes"):
                load_documents(path, max_line_bytes=10)


class TestOptions:
    def test_meta_is_what_else_the_line_says(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"label": 1, "text": "a"}\n{"text": "b"}\n')
        first, second = load_documents(path)
        assert first.meta == {"label": 1} and second.meta is None
        assert len({first, second}) == 2, "a document can be put in a set, meta and all"

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"errors": "ignore"}, 'errors is \'ignore\' but must be "strict" or "replace"'),
            ({"on_bad_line": "drop"}, 'must be "stop" or "skip"'),
            ({"max_line_bytes": 0}, "max_line_bytes is 0"),
            ({"max_bytes": 0}, "max_bytes is 0"),
        ],
    )
    def test_a_wrong_option_is_named(self, tmp_path, options, says):
        (tmp_path / "a.txt").write_text("a")
        with pytest.raises(UserError) as error:
            load_documents(tmp_path, **options)
        assert says in str(error.value)

    def test_max_bytes_counts_what_is_unpacked(self, tmp_path):
        path = tmp_path / "a.txt.gz"
        path.write_bytes(gzip.compress(b"line\n" * 1000))
        assert len(load_documents(path, max_bytes=5000)) == 1
        with pytest.raises(UserError, match="more than max_bytes=4,999 bytes of text"):
            load_documents(path, max_bytes=4999)

    def test_strict_names_the_way_out(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(b"caf\xe9")
        with pytest.raises(UserError, match='at byte 3: give UTF-8 text, or pass errors="replace"'):
            load_documents(path)

    def test_a_warning_tells_what_nobody_else_was_told(self, tmp_path, recwarn):
        path = tmp_path / "a.txt"
        path.write_bytes(b"caf\xe9")
        with pytest.warns(UserWarning, match=r"1 replaced \(first: .*a.txt"):
            load_documents(path, errors="replace")
        load_documents(path, errors="replace", problems=Problems())
        (tmp_path / "b.txt").write_bytes(b"fine")
        load_documents(tmp_path / "b.txt", errors="replace")
        assert not recwarn.list

    def test_offsets_count_through_the_whole_file_and_a_mark_counts_too(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(b"\xef\xbb\xbfone\n" + b"two\n" * 10 + b"x\xff")
        with pytest.raises(UserError, match="0xff, which is not UTF-8 at byte 48"):
            load_documents(path)

    def test_places_are_listed_up_to_a_number_and_counted_all(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text("bad\n" * 50 + '{"text": "a"}\n')
        problems = Problems(listed=3)
        list(read_records(path, ReadOptions(on_bad_line="skip"), problems))
        assert problems.counts["skipped"] == 50 and len(problems.places) == 3
