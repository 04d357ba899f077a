"""The exercises of notebook 02, with their checkers: an event stream, an address that can be sent, text in a page.

Each checker tests properties on values of its own choice, so any right answer passes, and knows how the step usually
goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake
is named. Left out: servers, browsers. Notebook: `02_tour_of_the_app.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]

# ---------------------------------------------------------------- 1. an event stream

# Lines as they come over the wire, and the (id, event, data) that a browser makes of them.
STREAMS: tuple[tuple[list[str], list[tuple[str, str, str]]], ...] = (
    (["id: 7", 'data: {"step": 1}', ""], [("7", "message", '{"step": 1}')]),
    (["data: one", "data: two", ""], [("", "message", "one\ntwo")]),
    (["id: 1", "data: a", "", "data: b", ""], [("1", "message", "a"), ("1", "message", "b")]),
    (["event: end", "data: complete", "", "data: x", ""], [("", "end", "complete"), ("", "message", "x")]),
    ([": a heartbeat", "", "data: a", "", ": another", ""], [("", "message", "a")]),
    (["data: whole", "", "data: half"], [("", "message", "whole")]),
    (["data:  indented", ""], [("", "message", " indented")]),
    (["retry: 2000", "", "id: 3", "data: a: b: c", ""], [("3", "message", "a: b: c")]),
    ([], []),
)


def _check_events(answer: Answer) -> None:
    for lines, wanted in STREAMS:
        found = answer(list(lines))
        require(isinstance(found, list), f"a list of events, not {type(found).__name__}")
        given = [tuple(event) for event in found]
        require(given == wanted, f"the lines {lines} are the events {wanted}; yours are {given}")


EVENTS_STUB = '''
def read_events(lines):
    """The events of a stream, as (id, event, data). A blank line ends an event; an event without data is none;
    lines of data are joined by a line break; an id stays until there is a new one; the usual event is "message"."""
    ...  # your code
'''
EVENTS_SOLUTION = """
def read_events(lines):
    events, last, name, data = [], "", "message", []
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                events.append((last, name, "\\n".join(data)))
            name, data = "message", []
        elif field == "id":
            last = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events
"""
EVENTS = Exercise(
    name="read_events",
    task="Lines of an event stream as events.",
    function="read_events",
    check=_check_events,
    stub=EVENTS_STUB,
    solution=EVENTS_SOLUTION,
    hints=(
        "Keep three things while you read: the last id, the name of the event, its lines of data.",
        "A blank line gives what was collected, if there is data, and forgets the name and the data.",
        'field, _, value = line.partition(":"), and one space behind the colon is not part of the value.',
    ),
    mistakes={
        "every colon": Mistake(
            EVENTS_SOLUTION.replace('line.partition(":")', '(*line.split(":"), "", "")[:3]').replace(
                "field, _, value", "field, value, _"
            ),
            "you split at every colon: JSON is full of them, and only the first one ends the name",
        ),
        "stripped": Mistake(
            EVENTS_SOLUTION.replace('value.removeprefix(" ")', "value.strip()"),
            "you took away every space: one belongs to the form, further ones to the text",
        ),
        "one line": Mistake(
            EVENTS_SOLUTION.replace("data.append(value)", "data = [value]"),
            "you kept the last line of data only: an event may have several",
        ),
        "half events": Mistake(
            EVENTS_SOLUTION.replace(
                "    return events", '    return events + ([(last, name, "\\n".join(data))] if data else [])'
            ),
            "you gave an event that has not ended: its second half was on the way when the connection broke",
        ),
        "forgotten id": Mistake(
            EVENTS_SOLUTION.replace(
                'name, data = "message", []\n        elif',
                'last, name, data = "", "message", []\n        elif',
            ),
            "you forgot the id with the event: it stays, for it is what one goes on from",
        ),
    },
    probes=lambda: [(list(lines),) for lines, _ in STREAMS],
)

# ---------------------------------------------------------------- 2. an address that can be sent

PLACES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/look", {"text": "Once upon a time", "view": "lens"}),
    ("/look", {"text": "1 + 1 = 2 & more?", "temperature": 0}),
    ("/compare", {"runs": ["pretrain/a", "pretrain/b"], "value": "loss"}),
    ("/tokens", {"text": "", "beside": None}),
    ("/tokens", {"text": "Ἀρχὴ #1 100%", "runs": []}),
    ("/runs", {}),
)


def _check_address(answer: Answer) -> None:
    for path, values in PLACES:
        found = answer(path, dict(values))
        require(isinstance(found, str), f"an address, not {found!r}")
        require(found.isascii() and " " not in found, f"an address has neither spaces nor é: {found!r}")
        split = urlsplit(found)
        require(split.path == path and not split.fragment, f"{found!r} is not a page {path} with a query")
        wanted = {
            name: [str(one) for one in (value if isinstance(value, list) else [value])]
            for name, value in values.items()
            if value not in (None, "", [])
        }
        said = parse_qs(split.query, keep_blank_values=True)
        require(said == wanted, f"{found!r} says {said}, but the page shows {wanted}")
        require(bool(wanted) or found == path, f"a page that shows nothing special is {path}, not {found!r}")


ADDRESS_STUB = '''
def address(path, values):
    """The address of a page that shows `values`: names to texts, numbers, or lists of them.
    What is None, "" or [] is left out; a list gives its name once for each of its values."""
    ...  # your code
'''
ADDRESS_SOLUTION = """
def address(path, values):
    from urllib.parse import urlencode
    given = {name: value for name, value in values.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path
"""
ADDRESS = Exercise(
    name="address",
    task="The address under which a page shows the same again.",
    function="address",
    check=_check_address,
    stub=ADDRESS_STUB,
    solution=ADDRESS_SOLUTION,
    hints=(
        "urllib.parse knows how to write a query.",
        "urlencode(values, doseq=True) repeats the name of a list for each of its values.",
        'Leave out what is in (None, "", []) and nothing else: 0 is a setting.',
    ),
    mistakes={
        "as it is": Mistake(
            """
def address(path, values):
    given = [(name, one) for name, value in values.items() if value not in (None, "", [])
             for one in (value if isinstance(value, list) else [value])]
    return path + ("?" + "&".join(f"{name}={one}" for name, one in given) if given else "")
""",
            "you wrote the text as it is: an & in it begins another value, a # ends the address",
        ),
        "falsy": Mistake(
            ADDRESS_SOLUTION.replace('value not in (None, "", [])', "value"),
            "you left out 0: a temperature of 0 is a setting, and not the usual one",
        ),
        "one value": Mistake(
            ADDRESS_SOLUTION.replace(", doseq=True", ""),
            "you wrote a list as Python prints it: give its name once for each value",
        ),
        "nothing": Mistake(
            ADDRESS_SOLUTION.replace('if value not in (None, "", [])', "if value != []"),
            "you sent what is not set: text=&beside=None says that somebody wrote None",
        ),
    },
    probes=lambda: [(path, dict(values)) for path, values in PLACES],
)

# ---------------------------------------------------------------- 3. text in a page

TEXTS: tuple[Any, ...] = (
    "a run",
    "<script>alert(1)</script>",
    'x" onmouseover="alert(2)',
    "AT&T, 1 < 2 > 0",
    "&lt;b&gt; is how <b> is written",
    3.5,
    None,
)


class _Seen(HTMLParser):
    """What a browser makes of a cell whose text and title are the same."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.given: dict[str, str | None] = {}
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.given |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def _check_escaped(answer: Answer) -> None:
    for value in TEXTS:
        found = answer(value)
        require(isinstance(found, str), f"a text, not {found!r}")
        seen = _Seen(f'<td title="{found}">{found}</td>')
        require(seen.tags == ["td"], f"{value!r} has made tags of its own in the page: {seen.tags[1:]}")
        require(set(seen.given) == {"title"}, f"{value!r} has given the cell {sorted(seen.given)}")
        require(seen.text == str(value), f"{value!r} is read as {seen.text!r} in the page")
        require(
            seen.given["title"] == str(value), f"{value!r} is read as {seen.given['title']!r} in the title"
        )


ESCAPED_STUB = '''
def escaped(value):
    """Any value as HTML that shows exactly its text, between tags and inside title="…"."""
    ...  # your code
'''
ESCAPED_SOLUTION = """
def escaped(value):
    text = str(value)
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, name)
    return text
"""
ESCAPED = Exercise(
    name="escaped",
    task="A text that stays a text in a page.",
    function="escaped",
    check=_check_escaped,
    stub=ESCAPED_STUB,
    solution=ESCAPED_SOLUTION,
    hints=(
        "Four signs mean something in HTML: & < > and, inside an attribute, the quotation mark.",
        "Each has a name: &amp; &lt; &gt; &quot;. In which order must they be replaced?",
        "The & first: the names that you write contain one.",
    ),
    mistakes={
        "ampersand last": Mistake(
            ESCAPED_SOLUTION.replace('("&", "&amp;"), ', "").replace(
                """('"', "&quot;")""", """('"', "&quot;"), ("&", "&amp;")"""
            ),
            "you replaced the & last: it is in the names that you have just written",
        ),
        "no quotes": Mistake(
            ESCAPED_SOLUTION.replace(""", ('"', "&quot;")""", ""),
            "you left the quotation mark: a text that ends the attribute can give the cell one of its own",
        ),
        "no ampersand": Mistake(
            ESCAPED_SOLUTION.replace('("&", "&amp;"), ', ""),
            "you left the &: a text about &lt; is read as <",
        ),
        "cleaned": Mistake(
            """
def escaped(value):
    import re
    return re.sub(r"<[^>]*>", "", str(value)).replace('"', "&quot;")
""",
            "you removed what looks like a tag: that loses text, and what is half a tag stays",
        ),
    },
    probes=lambda: [(value,) for value in TEXTS],
)

EXERCISES = [EVENTS, ADDRESS, ESCAPED]

PREDICTIONS = [
    Prediction(
        "records_after_a_lost_connection",
        12,
        "records",
        "of twenty records eight were seen; the page asks again with the id of the eighth, which is the place behind "
        "it in the file: what follows is sent, and nothing twice",
    ),
    Prediction(
        "cache_of_latent_attention",
        1 / 6,
        "of multi-head's",
        "multi-head keeps a key and a value of 768 numbers in each layer; the latent is a third of 768, once for both: "
        "256 against 1,536",
    ),
    Prediction(
        "share_of_the_best_at_half_temperature",
        0.36 / 0.46,
        "",
        "half the temperature squares the probabilities before they are made to sum to one: 0.36, 0.09 and 0.01",
    ),
]
