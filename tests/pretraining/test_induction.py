"""The task that can only be solved by looking, and the training that is watched while it learns to."""

import json
import math

import pytest
import torch

from pretraining import induction
from pretraining.induction import InductionConfig, repeating_rows
from utils.errors import UserError

TINY = InductionConfig(n_head=2, n_embd=16, mlp_hidden=8, steps=3, batch_size=4, measure_every=2)


def rows_of(config=TINY, count=50):
    return repeating_rows(config, count, torch.Generator().manual_seed(3))


def test_a_token_counts_as_known_exactly_when_looking_back_tells_it():
    """By the slow rule: the token before stood in the row already, and what followed it then is what comes now."""
    rows, known = rows_of()
    assert (rows[:, 0] == TINY.opening).all() and not known[:, 0].any()
    for row, marks in zip(rows.tolist(), known.tolist(), strict=True):
        for t in range(1, len(row)):
            earlier = [row[i + 1] for i in range(t - 1) if row[i] == row[t - 1]]
            assert marks[t] == bool(earlier), f"place {t} of {row}"
            assert set(earlier) <= {row[t]}, "in a row without chance, every copy says the same"


def test_no_fixed_distance_solves_the_task():
    rows, known = rows_of(count=400)
    for distance in range(1, TINY.length):
        hits = (rows[:, distance:] == rows[:, :-distance]) & known[:, distance:]
        assert hits.sum() < 0.35 * known.sum(), f"looking {distance} back would be right too often"


def test_an_untrained_model_guesses_and_measuring_disturbs_nothing():
    model = induction.make_model(TINY).train()
    before = torch.get_rng_state()
    found = induction.measure(model, TINY, 0)
    assert found.new_loss == pytest.approx(math.log(65), abs=0.1)
    assert found.repeated_loss == pytest.approx(math.log(65), abs=0.1)
    assert 0 <= found.induction < 0.1 and model.training
    induction.train_on_repeats(TINY)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers are the caller's"


def test_training_learns_is_measured_on_time_and_repeats_itself():
    heard = []
    model, history = induction.train_on_repeats(TINY, heard.append)
    assert [found.step for found in history] == [0, 2, 3] and heard == history and not model.training
    again, second = induction.train_on_repeats(TINY)
    assert second == history
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    start = induction.make_model(TINY)
    assert not torch.equal(start.blocks[0].attn.qkv_proj.weight, model.blocks[0].attn.qkv_proj.weight)


def test_losses_are_told_apart_by_place():
    """A model that knows nothing but the opening row of logits: its loss is its own number at every place."""
    model = induction.make_model(TINY)
    rows, known = rows_of()
    logits = model(rows[:, :-1]).logits
    nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
    new, repeated = induction.losses(model, rows, known)
    assert new == pytest.approx(float(nats[~known[:, 1:]].mean().detach()), abs=1e-5)
    assert repeated == pytest.approx(float(nats[known[:, 1:]].mean().detach()), abs=1e-5)


@pytest.mark.slow
def test_two_layers_learn_to_copy_and_one_cannot():
    """Composition needs two layers: in one, a key cannot know which token stood before it (Olsson et al. 2022)."""
    two, one = (
        induction.train_on_repeats(InductionConfig(n_layer=n, measure_every=300))[1][-1] for n in (2, 1)
    )
    assert two.induction > 0.5 and two.repeated_loss < 0.5
    assert one.induction < 0.3 and one.repeated_loss > 1.0


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"shortest": 30}, "in order"),
        ({"longest": 48}, "below"),
        ({"steps": 0}, "steps is 0"),
        ({"measure_every": 0}, "measure_every"),
    ],
)
def test_settings_that_make_no_task_are_refused(wrong, word):
    with pytest.raises(UserError, match=word):
        InductionConfig(**wrong)


def test_too_few_kinds_to_judge_heads_on_are_refused():
    with pytest.raises(UserError, match="judged on 23"):
        induction.train_on_repeats(InductionConfig(kinds=20, shortest=3, longest=9, length=20, steps=1))


def test_the_command_prints_every_measurement_and_every_head(tmp_path, capsys):
    out = tmp_path / "found.json"
    words = ["n_head=2", "n_embd=16", "mlp_hidden=8", "steps=2", "batch_size=2", "measure_every=1"]
    assert induction.main([*words, f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("head ")]) == 4
    found = json.loads(out.read_text())
    assert [row["step"] for row in found["measured"]] == [0, 1, 2] and found["config"]["steps"] == 2
    assert f"{found['measured'][-1]['new_loss']:.3f}" in printed
