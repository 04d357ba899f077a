"""LD2 for notebook 08: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import json
import math

import pytest
import torch

from attention_mechanisms.exercises.race_of_the_variants import GAIN, INTERVAL, PREDICTIONS, WIDTH
from attention_mechanisms.significance import paired, t_share
from utils.exercises import check, load_answer

NOTEBOOK = "attention_mechanisms/08_race_of_the_variants.ipynb"


def _width_by_trying(target, rest, per_unit, step):
    return min(range(step, 2000, step), key=lambda w: abs(rest + w * per_unit - target))


def _gain_by_time(weights, cache, share):
    before, after = weights + cache, weights + cache - cache * (1 - share)
    return torch.tensor(before / after, dtype=torch.float64).item()


def _interval_of_the_module(first, other, t):
    result = paired(first, other, t_share(t, len(first.keys() & other.keys()) - 1))
    return [result.low, result.high]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(WIDTH, _width_by_trying), (GAIN, _gain_by_time), (INTERVAL, _interval_of_the_module)],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (WIDTH, lambda target, rest, per_unit, step: 13, "must be a multiple of 8"),
        (WIDTH, lambda target, rest, per_unit, step: -8, "at least 8"),
        (WIDTH, lambda target, rest, per_unit, step: 8000, "by fewer"),
        (GAIN, lambda weights, cache, share: 2.0, "wins nothing"),
        (GAIN, lambda weights, cache, share: 1 / share**0.5 if share else 9.0, "must be 4 times as fast"),
        (INTERVAL, lambda first, other, t: (0.0, 1.0), "worse by exactly 0.1"),
        (INTERVAL, lambda first, other, t: (0.1, 0.1), "± t · sd / √n"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_an_interval_for_three_seeds_only_is_told_of_the_seed_that_is_missing():
    def always_three(first, other, t):
        low, high = load_answer(INTERVAL.solution, INTERVAL.function)(first, other, t)
        if len(other) < len(first):
            return low * 1.1, high * 1.1
        return low, high

    result = check(INTERVAL, always_three)
    assert not result.passed and "n is their number" in result.message


@pytest.mark.parametrize("name", ["gqa", "mqa", "mla"])
def test_the_width_is_the_one_of_the_race(name):
    from dataclasses import replace

    from gpt_model import preset
    from gpt_model.costs import skeleton
    from pretraining.race_runners import runner

    base = preset("storyteller", vocab_size=1024)
    shape = runner(name, base)
    eight, nine = (skeleton(replace(shape, mlp_hidden=w)).num_parameters() for w in (8, 9))
    width = load_answer(WIDTH.solution, WIDTH.function)
    per_unit = nine - eight
    assert width(skeleton(base).num_parameters(), eight - 8 * per_unit, per_unit, 8) == shape.mlp_hidden


def test_the_predictions_are_what_they_claim():
    from attention_mechanisms import AttentionShape, cache_bytes
    from gpt_model import preset
    from gpt_model.costs import skeleton

    answers = {p.name: p.answer for p in PREDICTIONS}
    weights = 2 * skeleton(preset("gpt2")).num_parameters()
    cache = cache_bytes("mha", AttentionShape(), 1024, torch.bfloat16)
    assert round(100 * cache / (cache + weights), 1) == answers["cache_share_of_a_step"]
    assert round(100 * (1 - t_share(1.96, 2)), 1) == answers["false_alarms_with_three_seeds"]
    assert math.isclose(100 * 2 / 2**3, answers["surest_sign_of_three_seeds"])


def test_no_measured_number_is_typed_in_the_notebook(project_root):
    import re

    cells = json.loads((project_root / NOTEBOOK).read_text("utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    typed = re.findall(r"\d[\d,.]*\s?(?:nats|tokens/s|ms\b|GB/s|MiB|times as fast)", text)
    assert not typed, f"{typed}: print them from the results files"
