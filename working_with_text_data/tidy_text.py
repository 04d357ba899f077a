"""Small repairs of form: one Unicode spelling, and white space that says nothing. Newlines are kept.

`é` can be one code point or two that look the same; Unicode's NFC makes it one (UAX #15), so that equal
words get equal tokens. Blanks at the end of a line and runs of blanks inside it are leftovers of layout.
What is never touched: newlines, their number and order (a poem is its lines), and the indentation at the
beginning of a line (so is a program). `\\r\\n` becomes `\\n`, which is the same line end.

NFKC also folds `ﬁ`, `²` and full-width letters, which changes what some texts mean: only on request.
Left out: zero-width characters, joining of broken lines, dots and dashes. Notebook
`05_from_documents_to_batches`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

UnicodeForm = Literal["none", "NFC", "NFKC"]
_ODD_BLANKS = dict.fromkeys(map(ord, "\u00a0\u1680\u202f\u205f\u3000"), " ")
_ODD_BLANKS.update(dict.fromkeys(range(0x2000, 0x200B), " "))
_ODD = "".join(map(chr, _ODD_BLANKS))
_ODD_BLANK = re.compile(f"[{_ODD}]")
_UNTIDY = re.compile(r"[^\S\n](?:[ \t\n]|\Z)")  # a blank before another blank or the end of a line
_RUN = re.compile(r"(?<=\S)[ \t]{2,}")


def normalise_unicode(text: str, form: UnicodeForm = "NFC") -> str:
    """`text` in the given normal form. Newlines are the same before and after.

    >>> normalise_unicode("e\\u0301") == "\\u00e9"
    True
    """
    if form == "none" or text.isascii() or unicodedata.is_normalized(form, text):
        return text
    return unicodedata.normalize(form, text)


def tidy_whitespace(text: str) -> str:
    """Strip line ends and collapse runs of blanks behind the indentation; as many lines as before.

    >>> tidy_whitespace("  one \\t two   \\r\\n\\n three\\u00a0four")
    '  one two\\n\\n three four'
    """
    if not text.isascii() and _ODD_BLANK.search(text):
        text = text.translate(_ODD_BLANKS)
    if _UNTIDY.search(text) is None:
        return text
    lines = [line.rstrip() for line in text.split("\n")]
    return _RUN.sub(" ", "\n".join(lines))
