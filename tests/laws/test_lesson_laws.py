"""Lessons before instruction tuning: their order, their labels, exact resume, nothing held out, clear errors."""

from __future__ import annotations

import pytest
import torch
from lesson_checks import (
    ORDER,
    check_each_lesson_has_its_time,
    check_nothing_held_out_is_taught,
    check_recall_asks_for_the_other_of_a_pair,
    check_resume_at,
    tokenizer,
)

from finetuning.instruction import lessons
from finetuning.instruction.data import training_examples
from finetuning.instruction.lessons import Lesson, LessonBatches, parse_lesson, recall_examples
from finetuning.instruction.tune import in_steps, make_batches, tune
from pretraining.config import TrainConfig
from utils.errors import UserError
from utils.runs import Run
from working_with_text_data.storyland.tasks import KINDS


def test_each_lesson_has_its_time():
    check_each_lesson_has_its_time()


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_lessons_go_on_to_the_batch(place):
    check_resume_at(place)


@pytest.mark.parametrize("template", ["scratchbook", "chatml", "plain"])
def test_recall_asks_for_the_other_of_a_pair(template):
    check_recall_asks_for_the_other_of_a_pair(template)


def test_nothing_held_out_is_taught():
    check_nothing_held_out_is_taught()


def test_a_lesson_is_read_from_its_words():
    assert parse_lesson("recall:350") == Lesson(("recall",), 350)
    assert parse_lesson("all,gave:7") == Lesson((*KINDS, "gave"), 7)
    assert parse_lesson("colour, gave*3:9") == Lesson(("colour", "gave", "gave", "gave"), 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour", "how many steps"),
        ("colour:0", "how many steps"),
        ("colour:many", "how many steps"),
        ("color:10", "names 'color'"),
        ("recall,colour:10", "names 'recall'"),
        (":10", "names ''"),
        ("gave*x:10", "'x' after"),
    ],
)
def test_a_wrong_lesson_is_refused_with_its_words(text, says):
    with pytest.raises(UserError, match=says):
        parse_lesson(text)


def test_another_number_of_lessons_cannot_be_resumed():
    from lesson_checks import loaders

    state = loaders().state_dict()
    state["lessons"].pop()
    with pytest.raises(UserError, match="other lessons"):
        loaders().load_state_dict(state)


def test_a_vocabulary_too_small_for_recall_is_refused(monkeypatch):
    monkeypatch.setattr(lessons, "PAIRS", (2, 200))
    with pytest.raises(UserError, match="400 ordinary tokens"):
        lessons.recall_examples(tokenizer(), 1, seed=0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lessons_count_optimizer_steps(tmp_path, accumulate):
    from gpt_model import GPT, GPTConfig

    own = tokenizer()
    shape = {"block_size": 256, "n_layer": 1, "n_head": 2, "n_embd": 16, "position": "rope"}
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=own.vocab_size, **shape))
    examples = training_examples(own, 60, seed=1)
    seen = []

    class Look:
        def on_step_end(self, trainer, record):
            batches = trainer.train_batches
            seen.append((batches.given, batches._now() is batches.last))

    config = TrainConfig(
        steps=4, batch_size=2, grad_accum=accumulate, lr=1e-3, eval_every=0, save_every=0, prompts=[]
    )
    with Run.create("sft", {}, root=tmp_path) as run:
        told = [(recall_examples(own, 40, seed=3), 3)]
        tune(model, own, examples, examples[:4], config, run, lessons=told, callbacks=[Look()])
    assert [given for given, _ in seen] == [accumulate * n for n in (1, 2, 3, 4)]
    assert [last for _, last in seen] == [False, False, True, True], (
        "three steps of the lesson, then the rest"
    )


def test_epochs_begin_after_the_lessons():
    from gpt_model import GPT, GPTConfig

    own = tokenizer()
    model = GPT(GPTConfig(vocab_size=own.vocab_size, block_size=256, n_layer=1, n_head=2, n_embd=16))
    config = TrainConfig(epochs=2, batch_size=2, lr=1e-3)
    last = make_batches(model, training_examples(own, 60, seed=1), config)
    lesson = make_batches(model, recall_examples(own, 40, seed=3), config)
    alone = in_steps(config, last).steps
    assert in_steps(config, LessonBatches([(lesson, 5)], last)).steps == alone + 5


def test_a_budget_that_ends_in_the_lessons_is_said(tmp_path, capsys):
    from finetuning.instruction import train

    words = ["ckpt=assets", "steps=2", "requests=40", "held_out=2", "batch_size=2", f"runs={tmp_path}"]
    assert train.main([*words, "lessons=[recall:5]", "--quiet"]) == 0
    assert "all 2 steps were lessons, which take 5" in capsys.readouterr().err
    assert train.main([*words, "lessons=[recall:1]", "--quiet"]) == 0
    assert "were lessons" not in capsys.readouterr().err
