"""LD2 for every exercise and prediction of the book: proved, its mistakes told apart, and asked once in a notebook.

What only one exercise can know (other right answers, new kinds of wrong ones, what the modules compute) is tested
beside its chapter, in `test_exercises_*.py`.
"""

import importlib
import json
from dataclasses import replace

import pytest

from utils.exercises import check, load_answer, predict, prove, solution
from utils.notebooks import ROOT, all_notebooks

CHAPTERS = sorted(path.parent.parent.name for path in ROOT.glob("*/exercises/__init__.py"))
BOOK = [(chapter, importlib.import_module(f"{chapter}.exercises")) for chapter in CHAPTERS]
EXERCISES = [(chapter, exercise) for chapter, module in BOOK for exercise in module.EXERCISES]
PREDICTIONS = [(chapter, prediction) for chapter, module in BOOK for prediction in module.PREDICTIONS]
MISTAKES = [(exercise, label) for _, exercise in EXERCISES for label in exercise.mistakes]


def named(pairs):
    return [f"{chapter}-{own.name}" for chapter, own in pairs]


@pytest.fixture(scope="module")
def cells():
    """Chapter -> notebook -> its cells, as texts."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in all_notebooks():
        texts = ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        found.setdefault(path.parent.name, {})[path.stem] = texts
    return found


@pytest.mark.parametrize(("chapter", "exercise"), EXERCISES, ids=named(EXERCISES))
def test_the_exercise_is_proved(chapter, exercise):
    assert len(exercise.mistakes) >= 3, "three classic mistakes are owed"
    prove(exercise)


@pytest.mark.parametrize(
    ("exercise", "label"), MISTAKES, ids=[f"{exercise.name}-{label}" for exercise, label in MISTAKES]
)
def test_a_mistake_is_named_alone_and_the_properties_catch_it_without_its_name(exercise, label):
    source = exercise.mistakes[label].source
    assert source != exercise.solution, "a replacement in the source found nothing"
    answer = load_answer(source, exercise.function)
    message = check(exercise, answer).message
    assert [other for other, m in exercise.mistakes.items() if m.says in message] == [label], message
    assert not check(replace(exercise, mistakes={}), answer), "only its name gives it away: a new one passes"


@pytest.mark.parametrize(("chapter", "exercise"), EXERCISES, ids=named(EXERCISES))
def test_a_notebook_asks_with_the_exercises_own_stub_and_folds_its_own_solution(chapter, exercise, cells):
    question = f'check("{exercise.name}", {exercise.function})'
    asked = [(book, cell) for book, texts in cells[chapter].items() for cell in texts if question in cell]
    assert len(asked) == 1, f"{exercise.name} is asked {len(asked)} times"
    book, cell = asked[0]
    assert cell.startswith(exercise.stub.strip()) and f'hint("{exercise.name}")' in cell
    assert any(solution(exercise) in text for text in cells[chapter][book]), f"not {exercise.name}'s solution"


@pytest.mark.parametrize(("chapter", "prediction"), PREDICTIONS, ids=named(PREDICTIONS))
def test_a_prediction_is_asked_in_a_notebook_and_answers_with_its_reason(chapter, prediction, cells):
    assert prediction.because and prediction.because in predict(prediction.name, 1.0).message
    asked = [cell for texts in cells[chapter].values() for cell in texts]
    assert any(f'predict("{prediction.name}"' in cell for cell in asked), f"nobody is asked {prediction.name}"
