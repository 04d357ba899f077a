"""LP8 and its neighbours: GaLore, Lion, 8-bit moments, groups of every optimizer, objectives, resume."""

import math

import optimizer_checks as checks
import pytest
import torch
from training_checks import RESUME, check_resume_is_exact, replace, tiny_model

from pretraining import eight_bit, galore, objectives
from pretraining.config import TrainConfig
from pretraining.gradients import accumulate
from pretraining.lion import Lion
from pretraining.objectives import Z_WEIGHT
from pretraining.optimizers import OPTIMIZERS, build_optimizer, hidden_matrices, state_bytes, trainable
from pretraining.state_codec import decode, encode
from utils.errors import UserError

# ---------------------------------------------------------------- GaLore


def test_full_rank_with_scale_1_is_adamw():
    checks.check_full_rank_is_adamw()


def test_the_state_has_as_many_numbers_as_the_formula_says():
    checks.check_state_is_the_formula()


def test_768_by_3072_at_rank_128_keeps_884736_numbers_in_place_of_4718592():
    gradient = torch.randn(768, 3072, generator=torch.Generator().manual_seed(0))
    p = torch.nn.Parameter(torch.zeros(768, 3072))
    p.grad = gradient
    optimizer = galore.Galore([p], rank=128)
    optimizer.step()
    assert state_bytes(optimizer) == 4 * 884_736
    assert galore.state_numel((768, 3072), 128) == 884_736 and galore.state_numel((3072, 768), 128) == 884_736
    assert galore.state_numel((768, 3072), 768) == 4_718_592


def test_the_short_side_is_projected_in_both_orientations():
    checks.check_the_step_stays_in_the_projected_directions()


def test_projectors_are_new_exactly_every_gap():
    checks.check_refresh_exactly_every_gap()


def test_signs_of_singular_vectors_change_nothing(monkeypatch):
    checks.check_signs_do_not_depend_on_the_library(monkeypatch)


def test_the_state_loads_without_pickle_and_goes_on_in_the_middle_of_a_gap():
    checks.check_state_loads_safely_and_goes_on()


@pytest.mark.parametrize("kind", galore.PROJECTIONS)
def test_a_step_equals_galore_torch(kind):
    checks.check_equals_galore_torch(kind)


def test_scale_multiplies_the_step_and_not_the_decay():
    moved = []
    for scale in (0.25, 1.0):
        (p,) = checks.matrices([(12, 20)])
        start = p.detach().clone()
        checks.walk(galore.Galore([p], 0.1, weight_decay=0.5, rank=3, scale=scale), [p], 1)
        moved.append(p.detach() - start * (1 - 0.1 * 0.5))
    torch.testing.assert_close(moved[1], 4 * moved[0], rtol=0, atol=1e-6)


def test_galore_refuses_vectors_and_settings_that_mean_nothing():
    with pytest.raises(UserError, match=r"shape \(3,\)"):
        galore.Galore([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(UserError, match="proj_type is 'up', but GaLore knows std, reverse_std"):
        galore.Galore(checks.matrices(), proj_type="up")
    with pytest.raises(UserError, match="rank is 0"):
        galore.Galore(checks.matrices(), rank=0)
    with pytest.raises(UserError, match="galore_gap is 0"):
        TrainConfig(galore_gap=0)
    with pytest.raises(UserError, match="galore_scale is 0"):
        TrainConfig(galore_scale=0.0)
    for name in ("galore", "galore_torch", "adamw_8bit"):
        with pytest.raises(UserError, match=f"optimizer={name} finds no trainable matrix"):
            build_optimizer(torch.nn.Linear(3, 3), TrainConfig(optimizer=name))


@pytest.mark.parametrize(
    ("name", "missing"), [("galore_torch", "galore_torch"), ("adamw_8bit", "bitsandbytes")]
)
def test_an_engine_that_is_not_installed_is_one_line_with_the_command(name, missing, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(UserError, match=rf"needs {missing}.*pip install .*\[galore\]") as caught:
        build_optimizer(tiny_model(), TrainConfig(optimizer=name))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- resume, LP1


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_resume_is_exact_with_every_optimizer(name, tmp_path, monkeypatch):
    """Saved at step 10 with a gap of 4: GaLore is between two refreshes."""
    if name in ("galore_torch", "adamw_8bit"):
        pytest.importorskip("bitsandbytes")
        pytest.importorskip("galore_torch")
    monkeypatch.setattr(eight_bit, "SMALLEST", 64)  # the tiny model's matrices in 8 bits too
    config = replace(RESUME, optimizer=name, galore_rank=4, galore_gap=4, eval_every=0, sample_every=0)
    check_resume_is_exact(tmp_path, config)


@pytest.mark.parametrize("kind", ["std", "full"])
def test_the_librarys_state_is_tensors_and_goes_on_exactly(kind):
    pytest.importorskip("galore_torch")
    from pretraining.galore_engine import build_galore_torch

    options = {"rank": 3, "update_proj_gap": 4, "scale": 0.25, "proj_type": kind, "weight_decay": 0.1}
    whole = checks.matrices()
    optimizer = build_galore_torch([{"params": whole, **options}], lr=1e-2)
    checks.walk(optimizer, whole, 6)
    tensors: dict[str, torch.Tensor] = {}
    tree = encode(optimizer.state_dict(), tensors)  # raises for a Python object
    again = [torch.nn.Parameter(p.detach().clone()) for p in whole]
    other = build_galore_torch([{"params": again, **options}], lr=1e-2)
    other.load_state_dict(decode(tree, tensors))
    checks.walk(optimizer, whole, 6, seed=8)
    checks.walk(other, again, 6, seed=8)
    assert checks.worst(whole, again) == 0


# ---------------------------------------------------------------- groups, LP6


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_holds_each_parameter_once_and_no_vector_decays(name):
    if name in ("galore_torch", "adamw_8bit"):
        pytest.importorskip("bitsandbytes")
        pytest.importorskip("galore_torch")
    model = tiny_model(bias=True, norm="layernorm", position="learned")
    optimizer = build_optimizer(model, TrainConfig(optimizer=name, weight_decay=0.25, galore_rank=4))
    names = [n for group in optimizer.param_groups for n in group["param_names"]]
    assert sorted(names) == sorted(trainable(model)), (
        f"{name}: parameters are missing, doubled or without names"
    )
    for group in optimizer.param_groups:
        for p in group["params"]:
            decay = group["weight_decay"]
            assert decay == (0.25 if p.dim() >= 2 else 0.0), f"{name}: {tuple(p.shape)} decays by {decay}"
        assert group["initial_lr"] == group["lr"]
    hidden = hidden_matrices(model)
    for group in optimizer.param_groups:
        if "rank" in group:
            assert set(group["param_names"]) == set(hidden), "GaLore is for the matrices of the blocks"


# ---------------------------------------------------------------- Lion, 8 bits


def test_lion_is_the_papers_algorithm():
    checks.check_lion_is_algorithm_2()


def test_lion_equals_bitsandbytes():
    library = pytest.importorskip("bitsandbytes")
    ours, theirs = checks.matrices(), checks.matrices()
    checks.walk(Lion(ours, 1e-2, (0.9, 0.99), weight_decay=0.1), ours, 10)
    checks.walk(library.optim.Lion(theirs, 1e-2, (0.9, 0.99), weight_decay=0.1), theirs, 10)
    assert checks.worst(ours, theirs) <= 1e-6


def test_the_first_8bit_step_is_adamws_and_the_moments_take_a_byte_each():
    """The first step is made before anything has been rounded; after it two bytes a number and one scale a block."""
    pytest.importorskip("bitsandbytes")
    ours, theirs = checks.matrices([(64, 128)]), checks.matrices([(64, 128)])
    config = TrainConfig(optimizer="adamw_8bit", lr=1e-2)
    mine = eight_bit.build_adamw_8bit([{"params": ours, "weight_decay": 0.1}], config)
    reference = torch.optim.AdamW(theirs, 1e-2, (0.9, 0.95), weight_decay=0.1)
    checks.walk(mine, ours, 1)
    checks.walk(reference, theirs, 1)
    assert checks.worst(ours, theirs) <= 1e-6
    count, blocks = 64 * 128, 64 * 128 / 256
    tables = 2 * 256 * 4
    assert state_bytes(mine) == 2 * count + 2 * 4 * blocks + tables
    assert state_bytes(reference) == 8 * count + 4


# ---------------------------------------------------------------- schedules, LP7


def test_the_inverse_square_root_equals_transformers():
    """There a run begins at step 0 with rate 0; ours at what is their step 1."""
    theirs = pytest.importorskip("transformers.optimization").get_inverse_sqrt_schedule
    from pretraining.schedules import lr_multiplier

    for steps, warmup in ((40, 9), (100, 1), (30, 0)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = theirs(optimizer, num_warmup_steps=warmup + 1)
        for step in range(steps):
            optimizer.step()
            schedule.step()
            found = lr_multiplier("inverse_sqrt", step / steps, warmup=warmup / steps, step_size=1 / steps)
            assert math.isclose(found, schedule.get_last_lr()[0], abs_tol=1e-12), (steps, warmup, step)


# ---------------------------------------------------------------- objectives


@pytest.mark.parametrize(("name", "weight"), [("next_token", 0.0), ("z_loss", Z_WEIGHT)])
def test_an_objective_is_the_mean_over_labels(name, weight):
    checks.check_objective_is_a_mean_over_labels(objectives.OBJECTIVES[name], weight)


def test_the_objective_is_what_is_trained():
    checks.check_objective_reaches_the_gradient(accumulate, tiny_model())


def test_next_token_is_the_models_own_loss():
    model = tiny_model()
    assert objectives.with_objective(model, "next_token") is model
