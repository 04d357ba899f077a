"""Which language is it? Asked of py3langid, with how sure it is.

py3langid (Barbaresi's version of langid.py; Lui and Baldwin, ACL 2012) counts the byte sequences that tell
languages apart and lets naive Bayes weigh them. Its confidence is a probability over its ~100 languages,
softened by the length of the text. Of a long text only `max_chars` characters in its middle are read (the
beginning may be a title page or a menu): more changes almost no answer and costs in proportion.

A text with no word of any language (digits, signs) gets some code with a low confidence: it is "unsure".
Left out: texts in two languages, dialects. Loading the model takes about a second, once a process.
Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from utils.errors import UserError

from .optional_packages import need

MAX_CHARS = 500


def identify(text: str, *, max_chars: int = MAX_CHARS) -> tuple[str, float]:
    """(ISO 639-1 code, confidence from 0 to 1) of `text`, judged by at most `max_chars` characters in its middle.

    Raises:
        UserError: py3langid is not installed.
    """
    start = max(0, (len(text) - max_chars) // 2)
    code, confidence = _identifier().classify(text[start : start + max_chars])
    return str(code), float(confidence)


def language_reason(
    text: str, languages: Sequence[str], *, min_confidence: float = 0.5, max_chars: int = MAX_CHARS
) -> str | None:
    """None when `text` is surely in one of `languages`; "unsure" below the confidence; else "other"."""
    code, confidence = identify(text, max_chars=max_chars)
    if confidence < min_confidence:
        return "unsure"
    return None if code in languages else "other"


def check_languages(languages: Sequence[str]) -> None:
    """Raise `UserError` naming a code that py3langid does not know."""
    known = set(_identifier().labels)
    for code in languages:
        if code not in known:
            raise UserError(
                f"languages holds {code!r}, which py3langid does not know: use ISO 639-1 codes, such as en or de"
            )


@functools.cache
def _identifier() -> Any:
    langid = need("py3langid.langid", "identifying languages")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
