"""Data sets from people: every format and kind, every error with its line, and the command."""

import gzip
import json

import pytest

from utils.errors import UserError
from utils.files import sha256_bytes
from working_with_text_data import user_dataset
from working_with_text_data.documents import load_documents
from working_with_text_data.user_dataset import validate_dataset

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello\nthere"}]}
TASK = {"instruction": "Add.", "input": "1 + 1", "output": "2"}


def lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def errors(report) -> list[str]:
    return [str(error) for error in report.errors]


class TestFormatsAndKinds:
    @pytest.mark.parametrize(
        ("data", "name", "form", "kind", "records"),
        [
            (lines({"text": "a\nb"}, {"text": "c"}), None, "jsonl", "text", 2),
            (lines(TASK, {"prompt": "p", "completion": "c"}), "x.jsonl", "jsonl", "instruction", 2),
            (lines(CHAT), None, "jsonl", "chat", 1),
            (json.dumps([TASK, TASK], indent=2).encode(), None, "json", "instruction", 2),
            (json.dumps({"text": "a"}, indent=2).encode(), "a.json", "json", "text", 1),
            (b"[]", "a.json", "json", None, 0),
            (b"Once.\n<|endoftext|>\nTwice.\n", None, "txt", "text", 2),
            (b"A whole\nbook.\n", "book.md", "txt", "text", 1),
            (b'text,label\n"a\nb",1\nc,0\n', "a.csv", "csv", "text", 2),
            (b"instruction,output\nsay,it\n", "a.csv", "csv", "instruction", 1),
            (gzip.compress(lines(TASK), mtime=0), "a.jsonl.gz", "jsonl", "instruction", 1),
            (b"\xef\xbb\xbf" + lines(CHAT), None, "jsonl", "chat", 1),
        ],
    )
    def test_they_are_told_apart(self, data, name, form, kind, records):
        report = validate_dataset(data, name=name)
        assert (report.format, report.kind, report.records) == (form, kind, records)
        assert report.ok == (records > 0), errors(report)

    def test_newlines_are_kept_and_fields_stay_in_meta(self):
        (found,) = validate_dataset(lines(CHAT)).documents
        assert found.text == "### User:\nHi\n\n### Assistant:\nHello\nthere"
        assert found.meta == CHAT
        (found,) = validate_dataset(lines(TASK)).documents
        assert found.meta == TASK and found.text.endswith("### Response:\n2")

    def test_cleaning_is_counted_everywhere_in_a_record(self):
        row = {
            "messages": [
                {"role": "user", "content": "a\r\nb\x00"},
                {"role": "assistant", "content": "\x1bc\td"},
            ]
        }
        report = validate_dataset(lines(row))
        assert (report.control_characters, report.line_ends) == (2, 1)
        assert [m["content"] for m in report.documents[0].meta["messages"]] == ["a\nb", "c\td"]

    def test_size_sum_longest_and_duplicates(self):
        data = lines({"text": "one"}, {"text": "three"}, {"text": "one"}, {"text": "one\r"})
        report = validate_dataset(data)
        assert (report.bytes, report.sha256) == (len(data), sha256_bytes(data))
        assert (report.longest, report.duplicates) == (5, 1)

    def test_a_kind_can_be_asked_for(self):
        report = validate_dataset(lines(TASK, {"text": "t"}), kind="text")
        assert (
            report.records == 1 and "line 1: a record of kind 'instruction' among 'text'" in errors(report)[0]
        )
        assert validate_dataset(lines({**TASK, "text": "whole"}), kind="text").documents[0].text == "whole"

    def test_real_sets(self, shared_data):
        folder = shared_data / "instruct"
        for name, records in (("instruction-data-1100.json", 1100), ("dolly_2996.json", 2996)):
            report = validate_dataset(folder / name)
            assert report.ok and (report.kind, report.records) == ("instruction", records), errors(report)
        report = validate_dataset(shared_data / "classify" / "imdb_test_2000.jsonl.gz")
        assert (report.kind, report.records) == ("text", 2000)


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("data", "name", "says"),
        [
            (b'{"text": "a"}\n{"text": \n\n{"text": "b"}\n', None, "line 2: not JSON"),
            (b'{"text": "a"} {"text": "b"}\n', None, "line 1: not JSON (something follows"),
            (b'{"text": NaN}\n', None, "line 1: not JSON (NaN is no JSON number)"),
            (b'{"text": "a"}\n[1]\n', None, "line 2: a list where an object is needed"),
            (b'{"text": "a"}\n{"texts": "b"}\n', None, "line 2: needs `text`, `instruction` and `output`"),
            (lines({"text": "a"}, TASK), None, "line 2: a record of kind 'instruction' among 'text'"),
            (lines({"text": " \n"}), None, "line 1: holds no text"),
            (lines({"text": "\x00\x01"}), None, "line 1: holds no text"),
            (lines({"instruction": " ", "output": "x"}), None, "line 1: holds no text"),
            (b'{"text": "\\ud800"}\n', None, "line 1: holds half of a surrogate pair"),
            (b'{"text": "a", "tag": "\\udfff"}\n', None, "line 1: holds half of a surrogate pair"),
            (b'{"text": "caf\xe9"}\n', None, "line 1: 0xe9 at byte 13 of the line is not UTF-8"),
            (b'[\n{"text": "a"},\n\n{"body": 1}\n]', None, "line 4: needs `text`"),
            (b'[\n{"text": "a"},\n{"text" 5}\n]', None, "line 3: not JSON"),
            (b'[\n{"text": "a"}\n{"text": "b"}]', None, "line 3: not JSON (a comma or ]"),
            (b'[{"text": "a"}] extra', "a.json", "line 1: not JSON (something follows"),
            (b"[" * 200_000, "a.json", "line 1: not JSON"),
            (b'{"text": ' + b"[" * 200_000, "a.jsonl", "line 1: not JSON"),
            (b"text,label\na\n", "a.csv", "line 2: has more or fewer fields"),
            (b"text,label\na,b,c\n", "a.csv", "line 2: has more or fewer fields"),
            (b'text\n"' + b"x" * 200_000 + b'"\n', "a.csv", "not CSV (field larger"),
            (b"", None, "there is no text in it"),
            (b" \n", "a.txt", "there is no text in it"),
            (b"", "a.csv", "there is no text in it"),
            (b"PK\x03\x04rest", "a.jsonl", "this is a zip archive"),
            ("text".encode("utf-16"), None, "UTF-16"),
            (bytes(2000), None, "a binary file"),
            (b"\x1f\x8bbroken", "a.jsonl.gz", "damaged gzip"),
            (gzip.compress(lines(TASK), mtime=0)[:-12], None, "damaged gzip"),
            (lines({"messages": []}), None, "line 1: `messages` must be a list"),
            (lines({"messages": ["x"]}), None, "message 1 must be an object"),
            (
                lines({"messages": [{"role": "bot", "content": "x"}]}),
                None,
                "message 1 has role 'bot': use system",
            ),
            (lines({"messages": [{"role": "user", "content": "x"}]}), None, "no message of the assistant"),
        ],
    )
    def test_it_is_said_with_its_line(self, data, name, says):
        report = validate_dataset(data, name=name)
        assert not report.ok and says in errors(report)[0], errors(report)
        with pytest.raises(UserError) as error:
            report.raise_if_bad()
        assert "\n" not in str(error.value)

    def test_all_errors_are_collected_up_to_a_limit_and_counted_all(self):
        data = b"\n".join([b'{"text": "good"}', *([b"bad"] * 50), b'{"text": "last"}'])
        report = validate_dataset(data, max_errors=10)
        assert (len(report.errors), report.errors_in_all, report.rejected, report.records) == (10, 50, 50, 2)
        assert [e.line for e in report.errors] == list(range(2, 12))
        assert "… and 40 more errors" in str(report)

    def test_limits_name_both_numbers(self, tmp_path):
        assert "more than 10 bytes" in errors(validate_dataset(b"x" * 11, max_bytes=10))[0]
        assert validate_dataset(b"x" * 10, max_bytes=10).ok
        many = validate_dataset(lines(*({"text": str(i)} for i in range(5))), max_records=3)
        assert many.records == 3 and "line 4: more than 3 records" in errors(many)[0]
        long = validate_dataset(lines({"text": "x" * 11}, {"text": "y"}), max_record_chars=10)
        assert long.records == 1 and "line 1: 11 characters, more than max_record_chars=10" in errors(long)[0]

    def test_bytes_can_be_mended(self):
        report = validate_dataset(b'{"text": "caf\xe9"}\n', errors="replace")
        assert report.ok and report.documents[0].text == "caf\ufffd"

    def test_a_missing_file_is_an_error_at_once(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read: No such file"):
            validate_dataset(tmp_path / "none.jsonl")

    def test_the_name_of_an_upload_is_never_a_path(self, tmp_path):
        report = validate_dataset(b'{"text": "mine"}\n', name="../../etc/passwd.jsonl")
        assert report.ok and report.documents[0].text == "mine"


def test_the_report_as_plain_values():
    tree = json.loads(json.dumps(validate_dataset(b"bad", name="a.jsonl").to_dict()))
    assert tree["ok"] is False and tree["errors"][0]["line"] == 1 and "documents" not in tree


def test_the_command_writes_the_good_records_and_ends_with_what_is_wrong(tmp_path, capsys):
    path, out = tmp_path / "a.jsonl", tmp_path / "clean.jsonl"
    path.write_bytes(lines({"text": "a\r\nb", "n": 1}, {"text": "c"}))
    assert user_dataset.main([str(path), f"out={out}"]) == 0
    assert "2 good, 0 rejected" in capsys.readouterr().out
    assert [(d.text, d.meta) for d in load_documents(out)] == [("a\nb", {"n": 1}), ("c", None)]
    path.write_bytes(lines({"text": "a"}) + b"bad\n")
    with pytest.raises(UserError, match="line 2: not JSON"):
        user_dataset.main([str(path)])
