"""The tokenizers' surface: errors that name the fix, ids and bytes, published vocabularies."""

from dataclasses import replace

import pytest

from utils.errors import ScratchbookError, UserError
from working_with_text_data import (
    BPETokenizer,
    ByteTokenizer,
    StreamingDecoder,
    Tokenizer,
    load_tokenizer,
    tiktoken_ranks,
    to_tiktoken,
    train_bpe,
    train_bpe_readable,
)
from working_with_text_data.bpe import explain_word
from working_with_text_data.fast_encode import BlockCache
from working_with_text_data.pretokens import read_blocks

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 3


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [train_bpe, train_bpe_readable])
def test_a_vocabulary_without_room_for_the_bytes_is_refused(train):
    with pytest.raises(UserError) as error:
        train(TEXT, 257, special_tokens=("<|a|>", "<|b|>"))
    assert "257" in one_line(error) and "258" in one_line(error)


@pytest.mark.parametrize("train", [train_bpe, train_bpe_readable])
def test_a_vocabulary_that_the_text_cannot_fill_stops_and_says_so(train, tmp_path):
    tokenizer = train("abc abc", 5000, special_tokens=("<|end|>",))
    assert tokenizer.requested_vocab_size == 5000
    assert tokenizer.vocab_size == 256 + 3 + 1  # bc, abc, " abc"; then every word is one token
    tokenizer.save(tmp_path / "t.json")
    assert BPETokenizer.load(tmp_path / "t.json").requested_vocab_size == 5000


@pytest.mark.parametrize("train", [train_bpe, train_bpe_readable])
def test_no_text_gives_the_bytes_alone(train):
    for texts in ("", [], ["", ""]):
        assert train(texts, 300).vocab_size == 256


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pattern": "("}, "cl100k"),
        ({"pattern": "a*"}, "empty string"),
        ({"tie_break": "coin"}, "smallest_ids"),
        ({"special_tokens": ["<|a|>", "<|a|>"]}, "differ"),
        ({"special_tokens": [""]}, "non-empty"),
    ],
)
def test_wrong_arguments_name_what_is_right(arguments, named):
    with pytest.raises(UserError) as error:
        train_bpe(TEXT, 300, **arguments)
    assert named in one_line(error)


def test_the_readable_trainer_shows_every_merge():
    lines = []
    tokenizer = train_bpe_readable(TEXT, 262, verbose=True, show=lines.append)
    assert len(lines) == len(tokenizer.merges) == 6
    assert "merge   1" in lines[0] and "times" in lines[0]
    assert explain_word("the", tokenizer).splitlines()[0] == "t|h|e"


def test_merges_work_beyond_the_first_plane_of_unicode_and_at_surrogates():
    """Ids are characters while training: 0xD800–0xDFFF are no characters, yet they must be ids."""
    from working_with_text_data.fast_bpe import learn_merges

    words = {
        chr(97 + i % 26) + chr(97 + i // 26 % 26) + chr(97 + i // 676 % 26) + chr(97 + i // 17576): 1
        for i in range(60_000)
    }
    merges = learn_merges(words, 57_200)
    assert len(merges) == 57_200, "the vocabulary must pass 0xDFFF = 57,343"
    assert len(set(merges)) == len(merges)


def test_patterns_have_aliases():
    assert train_bpe(TEXT, 260, pattern="gpt4").pattern == "cl100k"
    assert train_bpe(TEXT, 260, pattern="cl100k_base").pattern == "cl100k"


def test_a_file_is_read_in_blocks_and_newlines_are_kept(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\n\xff three")
    assert "".join(read_blocks(path, chunk_chars=4)) == "one\r\ntwo\n\ufffd three"


# --- ids and bytes --------------------------------------------------------------------------------


def test_both_keep_the_protocol():
    assert isinstance(ByteTokenizer(), Tokenizer) and isinstance(train_bpe(TEXT, 260), Tokenizer)


def test_the_byte_tokenizer_has_its_four_controls():
    tokenizer = ByteTokenizer()
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.sep_id) == (256, 257, 258, 259)
    assert tokenizer.vocab_size == 260
    assert tokenizer.encode("<|bos|>hi<|eos|>", allowed_special="all") == [257, 104, 105, 258]
    assert ByteTokenizer(["<|user|>"]).special_tokens["<|user|>"] == 260
    with pytest.raises(UserError):
        ByteTokenizer(["<|pad|>"])


@pytest.mark.parametrize("make", [ByteTokenizer, lambda: train_bpe(TEXT, 300)])
@pytest.mark.parametrize("bad", [-1, 10_000])
def test_an_id_outside_the_vocabulary_is_named(make, bad):
    with pytest.raises(UserError) as error:
        make().decode([97, bad])
    assert str(bad) in one_line(error)


def test_decode_takes_arrays_and_tensors():
    np = pytest.importorskip("numpy")
    torch = pytest.importorskip("torch")
    tokenizer = train_bpe(TEXT, 300)
    ids = tokenizer.encode_ordinary(TEXT)
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)) == TEXT
    assert tokenizer.decode(torch.tensor(ids)) == TEXT
    assert tokenizer.decode(iter(ids)) == TEXT


def test_specials_may_have_ids_with_gaps():
    tokenizer = BPETokenizer([], special_tokens={"<|far|>": 1000})
    assert tokenizer.vocab_size == 1001 and tokenizer.decode([1000]) == "<|far|>"
    with pytest.raises(UserError):
        tokenizer.decode([999])


def test_the_cache_is_bounded_and_does_not_change_ids():
    cache = BlockCache(lambda pieces: [piece.encode() for piece in pieces], limit=10)
    for i in range(0, 1000, 5):
        block = [str(j) for j in range(i, i + 5)]
        assert cache.look_up(block) == "".join(block).encode()
        assert 0 < len(cache) <= 10
    assert cache["x" * 1000] == b"x" * 1000 and "x" * 1000 not in cache, "long pieces hardly ever come again"
    tokenizer = train_bpe(TEXT, 300)
    first = tokenizer.encode_ordinary(TEXT)
    first.append(-1)  # the caller may change its list
    assert tokenizer.encode_ordinary(TEXT) == first[:-1]


def test_a_stop_string_must_say_something():
    with pytest.raises(UserError):
        StreamingDecoder(ByteTokenizer(), stop=[""])


# --- published vocabularies -----------------------------------------------------------------------


def test_ranks_survive_their_file_and_merges_are_found_again(tmp_path):
    tokenizer = train_bpe(TEXT, 300, special_tokens=["<|end|>"])
    tiktoken_ranks.write_ranks(tokenizer, tmp_path / "own.tiktoken")
    ranks = tiktoken_ranks.read_ranks(tmp_path / "own.tiktoken")
    again = BPETokenizer(ranks=ranks, special_tokens=["<|end|>"])
    assert again.ranks == tokenizer.ranks and again.merges == tokenizer.merges
    assert again.encode_ordinary(TEXT) == tokenizer.encode_ordinary(TEXT)


@pytest.mark.parametrize("content", [b"", b"QQ== 0\nnonsense\n", b"QQ== zero\n", b"!!!! 1\n"])
def test_a_broken_rank_file_is_a_clear_error(content, tmp_path):
    path = tmp_path / "broken.tiktoken"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        tiktoken_ranks.read_ranks(path)
    assert "broken.tiktoken" in one_line(error)


def test_a_published_vocabulary_that_is_not_there_names_the_file_and_the_folder(tmp_path, monkeypatch):
    with pytest.raises(UserError) as error:
        tiktoken_ranks.load_tiktoken("gpt2", tmp_path)
    assert "gpt2.tiktoken" in one_line(error) and str(tmp_path) in one_line(error)
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path))
    nowhere = replace(tiktoken_ranks.ENCODINGS["gpt2"], url="http://127.0.0.1:9/r50k_base.tiktoken")
    monkeypatch.setitem(tiktoken_ranks.ENCODINGS, "gpt2", nowhere)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScratchbookError) as failure:
        load_tokenizer("gpt2")
    assert "gpt2.tiktoken" in one_line(failure) and str(tmp_path) in one_line(failure)


def test_a_published_vocabulary_is_found_in_the_data_folder_and_saved_as_json(
    shared_data, tmp_path, monkeypatch
):
    folder = tmp_path / "tokenizers"
    folder.mkdir()
    (folder / "gpt2.tiktoken").write_bytes((shared_data / "tokenizers" / "gpt2.tiktoken").read_bytes())
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tokenizer = load_tokenizer("gpt2")
    assert tokenizer.vocab_size == 50257 and tokenizer.encode("Hello world") == [15496, 995]
    tokenizer.save(tmp_path / "copy.json")
    again = load_tokenizer(tmp_path / "copy.json")
    text = (shared_data / "text" / "the-verdict.txt").read_text(encoding="utf-8")
    assert again.encode_ordinary(text) == tokenizer.encode_ordinary(text)


def test_a_name_that_is_nothing_is_a_clear_error():
    with pytest.raises(UserError) as error:
        load_tokenizer("no-such-tokenizer")
    assert "no-such-tokenizer" in one_line(error)


def test_a_tokenizer_without_specials_runs_in_tiktoken():
    tokenizer = train_bpe(TEXT, 300)
    assert to_tiktoken(tokenizer, "mine").name == "mine"
    assert to_tiktoken(tokenizer).encode(TEXT) == tokenizer.encode(TEXT)
