"""The optimizer study runs small, goes on where it stopped, and its formulas are what is really kept."""

import json

import pytest
from training_checks import tiny_model

from pretraining.benchmark_optimizers import TRIED, BenchmarkConfig, crossing, main
from pretraining.config import TrainConfig
from pretraining.optimizer_costs import KNOWN, matrix_bytes, state_bytes_formula
from pretraining.optimizers import build_optimizer, state_bytes
from utils.errors import UserError

SMALL = [
    *(
        "optimizers=[adamw,adamw_2rates,muon]",
        "seeds=[1]",
        "shares=[0.5]",
        "steps=4",
        "batch_size=2",
        "n_layer=1",
    ),
    *("n_embd=32", "block_size=16", "galore_rank=4", "galore_gap=2", "max_documents=40", "vocab_size=300"),
]


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_kept_is_the_formula_to_the_byte(name):
    if name == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    import torch

    model = tiny_model(n_embd=64, bias=True)
    config = TrainConfig(optimizer=name, galore_rank=8)
    optimizer = build_optimizer(model, config)
    x = torch.randint(48, (2, 16), generator=torch.Generator().manual_seed(0))
    model(x, targets=x).loss.backward()
    optimizer.step()
    assert state_bytes(optimizer) == state_bytes_formula(model, config)


def test_galore_at_a_rank_that_is_full_keeps_what_adamw_keeps():
    full = matrix_bytes("galore", (64, 192), TrainConfig(galore_rank=64))
    assert full == 2 * 4 * 64 * 192
    with pytest.raises(UserError, match="no formula for the state of optimizer 'own'"):
        matrix_bytes("own", (2, 2), TrainConfig())


def test_the_study_runs_small_and_goes_on(tmp_path, capsys):
    out = tmp_path / "optimizers.json"
    assert main([*SMALL, f"out={out}"]) == 0
    said = capsys.readouterr().out
    result = json.loads(out.read_text())
    figures = result["figures"]
    assert (
        figures["complete"]
        and "goal ≤ 0.65" in said
        and result["command"].startswith("python -m pretraining.b")
    )
    assert set(figures["optimizers"]) == {"adamw", "adamw_2rates", "muon"}
    assert figures["optimizers"]["adamw"]["gap_to_adamw"]["mean"] == 0
    assert len(figures["optimizers"]["muon"]["tried"]["losses"]) == 3
    assert set(figures["muon_steps"]["to"]) == {"adamw", "adamw_2rates"}
    for row in figures["optimizers"].values():
        assert row["state_bytes"] == row["state_bytes_formula"]
    assert len(figures["models"]) == 3 * 3 + 3 + 1, (
        "three rates each, one seed each, one share of Muon's steps"
    )

    assert main([*SMALL, f"out={out}"]) == 0
    assert "tuning:" not in capsys.readouterr().out, "nothing that is there is trained again"
    assert json.loads(out.read_text())["figures"]["optimizers"] == figures["optimizers"]
    with pytest.raises(UserError, match="steps differ"):
        main([*SMALL, "steps=6", f"out={out}"])


def test_the_crossing_is_read_between_runs():
    assert crossing({0.5: 2.2, 0.75: 2.0, 1.0: 1.9}, 2.1) == pytest.approx(0.625)
    assert crossing({0.5: 2.2, 1.0: 2.0}, 1.9) is None, "a loss that is never reached has no share"
    assert crossing({0.5: 1.8, 1.0: 1.7}, 1.9) == 0.5


def test_bad_settings_are_one_line(tmp_path):
    for words, message in (
        (["optimizers=[muon]"], "give adamw"),
        (["optimizers=[adamw,own]"], "some of adamw_2rates, muon"),
        (["seeds=[0,1]"], "not tuning_seed=0"),
        (["shares=[1.5]"], "shares lie between 0 and 1"),
    ):
        with pytest.raises(UserError, match=message):
            main(words)
    bad = tmp_path / "x.json"
    bad.write_text("{}")
    with pytest.raises(UserError, match="no results file"):
        main([*SMALL, f"out={bad}"])


def test_adamw_with_two_rates_and_the_second_equal_to_the_first_is_adamw():
    """The control really is AdamW: GaLore at full rank with scale 1 trains the same model to the same loss."""
    import torch
    from training_checks import replace, tiny_trainer

    config = BenchmarkConfig(n_embd=16, steps=6, batch_size=4)
    losses = []
    for name, changes in (("adamw", {}), ("galore", {"galore_rank": 16, "galore_scale": 1.0})):
        recipe = config.training(name, 1, 6, changes)
        assert recipe.galore_rank == changes.get("galore_rank", config.galore_rank)
        trainer = tiny_trainer(replace(recipe, eval_every=0, dtype="fp32", device="cpu"))
        losses.append(trainer.fit().val.loss)
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=0, atol=1e-5)
    assert TRIED["adamw_2rates"][0] == "galore" and BenchmarkConfig().seeds == (1, 2, 3)
