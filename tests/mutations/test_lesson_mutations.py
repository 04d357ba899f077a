"""Classic bugs of lessons, put back one at a time: each law must see its own."""

from __future__ import annotations

import pytest
from lesson_checks import (
    check_each_lesson_has_its_time,
    check_nothing_held_out_is_taught,
    check_recall_asks_for_what_stood_before_the_key,
    check_resume_at,
)

from finetuning.instruction import data, lessons


def caught(match: str):
    return pytest.raises(AssertionError, match=match)


def test_a_lesson_that_lasts_one_batch_longer_is_caught(monkeypatch):
    def too_long(self):
        until = 0
        for batches, count in self.lessons:
            until += count
            if self.given <= until:
                return batches
        return self.last

    monkeypatch.setattr(lessons.LessonBatches, "_now", too_long)
    with caught("each for its steps"):
        check_each_lesson_has_its_time()


def test_lessons_in_another_order_are_caught(monkeypatch):
    real = lessons.LessonBatches.__init__
    monkeypatch.setattr(
        lessons.LessonBatches, "__init__", lambda self, told, last: real(self, list(told)[::-1], last)
    )
    with caught("in order"):
        check_each_lesson_has_its_time()


@pytest.mark.parametrize("place", [1, 4])
def test_a_resumed_run_that_begins_its_lessons_again_is_caught(monkeypatch, place):
    real = lessons.LessonBatches.load_state_dict

    def forgets(self, state):
        real(self, state)
        self.given = 0

    monkeypatch.setattr(lessons.LessonBatches, "load_state_dict", forgets)
    with caught("another one after resuming"):
        check_resume_at(place)


def test_a_lesson_whose_place_is_forgotten_is_caught(monkeypatch):
    def forgets(self, state):
        self.last.load_state_dict(state["last"])
        self.given = int(state["given"])

    monkeypatch.setattr(lessons.LessonBatches, "load_state_dict", forgets)
    with caught("another one after resuming"):
        check_resume_at(1)


def test_keys_that_are_trained_in_place_of_values_are_caught(monkeypatch):
    real = lessons._recall

    def wrong(rng, words, stop):
        ids, trained = real(rng, words, stop)
        end = ids.index(stop)
        return ids, [*trained[: end + 1], *(not t for t in trained[end + 1 :])]

    monkeypatch.setattr(lessons, "_recall", wrong)
    with caught("values are trained"):
        check_recall_asks_for_what_stood_before_the_key()


def test_recall_of_what_follows_the_key_is_caught(monkeypatch):
    """The easy twin: plain induction, which stories teach already."""
    real = lessons._recall

    def forward(rng, words, stop):
        ids, trained = real(rng, words, stop)
        end = ids.index(stop)
        passage = ids[:end]
        asked = [t for i in range(0, end, 2) for t in (passage[i + 1], passage[(i + 2) % end])]
        return [*passage, stop, *asked], trained

    monkeypatch.setattr(lessons, "_recall", forward)
    with caught("stood before the key"):
        check_recall_asks_for_what_stood_before_the_key()


def test_held_out_requests_in_a_lesson_are_caught(monkeypatch):
    monkeypatch.setattr(data, "held_out", lambda prompt: False)
    with caught("held-out request is taught"):
        check_nothing_held_out_is_taught()


def test_a_lesson_of_every_kind_is_caught(monkeypatch):
    real = data.instructions
    monkeypatch.setattr(data, "instructions", lambda seed, kinds: real(seed))
    with caught("kinds that it names"):
        check_nothing_held_out_is_taught()
