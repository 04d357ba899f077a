"""Pieces of the inspector's pages, without a browser: escaping, addresses, colours, curves, sources of data."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nicegui", reason="the serve extra is not installed: pip install -e '.[serve]'")

from chat_ui.inspector import PUBLIC, STATIC, compare, data_sources, parts, theme
from chat_ui.inspector.run import flat
from utils.errors import UserError


class Seen(HTMLParser):
    """What a browser would make of some HTML: its tags, its attributes, its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.data = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.data += data


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_run_holds_stays_text(first, second):
    pieces = (
        (parts.table(("a",), [(first,), (second,)]), {"div", "table", "thead", "tr", "th", "tbody", "td"}),
        (parts.pairs({first: second}), {"dl", "dt", "dd"}),
        (parts.figures({first: second}), {"div", "b", "span"}),
        (parts.note(first, bad=True) + parts.command(second), {"p", "pre"}),
        (parts.badge(first) + parts.bar(0.5, second, kind=first), {"span", "i"}),
        (parts.link("/" + first, second), {"a"}),
    )
    for html, tags in pieces:
        seen = Seen(html)
        assert set(seen.tags) <= tags, html
        assert seen.names <= {"class", "style", "href", "role", "scope", "tabindex"}, html


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=3))
def test_an_address_carries_its_values_and_nothing_else(text, runs):
    from urllib.parse import parse_qs, urlsplit

    split = urlsplit(parts.address("/tokens", text=text, runs=runs, nothing=None))
    assert split.path == "/tokens"
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    said = parse_qs(split.query, keep_blank_values=True)
    assert said.get("text", [""]) == [text] and said.get("runs", []) == runs and "nothing" not in said


def test_a_text_too_long_for_an_address_is_left_out():
    assert parts.address("/look", text="a" * (parts.ADDRESS_CHARACTERS + 1), view="lens") == "/look?view=lens"


def test_the_pages_have_the_colours_of_the_chat():
    chosen = json.loads((PUBLIC / "theme.json").read_text())["variables"]
    colours = theme.variables((PUBLIC / "theme.json").read_text())
    for mode in ("light", "dark"):
        for name, value in chosen[mode].items():
            assert f"{name}:{value}" in colours
    used = set(re.findall(r"var\((--[a-z-]+[a-z])\)", (STATIC / "inspector.css").read_text()))
    own = set(re.findall(r"(--[a-z0-9-]+):", (STATIC / "inspector.css").read_text()))
    assert used - own <= set(chosen["light"]) | {"--h"}, "a colour that nobody gives"


def test_no_file_of_the_pages_names_another_host():
    for path in [*STATIC.iterdir(), *Path(theme.__file__).parent.glob("*.py")]:
        assert not re.search(r"""(src|href|url|import)\s*[=(]\s*["']?(https?:)?//""", path.read_text()), path


def test_a_long_curve_is_thinned_and_keeps_its_end():
    points = [[step, 1.0] for step in range(12_345)]
    thinned = compare._thinned(points)
    assert len(thinned) <= compare.POINTS + 1
    assert thinned[0] == points[0] and thinned[-1] == points[-1]
    assert thinned == sorted(thinned) and len(set(map(tuple, thinned))) == len(thinned)
    assert compare._thinned(points[:7]) == points[:7]


def test_nested_settings_have_dotted_names():
    assert flat({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}


# ---- data


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with a folder, a file, a link that leads out of it, and something hidden."""
    home = tmp_path / "data"
    (home / "books").mkdir(parents=True)
    (home / "books" / "one.txt").write_text("A fox.\n<|endoftext|>\nA hen.\n")
    (home / "books" / "bad.jsonl").write_bytes(b'{"text": "fine"}\nnot json\n')
    (home / "plain.txt").write_text("Only this.")
    (home / "program.bin").write_bytes(b"\0\1")
    (home / ".hidden.txt").write_text("hidden")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("the-secret")
    (home / "linked").symlink_to(tmp_path / "secret")
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(home))
    return home


def test_sources_are_what_lies_here(data):
    found = data_sources.all_sources()
    assert {"storyland", "books", "plain.txt"} <= set(found)
    assert not {"linked", ".hidden.txt", "program.bin"} & set(found)
    assert found["books"].kind == "folder" and found["storyland"].kind == "corpus"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../secret",
        "books/../../secret",
        "linked",
        "linked/key.txt",
        "/etc/passwd",
        "books\0",
        "~",
        "*.txt",
        "x" * 5000,
    ],
    ids=[f"name{number}" for number in range(11)],
)
def test_a_name_reaches_nothing_outside_the_list(data, name):
    with pytest.raises(UserError, match="no data named"):
        data_sources.find_source(name)


def test_documents_are_read_from_any_place(data):
    books = data_sources.find_source("books")
    assert [d.text.strip() for d in data_sources.documents_of(books, 0, 9)] == ["fine", "A fox.", "A hen."]
    assert [d.text.strip() for d in data_sources.documents_of(books, 1, 1)] == ["A fox."]
    assert data_sources.documents_of(books, 50, 5) == []
    story = data_sources.find_source("storyland")
    both = data_sources.documents_of(story, 0, 4)
    assert [d.text for d in data_sources.documents_of(story, 2, 2)] == [d.text for d in both[2:]]
    assert data_sources.statistics_of(books).documents == 3


def test_a_manifest_beside_the_files_is_checked(data):
    from working_with_text_data.manifest import make_manifest

    books = data_sources.find_source("books")
    made, differs = data_sources.manifest_of(books)
    assert differs is None and {row.path for row in made.files} == {"one.txt", "bad.jsonl"}
    make_manifest(data / "books").save(data / "books" / "manifest.json")
    _, differs = data_sources.manifest_of(books)
    assert differs.ok
    (data / "books" / "one.txt").write_text("A wolf.")
    _, differs = data_sources.manifest_of(books)
    assert differs.changed == ["one.txt"]
    with pytest.raises(UserError, match="storyland"):
        data_sources.manifest_of(data_sources.find_source("storyland"))


def test_a_manifest_of_too_many_files_is_refused(data, monkeypatch):
    monkeypatch.setattr(data_sources, "MANIFEST_FILES", 1)
    with pytest.raises(UserError, match="too many"):
        data_sources.manifest_of(data_sources.find_source("books"))
    assert os.environ["SCRATCHBOOK_DATA"] == str(data)
