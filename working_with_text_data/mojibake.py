"""Mojibake: text that was decoded with the wrong encoding, such as `cafÃ©` for `café`, put right.

UTF-8 bytes read as Latin-1 or Windows-1252 give pairs of letters that no language writes. ftfy (Speer,
"ftfy", 2019, doi:10.5281/zenodo.2591652) looks for them and undoes the decoding where the bytes then make
sense. Only damage is undone: quotes stay curly, ligatures stay ligatures, HTML and full-width letters stay.
Control characters that no text needs go, halves of surrogate pairs are joined or become U+FFFD, and every
newline stays where it is.

The idea of the speed: English text and its usual punctuation (curly quotes, dashes, `…`) can never look
like mojibake to ftfy, so one search for any other character decides whether a line is given to it at all.
A law says that the result is the same as giving it everything.

Left out: guessing the encoding of a file. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .optional_packages import need

# Everything but printable ASCII, tab, newlines, form feed and eight marks of English typesetting.
_SUSPICIOUS = re.compile("[^\t\n\f\r -~‘’“”–—…]")


def mojibake_fixer(*, curly_quotes: bool = True, ligatures: bool = True) -> Callable[[str], str]:
    """A function that repairs one text. `curly_quotes=False` makes quotes straight, `ligatures=False` ﬁ to fi.

    Raises:
        UserError: ftfy is not installed.

    >>> repair = mojibake_fixer()
    >>> repair("The cafÃ© said “no”.\\n")
    'The café said “no”.\\n'
    """
    ftfy = need("ftfy", "repairing mojibake")
    config = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=not ligatures,
        fix_character_width=False,
        uncurl_quotes=not curly_quotes,
        fix_line_breaks=False,
        normalization=None,
        explain=False,
    )
    plain = curly_quotes  # straightening quotes must look at every line
    fix, search = ftfy.fix_text, _SUSPICIOUS.search

    def repair(text: str) -> str:
        if not plain:
            return fix(text, config)
        found = search(text)
        if found is None:
            return text
        # ftfy works line by line, so a line without such a character is as it would leave it.
        pieces, done = [], 0
        while found is not None:
            start = text.rfind("\n", done, found.start()) + 1 or done
            stop = text.find("\n", found.end()) + 1 or len(text)
            pieces += [text[done:start], fix(text[start:stop], config)]
            done = stop
            found = search(text, stop)
        pieces.append(text[done:])
        return "".join(pieces)

    return repair
