"""Classic bugs of low-rank and sign optimizers, put back on purpose: each must be caught by its law."""

import optimizer_checks as laws
import pytest
import torch
from training_checks import tiny_model

from pretraining import galore, gradients, lion, objectives


def must_fail(check, *arguments):
    with pytest.raises(AssertionError):
        check(*arguments)


def test_rotating_at_full_rank_is_caught(monkeypatch):
    """What the library does: a full rotation, in which Adam is another optimizer."""
    monkeypatch.setattr(
        galore, "sides", lambda shape, rank, kind="std": ("right",) if shape[0] >= shape[1] else ("left",)
    )
    must_fail(laws.check_full_rank_is_adamw)


def test_decay_in_the_gradient_is_caught(monkeypatch):
    honest = galore.Galore._update

    def coupled(self, p, gradient, group):
        honest(self, p, gradient + group["weight_decay"] * p, {**group, "weight_decay": 0.0})

    monkeypatch.setattr(galore.Galore, "_update", coupled)
    must_fail(laws.check_full_rank_is_adamw)


def test_a_missing_bias_correction_is_caught(monkeypatch):
    honest = galore.Galore._update

    def uncorrected(self, p, gradient, group):
        state = self.state[p]
        if "exp_avg" in state:
            for name in ("exp_avg", "exp_avg_sq"):
                state[name].mul_(0.999)
        honest(self, p, gradient, group)

    monkeypatch.setattr(galore.Galore, "_update", uncorrected)
    must_fail(laws.check_full_rank_is_adamw)
    must_fail(laws.check_equals_galore_torch, "std")


def test_projecting_the_long_side_is_caught(monkeypatch):
    honest = galore.sides

    def swapped(shape, rank, kind="std"):
        return honest(shape, rank, {"std": "reverse_std", "reverse_std": "std"}.get(kind, kind))

    monkeypatch.setattr(galore, "sides", swapped)
    must_fail(laws.check_state_is_the_formula)
    must_fail(laws.check_the_step_stays_in_the_projected_directions)
    must_fail(laws.check_equals_galore_torch, "std")


def test_a_slice_that_keeps_the_whole_basis_alive_is_caught(monkeypatch):
    monkeypatch.setattr(galore, "fixed_signs", lambda vectors, along: vectors)
    must_fail(laws.check_state_is_the_formula)


def test_signs_as_they_come_are_caught(monkeypatch):
    monkeypatch.setattr(galore, "fixed_signs", lambda vectors, along: vectors.contiguous())
    with monkeypatch.context() as patch:
        must_fail(laws.check_signs_do_not_depend_on_the_library, patch)


def test_signs_fixed_along_the_wrong_dimension_are_caught(monkeypatch):
    honest = galore.fixed_signs
    monkeypatch.setattr(galore, "fixed_signs", lambda vectors, along: honest(vectors, 1 - along))
    with monkeypatch.context() as patch:
        must_fail(laws.check_signs_do_not_depend_on_the_library, patch)


def test_the_weakest_directions_are_caught(monkeypatch):
    honest = torch.linalg.svd

    def ascending(matrix, full_matrices=True):
        u, s, vh = honest(matrix, full_matrices=full_matrices)
        return u.flip(1), s.flip(0), vh.flip(0)

    def with_weak(gradient, rank, on):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.linalg, "svd", ascending)
            return kept(gradient, rank, on)

    kept = galore.projectors
    monkeypatch.setattr(galore, "projectors", with_weak)
    must_fail(laws.check_the_step_stays_in_the_projected_directions)


def test_a_refresh_one_step_late_and_at_each_step_are_caught(monkeypatch):
    honest = galore.Galore._update

    def late(self, p, gradient, group):
        honest(self, p, gradient, {**group, "update_proj_gap": group["update_proj_gap"] + 1})

    monkeypatch.setattr(galore.Galore, "_update", late)
    must_fail(laws.check_refresh_exactly_every_gap)
    monkeypatch.setattr(
        galore.Galore,
        "_update",
        lambda self, p, gradient, group: honest(self, p, gradient, {**group, "update_proj_gap": 1}),
    )
    must_fail(laws.check_refresh_exactly_every_gap)
    must_fail(laws.check_equals_galore_torch, "std")


def test_a_projector_that_is_not_saved_is_caught(monkeypatch):
    honest = galore.Galore.load_state_dict

    def forgetful(self, state):
        honest(self, state)
        for value in self.state.values():
            value["step"] = 0  # so that a new projector is made, from another gradient

    monkeypatch.setattr(galore.Galore, "load_state_dict", forgetful)
    must_fail(laws.check_state_loads_safely_and_goes_on)


def test_moments_forgotten_at_a_refresh_are_caught(monkeypatch):
    honest = galore.Galore._update

    def reset(self, p, gradient, group):
        state = self.state[p]
        if state.get("step", 0) % group["update_proj_gap"] == 0 and "exp_avg" in state:
            state["exp_avg"].zero_()
        honest(self, p, gradient, group)

    monkeypatch.setattr(galore.Galore, "_update", reset)
    must_fail(laws.check_equals_galore_torch, "std")


def test_a_lion_that_remembers_before_it_moves_is_caught(monkeypatch):
    @torch.no_grad()
    def hasty(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state.setdefault("exp_avg", torch.zeros_like(p)).lerp_(p.grad, 1 - group["betas"][1])
                direction = state["exp_avg"].lerp(p.grad, 1 - group["betas"][0]).sign_()
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])

    monkeypatch.setattr(lion.Lion, "step", hasty)
    must_fail(laws.check_lion_is_algorithm_2)


def test_an_objective_averaged_over_all_places_is_caught():
    def diluted(logits, labels):
        return objectives.next_token(logits, labels) * (labels != -100).float().mean()

    must_fail(laws.check_objective_is_a_mean_over_labels, diluted, 0.0)
    must_fail(laws.check_objective_is_a_mean_over_labels, objectives.next_token, 1e-4)


def test_an_objective_that_is_only_reported_is_caught(monkeypatch):
    monkeypatch.setattr(objectives, "with_objective", lambda forward, name: forward)
    must_fail(laws.check_objective_reaches_the_gradient, gradients.accumulate, tiny_model())


def test_the_checks_pass_on_the_code_as_it_is(monkeypatch):
    laws.check_full_rank_is_adamw()
    laws.check_state_is_the_formula()
    laws.check_the_step_stays_in_the_projected_directions()
    laws.check_refresh_exactly_every_gap()
    laws.check_signs_do_not_depend_on_the_library(monkeypatch)
    laws.check_state_loads_safely_and_goes_on()
    laws.check_lion_is_algorithm_2()
    laws.check_objective_is_a_mean_over_labels(objectives.z_loss, objectives.Z_WEIGHT)
    laws.check_objective_reaches_the_gradient(gradients.accumulate, tiny_model())
