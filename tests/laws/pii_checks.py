"""LT11, personal data: a table written by hand, and datafog called directly."""

from __future__ import annotations

from working_with_text_data import pii

# --- personal data -----------------------------------------------------------------------------------

# (text, what stands there afterwards): the specification, written by hand.
PII_TABLE = [
    ("Write to ada@example.org.", "Write to [EMAIL]."),
    ("mailto:ada.l+x@mail.example.co.uk>", "mailto:[EMAIL]>"),
    ("two: a@b.io,c@d.org", "two: [EMAIL],[EMAIL]"),
    ("call 212-555-0147 now", "call [PHONE] now"),
    ("call (212) 555-0147.", "call [PHONE]."),
    ("call +1 212 555 0147", "call [PHONE]"),
    ("call 212.555.0147", "call [PHONE]"),
    ("ring +44 20 7946 0958!", "ring [PHONE]!"),
    ("10.20.30.40@example.org, me@10.20.30.40.example.org", "[EMAIL], [EMAIL]"),
    ("SSN 123-45-6789.", "SSN [SSN]."),
    ("ssn: 123456789", "ssn: [SSN]"),
    ("card 4111 1111 1111 1111 ok", "card [CARD] ok"),
    ("card 5500-0000-0000-0004", "card [CARD]"),
    ("amex 378282246310005", "amex [CARD]"),
    ("from 192.168.7.20 port 80", "from [IP] port 80"),
    ("http://10.20.30.40/admin", "http://[IP]/admin"),
    # Not personal data, though it looks like it:
    ("He lived 1914-1918 and 1939-1945.", None),
    ("In 2001 2002 2003 2004 it rained.", None),
    ("order 1234567890 of item 123456789", None),
    ("unix time 1700000000", None),
    ("the form +000000120 is a padded number", None),
    ("version 10.0.19.41, v1.2.3.4 and section 3.1.2.1", None),
    ("OID 1.3.6.1.4.1.311", None),
    ("card 4111 1111 1111 1112", None),
    ("see icon@2x.png and user@host", None),
    ("pkg lodash@4.17.21", None),
    ("abc123-45-6789xyz and x212-555-0147", None),
    ("https://example.org/t/212-555-0147/5", None),
    ("https://example.org/?id=4111111111111111", None),
    ("ISBN 978-3-16-148410-0 and 0-306-40615-2", None),
    ("pi 3.14159265358979 and 1,000,000,000", None),
    ("table: 12 34 56 78 90 12 34", None),
    ("212-555\n-0147 over lines, 4111 1111\n1111 1111", None),
    ("@ada said 5 @ 3", None),
]


def check_personal_data_table() -> None:
    for before, after in PII_TABLE:
        found, _ = pii.replace_pii(before)
        expected = before if after is None else after
        assert found == expected, f"{before!r} should become {expected!r}, not {found!r}"


def check_finds_are_datafogs(text: str) -> None:
    """Every find lies within one of datafog's own, called directly on its line; markers replace just that."""
    from datafog.processing.text_processing.regex_annotator import RegexAnnotator

    names = {"EMAIL": "EMAIL", "PHONE": "PHONE", "SSN": "SSN", "CREDIT_CARD": "CARD", "IP_ADDRESS": "IP"}
    offset, theirs = 0, set()
    for line in text.split("\n"):
        _, result = RegexAnnotator().annotate_with_spans(line)
        theirs |= {
            (offset + span.start, offset + span.end, names[span.label])
            for span in result.spans
            if span.label in names
        }
        offset += len(line) + 1
    finds = pii.find_pii(text)
    for find in finds:
        within = [kind for start, stop, kind in theirs if start <= find.start and find.stop <= stop]
        joined = [k for start, stop, k in theirs if start < find.stop and find.start < stop]
        assert find.type in within or (len(joined) > 1 and find.type in joined), (
            f"{text[find.start : find.stop]!r} is called {find.type}, but datafog sees {within or 'nothing'} there"
        )
        assert "\n" not in text[find.start : find.stop], "a find crosses a line end, and eats it"
