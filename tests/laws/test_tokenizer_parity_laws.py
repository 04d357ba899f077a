"""LT3: the same ids as tiktoken and the same merges as Hugging Face's trainer."""

import hashlib
import json
from array import array

import pytest
from tokenizer_checks import (
    CORPUS,
    SPECIALS,
    bytes_of_printable,
    check_equals_tiktoken,
    fuzz_strings,
    merges_as_bytes,
)

from working_with_text_data import (
    train_bpe,
)
from working_with_text_data.tiktoken_ranks import ENCODINGS, load_tiktoken, to_tiktoken


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_our_ranks_give_the_same_ids_inside_tiktoken(pattern):
    """Needs no data: a vocabulary trained here runs in tiktoken's own engine, split pattern and all."""
    tokenizer = train_bpe(
        [*CORPUS, *fuzz_strings(200, seed=6)], 900, pattern=pattern, special_tokens=SPECIALS
    )
    encoding = _tiktoken_with_published_pattern(tokenizer, pattern)
    check_equals_tiktoken(tokenizer, encoding, fuzz_strings(20_000, seed=7))
    exported = to_tiktoken(tokenizer)
    for text in CORPUS:
        assert exported.encode(text + "<|user|>", allowed_special="all") == tokenizer.encode(
            text + "<|user|>", "all"
        )


def _tiktoken_with_published_pattern(tokenizer, pattern):
    """The split pattern is taken from tiktoken itself, so that a mistake in ours cannot agree with itself."""
    import tiktoken
    from tiktoken_ext import openai_public

    if pattern == "gpt2":
        published = openai_public.r50k_pat_str
    else:
        published = _pattern_of(openai_public, f"{pattern}_base")
    return tiktoken.Encoding(
        "law", pat_str=published, mergeable_ranks=tokenizer.ranks, special_tokens=tokenizer.special_tokens
    )


def _pattern_of(openai_public, name):
    """tiktoken builds an encoding's pattern inside a function that downloads ranks; give it none."""
    from unittest.mock import patch

    with patch.object(openai_public, "load_tiktoken_bpe", lambda *args, **kwargs: {}):
        return getattr(openai_public, name)()["pat_str"]


@pytest.fixture(scope="session")
def real_encodings(shared_data, tmp_path_factory):
    """tiktoken's own encodings, offline: its cache is a folder of files named sha1(URL)."""
    import tiktoken

    cache = tmp_path_factory.mktemp("tiktoken")
    base = "https://openaipublic.blob.core.windows.net/"
    folder = shared_data / "tokenizers"
    for url, file in {
        f"{base}gpt-2/encodings/main/vocab.bpe": folder / "gpt2" / "vocab.bpe",
        f"{base}gpt-2/encodings/main/encoder.json": folder / "gpt2" / "encoder.json",
        f"{base}encodings/cl100k_base.tiktoken": folder / "cl100k_base.tiktoken",
        f"{base}encodings/o200k_base.tiktoken": folder / "o200k_base.tiktoken",
    }.items():
        (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return {name: tiktoken.get_encoding(name) for name in ENCODINGS}


@pytest.mark.parametrize("name", ENCODINGS)
def test_ids_equal_the_real_tiktoken(name, shared_data, real_encodings):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    check_equals_tiktoken(tokenizer, real_encodings[name], fuzz_strings(20_000, seed=8))
    assert tokenizer.special_tokens.keys() == real_encodings[name].special_tokens_set
    assert tokenizer.vocab_size == real_encodings[name].n_vocab
    text = "a<|endoftext|> b"
    assert tokenizer.encode(text, "all") == real_encodings[name].encode(text, allowed_special="all")


@pytest.mark.parametrize("name", ENCODINGS)
def test_ids_equal_the_golden_file(name, shared_data):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    golden = json.loads((shared_data / "tokenizers" / "golden_tokens.json").read_text(encoding="utf-8"))
    for case in golden["edge"] + golden["udhr"]:
        ordinary = tokenizer.encode_ordinary(case["text"])
        special = tokenizer.encode(case["text"], allowed_special="all")
        assert case[name] in (ordinary, special), f"{case['text']!r}"
    for case in golden["files"]:
        text = (shared_data / case["file"]).read_bytes().decode()
        ids = tokenizer.encode_ordinary(text)
        assert len(ids) == case[name]["n_tokens"] and ids[:20] == case[name]["first20"], case["file"]
        digest = hashlib.sha256(array("I", ids).tobytes()).hexdigest()
        assert digest == case[name]["sha256_u32le"], f"{case['file']}: some id differs"


def spelled_merges(huggingface):
    """Merges of a `tokenizer.json` as pairs of bytes, by a table of the letters written out independently."""
    table = bytes_of_printable()
    merges = huggingface["model"]["merges"]
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in merges]
    return [(bytes(table[c] for c in left), bytes(table[c] for c in right)) for left, right in pairs]


PARITY_TEXTS = [
    *CORPUS,
    "".join(f"{n} times {n + 1} is {n * (n + 1)}. " for n in range(200)),
    *fuzz_strings(300, seed=12),
]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
@pytest.mark.parametrize("min_frequency", [1, 3])
def test_hugging_face_learns_the_same_merges_under_its_tie_break(pattern, min_frequency):
    """Its rule: smallest ids first, with the bytes numbered in GPT-2's order."""
    pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")
    from working_with_text_data.huggingface_adapter import HuggingFaceTokenizer

    marked = [text + "<|user|>" for text in PARITY_TEXTS]
    options = {"special_tokens": SPECIALS, "pattern": pattern, "min_frequency": min_frequency}
    peer = HuggingFaceTokenizer.train(marked, 900, "bpe", **options)
    ours = train_bpe(marked, 900, tie_break="huggingface", **options)
    assert merges_as_bytes(ours) == spelled_merges(peer.to_dict())
    assert ours.special_tokens == peer.special_tokens
    for text in fuzz_strings(2000, seed=13):
        tokens = [ours.token_bytes(i) for i in ours.encode_ordinary(text)]
        assert [peer.token_bytes(i) for i in peer.encode_ordinary(text)] == tokens, repr(text)


def test_hugging_face_set_up_by_hand_learns_the_same_merges():
    """The same without our adapter, as the library's own documentation sets it up."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")
    from tokenizers import models, pre_tokenizers, trainers

    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=letters, show_progress=False)
    peer.train_from_iterator(PARITY_TEXTS, trainer)
    ours = train_bpe(PARITY_TEXTS, 600, tie_break="huggingface")
    assert merges_as_bytes(ours) == spelled_merges(json.loads(peer.to_str()))
