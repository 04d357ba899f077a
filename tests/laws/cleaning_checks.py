"""LT11: honest cleaning, as functions that raise AssertionError.

The laws call them on the real code, the mutations on code with a classic bug put back. What is right is
stated here by hand-written tables, by plain loops, and by the libraries called directly (ftfy, datafog);
never by the code under test.
"""

from __future__ import annotations

import random
from collections import Counter

from working_with_text_data import (
    boilerplate,
    cleaning,
    mojibake,
    pii,
    quality,
    tidy_text,
)
from working_with_text_data.cleaning import CleaningConfig, Counters, clean_documents
from working_with_text_data.documents import Document

FTFY_DAMAGE_ONLY = {
    "unescape_html": False,
    "remove_terminal_escapes": False,
    "fix_latin_ligatures": False,
    "fix_character_width": False,
    "uncurl_quotes": False,
    "fix_line_breaks": False,
    "normalization": None,
}


def documents_of(texts: list[str]) -> list[Document]:
    return [Document(text, "made.txt", index) for index, text in enumerate(texts)]


def prose(number: int, words: int = 80) -> str:
    """A text that passes every rule, with words that no other number shares, but for the stop words."""
    rng = random.Random(number)
    small = ("the", "of", "and", "to", "that")
    made = [
        small[i % 5] if i % 3 == 0 else f"w{rng.randrange(10**6)}x".replace("0", "o") for i in range(words)
    ]
    return " ".join(word.translate(str.maketrans("123456789", "abcdefghi")) for word in made) + "."


# --- counters ----------------------------------------------------------------------------------------


def mixed_corpus() -> tuple[list[str], dict[str, int], int]:
    """Texts, how many of them must be dropped for what, and how many stay. Counted while they are made."""
    texts, dropped = [], Counter[str]()

    def add(text: str, reason: str | None = None) -> None:
        texts.append(text)
        if reason:
            dropped[reason] += 1

    for number in range(30):
        add(prose(number))
    for number in range(4):
        add(prose(number).replace(" ", "\n", 3) + "\n", "exact_duplicate")
    for number in range(5, 8):
        words = prose(number).split()
        words[-1] = "changed."
        add(" ".join(words), "near_duplicate")
    add("   \n \t", "empty")
    add("too short to keep", "quality_word_count")
    add("a " * 60, "quality_word_length")
    add("the of # # # # # # # # # and " * 6, "quality_word_length")
    add("someword #anything ofthat " * 40, "quality_symbols")
    add("the 1234 567 890 that 4321 " * 20, "quality_letters")
    add("kein einziges englisches Wort steht hier " * 12, "quality_stop_words")
    add(prose(100).replace(" ", " ada@example.org ", 1))
    return texts, dict(dropped), len(texts) - dropped.total()


def check_every_document_is_accounted_for() -> None:
    """processed == kept + every reason's count, at every moment and in the end, and each reason is right."""
    texts, expected, kept = mixed_corpus()
    counters = Counters()
    stream = clean_documents(documents_of(texts), CleaningConfig(), counters=counters)
    out = []
    for document in stream:
        out.append(document)
        accounted = counters.kept + sum(counters.dropped.values())
        assert counters.processed == accounted, (
            f"in the middle of the stream {counters.processed} documents came in but {accounted} are "
            "accounted for: count where the decision falls, exactly one reason a document"
        )
    total = counters.kept + sum(counters.dropped.values())
    assert counters.processed == len(texts) == total, (
        f"{len(texts)} documents came in, {total} are accounted for: a stage dropped some without a reason"
    )
    assert {name: n for name, n in counters.dropped.items() if n} == expected, (
        f"dropped {dict(counters.dropped)}, but {expected} were planted"
    )
    assert counters.kept == len(out) == kept
    assert counters.edited["pii"] == counters.pii["EMAIL"] == 1, (
        "an edit is counted as an edit, not as a drop"
    )
    assert counters.characters_in == sum(map(len, texts))
    assert counters.characters_out == sum(len(document.text) for document in out)
    assert set(counters.to_dict()["dropped"]) >= set(expected), "the report forgets a reason"


def check_nothing_depends_on_the_workers(workers: int, chunk_documents: int = 3) -> None:
    """The same documents in the same order and the same account with any number of processes and any chunks."""
    texts, _, _ = mixed_corpus()
    usual, cleaning._CHUNK_DOCUMENTS = cleaning._CHUNK_DOCUMENTS, chunk_documents
    try:
        _compare_with_workers(texts, workers)
    finally:
        cleaning._CHUNK_DOCUMENTS = usual


def _compare_with_workers(texts: list[str], workers: int) -> None:
    alone, together = Counters(), Counters()
    config = CleaningConfig()
    expected = [
        (d.text, d.source, d.index) for d in clean_documents(documents_of(texts), config, counters=alone)
    ]
    found = [
        (d.text, d.source, d.index)
        for d in clean_documents(documents_of(texts), config, counters=together, workers=workers)
    ]
    assert found == expected, (
        f"with {workers} workers other documents come out, or in another order: results must be taken in the "
        "order of the work, or the first of two copies is whichever was quicker"
    )
    assert together == alone, "the account depends on the number of workers"


# --- newlines ----------------------------------------------------------------------------------------


def check_lines_are_kept(text: str) -> None:
    """Every stage that claims so keeps the number of lines, and on each line its words in order."""
    repair = mojibake.mojibake_fixer()
    stages = {
        "mojibake": repair,
        "unicode": tidy_text.normalise_unicode,
        "whitespace": tidy_text.tidy_whitespace,
        "pii": lambda t: pii.replace_pii(t)[0],
    }
    for name, stage in stages.items():
        after = stage(text)
        assert after.count("\n") == text.count("\n"), (
            f"{name} changed {text!r} with {text.count(chr(10))} newlines into one with "
            f"{after.count(chr(10))}: a poem is its lines; work within lines"
        )
        assert stage(after) == after, f"{name} twice is not {name} once on {text!r}"
    tidy = tidy_text.tidy_whitespace(text)
    for line, before in zip(tidy.split("\n"), text.split("\n"), strict=True):
        assert line.split() == before.split(), f"white space tidying changed the words of {before!r}"
        assert line == line.rstrip(), f"a blank is left at the end of {line!r}"


def check_whitespace_table() -> None:
    table = [
        ("plain", "plain"),
        ("a  b", "a b"),
        ("a \t b", "a b"),
        ("a\tb", "a\tb"),
        ("    indented  twice", "    indented twice"),
        ("\tdef f():  \n\t\treturn  1", "\tdef f():\n\t\treturn 1"),
        ("end \r\nnext\r\n", "end\nnext\n"),
        ("one\n\n\n\nfive", "one\n\n\n\nfive"),
        ("a\u00a0b\u2003c", "a b c"),
        ("trailing ", "trailing"),
        ("", ""),
        ("\n", "\n"),
    ]
    for before, after in table:
        found = tidy_text.tidy_whitespace(before)
        assert found == after, f"tidying {before!r} gave {found!r}, not {after!r}"


# --- mojibake ----------------------------------------------------------------------------------------


def damaged(text: str, encoding: str = "latin-1") -> str:
    """What a program makes of `text` that takes its UTF-8 bytes for another encoding."""
    return text.encode("utf-8").decode(encoding)


def check_mojibake_is_undone() -> None:
    """Damage done here by plain encode and decode is undone, and what is right stays as it is."""
    repair = mojibake.mojibake_fixer()
    right = [
        "Das schöne Café an der Straße ist geöffnet.",
        "À la fête, le garçon naïf a mangé des pâtes.",
        "El niño comió piñones en la montaña.",
    ]
    for text in right:
        for encoding in ("latin-1", "windows-1252"):
            try:
                broken = damaged(text, encoding)
            except UnicodeDecodeError:
                continue
            found = repair(f"first line\n{broken}\nlast line")
            assert found == f"first line\n{text}\nlast line", f"{broken!r} should be {text!r}, not {found!r}"
    assert repair("bad\x00 \x07bytes\n") == "bad bytes\n", "control characters are no text"
    assert repair("half \ud83d\ude00 and \ud83d") == "half 😀 and \ufffd"
    untouched = [
        *right,
        "“Curly” ‘quotes’ — and dashes… stay",
        "ﬁne ligatures ﬂow",
        "&amp; &lt;b&gt; are text",
        "ＦＵＬＬ width",
        "tab\there\r\nand\fform feed",
        "日本語のテキスト。",
        "Русский текст",
        "Ελληνικά",
        "e\u0301 stays two code points",
    ]
    for text in untouched:
        found = repair(text)
        assert found == text, f"right text {text!r} became {found!r}: undo damage and nothing else"


def check_pre_filter_changes_nothing(texts: list[str]) -> None:
    """The repair with its quick look gives what ftfy gives when it is always called."""
    import ftfy

    repair = mojibake.mojibake_fixer()
    config = ftfy.TextFixerConfig(explain=False, **FTFY_DAMAGE_ONLY)
    for text in texts:
        expected = ftfy.fix_text(text, config)
        found = repair(text)
        assert found == expected, f"ftfy makes {expected!r} of {text!r}, the quick way {found!r}"


# --- boilerplate -------------------------------------------------------------------------------------

LICENCE = "Section 1. General Terms of Use\nYou may copy it, give it away or re-use it.\n" * 30
SMALL_PRINT = "These Etexts are prepared by volunteers. If you paid for this, you got it wrong.\n" * 40
BOOK = "CHAPTER I\n\nIt was a bright day.\n\n  A poem,\n    indented.\n\nTHE END"
# (name, head, tail): frames as they were written in different years, around any book.
FRAMES = [
    (
        "1993, small print",
        "**The Project Gutenberg Etext of Emma**\n\n"
        + SMALL_PRINT
        + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n",
        "\n\nEnd of The Project Gutenberg Etext of Emma\n",
    ),
    (
        "1999, bare end",
        SMALL_PRINT + "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n",
        "\n\nEnd of Project Gutenberg's Emma, by Jane Austen\n",
    ),
    (
        "2004, no space",
        "The Project Gutenberg EBook of Emma\n\n***START OF THE PROJECT GUTENBERG EBOOK EMMA***\n\n",
        "\n\n***END OF THE PROJECT GUTENBERG EBOOK EMMA***\n" + LICENCE,
    ),
    (
        "2010, this",
        "\ufeffThe Project Gutenberg EBook of Emma\r\n\r\n*** START OF THIS PROJECT GUTENBERG EBOOK EMMA ***\r\n"
        "\r\nProduced by Ada Example and\r\nthe Distributed Proofreaders\r\n\r\n",
        "\r\n\r\nEnd of the Project Gutenberg EBook of Emma, by Jane Austen\r\n\r\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK EMMA ***\r\n" + LICENCE,
    ),
    (
        "2023, long title",
        "The Project Gutenberg eBook of Emma\n\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA, OR\n"
        "THE MATCHMAKER ***\n\n",
        "\n\n*** END OF THE PROJECT GUTENBERG EBOOK EMMA, OR\nTHE MATCHMAKER ***\n\n" + LICENCE,
    ),
    (
        "end marker cut away",
        "*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\n\n",
        "\n\nSTART: FULL LICENSE\n\nTHE FULL PROJECT GUTENBERG LICENSE\n" + LICENCE,
    ),
]


def check_the_book_comes_out_of_its_frame(books: list[str]) -> None:
    """Each book in each historical frame comes back whole; without a frame nothing is touched."""
    for book in books:
        body = book.strip()
        assert boilerplate.strip_boilerplate(body) == body, f"a book without a frame was cut: {body[:60]!r} …"
        for name, head, tail in FRAMES:
            found = boilerplate.strip_boilerplate(head + body + tail)
            assert found == body, (
                f"frame {name}: the book begins {found[:60]!r} and ends {found[-60:]!r}; "
                "every edition marks the frame in its own words"
            )


def check_talk_of_gutenberg_is_no_frame() -> None:
    for text in (
        "He read it at Project Gutenberg. *** It was good.\nThe end of Project Gutenberg's first year came.",
        "In 1971 Project Gutenberg began.\nend of project gutenberg and its volunteers, he feared.\n",
        "Asked about the *** START OF THE PROJECT GUTENBERG EBOOK line, she said nothing.",
        "Johannes Gutenberg printed.",
    ):
        found = boilerplate.strip_boilerplate(text)
        assert found == text, f"a text that talks of Project Gutenberg became {found!r}"


# --- quality -----------------------------------------------------------------------------------------


def slow_rule(text: str) -> str | None:
    """The five rules of Gopher's table A1, each said in the plainest way and with the paper's numbers."""
    words = text.split()
    if not 50 <= len(words) <= 100_000:
        return "word_count"
    if not 3 <= sum(len(word) for word in words) / len(words) <= 10:
        return "word_length"
    ellipses = text.count("…") + text.count("...")
    if text.count("#") / len(words) > 0.1 or ellipses / len(words) > 0.1:
        return "symbols"
    if sum(any(c.isalpha() for c in word) for word in words) / len(words) < 0.8:
        return "letters"
    marks = ".,;:!?\"'()[]{}<>*_-–—…“”‘’«»"
    bare = {word.strip(marks).lower() for word in words} | set(words)
    if sum(word in bare for word in ("the", "be", "to", "of", "and", "that", "have", "with")) < 2:
        return "stop_words"
    return None


def check_quality_rules(texts: list[str]) -> None:
    for text in texts:
        expected, found = slow_rule(text), quality.failed_rule(text)
        assert found == expected, f"{text[:80]!r} …: the plain statement says {expected}, the code {found}"
