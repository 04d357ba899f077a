"""One's own conversations: four forms, every bad line named, duplicates and overlap counted, on real files too."""

from __future__ import annotations

import gzip
import json

import pytest

from finetuning.instruction import conversations
from finetuning.instruction.conversation_formats import guess_form, parse, parse_request
from finetuning.instruction.conversations import (
    from_records,
    overlap,
    read_conversations,
    split_dialogues,
    without_overlap,
)
from utils.errors import UserError

ALPACA = {"instruction": "Add.", "input": "1 + 1", "output": "2"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
PROMPT = {"prompt": "Add 1 + 1.", "response": "2"}
PREFERENCE = {"prompt": "Add 1 + 1.", "chosen": "2", "rejected": "3"}
SHAREGPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}


def write(path, records):
    path.write_text("".join(json.dumps(r) + "\n" if not isinstance(r, str) else r + "\n" for r in records))
    return path


def said(dialogue):
    return [(m["role"], m["content"], m.get("input")) for m in dialogue.messages]


@pytest.mark.parametrize(
    ("record", "form", "expected"),
    [
        (ALPACA, "alpaca", [("user", "Add.", "1 + 1"), ("assistant", "2", None)]),
        (
            {"instruction": "Add.", "context": "1 + 1", "response": "2"},
            "alpaca",
            [("user", "Add.", "1 + 1"), ("assistant", "2", None)],
        ),
        (CHAT, "chat", [("user", "Hi", None), ("assistant", "Hello", None)]),
        (SHAREGPT, "chat", [("user", "Hi", None), ("assistant", "Hello", None)]),
        (PROMPT, "prompt", [("user", "Add 1 + 1.", None), ("assistant", "2", None)]),
        (
            {"prompt": CHAT["messages"][:1], "completion": CHAT["messages"][1:]},
            "prompt",
            [("user", "Hi", None), ("assistant", "Hello", None)],
        ),
        (PREFERENCE, "preference", [("user", "Add 1 + 1.", None), ("assistant", "2", None)]),
        (
            {
                "chosen": CHAT["messages"],
                "rejected": [CHAT["messages"][0], {"role": "assistant", "content": "No"}],
            },
            "preference",
            [("user", "Hi", None), ("assistant", "Hello", None)],
        ),
        (
            {**PROMPT, "system": "Be short."},
            "prompt",
            [("system", "Be short.", None), ("user", "Add 1 + 1.", None), ("assistant", "2", None)],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_form_is_told_and_read(record, form, expected):
    assert guess_form(record) == form
    (dialogue,) = parse(record, form)
    assert said(dialogue) == expected
    assert (dialogue.rejected is not None) == (form == "preference")


def test_a_seed_task_gives_a_conversation_for_each_instance():
    record = {
        "instruction": "Double.",
        "instances": [{"input": "2", "output": "4"}, {"input": "", "output": "?"}],
    }
    first, second = parse(record, guess_form(record))
    assert said(first)[0] == ("user", "Double.", "2") and "input" not in second.messages[0]


BAD = [
    ("not json", "not JSON"),
    ([1, 2], "a list where an object is needed"),
    ({"instruction": "Add."}, "`output` is missing; it has 'instruction'"),
    ({**ALPACA, "output": "  "}, "the answer is empty"),
    ({**ALPACA, "output": 3}, "`output` is a int, not text"),
    ({**ALPACA, "instruction": "", "input": ""}, "the request is empty"),
    ({**ALPACA, "input": ["x"]}, "`input` is a list, not text"),
    (CHAT, "a record of form 'chat' among 'alpaca'"),
    ({**ALPACA, "output": "\ud800"}, "half of a surrogate pair"),
]


@pytest.mark.parametrize(("record", "says"), BAD, ids=[says for _, says in BAD])
def test_a_bad_record_stops_with_its_line_or_is_counted(tmp_path, record, says):
    path = write(tmp_path / "d.jsonl", [ALPACA, "", record, {**ALPACA, "output": "two"}])
    with pytest.raises(UserError, match="line 3: ") as caught:
        read_conversations(path)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    kept, report = read_conversations(path, on_bad_line="skip")
    assert (len(kept), report.bad, report.processed) == (2, 1, 3)
    assert report.problems[0].startswith("line 3: ") and says in report.problems[0]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "a list that is not empty"),
        ([{"role": "user", "content": "x"}], "ends with the user"),
        ([{"role": "robot", "content": "x"}], "message 1 of `messages` has role 'robot'"),
        ([{"role": "user"}], "content of type NoneType"),
        (["x"], "message 1 of `messages` is a str"),
        ([{"role": "assistant", "content": "x"}], "nobody asks"),
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "y"}], "message 2 is a system"),
        (
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": " "},
                *CHAT["messages"],
            ],
            "answer 2 is empty",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_chat_is_one_clear_line(messages, says):
    with pytest.raises(ValueError, match=says):
        parse({"messages": messages}, "chat")


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({**PREFERENCE, "rejected": "2"}, "the same answer"),
        ({**PREFERENCE, "rejected": " "}, "`rejected` is empty"),
        ({"chosen": "2", "rejected": "3"}, "`prompt` is missing"),
        ({"chosen": CHAT["messages"], "rejected": SHAREGPT["conversations"][:1]}, "not with an answer"),
    ],
)
def test_a_preference_needs_two_different_answers(record, says):
    with pytest.raises(ValueError, match=says):
        parse(record, "preference")


def test_bytes_that_are_no_utf8_cost_their_line_alone(tmp_path):
    path = tmp_path / "d.jsonl"
    good = json.dumps(ALPACA).encode()
    path.write_bytes(
        good + b'\n{"instruction": "caf\xe9", "output": "x"}\n' + good.replace(b'"2"', b'"two"') + b"\n"
    )
    with pytest.raises(UserError, match="line 2: 0xe9"):
        read_conversations(path)
    kept, report = read_conversations(path, on_bad_line="skip")
    assert (len(kept), report.bad) == (2, 1)
    (tmp_path / "d.json").write_bytes(b'[{"instruction": "caf\xe9", "output": "x"}]')
    with pytest.raises(UserError, match="save it as UTF-8"):
        read_conversations(tmp_path / "d.json", on_bad_line="skip")


def test_files_of_every_kind_give_the_same(tmp_path):
    records = [ALPACA, {**ALPACA, "input": "2 + 2", "output": "4"}]
    write(tmp_path / "a.jsonl", records)
    (tmp_path / "a.json").write_text(json.dumps(records, indent=1))
    (tmp_path / "a.csv").write_text("instruction,input,output\nAdd.,1 + 1,2\nAdd.,2 + 2,4\n")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write((tmp_path / "a.jsonl").read_text())
    found = [
        [said(d) for d in read_conversations(tmp_path / f"a.{end}")[0]]
        for end in ("jsonl", "json", "csv", "jsonl.gz")
    ]
    assert found[0] == found[1] == found[2] == found[3]
    assert read_conversations(tmp_path / "a.json")[0][1].where.endswith("a.json, line 7")


def test_a_parquet_file_is_read_by_its_rows(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([PROMPT, {"prompt": "Say hi.", "response": "hi"}]).to_parquet(
        tmp_path / "a.parquet"
    )
    kept, report = read_conversations(tmp_path / "a.parquet")
    assert [d.answer for d in kept] == ["2", "hi"] and report.form == "prompt"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "", "no conversation in it"),
        ("a.txt", "hello", "this is plain text"),
        ("missing.jsonl", None, "cannot be read"),
        ("a.jsonl", "PK\x03\x04", "a zip archive"),
    ],
)
def test_a_file_that_holds_none_is_one_line(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says):
        read_conversations(tmp_path / name)


def test_wrong_choices_name_the_right_ones(tmp_path):
    path = write(tmp_path / "d.jsonl", [ALPACA])
    with pytest.raises(UserError, match="form is 'poem': choose auto, alpaca"):
        read_conversations(path, form="poem")
    with pytest.raises(UserError, match="on_bad_line is 'shout'"):
        read_conversations(path, on_bad_line="shout")
    with pytest.raises(UserError, match="on_overlap is 'shout'"):
        without_overlap([], [], "shout")


def test_equal_conversations_are_kept_once_and_counted(tmp_path):
    path = write(tmp_path / "d.jsonl", [ALPACA, ALPACA, {**ALPACA, "output": "two"}])
    kept, report = read_conversations(path)
    assert (len(kept), report.duplicates, report.processed) == (2, 1, 3)
    assert len(read_conversations(path, keep_duplicates=True)[0]) == 3


def test_the_split_keeps_answers_to_one_request_together_and_is_decided_by_the_request():
    records = [{"prompt": f"Q{i // 2}", "response": f"A{i}"} for i in range(80)]
    train, held_out = split_dialogues(from_records(records), val_fraction=0.2, seed=3)
    assert not overlap(train, held_out) and len(train) + len(held_out) == 80 and 2 <= len(held_out) <= 40
    again, _ = split_dialogues(from_records(records[::-1]), val_fraction=0.2, seed=3)
    assert {d.key() for d in again} == {d.key() for d in train}, "the order of the file must not matter"
    few = split_dialogues(from_records(records[:4]), val_fraction=0.001)
    assert len(few[1]) == 2, "somebody has to judge"
    with pytest.raises(UserError, match="two are needed"):
        split_dialogues(from_records(records[:2]))


def test_a_held_out_request_in_training_is_refused_dropped_or_counted():
    train = from_records([PROMPT, {"prompt": "Say hi.", "response": "hi"}], source="train.jsonl")
    held_out = from_records([{"prompt": "add  1 + 1.", "response": "2!"}], source="judge.jsonl")
    with pytest.raises(UserError, match="1 of 1 held-out requests are trained on, first judge"):
        without_overlap(train, held_out)
    kept, count = without_overlap(train, held_out, "drop")
    assert ([d.answer for d in kept], count) == (["hi"], 1)
    assert (len(without_overlap(train, held_out, "count")[0]), count) == (2, 1)


def test_a_request_without_an_answer_is_read_for_asking():
    assert parse_request("Hi") == [{"role": "user", "content": "Hi"}]
    assert parse_request(ALPACA)[0]["input"] == "1 + 1"
    assert parse_request(CHAT) == CHAT["messages"][:1]
    for wrong, says in (
        (3, "a int"),
        ({"messages": CHAT["messages"][1:]}, "nobody asks"),
        ({"a": 1}, "missing"),
    ):
        with pytest.raises(ValueError, match=says):
            parse_request(wrong)


def test_the_command_says_what_a_file_holds(tmp_path, capsys):
    path = write(tmp_path / "d.jsonl", [{**ALPACA, "category": "sums"}, "oops"])
    other = write(tmp_path / "e.jsonl", [{**ALPACA, "output": "deux"}])
    assert conversations.main([str(path), f"held_out={other}"]) == 2
    out = capsys.readouterr().out
    assert "1 conversations of form alpaca" in out and "line 2: not JSON" in out
    assert "kinds: sums 1" in out and "1 of 1 held-out requests are in" in out
    assert conversations.main([str(other)]) == 0


@pytest.mark.parametrize(
    ("name", "form", "kept", "bad"),
    [
        ("instruction-data-1100.json", "alpaca", 1100, 0),
        ("instruction-data-with-preference-1100.json", "preference", 1094, 6),
        ("dolly_2996.json", "alpaca", 2994, 0),
        ("seed_tasks_175.jsonl", "alpaca", 175, 0),
    ],
)
def test_published_files_are_read(shared_data, name, form, kept, bad):
    dialogues, report = read_conversations(shared_data / "instruct" / name, on_bad_line="skip")
    assert (report.form, len(dialogues), report.bad) == (form, kept, bad)
    assert report.processed == report.kept + report.bad + report.duplicates
