"""Classic bugs of lessons, put back one at a time: each law must see its own."""

from __future__ import annotations

import pytest
from lesson_checks import (
    check_each_lesson_has_its_time,
    check_nothing_held_out_is_taught,
    check_recall_asks_for_the_other_of_a_pair,
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


def test_questions_that_are_trained_in_place_of_answers_are_caught(monkeypatch):
    real = lessons._recall

    def wrong(*arguments):
        ids, trained = real(*arguments)
        first = trained.index(True)
        return ids, [*trained[:first], *(not t for t in trained[first:])]

    monkeypatch.setattr(lessons, "_recall", wrong)
    with caught("asked exactly once|answers are trained"):
        check_recall_asks_for_the_other_of_a_pair()


def test_a_passage_that_is_trained_is_caught(monkeypatch):
    real = lessons._recall

    def everything(*arguments):
        ids, _ = real(*arguments)
        return ids, [True] * len(ids)

    monkeypatch.setattr(lessons, "_recall", everything)
    with caught("nothing of it can be learned"):
        check_recall_asks_for_the_other_of_a_pair()


def test_recall_in_one_direction_is_caught(monkeypatch):
    """The easy twin: plain induction, which stories teach already."""
    monkeypatch.setattr(lessons.random.Random, "random", lambda self: 0.0)
    with caught("either token"):
        check_recall_asks_for_the_other_of_a_pair()


def test_answers_from_another_pair_are_caught(monkeypatch):
    real = lessons._recall

    def moved(*arguments):
        ids, trained = real(*arguments)
        places = [i for i, yes in enumerate(trained) if yes]
        answers = [ids[i] for i in places]
        for i, answer in zip(places, [*answers[1:], answers[0]], strict=True):
            ids[i] = answer
        return ids, trained

    monkeypatch.setattr(lessons, "_recall", moved)
    with caught("the other of the pair"):
        check_recall_asks_for_the_other_of_a_pair()


def test_held_out_requests_in_a_lesson_are_caught(monkeypatch):
    monkeypatch.setattr(data, "held_out", lambda prompt: False)
    with caught("held-out request is taught"):
        check_nothing_held_out_is_taught()


def test_a_lesson_of_every_kind_is_caught(monkeypatch):
    real = data.instructions
    monkeypatch.setattr(data, "instructions", lambda seed, kinds: real(seed))
    with caught("kinds that it names"):
        check_nothing_held_out_is_taught()
