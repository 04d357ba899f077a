"""Classic bugs of LoRA, put back one at a time: a law must catch each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lora_checks import (
    KINDS,
    check_cached_equals_uncached,
    check_change_is_what_the_paper_says,
    check_loads_in_peft_and_back,
    check_merge,
    check_only_the_adapter_learns,
    check_resume_is_exact,
    check_starts_as_the_base,
    check_switching,
    model_of,
)
from torch import Tensor, nn

from finetuning import adapters, lora, trainable
from finetuning.lora import LoRAConfig
from finetuning.lora_layers import LoRALinear

Patch = pytest.MonkeyPatch
REAL_ADD, REAL_FORWARD, REAL_MERGE = LoRALinear.add, LoRALinear.forward, LoRALinear.merge


def b_is_drawn_too(patch: Patch) -> None:
    def add(self: Any, name: str, config: Any, generator: Any) -> None:
        REAL_ADD(self, name, config, generator)
        nn.init.normal_(self.lora_B[name], std=0.02)

    patch.setattr(LoRALinear, "add", add)


def lengths_start_at_one(patch: Patch) -> None:
    def add(self: Any, name: str, config: Any, generator: Any) -> None:
        REAL_ADD(self, name, config, generator)
        if config.dora:
            nn.init.ones_(self.lora_magnitude[name])

    patch.setattr(LoRALinear, "add", add)


def alpha_without_r(patch: Patch) -> None:
    patch.setattr(LoRAConfig, "scale", property(lambda self: self.alpha))


def rslora_forgotten(patch: Patch) -> None:
    patch.setattr(LoRAConfig, "scale", property(lambda self: self.alpha / self.r))


def lengths_by_column(patch: Patch) -> None:
    def gain(self: Any, name: str) -> Tensor:
        sizes = self.summed(name).norm(dim=0).detach()
        return (
            self.lora_magnitude[name]
            / F.pad(sizes, (0, max(0, self.out_features - len(sizes))), value=1.0)[: self.out_features]
        )

    patch.setattr(LoRALinear, "gain", gain)


def norm_has_a_gradient(patch: Patch) -> None:
    patch.setattr(
        LoRALinear, "gain", lambda self, name: self.lora_magnitude[name] / self.summed(name).norm(dim=1)
    )


def merged_without_scale(patch: Patch) -> None:
    def merge(self: Any, into: str = "auto") -> None:
        if self.merged or self.active is None:
            return
        with torch.no_grad():
            weight = self.base.weight + self.lora_B[self.active] @ self.lora_A[self.active]
        self._before.append(self.base)
        self.base = nn.Linear(self.in_features, self.out_features)
        self.base.weight, self.base.bias = nn.Parameter(weight), self._before[0].bias

    patch.setattr(LoRALinear, "merge", merge)


def merged_in_place_and_subtracted(patch: Patch) -> None:
    """As many do: W += ΔW and W -= ΔW. In floats that is not the W from before."""

    @torch.no_grad()
    def change(self: Any) -> Tensor:
        return self.settings[self.active].scale * self.lora_B[self.active] @ self.lora_A[self.active]

    def merge(self: Any, into: str = "auto") -> None:
        if self.active is not None and not self.merged:
            self.base.weight.data += change(self)
            self._before.append(self.base)

    def unmerge(self: Any) -> None:
        if self.merged:
            self.base = self._before.pop()
            self.base.weight.data -= change(self)

    patch.setattr(LoRALinear, "merge", merge)
    patch.setattr(LoRALinear, "unmerge", unmerge)


def merged_again_each_time(patch: Patch) -> None:
    def merge(self: Any, into: str = "auto") -> None:
        before, self._before = self._before, []
        REAL_MERGE(self, into)
        self._before = before or self._before

    patch.setattr(LoRALinear, "merge", merge)


def merged_and_added_in_forward(patch: Patch) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        before, self._before = self._before, []
        y = REAL_FORWARD(self, x)
        self._before = before
        return y

    patch.setattr(LoRALinear, "forward", forward)


def base_not_frozen(patch: Patch) -> None:
    patch.setattr(trainable, "freeze_for", lambda model, tune: trainable.count_numbers(model))


def whole_model_in_the_adapter(patch: Patch) -> None:
    real = LoRALinear.adapter_parameters

    def parameters(self: Any, name: str | None = None) -> dict[str, Any]:
        return real(self, name) | {"lora_A.base": self.base.weight}

    patch.setattr(LoRALinear, "adapter_parameters", parameters)


def all_adapters_at_once(patch: Patch) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.base(x)
        for name, config in self.settings.items():
            y = y + config.scale * F.linear(F.linear(x, self.lora_A[name]), self.lora_B[name])
        return y

    patch.setattr(LoRALinear, "forward", forward)


def the_last_adapter_stays(patch: Patch) -> None:
    def set_adapter(model: Any, name: str | None) -> Any:
        for layer in lora.lora_layers(model).values():
            layer.active = name or layer.active
        return model

    patch.setattr(lora, "set_adapter", set_adapter)


def weight_is_the_bases(patch: Patch) -> None:
    patch.setattr(LoRALinear, "weight", property(lambda self: self.base.weight))


def read_back_without_a(patch: Patch) -> None:
    """A's file is read, but A stays what apply_lora drew."""
    real = adapters.read_tensors

    def read(folder: Any) -> Any:
        return {
            name: torch.zeros_like(tensor) if "lora_A" in name else tensor
            for name, tensor in real(folder).items()
        }

    patch.setattr(adapters, "read_tensors", read)


def resumed_from_merged_weights(patch: Patch) -> None:
    """The checkpoint's model.safetensors looks like the base. It is the base with the change in it."""

    def load_trained(self: Any, folder: Any) -> None:
        from safetensors.torch import load_file

        adapters.load_adapter(self, folder)
        merged = load_file(folder / "model.safetensors")
        with torch.no_grad():
            for path, layer in lora.lora_layers(self).items():
                layer.base.weight.copy_(merged[f"{path}.weight"])

    patch.setattr(adapters.AdaptedGPT, "load_trained", load_trained)


def checkpoint_holds_the_base(patch: Patch) -> None:
    def state(model: Any) -> dict[str, Tensor]:
        kept = {name: t for name, t in model.state_dict().items() if "lora_" not in name}
        return {name.replace(".base.", "."): t.detach().clone() for name, t in kept.items()}

    patch.setattr(adapters, "merged_state", state)


CASES: dict[Any, Any] = {
    b_is_drawn_too: lambda folder: check_starts_as_the_base(model_of(), KINDS["lora"]),
    lengths_start_at_one: lambda folder: check_starts_as_the_base(model_of(), KINDS["dora"]),
    alpha_without_r: lambda folder: check_change_is_what_the_paper_says(KINDS["lora"]),
    rslora_forgotten: lambda folder: check_change_is_what_the_paper_says(KINDS["rslora"]),
    lengths_by_column: lambda folder: check_change_is_what_the_paper_says(KINDS["dora"]),
    norm_has_a_gradient: lambda folder: check_loads_in_peft_and_back(folder, KINDS["dora"]),
    merged_without_scale: lambda folder: check_merge(model_of(), KINDS["lora"]),
    merged_in_place_and_subtracted: lambda folder: check_merge(model_of(), KINDS["lora"]),
    merged_again_each_time: lambda folder: check_merge(model_of(), KINDS["lora"]),
    merged_and_added_in_forward: lambda folder: check_merge(model_of(), KINDS["lora"]),
    base_not_frozen: lambda folder: check_only_the_adapter_learns(folder, KINDS["lora"]),
    whole_model_in_the_adapter: lambda folder: check_only_the_adapter_learns(folder, KINDS["lora"]),
    all_adapters_at_once: lambda folder: check_switching(model_of()),
    the_last_adapter_stays: lambda folder: check_switching(model_of()),
    weight_is_the_bases: lambda folder: check_cached_equals_uncached(
        model_of(attention="mla", position="rope"), KINDS["lora"]
    ),
    read_back_without_a: lambda folder: check_loads_in_peft_and_back(folder, KINDS["lora"]),
    resumed_from_merged_weights: lambda folder: check_resume_is_exact(folder, KINDS["lora"]),
    checkpoint_holds_the_base: lambda folder: check_resume_is_exact(folder, KINDS["lora"]),
}


@pytest.mark.parametrize("mutate", CASES, ids=lambda mutate: mutate.__name__)
def test_a_law_catches(mutate, monkeypatch, tmp_path):
    mutate(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        CASES[mutate](tmp_path)
