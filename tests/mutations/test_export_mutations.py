"""Classic bugs of exporting, put back one at a time: a law of `export_checks` must catch each.

A row holds the bug (a patch), the model it is tried on, and a word of the sentence that the law must fail with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from export_checks import (
    LLAMA,
    check_int8_is_rounding,
    check_step_agrees,
    check_tokenizer_agrees,
    check_transformers_agree,
    exportable,
)
from model_checks import build

from gpt_model import export_huggingface, export_int8, export_step, export_tokenizer, huggingface_layouts
from working_with_text_data.byte_tokenizer import ByteTokenizer

Patch = pytest.MonkeyPatch


def tensors(patch: Patch, family: str, change: Callable[[str, Any], tuple[str, Any]]) -> None:
    """Pass every tensor of a layout through `change` on its way to the file."""
    real = huggingface_layouts.FAMILIES[family]

    def changed(model: Any) -> Any:
        for name, tensor in real.tensors(model):
            yield change(name, tensor)

    patch.setitem(huggingface_layouts.FAMILIES, family, dataclasses.replace(real, tensors=changed))


def settings(patch: Patch, **values: Any) -> None:
    """Write other values into config.json; None leaves a key out, so that transformers takes its default."""
    real = export_huggingface.huggingface_config

    def changed(model: Any) -> dict[str, Any]:
        left_out = {name for name, value in values.items() if value is None}
        return {k: v for k, v in {**real(model), **values}.items() if k not in left_out}

    patch.setattr(export_huggingface, "huggingface_config", changed)


# Weights for transformers ---------------------------------------------------------------------------


def square_projection_not_transposed(patch: Patch) -> None:
    tensors(patch, "gpt2", lambda name, t: (name, t.t() if name.endswith("attn.c_proj.weight") else t))


def untied_head_forgotten(patch: Patch) -> None:
    settings(patch, tie_word_embeddings=None)


def untied_head_left_out(patch: Patch) -> None:
    real = huggingface_layouts.FAMILIES["gpt2"]

    def changed(model: Any) -> Any:
        yield from ((name, tensor) for name, tensor in real.tensors(model) if name != "lm_head.weight")

    patch.setitem(huggingface_layouts.FAMILIES, "gpt2", dataclasses.replace(real, tensors=changed))


def tied_head_forgotten(patch: Patch) -> None:
    settings(patch, tie_word_embeddings=None)


def epsilon_forgotten(patch: Patch) -> None:
    settings(patch, layer_norm_epsilon=None, rms_norm_eps=None)


def rotary_pairs_left_side_by_side(patch: Patch) -> None:
    patch.setattr(huggingface_layouts, "to_half_split", lambda rows, n_head: rows)


def pairs_moved_as_if_all_heads_were_one(patch: Patch) -> None:
    real = huggingface_layouts.to_half_split
    patch.setattr(huggingface_layouts, "to_half_split", lambda rows, n_head: real(rows, 1))


def theta_forgotten(patch: Patch) -> None:
    settings(patch, rope_parameters=None, rope_theta=None)


def gate_and_up_swapped(patch: Patch) -> None:
    other = {"gate_proj": "up_proj", "up_proj": "gate_proj"}

    def change(name: str, tensor: Any) -> tuple[str, Any]:
        part = name.split(".")[-2]
        return name.replace(part, other.get(part, part)), tensor

    tensors(patch, "llama", change)


def keys_and_values_swapped(patch: Patch) -> None:
    other = {"k_proj": "v_proj", "v_proj": "k_proj"}

    def change(name: str, tensor: Any) -> tuple[str, Any]:
        part = name.split(".")[-2]
        return name.replace(part, other.get(part, part)), tensor

    tensors(patch, "llama", change)


def tanh_gelu_called_gelu(patch: Patch) -> None:
    patch.setitem(huggingface_layouts.ACTIVATIONS, "gelu_tanh", "gelu")


def window_counts_the_token_twice(patch: Patch) -> None:
    settings(patch, sliding_window=6)


def rotation_of_the_latent_in_the_other_layout(patch: Patch) -> None:
    settings(patch, rope_interleave=True)


def some_layers_left_to_experts(patch: Patch) -> None:
    settings(patch, first_k_dense_replace=1)


WEIGHT_BUGS = [
    (square_projection_not_transposed, "gpt2", "transformers computes other"),
    (untied_head_forgotten, "gpt2-untied", "says that the head is tied"),
    (untied_head_left_out, "gpt2-untied", "missing_keys"),
    (tied_head_forgotten, "llama", "missing_keys"),
    (epsilon_forgotten, "gpt2", "transformers computes other"),
    (epsilon_forgotten, "llama", "transformers computes other"),
    (rotary_pairs_left_side_by_side, "llama-interleaved", "transformers computes other"),
    (pairs_moved_as_if_all_heads_were_one, "llama-interleaved", "transformers computes other"),
    (theta_forgotten, "llama-gqa", "transformers computes other"),
    (gate_and_up_swapped, "llama", "transformers computes other"),
    (keys_and_values_swapped, "llama", "transformers computes other"),
    (tanh_gelu_called_gelu, "gpt2", "transformers computes other"),
    (window_counts_the_token_twice, "mistral", "transformers computes other"),
    (rotation_of_the_latent_in_the_other_layout, "deepseek", "transformers computes other"),
    (some_layers_left_to_experts, "deepseek", "missing_keys"),
]


@pytest.mark.parametrize(
    ("bug", "name", "word"), WEIGHT_BUGS, ids=[f"{row[0].__name__}-{row[1]}" for row in WEIGHT_BUGS]
)
def test_the_law_of_exported_weights_catches(bug, name, word, monkeypatch, tmp_path):
    model = exportable(name)
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check_transformers_agree(model, tmp_path)


# The tokenizer --------------------------------------------------------------------------------------


def end_of_text_is_the_first_special(patch: Patch) -> None:
    patch.setattr(export_tokenizer, "end_of_text", lambda t: next(iter(t.special_tokens.items())))


def padded_ids_may_be_drawn(patch: Patch) -> None:
    real = export_tokenizer.write_tokenizer
    patch.setattr(
        "export_checks.write_tokenizer",
        lambda tokenizer, folder, config: real(
            tokenizer, folder, dataclasses.replace(config, vocab_size=tokenizer.vocab_size)
        ),
    )


def bytes_in_the_order_of_gpt2(patch: Patch) -> None:
    from working_with_text_data import huggingface_export
    from working_with_text_data.byte_letters import spell

    patch.setattr(huggingface_export, "spell", lambda token: spell(bytes(b ^ 1 for b in token)))
    patch.setattr(huggingface_export, "_refuse_other_cuts", lambda tokenizer, exported: None)


@pytest.mark.parametrize(
    ("bug", "word"),
    [
        (end_of_text_is_the_first_special, "a text would end"),
        (padded_ids_may_be_drawn, "could be drawn"),
        (bytes_in_the_order_of_gpt2, "other ids"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_law_of_exported_tokenizers_catches(bug, word, monkeypatch, tmp_path):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check_tokenizer_agrees(ByteTokenizer(), tmp_path, 264)


# The decode step and int8 ---------------------------------------------------------------------------


def cache_comes_out_as_it_went_in(patch: Patch) -> None:
    def append(self: Any, a: Any, b: Any) -> Any:
        return tuple(torch.cat((k[..., 1:, :], new), dim=-2) for k, new in zip(self.kept, (a, b)))

    patch.setattr(export_step.BeltLayer, "append", append)


def new_token_laid_in_front(patch: Patch) -> None:
    def append(self: Any, a: Any, b: Any) -> Any:
        self.kept = tuple(torch.cat((new, k[..., :-1, :]), dim=-2) for k, new in zip(self.kept, (a, b)))
        return self.kept

    patch.setattr(export_step.BeltLayer, "append", append)


def new_token_not_counted(patch: Patch) -> None:
    real = export_step.Step.forward

    def forward(self: Any, ids: Any, mask: Any, *cache: Any) -> Any:
        logits, _, *rest = real(self, ids, mask, *cache)
        return logits, mask.clone(), *rest

    patch.setattr(export_step.Step, "forward", forward)


def reset_keeps_the_cache(patch: Patch) -> None:
    real = export_step.StepRunner.reset

    def reset(self: Any) -> None:
        if hasattr(self, "state"):
            self.length = 0
        else:
            real(self)

    patch.setattr(export_step.StepRunner, "reset", reset)


@pytest.mark.parametrize(
    "bug",
    [cache_comes_out_as_it_went_in, new_token_laid_in_front, new_token_not_counted, reset_keeps_the_cache],
)
def test_the_law_of_the_exported_step_catches(bug, monkeypatch, tmp_path):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="exported step"):
        check_step_agrees(build(block_size=6, n_layer=1, **LLAMA), tmp_path, "torch")


def one_scale_for_the_whole_matrix(patch: Patch) -> None:
    def rows(weight: Any) -> Any:
        scale = (weight.abs().amax() / 127).expand(weight.size(0)).contiguous()
        return (weight / scale[:, None]).round().to(torch.int8), scale

    patch.setattr(export_int8, "quantize_rows", rows)


def a_hundred_and_twenty_eight_steps(patch: Patch) -> None:
    def rows(weight: Any) -> Any:
        scale = weight.abs().amax(dim=1) / 128
        return (weight / scale[:, None]).round().to(torch.int32).to(torch.int8), scale

    patch.setattr(export_int8, "quantize_rows", rows)


def rounded_towards_zero(patch: Patch) -> None:
    def rows(weight: Any) -> Any:
        scale = weight.abs().amax(dim=1) / 127
        return (weight / scale[:, None]).to(torch.int8), scale

    patch.setattr(export_int8, "quantize_rows", rows)


@pytest.mark.parametrize(
    "bug", [one_scale_for_the_whole_matrix, a_hundred_and_twenty_eight_steps, rounded_towards_zero]
)
def test_the_law_of_int8_weights_catches(bug, monkeypatch, tmp_path):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_int8_is_rounding(build(), tmp_path)
