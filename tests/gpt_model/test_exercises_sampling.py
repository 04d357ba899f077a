"""LD2 for notebook 04: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch

from gpt_model.exercises.sampling import BEAM, PENALTY, TOP_P
from gpt_model.processors import penalise_repetition, top_p_filter
from utils.exercises import check, load_answer


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
