"""Where published vocabularies are looked for, and the adapter to tiktoken beyond its laws."""

import base64
import hashlib
from dataclasses import replace

import pytest

from utils.errors import UserError
from working_with_text_data import (
    ByteTokenizer,
    GPT2Tokenizer,
    GPT4oTokenizer,
    GPT4Tokenizer,
    TiktokenTokenizer,
    load_tokenizer,
    tiktoken_ranks,
    to_tiktoken,
    tokenizer_hash,
    train_bpe,
)

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 3


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A published vocabulary of 257 ids at an address that nobody answers, and empty folders to look in."""
    ranks = b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256))
    content = ranks + base64.b64encode(b"th") + b" 256\n"
    encoding = replace(
        tiktoken_ranks.ENCODINGS["gpt2"],
        url="http://127.0.0.1:9/tiny.tiktoken",
        sha256=hashlib.sha256(content).hexdigest(),
        special_tokens={"<|endoftext|>": 257},
    )
    monkeypatch.setitem(tiktoken_ranks.ENCODINGS, "gpt2", encoding)
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return content


def test_a_vocabulary_is_found_in_the_folder_the_data_root_and_tiktokens_cache(tiny, tmp_path):
    ids = [256, ord("e")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "gpt2.tiktoken").write_bytes(tiny)
    assert GPT2Tokenizer(tmp_path / "mine").encode("the") == ids
    assert TiktokenTokenizer.from_name("gpt2", tmp_path / "mine").encode("the") == ids

    cached = tmp_path / "cache" / hashlib.sha1(b"http://127.0.0.1:9/tiny.tiktoken").hexdigest()
    cached.write_bytes(tiny)
    assert load_tokenizer("gpt2").encode("the") == ids
    assert not (tmp_path / "data").exists(), "nothing is copied that is there"
    cached.write_bytes(tiny + b"QQ== 999\n")
    with pytest.raises(UserError):
        load_tokenizer("gpt2")  # a damaged file in the cache counts for nothing

    (tmp_path / "data" / "tokenizers").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / "tokenizers" / "gpt2.tiktoken").write_bytes(tiny)
    assert load_tokenizer("tiktoken:gpt2").encode("the") == ids


@pytest.mark.parametrize("load", [GPT2Tokenizer, lambda: TiktokenTokenizer.from_name("gpt2")])
def test_without_file_and_network_the_error_says_what_from_where_and_which_folder(tiny, tmp_path, load):
    with pytest.raises(UserError) as error:
        load()
    message = one_line(error)
    assert "gpt2.tiktoken" in message and "http://127.0.0.1:9/tiny.tiktoken" in message
    assert str(tmp_path / "data" / "tokenizers") in message


def test_a_name_that_nobody_published():
    with pytest.raises(UserError, match="no encoding 'gpt5'"):
        TiktokenTokenizer.from_name("gpt5")


def test_the_merges_published_with_gpt2_are_its_ranks(shared_data, tmp_path, monkeypatch):
    """tiktoken's own cache holds GPT-2 as `vocab.bpe`; it is enough."""
    folder = shared_data / "tokenizers"
    merges = folder / "gpt2" / "vocab.bpe"
    assert tiktoken_ranks.read_gpt2_merges(merges) == tiktoken_ranks.read_ranks(folder / "gpt2.tiktoken")
    url, _ = tiktoken_ranks._GPT2_MERGES
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(merges.read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path / "nothing"))
    assert load_tokenizer("gpt2").encode("Hello world") == [15496, 995]


@pytest.mark.parametrize("line", ["one two three", "lonely", "\u3000 a"])
def test_a_broken_file_of_merges_is_named_with_its_line(line, tmp_path):
    path = tmp_path / "vocab.bpe"
    path.write_text(f"#version: 0.2\nt h\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 3") as error:
        tiktoken_ranks.read_gpt2_merges(path)
    one_line(error)


@pytest.mark.parametrize(
    "make, size", [(GPT2Tokenizer, 50257), (GPT4Tokenizer, 100277), (GPT4oTokenizer, 200019)]
)
def test_the_names_that_a_reader_looks_for(make, size, shared_data, tmp_path):
    tokenizer = make(shared_data / "tokenizers")
    assert tokenizer.vocab_size == size
    text = "Hello  wörld <|endoftext|> 12345\n"
    fast = TiktokenTokenizer.from_tokenizer(tokenizer)
    assert fast.encode(text, "all") == tokenizer.encode(text, "all")
    if size == 50257:  # our JSON, and the engine, come back
        fast.save(tmp_path / "tokenizer.json")
        again = load_tokenizer(tmp_path)
        assert type(again) is TiktokenTokenizer and tokenizer_hash(again) == tokenizer_hash(tokenizer)
        assert again.encode(text, "all") == tokenizer.encode(text, "all")


def test_an_encoding_from_elsewhere_keeps_its_pattern_by_name():
    import tiktoken

    tokenizer = train_bpe(TEXT, 300, special_tokens=["<|end|>"])
    published = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    encoding = tiktoken.Encoding(
        "x", pat_str=published, mergeable_ranks=tokenizer.ranks, special_tokens=tokenizer.special_tokens
    )
    taken = TiktokenTokenizer.from_encoding(encoding)
    assert taken.pattern == "gpt2" and tokenizer_hash(taken) == tokenizer_hash(tokenizer)
    assert taken.encoding is encoding and taken.encode(TEXT) == tokenizer.encode(TEXT)
    ours = TiktokenTokenizer.from_encoding(to_tiktoken(train_bpe(TEXT, 300, pattern="cl100k")))
    assert ours.pattern == "cl100k"


def test_ranks_with_a_gap_work_and_cannot_be_saved(tmp_path):
    import tiktoken

    ranks = {bytes([b]): b for b in range(256)} | {b"th": 256, b"the": 258}
    encoding = tiktoken.Encoding("gap", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    taken = TiktokenTokenizer.from_encoding(encoding)
    assert taken.encode("the th") == [258, 32, 256]
    with pytest.raises(UserError, match="merges"):
        taken.save(tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())


def test_what_tiktoken_has_no_place_for_is_said():
    with pytest.raises(UserError, match="prefix_space"):
        to_tiktoken(train_bpe(TEXT, 300, prefix_space=True))
    with pytest.raises(UserError, match="split pattern"):
        to_tiktoken(train_bpe(TEXT, 300, pattern=r"(?V1)[\w--[0-9]]+|."))
    with pytest.raises(UserError, match="ByteTokenizer"):
        TiktokenTokenizer.from_tokenizer(ByteTokenizer())
    with pytest.raises(UserError, match="ByteTokenizer"):
        load_tokenizer("tiktoken:byte")


def test_an_unknown_id_is_named():
    tokenizer = TiktokenTokenizer(merges=[])
    for call in (tokenizer.decode, tokenizer.decode_bytes):
        with pytest.raises(UserError, match="999"):
            call([999])
    assert "TiktokenTokenizer" in repr(tokenizer)
