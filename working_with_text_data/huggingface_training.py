"""Train byte-level BPE, WordPiece or Unigram with Hugging Face's `tokenizers`.

The idea of each:
- *byte-level BPE*: merge the most frequent pair of neighbours, again and again, starting from the 256
  bytes, so that no text is unknown (Radford et al. 2019). The same as ours, merge for merge, under
  `tie_break="huggingface"`.
- *WordPiece*: tokens that go on with a word are marked "##"; text is cut greedily, longest token first
  (Wu et al., arXiv 1609.08144; BERT, arXiv 1810.04805). The library finds the tokens by merging the most
  frequent pair as BPE does, not by likelihood as in the paper.
- *Unigram*: begin with very many pieces, drop those that the likelihood of the text misses least, and cut a text
  so that the product of its pieces' probabilities is greatest (Kudo, arXiv 1804.10959).

The last two start from the characters of the text, so a character that was never seen is unknown. The library
goes through hash tables for them: two runs find the same tokens and may number them differently, so save what
was trained. BPE is the same every time.
Left out: other normalisers and cutters than the usual ones. Notebook: 03 of this chapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from utils.errors import UserError, one_line
from working_with_text_data.huggingface_export import pre_tokenizer
from working_with_text_data.optional_packages import need
from working_with_text_data.patterns import splitter
from working_with_text_data.tokenizer import SpecialTokens, valid_unicode

if TYPE_CHECKING:
    import tokenizers

Model = Literal["bpe", "wordpiece", "unigram"]
UNKNOWN = {"wordpiece": "[UNK]", "unigram": "<unk>"}  # byte-level BPE knows every byte and needs none
WHAT_FOR = "Hugging Face's tokenizers"


def train_tokenizer(
    texts: str | Iterable[str],
    vocab_size: int,
    model: Model = "bpe",
    *,
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    pattern: str = "gpt2",
    lowercase: bool = False,
) -> tokenizers.Tokenizer:
    """The library's own tokenizer, trained; `HuggingFaceTokenizer.train` explains the arguments and errors."""
    hf: Any = need("tokenizers", WHAT_FOR, "hf")
    special = _check(vocab_size, model, special_tokens, min_frequency)
    size = vocab_size - len(special)
    learner, trainer = _untrained(hf, model, size, min_frequency, pattern, lowercase)
    pieces = _Pieces([texts] if isinstance(texts, str) else texts, special)
    try:
        learner.train_from_iterator(pieces, trainer)
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"training a {model} vocabulary of {vocab_size} failed: {one_line(error)}") from None
    if not pieces.count:
        raise UserError("there is no text to learn from: give at least one that is not empty")
    if learner.get_vocab_size() > size:
        least = learner.get_vocab_size() + len(special)
        raise UserError(
            f"vocab_size is {vocab_size}, but the letters of this text need {least}: ask for more"
        )
    learner.add_special_tokens([hf.AddedToken(word, special=True, normalized=False) for word in special])
    return learner


class _Pieces:
    """The texts cut at their special tokens, which are never learned from; counts what it gives."""

    def __init__(self, texts: Iterable[str], special: SpecialTokens) -> None:
        self._texts, self._special = texts, special
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            for piece, token_id in self._special.split(valid_unicode(text), "all"):
                if token_id is None:
                    self.count += 1
                    yield piece


def _untrained(
    hf: Any, model: Model, size: int, min_frequency: int, pattern: str, lowercase: bool
) -> tuple[Any, Any]:
    """The library's tokenizer before training, and its trainer."""
    common = {"vocab_size": size, "show_progress": False}
    if model == "bpe":
        learner = hf.Tokenizer(hf.models.BPE())
        learner.pre_tokenizer = pre_tokenizer(splitter(pattern))
        learner.decoder = hf.decoders.ByteLevel()
        letters = hf.pre_tokenizers.ByteLevel.alphabet()
        return learner, hf.trainers.BpeTrainer(
            initial_alphabet=letters, min_frequency=min_frequency, **common
        )
    unknown = UNKNOWN[model]
    if model == "wordpiece":
        learner = hf.Tokenizer(hf.models.WordPiece(unk_token=unknown))
        learner.normalizer = hf.normalizers.BertNormalizer(lowercase=lowercase)
        learner.pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
        learner.decoder = hf.decoders.WordPiece(cleanup=False)
        return learner, hf.trainers.WordPieceTrainer(
            special_tokens=[unknown], min_frequency=min_frequency, **common
        )
    learner = hf.Tokenizer(hf.models.Unigram())
    # "never": no space is invented at the beginning of a text.
    learner.pre_tokenizer = hf.pre_tokenizers.Metaspace(prepend_scheme="never")
    learner.decoder = hf.decoders.Metaspace(prepend_scheme="never")
    return learner, hf.trainers.UnigramTrainer(special_tokens=[unknown], unk_token=unknown, **common)


def _check(vocab_size: int, model: str, special_tokens: Sequence[str], min_frequency: int) -> SpecialTokens:
    if model not in ("bpe", *UNKNOWN):
        raise UserError(f"model {model!r} is not known: use bpe, wordpiece or unigram")
    if isinstance(special_tokens, str):
        raise UserError(f"special_tokens is the string {special_tokens!r}: pass a list of strings")
    if min_frequency < 1:
        raise UserError(f"min_frequency is {min_frequency}: it must be at least 1")
    special = SpecialTokens({word: i for i, word in enumerate(special_tokens)})
    if len(special) != len(special_tokens) or UNKNOWN.get(model) in special:
        raise UserError(f"special tokens must differ from each other and from {UNKNOWN.get(model)!r}")
    least = len(special) + (256 if model == "bpe" else 2)
    if vocab_size < least:
        raise UserError(f"vocab_size is {vocab_size}, but {model} with {len(special)} specials needs {least}")
    return special
