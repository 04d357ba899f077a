"""What is done to one document on its own: the stages of cleaning that need no memory of the others.

In this order (each can be switched off in `CleaningConfig`):

    mojibake     damage by a wrong encoding undone; control characters removed         keeps lines
    surrogates   halves of surrogate pairs become U+FFFD (always: they have no UTF-8)  keeps lines
    unicode      one spelling, NFC                                                     keeps lines
    boilerplate  Project Gutenberg's frame taken off                                   keeps the lines of the book
    whitespace   line ends stripped, runs of blanks collapsed                          keeps lines
    (empty)      nothing but white space is left: dropped
    language     another language than those asked for, or unsure: dropped
    quality      the first of five rules that fails: dropped
    pii          personal data replaced by markers                                     keeps lines

and then what the next two, which remember, ask for: a digest and a signature of the text as it now is. So
texts that differed by an e-mail address alone are copies. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .boilerplate import strip_boilerplate
from .exact_duplicates import content_digest
from .language import check_languages, language_reason
from .mojibake import mojibake_fixer
from .near_duplicate_filter import Signer
from .pii import load_patterns, replace_pii
from .quality import failed_rule
from .tidy_text import normalise_unicode, tidy_whitespace
from .tokenizer import valid_unicode

if TYPE_CHECKING:
    from .cleaning import CleaningConfig


class Outcome(NamedTuple):
    """What became of one text. Small, because it travels between processes."""

    text: str | None  # None: as it came
    reason: str | None  # None: nothing against it
    edits: tuple[str, ...] = ()  # the stages that changed it
    pii: tuple[str, ...] = ()  # the types of the markers put in
    digest: bytes | None = None
    signature: Any = None


class TextStages:
    """The stages of a config as one function from a text to its `Outcome`.

    Raises:
        UserError: a stage needs a package that is not installed, or its option has a wrong value.
    """

    def __init__(self, config: CleaningConfig) -> None:
        self.config = config
        self._repair = self._signer = None
        if config.mojibake:
            self._repair = mojibake_fixer(curly_quotes=config.curly_quotes, ligatures=config.ligatures)
        if config.languages:
            check_languages(config.languages)
        if config.pii:
            load_patterns(config.pii_types)
        if config.near_duplicates:
            self._signer = Signer(
                config.near_engine,
                k=config.permutations,
                shingle_words=config.shingle_words,
                seed=config.seed,
            )

    def __call__(self, text: str) -> Outcome:
        config, original = self.config, text
        edits: list[str] = []
        pii: list[str] = []
        if self._repair is not None:
            text = _note(edits, "mojibake", text, self._repair(text))
        text = _note(edits, "surrogates", text, valid_unicode(text))
        text = _note(edits, "unicode", text, normalise_unicode(text, config.unicode_form))
        if config.boilerplate:
            text = _note(edits, "boilerplate", text, strip_boilerplate(text))
        if config.whitespace:
            text = _note(edits, "whitespace", text, tidy_whitespace(text))
        reason = self._reason(text)
        if reason is not None:
            return Outcome(None, reason)
        if config.pii:
            cleaned, pii = replace_pii(text, config.pii_types)
            text = _note(edits, "pii", text, cleaned)
        return Outcome(
            None if text == original else text,
            None,
            tuple(edits),
            tuple(pii),
            content_digest(text) if config.exact_duplicates else None,
            self._signer(text) if self._signer is not None else None,
        )

    def _reason(self, text: str) -> str | None:
        config = self.config
        if not text or text.isspace():
            return "empty"
        if config.languages:
            found = language_reason(
                text,
                config.languages,
                min_confidence=config.language_confidence,
                max_chars=config.language_chars,
            )
            if found is not None:
                return f"language_{found}"
        if config.quality:
            rule = failed_rule(text, config.rules)
            if rule is not None:
                return f"quality_{rule}"
        return None


_stages: TextStages  # of this process, set once by set_stages


def set_stages(config: CleaningConfig) -> None:
    """Make the stages of a worker process, which load their tables once."""
    global _stages
    _stages = TextStages(config)


def clean_texts(texts: Sequence[str]) -> list[Outcome]:
    """`TextStages` over a list of texts: what a worker process does."""
    return [_stages(text) for text in texts]


def _note(edits: list[str], name: str, before: str, after: str) -> str:
    if after is not before and after != before:
        edits.append(name)
    return after
