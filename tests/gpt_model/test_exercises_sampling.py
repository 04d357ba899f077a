"""LD2 for notebook 04: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import json

import pytest
import torch

from gpt_model.exercises.sampling import BEAM, EXERCISES, PENALTY, PREDICTIONS, TOP_P
from gpt_model.processors import penalise_repetition, top_p_filter
from utils.exercises import check, load_answer, prove, solution

NOTEBOOK = "gpt_model/04_sampling.ipynb"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_exercise_is_proved(exercise):
    assert len(exercise.mistakes) >= 3, "three classic mistakes are owed"
    prove(exercise)


def _top_p_by_sums(shares, p):
    ordered, ids = torch.tensor(shares, dtype=torch.float64).sort(descending=True, stable=True)
    return ids[ordered.cumsum(0) - ordered < p].tolist()


def _penalty_by_module(logits, text, penalty):
    return penalise_repetition(torch.tensor(logits, dtype=torch.float64), text, penalty).tolist()


def _beams_by_topk(sums, log_probs, width):
    scores = torch.tensor(sums)[:, None] + torch.tensor(log_probs)
    best = scores.flatten().topk(min(width, scores.numel())).indices.tolist()
    return [divmod(place, scores.size(1)) for place in best]


RIGHT = [(TOP_P, _top_p_by_sums), (PENALTY, _penalty_by_module), (BEAM, _beams_by_topk)]


@pytest.mark.parametrize(("exercise", "right"), RIGHT, ids=lambda part: getattr(part, "name", ""))
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


def _changes_its_input(logits, text, penalty):
    for i in set(text):
        logits[i] = logits[i] / penalty if logits[i] > 0 else logits[i] * penalty
    return logits


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (TOP_P, lambda shares, p: 3, "a list of ids, not int"),
        (TOP_P, lambda shares, p: [], "kept nothing"),
        (TOP_P, lambda shares, p: [0, 1, 2], "keep the smallest set"),
        (TOP_P, lambda shares, p: [0.5], "give ids"),
        (TOP_P, lambda shares, p: _top_p_by_sums(shares, p)[::-1], "likeliest first"),
        (PENALTY, _changes_its_input, "the list that you were given has changed"),
        (PENALTY, lambda x, text, penalty: x[:2], "give all 5 logits"),
        (PENALTY, lambda x, text, penalty: [v - 0.1 * (i in text) for i, v in enumerate(x)], "becomes 1.0"),
        (BEAM, lambda sums, log_probs, width: [0, 1], "give pairs"),
        (BEAM, lambda sums, log_probs, width: _beams_by_topk(sums, log_probs, 1), "its two best tokens"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solution_of_top_p_keeps_what_the_module_keeps():
    kept = load_answer(TOP_P.solution, TOP_P.function)
    shares = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).softmax(-1)
    for p in (0.1, 0.5, 0.93):
        ours = top_p_filter(shares.log(), p).isfinite().nonzero()[:, 0].tolist()
        assert sorted(kept(shares.tolist(), p)) == ours


def test_the_notebook_asks_each_exercise_with_its_own_stub_and_folds_its_own_solution(project_root):
    cells = ["".join(c["source"]) for c in json.loads((project_root / NOTEBOOK).read_text("utf-8"))["cells"]]
    for exercise in EXERCISES:
        asked = [cell for cell in cells if f'check("{exercise.name}", {exercise.function})' in cell]
        assert len(asked) == 1, f"{exercise.name} is asked {len(asked)} times"
        assert asked[0].startswith(exercise.stub.strip()) and f'hint("{exercise.name}")' in asked[0]
        assert any(solution(exercise) in cell for cell in cells), f"not the solution of {exercise.name}"


def test_every_prediction_is_asked_in_the_notebook(project_root):
    text = (project_root / NOTEBOOK).read_text(encoding="utf-8")
    for prediction in PREDICTIONS:
        assert f'predict(\\"{prediction.name}\\"' in text, f"nobody is asked for {prediction.name}"
