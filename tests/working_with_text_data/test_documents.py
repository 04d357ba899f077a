"""Where text comes from: every format in, every bad input out with one line that names the place."""

import gzip
import json
import subprocess
import sys

import pytest

from utils.errors import UserError
from working_with_text_data import corpora
from working_with_text_data.documents import Document, iter_documents, load_documents


def texts(*arguments, **options):
    return [d.text for d in load_documents(*arguments, **options)]


class TestFormats:
    def test_a_text_file_is_one_document_exactly_as_it_is(self, tmp_path):
        raw = "  One.\r\n\r\n Two.\u2028Three.\x0cFour \rFive\n"
        path = tmp_path / "a.txt"
        path.write_bytes(raw.encode())
        assert load_documents(path) == [Document(raw, str(path), 0)]

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_separator_lines_cut_a_text_file(self, tmp_path, end):
        path = tmp_path / "stories.txt"
        lines = [
            "Once.",
            "The end.",
            "<|endoftext|>",
            "Twice.",
            "<|endoftext|>",
            "",
            "<|endoftext|>",
            "Last.",
        ]
        path.write_bytes(end.join(lines).encode())
        assert [(d.text, d.index) for d in load_documents(path)] == [
            (f"Once.{end}The end.", 0),
            ("Twice.", 1),
            ("Last.", 2),
        ]

    def test_a_separator_inside_a_sentence_is_text(self, tmp_path):
        path = tmp_path / "about.md"
        path.write_text("GPT-2 writes <|endoftext|> between texts.\n<|endoftext|> is one token.\n")
        assert len(load_documents(path)) == 1

    def test_jsonl_is_one_document_a_line(self, tmp_path):
        path = tmp_path / "a.jsonl"
        rows = [{"text": "A\nb\u2028c", "id": 1}, {"text": "Zwei ü 🎈"}]
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        assert texts(path) == ["A\nb\u2028c", "Zwei ü 🎈"]
        path.write_text('{"body": "other field"}\n')
        assert texts(path, text_field="body") == ["other field"]

    def test_gzip_is_read_through(self, tmp_path):
        (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Grüße".encode()))
        (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "two"}\n'))
        assert texts(tmp_path) == ["Grüße", "two"]

    def test_a_folder_is_read_in_the_order_of_its_names_hidden_files_left_out(self, tmp_path):
        (tmp_path / "b" / "c").mkdir(parents=True)
        (tmp_path / ".git").mkdir()
        for name in ("z.txt", "b/c/a.md", "b/k.TXT", ".git/x.txt", ".hidden.txt", "picture.png"):
            (tmp_path / name).write_text(name)
        assert texts(str(tmp_path)) == ["b/c/a.md", "b/k.TXT", "z.txt"]

    def test_a_glob_picks_files(self, tmp_path):
        for name in ("a1.txt", "a2.txt", "b1.txt"):
            (tmp_path / name).write_text(name)
        assert texts(f"{tmp_path}/a*.txt") == ["a1.txt", "a2.txt"]
        assert texts(f"{tmp_path}/**/?1.txt") == ["a1.txt", "b1.txt"]

    def test_a_name_that_looks_like_a_glob_but_exists_is_the_file(self, tmp_path):
        (tmp_path / "what?.txt").write_text("me")
        (tmp_path / "whats.txt").write_text("not me")
        assert texts(f"{tmp_path}/what?.txt") == ["me"]

    def test_a_byte_order_mark_goes_and_a_missing_last_line_end_does_not_matter(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes(b"\xef\xbb\xbfno newline at all")
        assert texts(path) == ["no newline at all"]

    def test_max_documents_stops_early(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "a"}\n{"text": "b"}\nnot reached')
        assert texts(path, max_documents=2) == ["a", "b"]

    def test_documents_come_one_at_a_time(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("one\n<|endoftext|>\ntwo\n")
        stream = iter_documents(path)
        assert next(stream).text == "one"

    def test_real_tinystories_files(self, shared_data):
        folder = shared_data / "text" / "tinystories"
        stories = load_documents(folder / "tinystories_val_3117.txt")
        assert len(stories) == 3117
        assert not any("<|endoftext|>" in d.text or d.text != d.text.strip("\r\n") for d in stories)

    def test_real_books_are_one_document_each(self, shared_data):
        books = load_documents(shared_data / "text" / "gutenberg")
        assert len(books) == 15
        size = sum(p.stat().st_size for p in (shared_data / "text" / "gutenberg").iterdir())
        marks = sum(
            p.read_bytes()[:3] == b"\xef\xbb\xbf" for p in (shared_data / "text" / "gutenberg").iterdir()
        )
        assert sum(len(d.text.encode()) for d in books) == size - 3 * marks


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("empty.txt", b"", "no text in it"),
            ("blank.txt", b" \n\t\n", "no text in it"),
            ("separators.txt", b"<|endoftext|>\n<|endoftext|>\n", "no text in it"),
            ("empty.jsonl", b"\n", "no text in it"),
            ("nul.txt", b"text\nmore\x00text", "a NUL byte at byte 9"),
            ("image.png", b"\x89PNG\r\n\x1a\n\x00", "0x89, which is not UTF-8 at byte 0"),
            ("latin1.txt", b"ok\n" * 5000 + b"caf\xe9 au lait\n", "0xe9, which is not UTF-8 at byte 15003"),
            ("cut.txt", "é".encode()[:1], "0xc3, which is not UTF-8 at byte 0"),
            ("utf16.txt", "hello".encode("utf-16"), "UTF-16"),
            ("zip.txt.gz", b"not gzip", "damaged gzip"),
            ("cut.txt.gz", gzip.compress(b"text " * 1000, mtime=0)[:-20], "damaged gzip"),
            ("nul.txt.gz", gzip.compress(b"abc\x00", mtime=0), "a NUL byte at byte 3"),
            ("broken.jsonl", b'{"text": "a"}\n{"text": \n', "broken.jsonl, line 2: not JSON"),
            ("list.jsonl", b"[1]\n", "line 1: a list"),
            ("field.jsonl", b'{"text": "a"}\n\n{"body": "b"}\n', "line 3: the field 'text' is missing"),
            ("number.jsonl", b'{"text": 5}\n', "the field 'text' is int, not a string"),
            ("half.jsonl", b'{"text": "\\ud83d"}\n', "line 1: holds half of a surrogate pair"),
            ("deep.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", "line 1: "),
        ],
    )
    def test_a_bad_file_is_one_line_that_names_the_place(self, tmp_path, name, content, says):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            load_documents(path)
        message = str(error.value)
        assert says in message and name in message and "\n" not in message

    def test_missing_paths_and_empty_folders(self, tmp_path):
        (tmp_path / "x.csv").write_text("a,b")
        with pytest.raises(UserError, match=r"no text in this folder: it needs files ending in .txt"):
            load_documents(tmp_path)
        with pytest.raises(UserError, match=r"no such file or folder, and no corpus of that name.*storyland"):
            load_documents("stroyland")
        with pytest.raises(UserError, match="no file matches this pattern"):
            load_documents(f"{tmp_path}/*.txt")
        with pytest.raises(UserError, match="empty string"):
            load_documents("")
        with pytest.raises(UserError, match="max_documents is 0"):
            load_documents(tmp_path, max_documents=0)
        with pytest.raises(UserError, match="a file has no option n_bytes"):
            load_documents(tmp_path, n_bytes=5)


class TestCorpora:
    def test_storyland_is_found_by_name_and_depends_on_the_seed(self):
        a = load_documents("storyland", max_documents=5, seed=1)
        assert len({d.text for d in a}) == 5
        assert a == load_documents("storyland", max_documents=5, seed=1)
        assert {d.text for d in a}.isdisjoint(
            d.text for d in load_documents("storyland", n_bytes=3000, seed=2)
        )

    def test_pydoc_has_text_and_no_paragraph_twice(self):
        documents = load_documents("pydoc", max_documents=150)  # all topics, then modules
        assert len(documents) > 20 and all(d.source == "pydoc" for d in documents)
        paragraphs = [p for d in documents for p in d.text.split("\n\n")]
        long = [" ".join(p.split()) for p in paragraphs if len(p) > 200]
        assert len(long) == len(set(long)) > 100

    def test_pydoc_without_help_topics_or_sources_says_so(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
        assert len(load_documents("pydoc", max_documents=3)) == 3, "library sources alone are enough"
        monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
        with pytest.raises(UserError, match="carries no documentation"):
            load_documents("pydoc")

    def test_a_new_corpus_is_one_call(self, monkeypatch):
        monkeypatch.setattr(corpora, "CORPORA", dict(corpora.CORPORA))
        rhyme = corpora.Corpus("rhyme", "A test.", "none", lambda **_: ["one two", "buckle my shoe"])
        corpora.register(rhyme)
        assert texts("rhyme", max_documents=1) == ["one two"]
        with pytest.raises(UserError, match="already a corpus named 'rhyme'"):
            corpora.register(rhyme)
        with pytest.raises(UserError, match="'rhyme' has no option 'volume'"):
            load_documents("rhyme", volume=3)


def test_reading_documents_imports_neither_torch_nor_numpy():
    code = (
        "import sys, working_with_text_data.documents as d; d.text_files('.'); "
        "import working_with_text_data.corpora; print(*({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
