"""Classic mistakes of tracking, put back on purpose: each must break its law."""

import contextlib

import pytest
import tracking_checks as laws

from pretraining import journal
from utils import tracking, tracking_services


def must_fail(check, *arguments):
    with pytest.raises(AssertionError):
        check(*arguments)


def test_a_sink_that_is_not_guarded_is_caught(monkeypatch, tmp_path):
    def each(self, call):
        for sink in self._sinks:
            call(sink)

    monkeypatch.setattr(tracking.MultiSink, "_each", each)
    must_fail(laws.check_a_failing_sink_never_stops_training, tmp_path)


def test_a_trainer_that_trusts_its_sinks_is_caught(monkeypatch, tmp_path):
    def guarded(self, other, method, *arguments):
        getattr(other, method)(*arguments)

    monkeypatch.setattr(journal.Journal, "_guarded", guarded)
    must_fail(laws.check_a_failing_sink_never_stops_training, tmp_path)


def test_guarding_against_a_full_disk_only_is_caught(monkeypatch, tmp_path):
    def each(self, call):
        for sink in self._sinks:
            with contextlib.suppress(OSError):
                call(sink)

    monkeypatch.setattr(tracking.MultiSink, "_each", each)
    must_fail(laws.check_a_failing_sink_never_stops_training, tmp_path)


def test_one_record_handed_to_all_sinks_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking.MultiSink, "log", lambda self, record: self._each(lambda s: s.log(record)))
    must_fail(laws.check_a_failing_sink_never_stops_training, tmp_path)


def test_opening_without_a_guard_is_caught(monkeypatch, tmp_path):
    def open_sinks(names, options):
        return tracking.MultiSink([tracking.SINKS[name](options) for name in names], warn=options.warn)

    monkeypatch.setattr(tracking, "open_sinks", open_sinks)
    must_fail(laws.check_a_sink_that_cannot_open_is_one_line, tmp_path)


def test_another_csv_header_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "CSV_COLUMNS", ("step", "split", "loss", "epoch", "timestamp"))
    must_fail(laws.check_csv_says_what_jsonl_says, tmp_path)


@pytest.mark.parametrize("mistake", ["split", "whole", "own step"])
def test_curves_that_run_into_each_other_are_caught(mistake, monkeypatch):
    honest = tracking_services.scalars

    def scalars(record):
        if mistake == "split":
            return {name.partition("/")[2]: value for name, value in honest(record).items()}
        return honest({**record, "whole": False})

    class Sink:
        points, count = {}, 0

        def log(self, record):
            Sink.count += 1
            step = Sink.count if mistake == "own step" else record["step"]
            values = honest(record) if mistake == "own step" else scalars(record)
            self.points.update({(name, step): value for name, value in values.items()})

        def close(self):
            pass

    must_fail(laws.check_a_service_gets_every_number, Sink(), lambda: Sink.points)
