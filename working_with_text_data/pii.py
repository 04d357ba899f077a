"""Personal data replaced by markers: `[EMAIL]`, `[PHONE]`, `[SSN]`, `[CARD]`, `[IP]`.

A model repeats what it read; an address it never saw it cannot give away. The patterns are datafog's regex
engine (https://github.com/DataFog/datafog-python). It prefers a false alarm to a miss, and in books and
code false alarms are many, so every find must also pass the plain rule of its type:

    EMAIL  the part before @ is at most 64 characters and starts behind the last `/` or `=`; the ending is
           not that of a file (`icon@2x.png`)
    CARD   13 to 19 digits that pass Luhn's checksum (ISO/IEC 7812-1)
    SSN    ddd-dd-dddd; nine digits in a row only behind "SSN" or "social security"
    PHONE  eight to fifteen digits behind a `+`, the first not 0; or 3-3-4 digits with separators, where
           without a hyphen or bracket area and exchange begin with 2–9 (North American Numbering Plan)
    IP     four numbers to 255, not all of one digit (that is a section or a version), without leading
           zeros, not part of a longer row, not behind a word such as "version"

Numbers inside words, and PHONE, SSN and CARD inside URLs, are left alone. Finds that overlap become one
marker, that of the longest: nothing of any of them is left. Nothing is found across a line end.

The idea of the speed: no `@` and no run of six digits and separators, then there is nothing to find.
Left out: names, addresses, IPv6, numbers written in words; a pattern is no promise. Notebook
`05_from_documents_to_batches`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from utils.errors import UserError

from .optional_packages import need

TYPES = ("EMAIL", "PHONE", "SSN", "CARD", "IP")
_DATAFOG_LABEL = {"CARD": "CREDIT_CARD", "IP": "IP_ADDRESS"}
# Every number below begins with a digit and goes on with five more characters of these.
_RUN = re.compile(r"[+(]{0,2}\d[\d \t\u00a0.()+-]{5,}")
_BEFORE, _BEHIND = 130, 260  # an address has at most 64 + 1 + 255 characters (RFC 5321)
_DOMAIN = re.compile(r"@(?:\.?[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
_LOCAL = re.compile(r"[^\s/=]+\Z")
_FILE_ENDINGS = frozenset(
    (
        "css",
        "gif",
        "htm",
        "html",
        "ico",
        "jpeg",
        "jpg",
        "js",
        "json",
        "mjs",
        "pdf",
        "php",
        "png",
        "svg",
        "webp",
    )
)
_IN_URL = re.compile(r"(?:://|www\.)\S*\Z", re.IGNORECASE)
_SSN_WORD = re.compile(r"(?:\bssn|social security)\W{0,3}(?:number|no\.?|#)?\W{0,3}\Z", re.IGNORECASE)
_VERSION_WORD = re.compile(
    r"(?:\b(?:v|ver|version|versions|release|build|firmware|section|sections|chapter|figure|table|clause)\.?|§)"
    r"\s{0,2}\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Find:
    """One piece of personal data: text[start:stop] is of the given type."""

    start: int
    stop: int
    type: str


def check_types(types: Sequence[str]) -> None:
    """Raise `UserError` naming a type that is not one of `TYPES`."""
    for name in types:
        if name not in TYPES:
            raise UserError(f"pii_types holds {name!r}: choose from {', '.join(TYPES)}")


def load_patterns(types: Sequence[str] = TYPES) -> None:
    """Load what `find_pii` needs for these types now, instead of at the first suspicious text.

    Raises:
        UserError: a type is unknown, or datafog is not installed.
    """
    check_types(types)
    for name in types:
        _pattern(name)


def find_pii(text: str, types: Sequence[str] = TYPES) -> list[Find]:
    """What `replace_pii` would replace, in order, never overlapping.

    Raises:
        UserError: datafog is not installed, or a type is unknown.

    >>> [find.type for find in find_pii("Ada, ada@example.org, +44 20 7946 0958, born 1815, uses 1.2.3.4")]
    ['EMAIL', 'PHONE']
    """
    check_types(types)
    numbers = [name for name in types if name != "EMAIL"]
    finds = list(_emails(text)) if "EMAIL" in types and "@" in text else []
    if numbers:
        for run in _RUN.finditer(text):
            finds += _numbers(text, run.start(), run.end(), numbers)
    return _merged(sorted(finds, key=lambda find: (find.start, find.stop))) if len(finds) > 1 else finds


def replace_pii(text: str, types: Sequence[str] = TYPES) -> tuple[str, list[str]]:
    """(text with a marker for every find, the types found in order). Lines are kept; twice is once.

    >>> replace_pii("Call 212-555-0147 or write to a.b@example.com.")
    ('Call [PHONE] or write to [EMAIL].', ['PHONE', 'EMAIL'])
    """
    if "@" not in text and _RUN.search(text) is None:
        return text, []
    finds = find_pii(text, types)
    if not finds:
        return text, []
    pieces, done = [], 0
    for find in finds:
        pieces += [text[done : find.start], f"[{find.type}]"]
        done = find.stop
    pieces.append(text[done:])
    return "".join(pieces), [find.type for find in finds]


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    module = need("datafog.processing.text_processing.regex_annotator", "finding personal data")
    found: re.Pattern[str] = module.RegexAnnotator().patterns[_DATAFOG_LABEL.get(name, name)]
    return found


def _emails(text: str) -> Iterator[Find]:
    """Addresses around each `@`. The pattern sees a bounded piece, so that no text makes it slow."""
    pattern, after = _pattern("EMAIL"), 0  # no address reaches back over the `@` before its own
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at, at + _BEHIND)
        found = domain and pattern.search(text, max(after, at - _BEFORE), domain.end() + 1)
        if found and found.start() < at < found.end():
            local = _LOCAL.search(text[found.start() : at])
            ending = found.group().rpartition(".")[2].lower()
            if local is not None and len(local.group()) <= 64 and ending not in _FILE_ENDINGS:
                yield Find(at - len(local.group()), found.end(), "EMAIL")
        after = at + 1
        at = text.find("@", after)


def _numbers(text: str, start: int, stop: int, types: Sequence[str]) -> Iterator[Find]:
    """The numbers of one run of digits and separators. One character behind it is for the patterns' sake."""
    in_url: bool | None = None
    for name in types:
        for found in _pattern(name).finditer(text, start, min(stop + 1, len(text))):
            first, last = found.span()
            if not text[first].isdigit() and text[first] not in "+(":
                continue
            if not _RULES[name](text, first, last):
                continue
            if name != "IP":
                if in_url is None:
                    in_url = _IN_URL.search(text[max(0, start - 200) : start + 1]) is not None
                if in_url:
                    continue
            yield Find(first, last, name)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _stands_alone(text: str, first: int, last: int, also: str = "") -> bool:
    """No letter, digit, or sign of `also` touches text[first:last]."""
    before, behind = text[first - 1 : first], text[last : last + 1]
    return not any(sign.isalnum() or sign == "_" or sign in also for sign in (before, behind) if sign)


def _is_phone(text: str, first: int, last: int) -> bool:
    number = text[first:last]
    digits = _digits(number)
    before = text[max(0, first - 2) : first]
    if not _stands_alone(text, first, last, "/_#%=@") or before[-1:] in tuple("$€£¥"):
        return False
    if len(before) == 2 and before[0].isdigit() and before[1] in ".,-+":
        return False  # the rest of a longer number
    if re.match(r"[.,-]\d", text[last : last + 2]):
        return False
    if number[0] == "+":
        return 8 <= len(digits) <= 15 and digits[0] != "0"  # no country code begins with 0
    if "(" in number or "-" in number:
        return re.search(r"\d[)\s.-]+\d{3}[\s.-]\d{4}\Z", number) is not None
    groups = re.split(r"[\s.]", number)
    if [len(group) for group in groups[-3:]] != [3, 3, 4] or len(groups) > 4:
        return False
    return groups[-3][0] in "23456789" and groups[-2][0] in "23456789"


def _is_ssn(text: str, first: int, last: int) -> bool:
    if not _stands_alone(text, first, last, "-/.@"):
        # A full stop may end the sentence behind it.
        if not (text[last : last + 1] == "." and not text[last + 1 : last + 2].isalnum()):
            return False
        if not _stands_alone(text[:last], first, last, "-/.@"):
            return False
    if "-" in text[first:last]:
        return True
    return _SSN_WORD.search(text[max(0, first - 40) : first]) is not None


def _is_card(text: str, first: int, last: int) -> bool:
    digits = _digits(text[first:last])
    return _stands_alone(text, first, last, "-") and 13 <= len(digits) <= 19 and luhn(digits)


def _is_ip(text: str, first: int, last: int) -> bool:
    parts = text[first:last].split(".")
    if not _stands_alone(text, first, last, "-") or re.match(r"\.\d", text[last : last + 2]):
        return False
    if text[first - 1 : first] == "." or any(len(part) > 1 and part[0] == "0" for part in parts):
        return False
    if all(len(part) == 1 for part in parts):
        return False
    return _VERSION_WORD.search(text[max(0, first - 16) : first]) is None


_RULES: dict[str, Callable[[str, int, int], bool]] = {
    "PHONE": _is_phone,
    "SSN": _is_ssn,
    "CARD": _is_card,
    "IP": _is_ip,
}


def luhn(digits: str) -> bool:
    """Luhn's checksum: from the right, every second digit doubled (minus 9 above 9); the sum ends in 0.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _merged(finds: list[Find]) -> list[Find]:
    """Finds that overlap become one, of the type of the longest."""
    merged: list[Find] = []
    longest = 0
    for find in finds:
        size = find.stop - find.start
        if merged and find.start < merged[-1].stop:
            last = merged[-1]
            kind = find.type if size > longest else last.type
            longest = max(longest, size)
            merged[-1] = Find(last.start, max(last.stop, find.stop), kind)
        else:
            merged.append(find)
            longest = size
    return merged
