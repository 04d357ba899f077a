"""The exercise engine, shown on one real exercise: causal masking of attention scores, without torch."""

import dataclasses
import math
import sys

import pytest

from utils import exercises
from utils.errors import UserError
from utils.exercises import (
    Exercise,
    Mistake,
    Prediction,
    check,
    hint,
    load_answer,
    predict,
    prove,
    require,
    solution,
)

STUB = """
def causal_weights(scores, scale):
    ...  # your code
"""
SOLUTION = """
import math

def causal_weights(scores, scale):
    rows = []
    for i, row in enumerate(scores):
        kept = [math.exp((s - max(row[: i + 1])) * scale) for s in row[: i + 1]]
        rows.append([k / sum(kept) for k in kept] + [0.0] * (len(row) - i - 1))
    return rows
"""
MISTAKES = {
    "unscaled": Mistake(SOLUTION.replace(" * scale", ""), "you left the scores unscaled"),
    "sees the future": Mistake(
        SOLUTION.replace("[: i + 1]", "").replace(" + [0.0] * (len(row) - i - 1)", ""),
        "a token sees the future",
    ),
    "blind to itself": Mistake(
        SOLUTION.replace("for i, row in enumerate(scores):", "for i, row in enumerate(scores, start=-1):"),
        "a token does not see itself",
    ),
}


def probes():
    return [([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0], [0.0, 0.1, 0.2]], 0.5), ([[2.0, 1.0], [1.0, 3.0]], 0.25)]


def close(a, b):
    return all(
        math.isclose(x, y, abs_tol=1e-9) for r, s in zip(a, b, strict=True) for x, y in zip(r, s, strict=True)
    )


def check_causal_weights(answer):
    for scores, scale in probes():
        rows = answer(scores, scale)
        require([len(r) for r in rows] == [len(r) for r in scores], "the weights must have the scores' shape")
        for i, row in enumerate(rows):
            require(math.isclose(sum(row), 1.0), f"row {i} must sum to 1, it sums to {sum(row):.3f}")
            require(all(w == 0 for w in row[i + 1 :]), f"row {i} has weight after position {i}")
            for j in range(i):
                ratio = math.exp((scores[i][j] - scores[i][i]) * scale)
                require(math.isclose(row[j] / row[i], ratio), f"row {i}: the weights are not a softmax")


EXERCISE = Exercise(
    name="causal_weights",
    task="Turn scores into causal attention weights.",
    function="causal_weights",
    check=check_causal_weights,
    stub=STUB,
    solution=SOLUTION,
    hints=("Which positions may row i see?", "Scale, cut, then softmax.", "Softmax over row[: i + 1]."),
    mistakes=MISTAKES,
    probes=probes,
    same=close,
)


def answer(source):
    return load_answer(source, "causal_weights")


def test_the_exercise_is_proved():
    prove(EXERCISE)


def test_the_solution_passes_and_any_other_right_answer_too(capsys):
    result = check(EXERCISE, answer(SOLUTION))
    assert result.passed and result
    assert capsys.readouterr().out == "✓ causal_weights: all properties hold.\n"

    def other(scores, scale):
        masked = [[s * scale if j <= i else -math.inf for j, s in enumerate(r)] for i, r in enumerate(scores)]
        return [[math.exp(s) / sum(map(math.exp, r)) for s in r] for r in masked]

    assert check(EXERCISE, other)


@pytest.mark.parametrize(
    "body",
    [
        "...",
        "pass",
        "return None",
        "return ...",
        "raise NotImplementedError",
        "raise NotImplementedError('x')",
    ],
)
def test_a_stub_is_told_that_it_is_not_written_yet(capsys, body):
    result = check(EXERCISE, answer(f"def causal_weights(scores, scale):\n    {body}"))
    assert not result
    assert "not written yet. Turn scores into" in capsys.readouterr().out


@pytest.mark.parametrize("label", MISTAKES)
def test_each_classic_mistake_is_named(label):
    message = check(EXERCISE, answer(MISTAKES[label].source)).message
    assert MISTAKES[label].says in message and 'hint("causal_weights")' in message


def test_a_mistake_written_in_another_way_is_named_too():
    def mine(scores, scale):
        return [[math.exp(s * scale) / sum(math.exp(t * scale) for t in row) for s in row] for row in scores]

    assert "sees the future" in check(EXERCISE, mine).message


def test_a_new_mistake_gets_the_property_that_fails():
    assert "row 0 must sum to 1, it sums to 3.000" in check(EXERCISE, lambda s, c: [[1.0] * 3] * 3).message


def test_an_answer_that_raises_is_told_where():
    broken = answer("def causal_weights(scores, scale):\n    x = 1\n    return scores.nothing")
    message = check(EXERCISE, broken).message
    assert "AttributeError" in message and "line 3 of your function" in message


@pytest.mark.parametrize("nonsense", [[[1.0]], "text", 3])
def test_results_of_another_kind_never_raise(nonsense):
    assert not check(EXERCISE, lambda s, c: nonsense)


def test_a_call_instead_of_the_function_is_explained():
    assert "without brackets" in check(EXERCISE, [[1.0]]).message  # type: ignore[arg-type]


def test_an_answer_that_changes_its_arguments_is_judged_by_its_result():
    def spoils(scores, scale):
        result = answer(SOLUTION)(scores, scale)
        scores.clear()
        return result

    found = exercises._diagnose(EXERCISE, spoils)
    assert found is None


def test_hints_come_one_after_the_other_and_by_number(capsys):
    exercises._hints_given.pop("causal_weights", None)
    texts = [hint(EXERCISE) for _ in range(4)]
    assert [t[:11] for t in texts] == ["hint 1 of 3", "hint 2 of 3", "hint 3 of 3", "hint 3 of 3"]
    assert hint(EXERCISE, 1) == texts[0]
    assert capsys.readouterr().out.count("\n") == 5
    with pytest.raises(UserError, match="there are 3"):
        hint(EXERCISE, 4)


def test_the_solution_is_folded():
    text = solution(EXERCISE)
    assert text.startswith("<details>") and SOLUTION.strip() in text and text.endswith("</details>")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solution": STUB}, "the solution fails"),
        ({"solution": MISTAKES["unscaled"].source}, "the solution fails"),
        ({"stub": SOLUTION}, "the stub must fail"),
        ({"stub": MISTAKES["unscaled"].source}, "the stub must fail"),
        ({"hints": ("a", "b")}, "three different hints"),
        ({"hints": ("a", "a", "b")}, "three different hints"),
        ({"mistakes": {}}, "at least one classic mistake"),
        ({"mistakes": {"none": Mistake(SOLUTION, "x")}}, "the mistake 'none' passes"),
        ({"check": lambda answer: None}, "the mistake 'unscaled' passes"),
        (
            {
                "mistakes": {
                    "a": MISTAKES["unscaled"],
                    "b": dataclasses.replace(MISTAKES["unscaled"], says="other"),
                }
            },
            "the mistake 'b' is not named",
        ),
        (
            {"mistakes": {"a": MISTAKES["unscaled"], "b": MISTAKES["unscaled"]}},
            "two mistakes have the same words",
        ),
    ],
)
def test_prove_refuses_an_exercise_that_does_not_teach_what_it_claims(change, words):
    with pytest.raises(AssertionError, match=words):
        prove(dataclasses.replace(EXERCISE, **change))


def test_a_source_must_define_the_function():
    with pytest.raises(UserError, match="must define a function f"):
        load_answer("x = 1", "f")


PREDICTION = Prediction("kv_bytes", 36_864, "bytes per token", "2 · 12 layers · 768 · 2 bytes.")


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        (
            1000,
            "You said 1,000; it is 36,864 bytes per token: your guess is 37 times too small. 2 · 12 layers",
        ),
        (73728, "2.0 times too large"),
        (36_864, "exactly right"),
        (36_000, "very close, within 2.3 %"),
        (-5, "off by 36,869"),
        (0, "off by 36,864"),
    ],
)
def test_a_prediction_is_answered_with_the_ratio(capsys, guess, words):
    result = predict(PREDICTION, guess)
    assert words in capsys.readouterr().out and words in result.message
    assert result.answer == 36_864 and result.ratio == (guess / 36_864 if guess > 0 else None)


def test_a_prediction_may_be_measured():
    assert predict("tokens_per_second", 100, answer=50).ratio == 2.0
    assert predict(Prediction("x", lambda: 4.0), 2).ratio == 0.5
    assert predict("zero", 1, answer=0).ratio is None


@pytest.mark.parametrize("guess", ["many", None, float("nan"), True])
def test_a_guess_must_be_a_number(guess):
    with pytest.raises(UserError, match="must be a number"):
        predict(PREDICTION, guess)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of two chapters, of which one has exercises."""
    for chapter in ("zz_chapter_one", "zz_chapter_two"):
        (tmp_path / chapter).mkdir()
        (tmp_path / chapter / "__init__.py").write_text("")
    (tmp_path / "zz_chapter_two" / "exercises.py").write_text(
        "from utils.exercises import Exercise, Mistake, Prediction\n"
        "def judge(f):\n    assert f(2) == 4, 'twice two is four'\n"
        "EXERCISES = [Exercise('double', 'Double it.', 'f', judge, 'def f(x): ...',\n"
        "    'def f(x): return 2 * x',\n"
        "    ('a', 'b', 'c'),\n"
        "    {'add': Mistake('def f(x): return x + 1', 'you added')}, lambda: [(2,), (5,)])]\n"
        "PREDICTIONS = [Prediction('seven', 7)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(exercises, "CHAPTERS", ("zz_chapter_one", "zz_chapter_two", "zz_not_installed"))
    yield
    for name in [n for n in sys.modules if n.startswith("zz_chapter")]:
        del sys.modules[name]


def test_names_are_found_in_the_chapters_when_asked_for(book):
    assert "zz_chapter_two.exercises" not in sys.modules
    assert check("double", lambda x: x * 2)
    assert "you added" in check("double", lambda x: x + 1).message
    assert hint("double", 2) == "hint 2 of 3: b"
    assert predict("seven", 14).ratio == 2.0
    assert [e.name for e in exercises.all_exercises()] == ["double"]


def test_unknown_names_list_the_known_ones(book):
    with pytest.raises(UserError, match="unknown exercise 'doubel': did you mean 'double'"):
        check("doubel", print)
    with pytest.raises(UserError, match=r"unknown prediction 'eight'.*there are seven"):
        predict("eight", 1)


def test_a_chapter_whose_exercises_do_not_import_says_so(book, tmp_path):
    (tmp_path / "zz_chapter_one" / "exercises.py").write_text("import surely_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        check("double", print)


def test_every_exercise_of_the_book_is_proved():
    for exercise in exercises.all_exercises():
        prove(exercise)
    names = [exercise.name for exercise in exercises.all_exercises()]
    assert len(names) == len(set(names)), "names are unique in the book"
