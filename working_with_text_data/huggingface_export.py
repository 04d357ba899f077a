"""Our own BPE tokenizer as Hugging Face's `tokenizer.json`, so that transformers and other tools load it.

The idea: the same four things under other names. The split pattern is a `Split` pre-tokenizer, bytes are
written as letters (`byte_letters`), ranks are the vocabulary of a `BPE` model, special tokens are "added
tokens" that keep their ids. Then `AutoTokenizer.from_pretrained(folder)` gives equal ids, special tokens
included; and the export checks itself on a page of awkward text before anything is written.

Two things are not the same by themselves. `tokenizers` reads patterns with Oniguruma, where `{1,3}+` is not
possessive but "any number of threes", `$` ends every line and `(?s:` is unknown: `_oniguruma` says it in its
words. And a special token spelled like a learned token would share one id with it: refused.

Source: the file format of `tokenizers` 0.2x. Left out: chat templates; loading (`huggingface_adapter`).
Notebook: 03 of this chapter.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, one_line
from utils.files import atomic_write_text
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.byte_letters import spell, unspell
from working_with_text_data.optional_packages import need
from working_with_text_data.patterns import Splitter

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT = ("<|endoftext|>", "<|eos|>", "</s>")  # what transformers is told to be the end of a text

# Contractions in any case, digits in groups, runs of every white space, scripts, marks, emoji, CRLF, NUL.
PROBE = (
    "It's WE'LL don'T x'Re 'sun 1 23 456 7890 12345678901 3.14 Ⅷ½٣ HTTPServer camelCase ßtraße\r\n\r\n"
    "  two   three\n \n\n\tif (x) {\n    return;\n  }!?!\n//\u00a0\u3000東京都、日本語 한국어 ไทย हिन्दी "
    "e\u0301 👩‍💻🏳️‍🌈 ʼn ﬁ ſ K \u200b\ufeff\x00\x1c\x1f \u2028 $1.00 a^b [$] end  \n \t"
)


def to_huggingface(tokenizer: BPETokenizer) -> tokenizers.Tokenizer:
    """The same tokenizer as a `tokenizers.Tokenizer`: same ids for every text and every special token.

    Raises:
        UserError: `tokenizers` is not installed; ranks that are no list of merges; a special token spelled
            like a learned one; a home-made split pattern that Oniguruma reads in another way.
    """
    hf: Any = need("tokenizers", "Hugging Face's format", "hf")
    vocabulary = {spell(token): token_id for token, token_id in tokenizer.ranks.items()}
    for word, token_id in tokenizer.special_tokens.items():
        if word in vocabulary:
            raise UserError(
                f"special token {word!r} (id {token_id}) is spelled like the learned token {vocabulary[word]}, and "
                "Hugging Face's format keeps one id for a spelling: choose a rarer word, such as <|name|>"
            )
        vocabulary[word] = token_id  # so it keeps its id; no merge makes it, so text never does
    table = {token_id: spell(token) for token, token_id in tokenizer.ranks.items()}
    merges = [(table[left], table[right]) for left, right in tokenizer.merges]
    exported = hf.Tokenizer(hf.models.BPE(vocabulary, merges))
    try:
        exported.pre_tokenizer = pre_tokenizer(tokenizer.splitter)
    except Exception as error:  # the library raises bare Exception for a pattern it cannot read
        raise UserError(
            f"Hugging Face's library cannot read the split pattern {tokenizer.pattern!r} ({one_line(error)}): "
            "use a named pattern"
        ) from None
    if tokenizer.splitter.prefix_space:
        space, two = hf.normalizers.Prepend(" "), hf.normalizers.Replace(hf.Regex(r"\A  "), " ")
        exported.normalizer = hf.normalizers.Sequence([space, two])
    exported.decoder = hf.decoders.ByteLevel()
    exported.post_processor = hf.processors.ByteLevel(trim_offsets=False)
    ordered = sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__)
    exported.add_special_tokens([hf.AddedToken(word, special=True, normalized=False) for word in ordered])
    _refuse_other_cuts(tokenizer, exported)
    return exported


def export_tokenizer_json(tokenizer: BPETokenizer, path: str | Path) -> Path:
    """Write `tokenizer` in Hugging Face's format and return the path of its `tokenizer.json`.

    A path that ends in `.json` becomes that one file, for `PreTrainedTokenizerFast(tokenizer_file=…)`. Any
    other path is a folder for `AutoTokenizer.from_pretrained(folder)`: a `tokenizer_config.json` goes beside.

    Raises:
        UserError: as `to_huggingface`.
    """
    exported = to_huggingface(tokenizer)
    path = Path(path)
    file = path if path.suffix == ".json" else path / "tokenizer.json"
    atomic_write_text(file, exported.to_str(pretty=True))
    if file != path:
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "additional_special_tokens": list(tokenizer.special_tokens),
        }
        end = next((word for word in END_OF_TEXT if word in tokenizer.special_tokens), None)
        if end is not None:
            config |= {"eos_token": end}
        atomic_write_text(file.with_name("tokenizer_config.json"), json.dumps(config, indent=1))
    return file


def pre_tokenizer(splitter: Splitter) -> Any:
    """Hugging Face's object that cuts text as `splitter` does and writes the bytes as letters."""
    hf: Any = need("tokenizers", "Hugging Face's format", "hf")
    if splitter.name == "gpt2" and splitter.digits is None:
        return hf.pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2's pattern is built in
    return hf.pre_tokenizers.Sequence(
        [
            hf.pre_tokenizers.Split(hf.Regex(_oniguruma(splitter.pattern)), behavior="isolated"),
            hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _oniguruma(pattern: str) -> str:
    """A pattern of the `regex` package in the syntax of Oniguruma (Ruby's), for the signs that differ.

    `{n,m}+` loses its possessive sign: nothing follows it that could want a digit back. What a home-made
    pattern does with other differences is left to the check that follows every export.
    """
    greedy = re.sub(r"(\{\d+,?\d*\})\+", r"\1", pattern)
    return re.sub(r"(?<!\\)\$", r"(?![\\s\\S])", greedy).replace("(?s:", "(?m:")


def _refuse_other_cuts(tokenizer: BPETokenizer, exported: Any) -> None:
    """Compare pieces, not ids alone: a vocabulary that never merges digits would hide a wrong rule for them."""
    for text in (PROBE, *PROBE.split(" "), *PROBE.splitlines(keepends=True)):
        pieces = [unspell(letters) for letters, _ in exported.pre_tokenizer.pre_tokenize_str(text)]
        same = pieces == [piece.encode("utf-8") for piece in tokenizer.splitter.findall(text)]
        if not any(word in text for word in tokenizer.special_tokens):  # the library would take it as special
            same &= exported.encode(text, add_special_tokens=False).ids == tokenizer.encode_ordinary(text)
        if not same:
            raise UserError(
                f"Hugging Face's library cuts {text[:40]!r} otherwise under the split pattern "
                f"{tokenizer.pattern!r}, whose syntax it reads in its own way: use a named pattern"
            )
