"""Named sources: the table, what lies on this machine, the published forms, and no network."""

import json
import socket
import time

import pytest

from utils.errors import RunFailure, UserError
from utils.files import sha256_bytes
from working_with_text_data import catalogue, corpora, gutenberg, online
from working_with_text_data.documents import Problems, load_documents
from working_with_text_data.huggingface_source import HubSource
from working_with_text_data.published_forms import begins_article, instruction_fields, triplet

NAMES = [
    *("storyland", "pydoc", "tinyshakespeare", "the-verdict", "gutenberg", "tinystories", "wikitext-2"),
    *("wikitext-103", "openwebtext", "c4", "smollm-corpus", "fineweb-edu"),
    *("imdb", "sms-spam", "alpaca", "alpaca-gpt4"),
]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder, and a network that is not there."""
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path / "data"))

    def nowhere(*_, **__):
        raise OSError(None, "no network in this test")

    monkeypatch.setattr(socket, "create_connection", nowhere)
    return tmp_path / "data"


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


class TestTheRegistry:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_source_says_what_it_is(self, name):
        corpus = corpora.CORPORA[name]
        assert corpus.description.endswith(".") and corpus.licence and corpus.size
        if corpus.home:
            assert corpus.home.startswith("https://")

    def test_nothing_else_is_there(self):
        assert set(corpora.CORPORA) >= set(NAMES)

    def test_the_table_and_one_entry(self, data, capsys):
        assert corpora.main([]) == 0
        table = capsys.readouterr().out
        assert all(f"\n{name} " in table for name in NAMES)
        assert corpora.main(["here=true"]) == 0
        rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-2]]
        assert rows == ["pydoc", "storyland"]
        assert corpora.main(["tinyshakespeare"]) == 0
        told = capsys.readouterr().out
        assert "86c4e6aa" in told and "public domain" in told and str(data / "tinyshakespeare") in told

    def test_an_unknown_name_is_met_with_a_guess(self):
        with pytest.raises(UserError, match="did you mean 'tinystories'"):
            corpora.main(["tinystorys"])

    def test_an_entry_of_ones_own(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr(corpora, "CORPORA", dict(corpora.CORPORA))
        path = tmp_path / "mine.yaml"
        path.write_text("mine:\n  description: A test.\n  licence: none\n  hub: me/mine\n  splits: [train]\n")
        for corpus in catalogue.load_catalogue(path):
            corpora.register(corpus)
        put(data, "mine/a.jsonl", '{"text": "found"}\n')
        assert load_documents("mine")[0].text == "found"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("a: 5", "entry 'a': write keys below it"),
            ("a: {description: d, licence: l, hubb: x}", "unknown key 'hubb'"),
            ("a: {description: d, hub: x, splits: [train]}", "needs description, licence"),
            ("a: {description: d, licence: l}", "give either `files`, or `hub`"),
            ("a: {description: d, licence: l, hub: x}", "`hub` with `splits`"),
            ("a: {description: d, licence: l, hub: x, splits: [train], form: odd}", "a form of text, alpaca"),
            ("a: {description: d, licence: l, files: [{name: x}]}", "entry 'a'"),
            ("[1]", "a mapping"),
            ("a: [", "not a catalogue"),
        ],
    )
    def test_a_wrong_entry_is_named(self, tmp_path, text, says):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        with pytest.raises(UserError) as error:
            catalogue.load_catalogue(path)
        assert says in str(error.value) and "\n" not in str(error.value)


class TestWithoutANetwork:
    @pytest.mark.parametrize("name", [n for n in NAMES if n not in ("storyland", "pydoc")])
    def test_the_error_is_one_line_with_what_where_and_the_folder(self, data, name):
        with pytest.raises(UserError) as error:
            load_documents(name)
        message = str(error.value)
        assert "\n" not in message and "https://" in message and str(data / name) in message, message
        assert "SCRATCHBOOK_DATA" in message

    def test_without_the_variable_the_network_is_asked_once_and_quickly(self, data, monkeypatch):
        monkeypatch.delenv("HF_HUB_OFFLINE")
        with pytest.raises(UserError, match=r"huggingface\.co cannot be reached: no network in this test"):
            load_documents("tinystories")

    def test_a_name_look_up_that_hangs_is_given_up(self, monkeypatch):
        def hangs(*_, **__):
            time.sleep(5)
            raise OSError("too late")

        monkeypatch.setattr(socket, "create_connection", hangs)
        start = time.monotonic()
        assert "no answer within 0.2 s" in online.unreachable("https://example.org", seconds=0.2)
        assert time.monotonic() - start < 4, "the look-up was waited for"

    def test_a_proxy_is_asked_instead(self, monkeypatch):
        asked = []
        monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

        class Line:
            def close(self):
                pass

        monkeypatch.setattr(
            socket, "create_connection", lambda address, timeout: asked.append(address) or Line()
        )
        assert online.unreachable("https://example.org") is None
        assert asked == [("proxy.test", 3128)]

    def test_a_file_with_the_wrong_sum_stays_and_is_refused(self, data):
        put(data, "the-verdict/the-verdict.txt", "not it")
        with pytest.raises(UserError, match="not the expected file"):
            load_documents("the-verdict")


class TestPutThereByHand:
    def test_the_first_kind_that_is_there_is_read(self, data):
        put(data, "tinystories/TinyStories-train.txt", "one\n<|endoftext|>\ntwo\n")
        assert [(d.text, d.source, d.index) for d in load_documents("tinystories")] == [
            ("one", "tinystories", 0),
            ("two", "tinystories", 1),
        ]
        put(data, "tinystories/data/train-00000.jsonl", '{"text": "line"}\n')
        assert [d.text for d in load_documents("tinystories")] == ["line"]

    def test_splits_are_told_by_words_of_the_path(self, data):
        put(data, "tinystories/TinyStories-train.txt", "train")
        put(data, "tinystories/TinyStories-valid.txt", "valid")
        assert [d.text for d in load_documents("tinystories")] == ["train"]
        assert [d.text for d in load_documents("tinystories", split="validation")] == ["valid"]
        with pytest.raises(UserError, match="no split 'dev': its splits are train, validation"):
            load_documents("tinystories", split="dev")

    def test_a_split_that_is_not_there_is_asked_of_the_hub(self, data):
        put(data, "tinystories/TinyStories-train.txt", "train")
        with pytest.raises(UserError, match="cannot be streamed"):
            load_documents("tinystories", split="validation")

    def test_what_was_asked_of_files_holds_for_names_too(self, data):
        put(data, "tinystories/train.jsonl", b'{"text": "caf\xe9"}\nbad\n{"text": " "}\n')
        with pytest.raises(UserError, match=r'byte 13: give UTF-8 text, or pass errors="replace"'):
            load_documents("tinystories")
        problems = Problems()
        found = load_documents("tinystories", errors="replace", on_bad_line="skip", problems=problems)
        assert [d.text for d in found] == ["caf\ufffd"]
        assert problems.counts == {"replaced": 1, "skipped": 1, "empty": 1}
        with pytest.warns(UserWarning, match="1 replaced, 1 skipped"):
            load_documents("tinystories", errors="replace", on_bad_line="skip")

    def test_messages_in_the_published_file(self, data):
        put(data, "sms-spam/SMSSpamCollection", "ham\tSee you\tat six\nspam\tWIN!!\n")
        put(data, "sms-spam/readme", "not data")
        assert [(d.text, d.meta) for d in load_documents("sms-spam")] == [
            ("See you\tat six", {"label": "ham"}),
            ("WIN!!", {"label": "spam"}),
        ]
        put(data, "sms-spam/SMSSpamCollection", "ham\tok\nno label here\n")
        with pytest.raises(UserError, match=r"SMSSpamCollection, line 2: not `ham<TAB>message`"):
            load_documents("sms-spam")

    def test_messages_as_rows(self, data):
        rows = [{"sms": "hi\n", "label": 0}, {"sms": "WIN", "label": 1}]
        put(data, "sms-spam/train.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
        assert [(d.text, d.meta["label"]) for d in load_documents("sms-spam")] == [
            ("hi", "ham"),
            ("WIN", "spam"),
        ]

    def test_reviews_in_their_folders(self, data):
        for split, label, name in (("train", "pos", "0_9"), ("train", "neg", "3_1"), ("test", "pos", "1_10")):
            put(data, f"imdb/aclImdb/{split}/{label}/{name}.txt", f"{split} {label}")
        put(data, "imdb/aclImdb/train/unsup/7_0.txt", "nobody said")
        put(data, "imdb/aclImdb/train/urls_pos.txt", "http://")
        put(data, "imdb/aclImdb/README", "about")
        found = load_documents("imdb")
        assert [(d.text, d.meta) for d in found] == [
            ("train neg", {"label": "neg", "rating": 1}),
            ("train pos", {"label": "pos", "rating": 9}),
        ]
        assert [d.meta["rating"] for d in load_documents("imdb", split="test")] == [10]
        assert load_documents("imdb", split="unsupervised")[0].meta == {"label": None, "rating": None}

    def test_instructions_become_triplets_and_keep_their_fields(self, data):
        rows = [{"instruction": "Add.", "input": "1 + 1", "output": "2", "text": "prompt"}]
        put(data, "alpaca/alpaca_data.json", json.dumps(rows))
        (found,) = load_documents("alpaca")
        assert found.text == "### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n2"
        assert found.meta == {"instruction": "Add.", "input": "1 + 1", "output": "2"}

    def test_lines_of_wikitext_become_articles(self, data):
        lines = ["\n", " = One = \n", " a \n", " = = Part = = \n", " b \n", " = Two = \n", " c \n"]
        whole = ["\n", "".join(lines[1:5]), "".join(lines[5:])]
        put(data, "wikitext-2/wiki.train.raw.txt", "".join(lines))
        assert [d.text for d in load_documents("wikitext-2")] == whole[1:]
        put(data, "wikitext-2/train.jsonl", "".join(json.dumps({"text": line}) + "\n" for line in lines))
        assert [d.text for d in load_documents("wikitext-2")] == whole[1:]

    def test_real_files(self, data, shared_data):
        def copy(source, name):
            put(data, name, (shared_data / source).read_bytes())

        copy("classify/SMSSpamCollection", "sms-spam/SMSSpamCollection")
        messages = load_documents("sms-spam")
        labels = [d.meta["label"] for d in messages]
        assert (len(messages), labels.count("spam")) == (5574, 747)
        copy("text/wikitext-2/valid.txt", "wikitext-2/valid.txt")
        assert len(load_documents("wikitext-2", split="validation")) == 60, "WikiText-2 has 60 such articles"
        copy("classify/imdb_test_2000.jsonl.gz", "imdb/imdb_test_2000.jsonl.gz")
        reviews = load_documents("imdb", split="test")
        assert len(reviews) == 2000 and {d.meta["label"] for d in reviews} == {"neg", "pos"}
        copy("instruct/instruction-data-1100.json", "alpaca/alpaca_data.json")
        assert len(load_documents("alpaca")) == 1100
        for name, file in (("tinyshakespeare", "input.txt"), ("the-verdict", "the-verdict.txt")):
            copy(f"text/{name}.txt", f"{name}/{file}")
            assert len(load_documents(name)) == 1, "the sums in the catalogue are those of the real files"
        copy("text/tinystories/tinystories_val_3117.txt", "tinystories/valid.txt")
        assert len(load_documents("tinystories", split="validation")) == 3117


class TestGutenberg:
    def test_books_are_found_by_the_number_in_their_names(self, data):
        for name in ("pg11.txt", "84-0.txt", "Moby-Dick_2701.txt", "1342.txt.gz", "notes.txt"):
            put(data, f"gutenberg/{name}", "x")
        assert set(gutenberg.books_here(data / "gutenberg")) == {11, 84, 2701, 1342}

    def test_one_document_a_book_in_the_order_asked(self, data):
        put(data, "gutenberg/pg11.txt", "Alice")
        put(data, "gutenberg/84-8.txt", b"Fr\xe9d\xe9ric")
        found = load_documents("gutenberg", ids=[84, 11])
        assert [(d.text, d.meta["book"]) for d in found] == [("Frédéric", 84), ("Alice", 11)]
        with pytest.raises(UserError, match=r"1 of 2 books .* \(numbers 98\)"):
            load_documents("gutenberg", ids="11,98")
        with pytest.raises(UserError, match="ids holds 'x'"):
            load_documents("gutenberg", ids="11,x")

    def test_a_download_is_kept_with_its_sum_and_checked_again(self, data, tmp_path, monkeypatch):
        (tmp_path / "pg11.txt").write_text("Alice")
        source = (tmp_path / "pg11.txt").as_uri()
        path = gutenberg.download(11, data / "gutenberg", source)
        assert gutenberg.sums(path.parent) == {"pg11.txt": sha256_bytes(b"Alice")}
        assert load_documents("gutenberg", ids=11)[0].text == "Alice"
        path.write_text("Alicia")
        with pytest.raises(UserError, match="not the file that was downloaded"):
            load_documents("gutenberg", ids=11)

    @pytest.mark.parametrize("content", ["", "<!DOCTYPE html><html>"])
    def test_a_page_in_place_of_a_book_is_refused(self, data, tmp_path, content):
        (tmp_path / "page").write_text(content)
        with pytest.raises(RunFailure, match="did not give a whole text file"):
            gutenberg.download(11, data, (tmp_path / "page").as_uri())
        assert not (data / "pg11.txt").exists()

    def test_real_books(self, shared_data):
        here = gutenberg.books_here(shared_data / "text" / "gutenberg")
        assert set(here) == set(gutenberg.BOOKS)


class TestHubSource:
    @pytest.fixture(autouse=True)
    def needs_datasets(self):
        pytest.importorskip("datasets")

    def test_local_files_through_the_same_loader(self, tmp_path):
        put(tmp_path, "a.jsonl", '{"body": "one", "n": 1}\n{"body": "  ", "n": 2}\n{"body": null, "n": 3}\n')
        source = HubSource("json", data_files=tmp_path / "a.jsonl", text_field="body", label="mine")
        (found,) = list(source)
        assert (found.text, found.source, found.meta) == ("one", "mine", {"n": 1})
        assert source.problems.counts["empty"] == 2

    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (lambda p: HubSource("json", data_files=p / "none.jsonl"), "no such file"),
            (lambda p: HubSource("json", data_files=p / "a.jsonl"), r"no column 'text'; it has 'body'"),
            (lambda p: HubSource("json", split="test", data_files=p / "a.jsonl"), "test"),
            (lambda p: HubSource("json"), "data_files go with one of json"),
            (lambda p: HubSource("me/mine", data_files=p / "a.jsonl"), "data_files go with one of json"),
            (lambda p: HubSource("me/mine", max_examples=0), "max_examples is 0"),
            (lambda p: HubSource("me/mine"), "HF_HUB_OFFLINE is set"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, tmp_path, make, says):
        put(tmp_path, "a.jsonl", '{"body": "one"}\n')
        with pytest.raises(UserError, match=says) as error:
            list(make(tmp_path))
        assert "\n" not in str(error.value)

    def test_a_file_that_breaks_off_is_a_failure_that_says_how_far_it_came(self, tmp_path):
        put(tmp_path, "a.jsonl", '{"text": "one"}\n')
        put(tmp_path, "b.jsonl", '{"text": \n')
        source = HubSource("json", data_files=[tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
        with pytest.raises(RunFailure, match="the stream broke after 1 documents"):
            list(source)

    def test_a_catalogue_entry_knows_its_stream(self):
        stream = corpora.CORPORA["openwebtext"].loader.stream(max_examples=3)
        assert stream.state_dict()["source"]["path"] == "parquet"
        with pytest.raises(UserError, match="its configs are en, "):
            corpora.CORPORA["c4"].loader.stream(config="fr")


def test_a_title_is_told_from_a_heading():
    titles = [" = Robert Boulter = \n", "= X =", " = 2008 – 09 season = \n"]
    others = [" = = Career = = \n", " text = text \n", " \n", "", " = not closed \n", " = = = Deep = = = \n"]
    assert all(map(begins_article, titles)) and not any(map(begins_article, others))


def test_instruction_fields_know_the_usual_names():
    assert instruction_fields({"instruction": "i", "output": "o"}) == {
        "instruction": "i",
        "input": "",
        "output": "o",
    }
    assert instruction_fields({"text": "t"}) is None and instruction_fields({"instruction": "i"}) is None
    assert triplet("a", " ", "b") == "### Instruction:\na\n\n### Response:\nb"
