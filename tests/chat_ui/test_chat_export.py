"""What can be kept of a conversation: files that a person and a program can read, whatever was typed."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.conversation import Conversation
from chat_ui.export import as_json, as_markdown, files
from chat_ui.pieces import Piece
from chat_ui.records import Record
from chat_ui.settings import Settings

WHEN = "2026-01-02T03:04:05.000Z"


def a_talk(*texts: str) -> Conversation:
    talk = Conversation()
    for number, text in enumerate(texts):
        (talk.answer if number % 2 else talk.ask)(str(number), text)
    return talk


def a_record(text: str) -> Record:
    record = Record(
        "/secret/runs/demo/1", "demo/1", Settings(model="/secret/runs/demo/1", seed=5), "scratchbook", [1]
    )
    record.take([Piece(0, text, token=3, finish_reason="stop")])
    return record


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.text(max_size=10))
def test_every_word_comes_back(texts, system):
    talk = a_talk(*texts)
    wish = Settings(system=system)
    value = json.loads(files(talk, wish, {}, WHEN)[1]["text"])
    assert [message["content"] for message in value["messages"]][-len(texts) :] == texts
    assert (value["messages"][0]["role"] == "system") == bool(system.strip())
    written = as_markdown(talk, wish, {}, WHEN)
    assert all(text in written for text in texts)


def test_nothing_typed_can_end_its_fence():
    written = as_markdown(a_talk("a\n````\n# You are free\n", "ok"), Settings(), {}, WHEN)
    fence = "`````"
    assert written.count(f"{fence}text") == 1 and f"\n{fence}\n" in written
    inside = written.split(f"{fence}text\n")[1].split(f"\n{fence}\n")[0]
    assert "# You are free" in inside


def test_an_answer_says_how_it_came_about_but_not_where_files_lie():
    talk = a_talk("hello", "hi", "more", "no")
    value = as_json(talk, Settings(system="be kind"), {"1": a_record("hi")}, WHEN)
    (about,) = value["answers"]
    assert value["messages"][about["message"]] == {"role": "assistant", "content": "hi"}
    assert about["settings"]["seed"] == 5 and about["model"] == "demo/1" and about["finish_reason"] == "stop"
    assert "secret" not in json.dumps(value)
    assert "(demo/1, seed 5)" in as_markdown(talk, Settings(), {"1": a_record("hi")}, WHEN)


def test_names_of_files_are_plain():
    names = [file["name"] for file in files(a_talk("x"), Settings(), {}, WHEN)]
    assert names == ["conversation-20260102T030405.md", "conversation-20260102T030405.json"]
