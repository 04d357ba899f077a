"""Project Gutenberg's frame around a book: taken off, so that a model learns the book and not the licence.

Thirty years of files carry at least four frames. The text begins after the last of

    *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*        (1991–2003)
    ***START OF THE PROJECT GUTENBERG EBOOK EMMA***                         (from about 2000)
    *** START OF THIS PROJECT GUTENBERG EBOOK EMMA ***                      (2006–2020)
    *** START OF THE PROJECT GUTENBERG EBOOK EMMA ***                       (from 2020)

and ends before the first `*** END OF … PROJECT GUTENBERG …` or `End of (the) Project Gutenberg('s) …`, or
before the licence itself where an editor took the marker away. A credit directly below the start
("Produced by …", "E-text prepared by …") goes too.

What comes back is one piece of the text as it was, its newlines untouched; a text without these markers is
returned as it is. A marker counts only at the beginning of a line, so that a book may talk about Project
Gutenberg. Left out: transcribers' notes, tables of contents, page numbers, the frames of other libraries.
Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import re

_NAME = r"PROJECT\s+GUTENBERG"
# A title may run over two lines: the marker ends at the asterisks, at most 300 characters on.
_START = re.compile(
    rf"^[ \t]*\*\*\*[ \t]*START OF (?:THE |THIS )?{_NAME}[^*]{{0,300}}\*\*\*[ \t]*\r?$"
    r"|^[ \t]*\*END[ \t]*\*?[ \t]*THE SMALL PRINT![^\n]{0,200}?\*END\*[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
# Upper and lower case tell a marker from a sentence that happens to begin a line with the same words.
_END = re.compile(
    rf"^[ \t]*\*\*\*[ \t]*(?i:END OF (?:THE |THIS )?{_NAME})"
    r"|^[ \t]*\**[ \t]*(?:End of |END OF )(?i:the |this )?(?:Project Gutenberg|PROJECT GUTENBERG)"
    r"(?:[’'][sS])?,?[ \t]+(?:(?i:e-?text|e-?book|edition|of )|[\"“_A-Z])"
    r"|^[ \t]*\**[ \t]*Ende (?:dieses|von|des) Proje[ck]t Gutenberg"
    r"|^[ \t]*START: FULL LICENSE[ \t]*\r?$"
    r"|^[ \t]*THE FULL PROJECT GUTENBERG LICENSE[ \t]*\r?$",
    re.MULTILINE,
)
_CREDIT = re.compile(
    r"\s*^[ \t]*(?:Produced by|E-?text prepared by|This e-?text was (?:produced|prepared|typed) by|Etext by)"
    r"[^\n]*(?:\n[ \t]*[^\s][^\n]*){0,6}(?=\n[ \t]*\r?\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)


def strip_boilerplate(text: str) -> str:
    """The book inside Project Gutenberg's frame; the text itself where there is no frame.

    >>> strip_boilerplate("*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\\n\\nEmma.\\n\\n*** END OF THE "
    ...                   "PROJECT GUTENBERG EBOOK EMMA ***\\nlicence")
    'Emma.'
    """
    if "GUTENBERG" not in text and "utenberg" not in text and "SMALL PRINT" not in text:
        return text
    start, stop = 0, len(text)
    for marker in _START.finditer(text):
        end = _END.search(text, start, marker.start())
        if end is not None and start:  # a second book bound behind the first one's end
            break
        start = marker.end()
    if start:
        credit = _CREDIT.match(text, start)
        start = credit.end() if credit else start
    found = _END.search(text, start)
    if found is not None:
        stop = found.start()
    if start == 0 and stop == len(text):
        return text
    return text[start:stop].strip()
