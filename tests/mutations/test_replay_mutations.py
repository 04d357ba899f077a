"""Classic bugs of replay, put back one at a time: each law must see its own."""

from __future__ import annotations

import dataclasses

import pytest
from replay_checks import check_pages_are_the_share_of_everything, check_pages_are_the_training_part

from finetuning.evaluation import sources
from finetuning.instruction import replay
from pretraining import prepared_data


def caught(match: str):
    return pytest.raises(AssertionError, match=match)


def test_practising_the_validation_part_is_caught(monkeypatch, tmp_path):
    real = sources.pretraining_split

    def swapped(checkpoint):
        name, split = real(checkpoint)
        return name, dataclasses.replace(split, train=split.val, val=split.train)

    monkeypatch.setattr(sources, "pretraining_split", swapped)
    with caught("validation document is practised"):
        check_pages_are_the_training_part(tmp_path)


def test_documents_run_together_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(prepared_data, "end_id", lambda tokenizer: None)
    with caught("closed by the end token"):
        check_pages_are_the_training_part(tmp_path)


def test_pages_whose_tokens_are_not_trained_are_caught(monkeypatch, tmp_path):
    real = replay.replay_pages
    monkeypatch.setattr(replay, "replay_pages", lambda *a: [(ids, [False] * len(ids)) for ids, _ in real(*a)])
    with caught("every token of a page is trained"):
        check_pages_are_the_training_part(tmp_path)


def test_a_share_of_the_conversations_in_place_of_all_is_caught(monkeypatch, tmp_path):
    real = replay.pages_for
    monkeypatch.setattr(replay, "pages_for", lambda own, share, page: real(own, share / (1 + share), page))
    with caught("0.2 was asked"):
        check_pages_are_the_share_of_everything(tmp_path)


def test_one_page_again_and_again_is_caught(monkeypatch, tmp_path):
    real = replay.replay_pages
    monkeypatch.setattr(
        replay, "replay_pages", lambda path, own, count, page: real(path, own, 1, page) * count
    )
    with caught("given twice"):
        check_pages_are_the_share_of_everything(tmp_path)
