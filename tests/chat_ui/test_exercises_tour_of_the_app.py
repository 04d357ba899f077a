"""The exercises of notebook chat_ui/02: other right answers pass, new kinds of wrong ones are caught."""

import html
from urllib.parse import quote_plus

import pytest

from chat_ui.exercises.tour_of_the_app import ADDRESS, ESCAPED, EVENTS, PLACES, TEXTS
from utils.exercises import check, load_answer


def test_a_reader_that_splits_at_blank_lines_passes():
    def read_events(lines):
        found, last = [], ""
        blocks = "\n".join([*lines, ""]).split("\n\n")[:-1] if lines and not lines[-1] else []
        if lines and lines[-1]:  # what is behind the last blank line has not ended
            blocks = "\n".join(lines).split("\n\n")[:-1]
        for block in blocks:
            name, data = "message", []
            for line in block.split("\n"):
                key, colon, value = line.partition(":")
                value = value[1:] if value[:1] == " " else value
                if key == "id" and colon:
                    last = value
                elif key == "event":
                    name = value
                elif key == "data":
                    data += [value]
            if data:
                found.append((last, name, "\n".join(data)))
        return found

    assert check(EVENTS, read_events)


@pytest.mark.parametrize(
    "wrong",
    [lambda lines: [], lambda lines: lines, lambda lines: None, lambda lines: [("", "message", "")]],
    ids=["nothing", "lines", "None", "empty"],
)
def test_other_wrong_readers_are_caught(wrong):
    assert not check(EVENTS, wrong)


def test_an_address_by_hand_passes():
    def address(path, values):
        pairs = []
        for name, value in values.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None and one != "":
                    pairs.append(f"{quote_plus(name)}={quote_plus(str(one))}")
        return path + "?" * bool(pairs) + "&".join(pairs)

    assert check(ADDRESS, address)


@pytest.mark.parametrize(
    "wrong",
    [lambda path, values: path, lambda path, values: path + "?", lambda path, values: None],
    ids=["path", "question mark", "None"],
)
def test_other_wrong_addresses_are_caught(wrong):
    assert not check(ADDRESS, wrong)


def test_the_address_of_the_exercise_is_that_of_the_pages():
    pytest.importorskip("nicegui", reason="the serve extra is not installed: pip install -e '.[serve]'")
    from chat_ui.inspector import parts

    ours = load_answer(ADDRESS.solution, ADDRESS.function)
    for path, values in PLACES:
        assert ours(path, values) == parts.address(path, **values)


def test_the_librarys_escaping_passes_and_is_that_of_the_pages():
    pytest.importorskip("nicegui", reason="the serve extra is not installed: pip install -e '.[serve]'")
    from chat_ui.inspector import parts

    assert check(ESCAPED, lambda value: html.escape(str(value)))
    assert check(ESCAPED, parts.text)


@pytest.mark.parametrize(
    "wrong", [lambda value: "", lambda value: repr(value), lambda value: value], ids=["empty", "repr", "same"]
)
def test_other_wrong_texts_are_caught(wrong):
    assert not check(ESCAPED, wrong) and TEXTS
