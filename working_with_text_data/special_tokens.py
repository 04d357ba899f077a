r"""Find the control words that a corpus already holds, by a regular expression.

The idea: texts often come marked up by somebody else, `<|user|>` here, `[SEP]` there. Whoever trains a
tokenizer on them wants each mark as one id, and nobody wants to read a gigabyte to list them. So the
person gives the *form* of a mark, such as `<\|[a-z_]+\|>`, and gets the marks that occur, the most
frequent first.

A regular expression is easily too wide, and a special token cannot be taken back once a model is trained
on it. So what a careless expression finds is refused, with the reason: the empty string, ordinary
words, half of the text, hundreds of different marks, a mark as long as a line.

What is found are plain strings; `tokenizer.SpecialTokens` later matches them letter by letter, so a
mark may hold any sign that means something to regular expressions. Left out: guessing the form.
Notebook: 01 of this chapter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from utils.errors import UserError

MOST_FOUND = 256
MOST_CHARS = 64
MOST_OF_THE_TEXT = 0.75
SECONDS = 20.0  # for one text; an expression that backtracks forever is stopped


def find_special_tokens(
    texts: str | Iterable[str],
    regex: str,
    *,
    limit: int = MOST_FOUND,
    max_share: float = MOST_OF_THE_TEXT,
    timeout: float = SECONDS,
) -> list[str]:
    r"""The different matches of `regex` in `texts`, the most frequent first, equally frequent ones as text.

    Args:
        texts: one text or several; a match never crosses from one to the next.
        regex: the form of a special token, in the syntax of the `regex` package.
        limit: how many different ones may be found.
        max_share: which share of the characters they may make up, from 0 to 1.
        timeout: seconds that the search in one text may take.

    Raises:
        UserError: no regular expression; it matches the empty string or a plain word, finds more than
            `limit`, more than 64 characters in a row or more than `max_share` of the text, or takes too long.

    >>> find_special_tokens("<|user|>Hi<|bot|>Hello<|user|>2 < 3 |> 1", r"<\|[a-z]+\|>")
    ['<|user|>', '<|bot|>']
    """
    import regex as regular_expressions  # late: only who asks for it waits for it

    try:
        form = regular_expressions.compile(regex)
    except regular_expressions.error as error:
        raise UserError(f"special_regex {regex!r} is not a regular expression: {error}") from None
    found: Counter[str] = Counter()
    characters = matched = 0
    for text in [texts] if isinstance(texts, str) else texts:
        characters += len(text)
        try:
            for match in form.finditer(text, timeout=timeout):
                word = match.group()
                if word not in found:
                    _check(word, regex)
                    if len(found) >= limit:
                        few = ", ".join(repr(word) for word, _ in found.most_common(3))
                        raise UserError(
                            f"special_regex {regex!r} finds more than {limit} different tokens, such as {few}: "
                            "make it narrower"
                        )
                found[word] += 1
                matched += len(word)
        except TimeoutError:
            raise UserError(
                f"special_regex {regex!r} takes more than {timeout:g} s on one text of {len(text):,} "
                "characters: write it without nested repeats"
            ) from None
    if matched > max_share * characters:
        raise UserError(
            f"special_regex {regex!r} matches {matched / characters:.0%} of the text, more than "
            f"{max_share:.0%}: it matches ordinary text, make it narrower"
        )
    return sorted(found, key=lambda word: (-found[word], word))


def _check(word: str, regex: str) -> None:
    if not word:
        raise UserError(f"special_regex {regex!r} matches the empty string: use + instead of *")
    if len(word) > MOST_CHARS:
        raise UserError(
            f"special_regex {regex!r} matches {len(word)} characters, {word[:24]!r}…; a special token has at "
            f"most {MOST_CHARS}: make it narrower (is a greedy .* in it?)"
        )
    if all(character.isalnum() or character.isspace() for character in word):
        raise UserError(
            f"special_regex {regex!r} matches the ordinary {word!r}: a special token needs a sign that words "
            "do not have, such as < or ["
        )
    if not word.isprintable() and any("\ud800" <= character <= "\udfff" for character in word):
        raise UserError(f"special_regex {regex!r} matches half a character, {word!r}: make it narrower")
