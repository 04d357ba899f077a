"""Sinks take records; a sink that breaks never stops the training."""

import csv
import errno
import io

import pytest

from utils.errors import UserError
from utils.files import read_jsonl
from utils.tracking import ConsoleSink, CsvSink, JsonlSink, MultiSink, format_record

RECORD = {"step": 1, "epoch": 0, "split": "train", "loss": 2.5, "timestamp": "t"}


def test_the_csv_header_is_exact_and_rows_follow(tmp_path):
    path = tmp_path / "metrics.csv"
    sink = CsvSink(path)
    sink.log({**RECORD, "lr": 3e-4})
    sink.log({"step": 2, "lr": 1.0})
    sink.log({"step": 3, "split": 'a,"b', "loss": 1.0, "timestamp": "t"})
    sink.close()
    text = path.read_text()
    assert text.splitlines()[:2] == ["step,epoch,split,loss,timestamp", "1,0,train,2.5,t"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2, "a record without a loss is no row"
    assert rows[1]["split"] == 'a,"b' and rows[1]["epoch"] == ""


def test_a_resumed_csv_goes_on_without_a_second_header(tmp_path):
    path = tmp_path / "metrics.csv"
    for _ in range(2):
        sink = CsvSink(path)
        sink.log(RECORD)
        sink.close()
    assert path.read_text() == "step,epoch,split,loss,timestamp\n" + "1,0,train,2.5,t\n" * 2


def test_a_foreign_csv_is_not_appended_to(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="begins with 'a,b'"):
        CsvSink(path)
    assert path.read_text() == "a,b\n1,2\n"


def test_jsonl_keeps_every_field(tmp_path):
    sink = JsonlSink(tmp_path / "m.jsonl")
    sink.log({**RECORD, "lr": 3e-4})
    sink.log({"step": 2})
    sink.close()
    first, second = read_jsonl(tmp_path / "m.jsonl")
    assert first == {**RECORD, "lr": 3e-4} and second["timestamp"].endswith("Z")


def test_the_console_prints_a_readable_line(capsys):
    ConsoleSink().log({**RECORD, "lr": 3e-4})
    assert capsys.readouterr().out == "step 1 | epoch 0 | train | loss 2.5000 | lr 0.0003\n"
    assert format_record({"loss": float("nan")}) == "loss nan"


class Broken:
    def __init__(self):
        self.calls = 0

    def log(self, record):
        self.calls += 1
        record["loss"] = -1.0
        raise OSError(errno.ENOSPC, "no space left")

    def close(self):
        raise OSError(errno.ENOSPC, "no space left")


def test_a_failing_sink_warns_once_and_the_others_get_everything(tmp_path):
    warnings = []
    broken, good = Broken(), JsonlSink(tmp_path / "m.jsonl")
    multi = MultiSink([broken, good], warn=warnings.append)
    multi.log(dict(RECORD))
    multi.log(dict(RECORD))
    multi.close()
    assert len(warnings) == 1 and "Broken fails (OSError" in warnings[0]
    assert broken.calls == 2, "it is tried again: a disk may have been cleared"
    assert read_jsonl(tmp_path / "m.jsonl") == [RECORD, RECORD], "and it cannot spoil the others' records"


def test_ctrl_c_is_not_swallowed():
    class Interrupted(Broken):
        def log(self, record):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MultiSink([Interrupted()]).log(RECORD)


def test_the_default_warning_goes_to_stderr(capsys):
    MultiSink([Broken()]).log(dict(RECORD))
    assert "warning: Broken fails" in capsys.readouterr().err
