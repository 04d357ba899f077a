"""Hugging Face's tokenizers beyond their laws: options of training, bad input, files that are none."""

import json
import sys

import pytest

from utils.errors import UserError
from working_with_text_data import (
    BPETokenizer,
    HuggingFaceTokenizer,
    export_tokenizer_json,
    load_tokenizer,
    to_huggingface,
    train_bpe,
)
from working_with_text_data.huggingface_spelling import is_lossless, speller

pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")

TEXTS = ["the cat sat on the mat; the dog sat on the log.\n" * 3, "naïve café 東京 1984"]


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


def test_special_tokens_come_last_and_are_not_learned_from():
    marked = [text + "<|end|>" * 20 for text in TEXTS]
    for model, size in (("bpe", 300), ("wordpiece", 120), ("unigram", 60)):
        tokenizer = HuggingFaceTokenizer.train(marked, size, model, special_tokens=["<|end|>"])
        assert tokenizer.special_tokens["<|end|>"] == tokenizer.vocab_size - 1
        plain = HuggingFaceTokenizer.train(TEXTS, size, model, special_tokens=["<|end|>"])
        # As a set: the library numbers the pieces of WordPiece and Unigram in the order of a hash table.
        assert {plain.token_bytes(i) for i in range(plain.vocab_size)} == {
            tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)
        }


def test_min_frequency_leaves_rare_pairs_alone():
    rare = HuggingFaceTokenizer.train(TEXTS, 400, min_frequency=1)
    common = HuggingFaceTokenizer.train(TEXTS, 400, min_frequency=4)
    assert common.vocab_size < rare.vocab_size
    assert b" the" in {common.token_bytes(i) for i in range(common.vocab_size)}


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"vocab_size": 200}, "256"),
        ({"vocab_size": 300, "model": "word2vec"}, "word2vec"),
        ({"vocab_size": 300, "special_tokens": "<|end|>"}, "list"),
        ({"vocab_size": 300, "special_tokens": ["a", "a"]}, "differ"),
        ({"vocab_size": 300, "special_tokens": [""]}, "non-empty"),
        ({"vocab_size": 300, "model": "unigram", "special_tokens": ["<unk>"]}, "<unk>"),
        ({"vocab_size": 300, "min_frequency": 0}, "min_frequency"),
        ({"vocab_size": 300, "pattern": "("}, "split pattern"),
        ({"vocab_size": 8, "model": "wordpiece"}, "ask for more"),
        ({"vocab_size": 8, "model": "unigram"}, "vocabulary"),
    ],
)
def test_options_that_cannot_be_are_one_line(arguments, word):
    with pytest.raises(UserError, match=word) as error:
        HuggingFaceTokenizer.train(TEXTS, **arguments)
    one_line(error)


@pytest.mark.parametrize("model", ["bpe", "wordpiece", "unigram"])
@pytest.mark.parametrize("texts", [[], "", ["", ""], ["<|end|>"]])
def test_no_text_is_one_line(model, texts):
    with pytest.raises(UserError, match="no text"):
        HuggingFaceTokenizer.train(texts, 300, model, special_tokens=["<|end|>"])


def test_an_error_in_the_texts_is_not_hidden():
    def texts():
        yield "one"
        raise OSError("the disk is gone")

    with pytest.raises((OSError, UserError), match="the disk is gone"):
        HuggingFaceTokenizer.train(texts(), 300)


def test_a_special_token_spelled_like_a_learned_one_is_refused():
    tokenizer = BPETokenizer([(99, 97), (256, 116)], special_tokens=["cat"])
    assert b"cat" in tokenizer.ranks
    with pytest.raises(UserError, match="'cat'") as error:
        to_huggingface(tokenizer)
    one_line(error)


def test_the_export_of_a_special_with_letters_of_bytes():
    """ "é" is the letter of a byte as well as a character; both must keep their ids."""
    tokenizer = train_bpe(TEXTS, 280, special_tokens=["東京", "<é>", "Ġx"])
    exported = HuggingFaceTokenizer(to_huggingface(tokenizer))
    text = "in 東京<é> xĠx"
    assert exported.encode(text, "all") == tokenizer.encode(text, "all")
    assert exported.decode(exported.encode(text, "all")) == text
    assert exported.encode_ordinary(text) == tokenizer.encode_ordinary(text)


@pytest.mark.parametrize(
    "content, word",
    [
        ("", "cut short"),
        ('{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0', "cut short"),
        ('{"version": "1.0", "model": {"type": "Strange", "vocab": {}}}', "cannot read"),
        (
            '{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}',
            "empty",
        ),
        ('{"type": "byte", "version": 1}', "not 'huggingface'"),
    ],
)
def test_files_that_are_no_tokenizer_are_one_line(content, word, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    for where in (path, tmp_path):
        with pytest.raises(UserError, match=word) as error:
            HuggingFaceTokenizer.load(where)
        assert "tokenizer.json" in one_line(error) or str(tmp_path) in one_line(error)


def test_a_missing_package_is_named_with_its_command(monkeypatch, tmp_path):
    export_tokenizer_json(train_bpe(TEXTS, 280), tmp_path / "tokenizer.json")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for call in (
        lambda: HuggingFaceTokenizer.train(TEXTS, 300),
        lambda: load_tokenizer(tmp_path),
        lambda: to_huggingface(train_bpe(TEXTS, 280)),
    ):
        with pytest.raises(UserError, match=r"\[hf\]") as error:
            call()
        one_line(error)


def test_an_unknown_id_is_named():
    tokenizer = HuggingFaceTokenizer.train(TEXTS, 300)
    for call in (tokenizer.decode, tokenizer.decode_bytes, tokenizer.decode_tidy):
        with pytest.raises(UserError, match="999"):
            call([999])
    assert repr(tokenizer).startswith("HuggingFaceTokenizer(BPE, vocab_size=")


def test_the_librarys_decoder_is_there_for_whole_texts():
    tokenizer = HuggingFaceTokenizer.train(TEXTS, 120, "wordpiece")
    ids = tokenizer.encode("the cat sat.")
    assert tokenizer.decode(ids) == " the cat sat ." and tokenizer.decode_tidy(ids) == "the cat sat ."


# --- spelling -------------------------------------------------------------------------------------

SPELLINGS = {
    "letters": ({"type": "ByteLevel"}, "Ġthe", b" the"),
    "letters, in a sequence": ({"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}, "Ċ", b"\n"),
    "plain words among letters": ({"type": "ByteLevel"}, "東", "東".encode()),
    "metaspace": ({"type": "Metaspace", "replacement": "▁"}, "▁a▁b", b" a b"),
    "wordpiece begins": ({"type": "WordPiece", "prefix": "##"}, "play", b" play"),
    "wordpiece goes on": ({"type": "WordPiece", "prefix": "##"}, "##ing", b"ing"),
    "end of word": ({"type": "BPEDecoder", "suffix": "</w>"}, "cat</w>", b"cat "),
    "nothing said": (None, "word", b" word"),
}
_LLAMA = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
SPELLINGS |= {
    "llama's space": (_LLAMA, "▁the", b" the"),
    "llama's byte": (_LLAMA, "<0xE4>", b"\xe4"),
    "llama's almost byte": (_LLAMA, "<0xE4>x", b"<0xE4>x"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_token_is_spelled_as_its_decoder_says(name):
    decoder, word, expected = SPELLINGS[name]
    assert speller({"decoder": decoder})(word) == expected


def test_what_loses_something_is_not_called_lossless():
    whole = json.loads(to_huggingface(train_bpe(TEXTS, 280)).to_str())
    assert is_lossless(whole)
    letters = dict(list(whole["model"]["vocab"].items())[:-30])
    for change in (
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"pre_tokenizer": None},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Whitespace"}, whole["pre_tokenizer"]],
            }
        },
        {"decoder": None},
        {"model": whole["model"] | {"vocab": {k: v for k, v in letters.items() if k != "Ġ"}}},
    ):
        assert not is_lossless(whole | change), change
