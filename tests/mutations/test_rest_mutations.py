"""Classic bugs of file-reading routes, put back on purpose: each must break its law."""

from __future__ import annotations

import os

import pytest
import rest_checks as checks
from rest_harness import RUN_ID, app_on, make_run, tiny

from chat_ui.api import context, event_stream, insides, run_files, runs, tokenization
from utils.runs import Run


def caught(says, check, *arguments):
    """The law fails, and for the reason that was put back, which its message names."""
    with pytest.raises(AssertionError, match=says):
        check(*arguments)


def test_joining_a_name_to_a_path_is_caught(monkeypatch, tmp_path):
    def joined(root, stage, run_id):
        try:
            return Run.open(root / stage / run_id)
        except (ValueError, OSError) as error:
            raise run_files.NotHere(f"no run: {error}") from None

    monkeypatch.setattr(runs, "find_run", joined)
    caught("outside|not refused", checks.check_no_name_reaches_a_file_outside, tmp_path)


def test_following_a_linked_file_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(run_files, "_FLAGS", os.O_RDONLY)
    caught("gave away a file", checks.check_no_name_reaches_a_file_outside, tmp_path)


def test_listing_linked_folders_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(run_files, "_is_plain", lambda entry: entry.is_dir())
    caught("only a link", checks.check_a_linked_run_is_no_model, tmp_path)


def test_opening_whatever_a_tokenizer_name_says_is_caught(monkeypatch, tmp_path):
    from utils.errors import UserError
    from working_with_text_data.tokenizer import load_tokenizer

    def named(self, name):
        try:
            return load_tokenizer(name)
        except (UserError, OSError, ValueError) as error:
            raise context.NotHere(str(error)) from None

    monkeypatch.setattr(context.Context, "tokenizer", named)
    caught("took the name", checks.check_no_model_name_reaches_a_file_outside, tmp_path)


def stream(tmp_path, cuts=(3, 15, 40), leaves=(1, 2)):
    checks.check_each_line_comes_once(tmp_path, list(cuts), list(leaves))


def test_forgetting_where_the_reader_was_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(event_stream, "POLL", 0.002)
    monkeypatch.setattr(runs, "start_of", lambda last, otherwise: otherwise)
    caught("the reader got", stream, tmp_path)


def test_an_id_before_the_line_is_caught(monkeypatch, tmp_path):
    """The offset where a line begins sends that line again."""
    frame = event_stream._frame
    monkeypatch.setattr(event_stream, "POLL", 0.002)
    monkeypatch.setattr(
        event_stream, "_frame", lambda parse, end, line: frame(parse, end - len(line) - 1, line)
    )
    caught("the reader got", stream, tmp_path)


def test_reading_half_a_line_is_caught(monkeypatch, tmp_path):
    def torn(folder, name, after=0, **limits):
        with open(folder / name, "rb") as file:
            file.seek(after)
            data = file.read()
        lines, at = [], after
        for line in data.split(b"\n"):
            at += len(line) + 1
            if line:
                lines.append((at, line))
        return run_files.Lines(lines, after + len(data), False)

    monkeypatch.setattr(event_stream, "POLL", 0.002)
    monkeypatch.setattr(runs, "read_lines", torn)
    caught("the reader got", stream, tmp_path, (3, 15, 40), ())


def test_asking_the_status_after_the_file_is_caught(monkeypatch):
    follow = event_stream._events

    def swapped(read, status, parse, after):
        newest = []

        def late_status():
            newest.append(read(after_now[0]))
            return status()

        def early_lines(offset):
            after_now[0] = offset
            found = newest.pop()
            after_now[0] = found.after
            return found

        after_now = [after]
        return follow(early_lines, late_status, parse, after)

    monkeypatch.setattr(event_stream, "_events", swapped)
    caught("status must be asked before", checks.check_the_last_line_is_not_lost)


def test_a_log_line_sent_raw_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "text_of", lambda line: line.decode())
    caught("the log has", checks.check_log_lines_stay_lines, tmp_path)


@pytest.fixture
def app(tmp_path):
    make_run(tmp_path / "runs", loaded=tiny())
    with app_on(tmp_path / "runs") as app:
        yield app


def test_control_words_in_text_becoming_control_tokens_is_caught(monkeypatch, app):
    table = tokenization._table
    monkeypatch.setattr(
        tokenization, "_table", lambda text, tokenizer, special: table(text, tokenizer, "all")
    )
    caught("control token", checks.check_text_is_text, "a<|endoftext|>", app, f"pretrain/{RUN_ID}")


def test_decoding_with_lost_bytes_is_caught(monkeypatch, app):
    from working_with_text_data.byte_tokenizer import ByteTokenizer

    whole = ByteTokenizer.decode_bytes
    monkeypatch.setattr(ByteTokenizer, "decode_bytes", lambda self, ids: whole(self, ids).strip())
    caught("came back as", checks.check_text_is_text, " a ", app, "byte")


def test_counting_a_cache_for_all_query_heads_is_caught(monkeypatch, tmp_path):
    from gpt_model import costs
    from gpt_model.config import with_attention

    real = costs.cache_bytes
    monkeypatch.setattr(
        costs, "cache_bytes", lambda config, *rest: real(with_attention(config, "mha"), *rest)
    )
    caught("allocated", checks.check_counts_are_those_of_the_model, tmp_path)


def test_maps_of_other_heads_than_asked_for_are_caught(monkeypatch, tmp_path):
    chosen = insides._chosen
    monkeypatch.setattr(insides, "_chosen", lambda what, wanted, count: sorted(chosen(what, wanted, count)))
    caught("by hand|summaries", checks.check_maps_are_the_shares, tmp_path)


def test_cutting_before_the_temperature_is_caught(monkeypatch, tmp_path):
    """`drawn` from the model's own distribution: cuts at another temperature keep another set."""
    from dataclasses import replace

    from gpt_model import sampling

    real = sampling.process

    def reordered(logits, wish, *rest, **more):
        cut = real(logits, replace(wish, temperature=1.0), *rest, **more)
        return cut / (wish.temperature or 1.0)

    monkeypatch.setattr(sampling, "process", reordered)
    caught("by hand", checks.check_next_token_is_the_distribution, tmp_path)


def test_surprise_off_by_one_is_caught(monkeypatch, tmp_path):
    from gpt_model import lens

    real = lens.logit_lens

    def shifted(model, ids, **more):
        found = real(model, ids, **more)
        rows = [lens.LensRow(row.layer, [*row.scores[1:], row.scores[0]]) for row in found.rows]
        return lens.Lens(found.ids, rows)

    monkeypatch.setattr(lens, "logit_lens", shifted)
    caught("surprise|last row", checks.check_lens_ends_with_the_model, tmp_path)


def test_an_error_that_nobody_expected_is_caught(monkeypatch, tmp_path):
    """A bug behind one route, which only a made-up request reaches."""

    def broken(self):
        raise KeyError("settings")

    monkeypatch.setattr("chat_ui.api.shape_schema.Shape.config", broken)
    caught("broke the server", checks.check_schema, tmp_path / "runs")
