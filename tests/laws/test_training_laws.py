"""LP3, LP5, LP6, LP7, LP10, LP12: the laws of one training step, of its schedule and of its config."""

import math
from dataclasses import replace

import pytest
import torch
from training_checks import (
    BASE,
    BLOCK,
    Watch,
    check_accumulation_is_token_weighted,
    check_evaluating_twice_is_the_same,
    check_evaluation_does_not_disturb,
    check_infinite_gradient_is_skipped,
    check_step_without_labels_is_skipped,
    tiny_model,
    tiny_tokens,
    tiny_trainer,
)

from pretraining.config import TrainConfig
from pretraining.gradients import accumulate, clip_gradients
from pretraining.optimizers import build_optimizer, decay_groups, trainable
from pretraining.schedules import SCHEDULES, lr_multiplier
from utils.errors import UserError
from working_with_text_data.windows import BatchLoader

# ---------------------------------------------------------------- LP3


def test_gradients_do_not_depend_on_how_a_batch_is_split():
    check_accumulation_is_token_weighted()


def test_a_step_without_labels_is_skipped_and_counted():
    check_step_without_labels_is_skipped()


def test_clipping_uses_one_global_norm():
    model = tiny_model()
    x, y = next(BatchLoader(tiny_tokens(), 4, BLOCK))
    accumulate(model, [(x, y)])
    grads = [p.grad.clone() for p in model.parameters()]
    flat = torch.cat([g.double().flatten() for g in grads])
    norm = clip_gradients(model.parameters(), 0.0)
    assert norm == pytest.approx(float(flat.norm()), rel=1e-6)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True)), (
        "limit 0 clips"
    )
    assert clip_gradients(model.parameters(), norm / 4) == norm, (
        "the norm returned is the one before clipping"
    )
    for p, g in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, g / 4, rtol=1e-5, atol=0)


# ---------------------------------------------------------------- LP5


def test_losses_are_the_same_with_evaluation_and_samples_at_every_step_and_never():
    check_evaluation_does_not_disturb()


def test_evaluating_twice_gives_the_same_number():
    check_evaluating_twice_is_the_same()


# ---------------------------------------------------------------- LP6


def test_decay_groups_are_exactly_these_names():
    model = tiny_model(n_layer=1, bias=True, position="learned", norm="layernorm", mlp="gelu_tanh")
    config = replace(BASE, weight_decay=0.25)
    decay, plain = build_optimizer(model, config).param_groups
    assert decay["weight_decay"] == 0.25 and plain["weight_decay"] == 0.0
    matrices = {
        name for name, p in model.named_parameters() if "norm" not in name and not name.endswith("bias")
    }
    vectors = {name for name, _ in model.named_parameters()} - matrices
    assert set(decay["param_names"]) == matrices
    assert set(plain["param_names"]) == vectors and vectors
    assert {"token_embedding.weight", "position_embedding.weight"} <= matrices
    assert not matrices & vectors


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_one_group_once_and_no_vector_decays(tied):
    model = tiny_model(tie_weights=tied, norm="rmsnorm", mlp="swiglu", position="rope")
    groups = decay_groups(trainable(model), 0.1)
    held = [p for group in groups for _, p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len({p.data_ptr() for p in model.parameters()})
    assert sum(p.numel() for p in held) == model.num_parameters()
    assert all(p.dim() >= 2 for _, p in groups[0]["params"]) and all(
        p.dim() < 2 for _, p in groups[1]["params"]
    )


def test_a_tensor_tied_under_two_names_is_held_once():
    model = torch.nn.ModuleDict(
        {"embed": torch.nn.Embedding(5, 4), "head": torch.nn.Linear(4, 5, bias=False)}
    )
    model["head"].weight = model["embed"].weight
    assert list(trainable(model)) == ["embed.weight"]


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_an_error():
    model = tiny_model()
    model.token_embedding.requires_grad_(False)
    assert "token_embedding.weight" not in trainable(model)
    model.requires_grad_(False)
    with pytest.raises(UserError, match="no parameter that requires a gradient"):
        trainable(model)


# ---------------------------------------------------------------- LP7


def rate(name: str, step: int, steps: int, warmup: int, **kinds: float) -> float:
    return lr_multiplier(name, step / steps, warmup=warmup / steps, step_size=1 / steps, **kinds)


def test_cosine_equals_the_formula_written_with_steps():
    """The widely used recipe counts steps: (s+1)/(W+1) up to W, then half a cosine over the other T - W."""
    for steps, warmup, floor in ((100, 10, 0.1), (7, 3, 0.0), (1000, 0, 0.05)):
        for step in range(steps):
            if step < warmup:
                expected = (step + 1) / (warmup + 1)
            else:
                q = (step - warmup) / (steps - warmup)
                expected = floor + 0.5 * (1.0 + math.cos(math.pi * q)) * (1 - floor)
            assert rate("cosine", step, steps, warmup, floor=floor) == pytest.approx(expected, abs=1e-12), (
                step
            )


def test_cosine_and_linear_equal_torch():
    parameter = [torch.nn.Parameter(torch.zeros(1))]
    torch_cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        torch.optim.SGD(parameter, lr=1.0), 50, eta_min=0.2
    )
    torch_linear = torch.optim.lr_scheduler.LinearLR(torch.optim.SGD(parameter, lr=1.0), 1.0, 0.2, 50)
    for step in range(50):
        assert rate("cosine", step, 50, 0, floor=0.2) == pytest.approx(
            torch_cosine.get_last_lr()[0], abs=1e-9
        )
        assert rate("linear", step, 50, 0, floor=0.2) == pytest.approx(
            torch_linear.get_last_lr()[0], abs=1e-9
        )
        torch_cosine.optimizer.step()
        torch_cosine.step()
        torch_linear.optimizer.step()
        torch_linear.step()


def test_exact_values_at_the_corners():
    #         step: 0, 1, last of warm-up, peak, middle of the decay, last
    cases = {
        "cosine": (
            1 / 5,
            2 / 5,
            4 / 5,
            1.0,
            0.1 + 0.9 * 0.5,
            0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 15 / 16)),
        ),
        "linear": (1 / 5, 2 / 5, 4 / 5, 1.0, 0.55, 1 - 0.9 * 15 / 16),
        "constant": (1 / 5, 2 / 5, 4 / 5, 1.0, 1.0, 1.0),
        "wsd": (1 / 5, 2 / 5, 4 / 5, 1.0, 1.0, 1 - 0.9 * (15 / 16 - 0.5) / 0.5),
        "inverse_sqrt": (1 / 5, 2 / 5, 4 / 5, 1.0, math.sqrt(5 / 13), 0.5),
    }
    assert cases.keys() == SCHEDULES.keys()
    for name, expected in cases.items():
        found = [rate(name, s, 20, 4, floor=0.1, cooldown=0.5) for s in (0, 1, 3, 4, 12, 19)]
        assert found == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_the_first_step_learns_and_no_rate_leaves_its_bounds(name):
    for steps in (1, 2, 10, 333):
        for warmup in {0, min(1, steps - 1), steps // 2}:
            rates = [rate(name, s, steps, warmup, floor=0.1) for s in range(steps)]
            assert rates[0] > 0, f"{name}: step 0 of {steps} has rate 0, with {warmup} steps of warm-up"
            assert all(0 < r <= 1 for r in rates)
            assert max(rates) == pytest.approx(1.0)
    assert lr_multiplier(name, 0.0, warmup=0.02) > 0  # a budget of minutes


def test_the_trainer_uses_the_schedule_for_every_group():
    watch = Watch()
    trainer = tiny_trainer(replace(BASE, steps=10, lr=2e-3, min_lr=1e-4, warmup=3), callbacks=(watch,))
    trainer.fit()
    expected = [2e-3 * rate("cosine", s, 10, 3, floor=1e-4 / 2e-3) for s in range(10)]
    assert [row[2] for row in watch.rows] == pytest.approx(expected, abs=1e-15)
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {watch.rows[-1][2]}


def test_an_unknown_schedule_names_the_known_ones():
    with pytest.raises(UserError, match="cosine, linear, constant, wsd"):
        tiny_trainer(replace(BASE, schedule="cosin"))


# ---------------------------------------------------------------- LP10


def test_loss_norm_gradients_and_weights_stay_fp32_under_bf16():
    model = tiny_model()
    seen = []
    model.blocks[0].attn.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    x, y = next(BatchLoader(tiny_tokens(), 4, BLOCK))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x, targets=y).loss.dtype == torch.float32
    accumulate(model, [(x, y)], dtype=torch.bfloat16)
    assert seen == [torch.bfloat16] * 2, "autocast did not reach the model: nothing was tested"
    assert (
        {p.grad.dtype for p in model.parameters()} == {p.dtype for p in model.parameters()} == {torch.float32}
    )
    exact = torch.cat([p.grad.double().flatten() for p in model.parameters()]).norm()
    assert clip_gradients(model.parameters(), 0.0) == pytest.approx(float(exact), rel=1e-6)


def test_bf16_is_within_one_percent_of_fp32_at_step_50():
    losses = {}
    for dtype in ("fp32", "bf16"):
        watch = Watch()
        tiny_trainer(replace(BASE, steps=50, dtype=dtype, warmup=5), callbacks=(watch,)).fit()
        losses[dtype] = sum(row[1] for row in watch.rows[45:]) / 5
    assert losses["fp32"] < 4.0, "the reference did not learn: comparing two flat lines proves nothing"
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.01), losses
    assert losses["bf16"] != losses["fp32"], "bf16 was not used"


def test_an_infinite_gradient_skips_the_step_and_is_logged(tmp_path):
    check_infinite_gradient_is_skipped(tmp_path)


# ---------------------------------------------------------------- LP12

# That every shipped config and preset runs, and bad input is named: `test_recipe_laws`.


def test_minutes_with_warmup_in_steps_is_refused():
    with pytest.raises(UserError, match="warmup"):
        TrainConfig(minutes=1, warmup=100)
