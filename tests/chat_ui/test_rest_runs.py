"""The routes about runs: what they say, and what happens to runs that are deleted, damaged or still being written."""

from __future__ import annotations

import asyncio
import json
import os
import shutil

import pytest
from rest_harness import RUN_ID, Reply, app_on, ask, ask_async, make_run, messages_of, save, tiny

from utils.runs import Run

RUNS = "/api/v1/runs"
ONE = f"{RUNS}/pretrain/{RUN_ID}"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def app(root):
    with app_on(root) as app:
        yield app


def test_no_runs_is_an_empty_table(app):
    assert ask(app, RUNS).json == {"total": 0, "runs": [], "stages": []}


def test_the_table_shows_status_and_newest_numbers_and_can_be_filtered(app, root):
    make_run(root)
    failed = Run.create("sft", {}, root=root, run_id="b")
    failed.metric(step=1, split="val", loss=2.5)
    failed.finish("failed", "out of memory")
    table = ask(app, RUNS).json
    assert [run["id"] for run in table["runs"]] == ["sft/b", f"pretrain/{RUN_ID}"]
    assert table["stages"] == ["pretrain", "sft"]
    assert table["runs"][0]["error"] == "out of memory"
    assert table["runs"][0]["latest"]["val"]["loss"] == 2.5
    assert table["runs"][1]["latest"]["train"]["step"] == 2
    assert [run["stage"] for run in ask(app, RUNS, query="stage=sft").json["runs"]] == ["sft"]
    assert [run["stage"] for run in ask(app, RUNS, query="status=complete").json["runs"]] == ["pretrain"]
    page = ask(app, RUNS, query="first=1&most=1").json
    assert page["total"] == 2 and [run["stage"] for run in page["runs"]] == ["pretrain"]


def test_a_run_says_how_it_was_made(app, root):
    run = make_run(root)
    run.note(figures={"loss": float("nan")})
    found = ask(app, ONE).json
    assert found["status"] == "complete" and found["config"] == {"steps": 3}
    assert found["extra"] == {"figures": {"loss": None}}
    assert found["files"]["metrics.jsonl"] == (run.path / "metrics.jsonl").stat().st_size


def test_a_run_whose_process_is_gone_says_so(app, root):
    run = make_run(root)
    run.meta.update(status="running", pid=2**22 - 1, pid_start=1)
    run._save()
    assert ask(app, ONE).json["status"] == "stopped (process ended)"


@pytest.mark.parametrize("pid", [10**30, -5, "x", None], ids=["huge", "negative", "text", "null"])
def test_a_process_number_that_cannot_be_breaks_nothing(app, root, pid):
    run = make_run(root)
    run.meta.update(status="running", pid=pid, pid_start=None)
    run._save()
    assert ask(app, RUNS).status == 200


def test_metrics_come_in_pages_that_join(app, root):
    make_run(root, rows=7)
    rows, after = [], 0
    for _ in range(4):
        page = ask(app, f"{ONE}/metrics", query=f"after={after}&most=2").json
        rows, after = [*rows, *page["rows"]], page["next"]
    assert [row["step"] for row in rows] == list(range(7)) and not page["more"]
    assert ask(app, f"{ONE}/metrics", query=f"after={after}").json["rows"] == []
    assert ask(app, f"{ONE}/metrics", query="split=val").json["rows"] == []


def test_an_offset_inside_a_line_is_refused(app, root):
    make_run(root)
    reply = ask(app, f"{ONE}/metrics", query="after=3")
    assert reply.status == 400 and "start again from 0" in reply.json["detail"]
    assert ask(app, f"{ONE}/metrics", query="after=-1").status == 422
    for far in (99_999_999, 29_051_941_069_257_632, 2**62 - 1):
        assert ask(app, f"{ONE}/metrics", query=f"after={far}").status == 400


def test_lines_that_are_no_records_are_counted_and_passed_over(app, root):
    run = make_run(root, rows=0)
    lines = [
        b'{"step": 1, "loss": NaN}', b"not json", b"[1, 2]", b"[" * 100_000, b'{"x": "' + b"y" * 300_000 + b'"}',
        b'{"text": "\\ud800"}', b'{"step": 2}', b'{"step": 3',
    ]  # fmt: skip
    (run.path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    page = ask(app, f"{ONE}/metrics").json
    assert page["rows"] == [{"step": 1, "loss": None}, {"text": "\ufffd"}, {"step": 2}]
    assert page["skipped"] == 4


def test_a_line_longer_than_is_read_at_once_is_passed_over(app, root):
    run = make_run(root, rows=0)
    (run.path / "metrics.jsonl").write_bytes(b'{"a": "' + b"x" * 1_500_000 + b'"}\n{"step": 2}\n')
    first = ask(app, f"{ONE}/metrics").json
    assert first["rows"] == [] and first["skipped"] == 1 and first["more"]
    assert ask(app, f"{ONE}/metrics", query=f"after={first['next']}").json["rows"] == [{"step": 2}]


def test_the_end_of_a_log(app, root):
    run = make_run(root, rows=0)
    (run.path / "log.txt").write_bytes(b"".join(b"line %d\n" % i for i in range(10)))
    assert ask(app, f"{ONE}/log", query="tail=2").json["lines"] == ["line 8", "line 9"]
    assert ask(app, f"{ONE}/log", query="tail=50").json["lines"] == [f"line {i}" for i in range(10)]
    assert ask(app, f"{ONE}/log", query="tail=0").json["lines"] == []
    events = messages_of(ask(app, f"{ONE}/log/stream", query="tail=1").body)
    assert [event["data"] for event in events] == ['{"line": "line 9"}', '{"status": "complete"}']


def test_a_run_without_files_has_empty_ones(app, root):
    Run.create("pretrain", {}, root=root, run_id=RUN_ID).finish("complete")
    for tail in ("metrics", "log", "samples"):
        assert ask(app, f"{ONE}/{tail}").json["next"] == 0
    assert ask(app, f"{ONE}/checkpoints").json == {"checkpoints": [], "being_written": False}


def test_a_pipe_in_place_of_a_file_does_not_hold_the_server(app, root):
    run = make_run(root, rows=0)
    (run.path / "log.txt").unlink(missing_ok=True)
    os.mkfifo(run.path / "log.txt")
    assert ask(app, f"{ONE}/log").json["lines"] == []


def test_samples_are_records(app, root):
    make_run(root)
    assert ask(app, f"{ONE}/samples").json["rows"][0]["text"] == "Once"


# ---- streams


def test_a_finished_run_is_told_and_ended_and_a_return_gets_no_content(app, root):
    make_run(root)
    reply = ask(app, f"{ONE}/metrics/stream")
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = messages_of(reply.body)
    assert [event["event"] for event in events] == ["message"] * 3 + ["end"]
    back = ask(app, f"{ONE}/metrics/stream", headers=[(b"last-event-id", events[-1]["id"].encode())])
    assert back.status == 204 and back.body == b""


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "", "1\n"], ids=range(6))
def test_an_id_that_is_no_offset_is_refused(app, root, last):
    make_run(root)
    assert ask(app, f"{ONE}/metrics/stream", headers=[(b"last-event-id", last.encode())]).status in (400, 422)


def test_a_file_that_was_replaced_is_read_from_its_beginning(app, root):
    make_run(root)
    events = messages_of(ask(app, f"{ONE}/metrics/stream", headers=[(b"last-event-id", b"3")]).body)
    assert [event["event"] for event in events] == ["replaced"] + ["message"] * 3 + ["end"]


def test_a_run_deleted_while_it_is_followed_ends_the_stream(app, root, monkeypatch):
    monkeypatch.setattr("chat_ui.api.event_stream.POLL", 0.01)
    run = make_run(root)
    run.meta["status"] = "running"
    run._save()

    async def follow():
        reply = Reply(status=0, headers={}, body=b"")
        reading = asyncio.ensure_future(ask_async(app, f"{ONE}/metrics/stream", into=reply))
        while len(messages_of(reply.body)) < 3:
            await asyncio.sleep(0.01)
        assert not reading.done()
        shutil.rmtree(run.path)
        return await reading

    events = messages_of(asyncio.run(follow()).body)
    assert [event["event"] for event in events] == ["message"] * 3 + ["gone"]
    assert ask(app, ONE).status == 404


def test_a_silent_stream_shows_that_it_lives(app, root, monkeypatch):
    monkeypatch.setattr("chat_ui.api.event_stream.POLL", 0.01)
    monkeypatch.setattr("chat_ui.api.event_stream.BEAT", 0.03)
    run = make_run(root, rows=0)
    run.meta["status"] = "running"
    run._save()

    async def follow():
        reply = Reply(status=0, headers={}, body=b"")
        reading = asyncio.ensure_future(ask_async(app, f"{ONE}/metrics/stream", into=reply))
        while b": still here" not in reply.body:
            await asyncio.sleep(0.01)
        run.finish("stopped")
        return await reading

    reply = asyncio.run(follow())
    assert b": still here\n\n" in reply.body
    assert [event["event"] for event in messages_of(reply.body)] == ["end"]


def test_too_many_followers_are_sent_away(app, root):
    make_run(root)
    ask(app, RUNS)
    app.state.rest.streams = 64
    reply = ask(app, f"{ONE}/metrics/stream")
    assert reply.status == 429 and reply.headers["retry-after"] == "1"


# ---- checkpoints


def test_checkpoints_are_whole_ones_and_one_being_written_is_only_said(app, root):
    run = make_run(root, loaded=tiny())
    folder = run.path / "checkpoints"
    save(tiny(), folder / "step_000004")
    (folder / "step_000004" / "manifest.json").write_text(json.dumps({"score": 1.5}))
    (folder / "best").write_text("step_000004\n")
    save(tiny(), folder / ".step_000006.abcd1234.tmp")
    (folder / "step_000008").mkdir()  # removed while it was listed
    found = ask(app, f"{ONE}/checkpoints").json
    assert [line["name"] for line in found["checkpoints"]] == ["step_000002", "step_000004"]
    first, second = found["checkpoints"]
    assert (first["last"], first["best"], first["score"]) == (True, False, None)
    assert (second["last"], second["best"], second["score"]) == (False, True, 1.5)
    assert second["bytes"] > 0 and "model.safetensors" in second["files"]
    assert found["being_written"]


# ---- provenance


def test_provenance_leads_back_to_files_and_runs(app, root, tmp_path):
    base = make_run(root, "pretrain", "base", loaded=tiny())
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("once")
    other = tmp_path / "other.txt"
    other.write_text("upon")
    weights = base.path / "checkpoints" / "step_000002" / "model.safetensors"
    inputs = {"corpus": corpus, "other": other, "weights": weights, "seed": 7}
    run = Run.create("pretrain", {}, root=root, run_id=RUN_ID, inputs=inputs)
    (run.path / "out.txt").write_text("made")
    run.add_output("out", run.path / "out.txt")
    run.finish("complete")
    corpus.write_text("twice")
    other.unlink()
    found = ask(app, f"{ONE}/provenance", query="verify=true").json
    files = {each["name"]: each for each in found["inputs"]}
    assert [files[name]["now"] for name in ("corpus", "other", "weights")] == ["changed", "missing", "same"]
    assert files["weights"]["from_run"] == "pretrain/base" and files["corpus"]["from_run"] is None
    assert files["seed"]["value"] == 7
    assert found["outputs"][0]["path"] == "out.txt" and found["outputs"][0]["now"] == "same"
    quick = ask(app, f"{ONE}/provenance").json
    assert {each["now"] for each in quick["inputs"]} == {"not checked"}


# ---- run.json that is none


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"stage": 1, "id": 2, "status": 3, "start": 4}',
        "[" * 100_000,
        '"' + "x" * 5_000_000,
    ],
    ids=["empty", "torn", "list", "nothing", "numbers", "deep", "huge"],
)
def test_a_damaged_run_is_refused_and_does_not_hide_the_others(app, root, text):
    make_run(root, "pretrain", "whole")
    bad = make_run(root)
    (bad.path / "run.json").write_text(text)
    table = ask(app, RUNS)
    assert table.status == 200 and "pretrain/whole" in [run["id"] for run in table.json["runs"]]
    reply = ask(app, ONE)
    assert reply.status == 409 or text.startswith('{"stage"')
    assert reply.status < 500
    for tail in ("metrics", "provenance", "checkpoints"):
        assert ask(app, f"{ONE}/{tail}").status < 500
