"""Which writing systems is a text in? Told from the names of its letters, without any table.

Every letter of Unicode has a name that begins with its script: LATIN SMALL LETTER A, CYRILLIC SMALL LETTER ZHE,
CJK UNIFIED IDEOGRAPH-6211. The standard library knows the names. It is not quite the Script property of
Unicode (UAX #24), which `regex` knows as `\\p{Script=…}`: a few letters, such as the micro sign, are
named after what they mean.

Left out: signs, digits and marks, which most scripts share. Notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache


def script_mix(characters: Mapping[str, int]) -> dict[str, float]:
    """Script → share of the letters, the largest first; {} when there is no letter.

    >>> script_mix({"a": 2, "ж": 1, "é": 1, "!": 9})
    {'Latin': 0.75, 'Cyrillic': 0.25}
    """
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if count and character.isalpha():
            scripts[_script(character)] += count
    total = scripts.total()
    return {name: count / total for name, count in scripts.most_common()}


@cache
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "unnamed").split(" ")[0]
    return "CJK" if name == "CJK" else name.capitalize()
