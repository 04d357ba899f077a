"""Classic bugs of reading other people's weights, put back one at a time: parity must catch each (LG1, LG2).

A row holds the bug (a patch) and the model that shows it. Every check passes on the code as it is: it is asked before
the bug goes in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from import_checks import check_import_parity, check_llama2c_parity, llama2c_pair, tiny_reference
from weight_checks import check_gpt2_parity, tiny_gpt2

from attention_mechanisms import attention, grouped_query, multi_head, sliding_window
from gpt_model import (
    GPT,
    huggingface,
    import_deepseek,
    import_gpt2,
    import_llama,
    import_llama2c,
    import_rope,
)
from gpt_model.weights_io import Move

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

# Ways of changing a family's answers ------------------------------------------------------------------


def config_with(module: Any, **fields: Any) -> Bug:
    """The family's module forgets what the file says about some fields."""

    def bug(patch: Patch) -> None:
        real = module.config_of
        patch.setattr(module, "config_of", lambda values: dataclasses.replace(real(values), **fields))

    return bug


def moves_changed(module: Any, change: Callable[[Move], Move]) -> Bug:
    """Every move of the family's module is passed through `change`."""

    def bug(patch: Patch) -> None:
        real = module.moves_of
        patch.setattr(module, "moves_of", lambda *args: [change(move) for move in real(*args)])

    return bug


def swap_sources(one: str, other: str) -> Callable[[Move], Move]:
    """Two tensors of equal shape are taken for each other."""

    def change(move: Move) -> Move:
        for this, that in ((one, other), (other, one)):
            if this in move.source:
                return dataclasses.replace(move, source=move.source.replace(this, that))
        return move

    return change


# GPT-2 (LG1) --------------------------------------------------------------------------------------------


def erf_gelu_under_gpt2(patch: Patch) -> None:
    patch.setitem(import_gpt2.ACTIVATIONS, "gelu_new", "gelu")


def square_projection_not_transposed(patch: Patch) -> None:
    ours, _ = import_gpt2.BLOCK_KEYS["attn.c_proj.weight"]
    patch.setitem(import_gpt2.BLOCK_KEYS, "attn.c_proj.weight", (ours, False))


def norms_of_a_block_swapped(patch: Patch) -> None:
    for kind in ("weight", "bias"):
        patch.setitem(import_gpt2.BLOCK_KEYS, f"ln_1.{kind}", (f"norm_2.{kind}", False))
        patch.setitem(import_gpt2.BLOCK_KEYS, f"ln_2.{kind}", (f"norm_1.{kind}", False))


def keys_and_queries_swapped(patch: Patch) -> None:
    real = multi_head.MultiHeadAttention.project

    def project(self: Any, x: Any) -> Any:
        q, k, v = real(self, x)
        return k, q, v

    patch.setattr(multi_head.MultiHeadAttention, "project", project)


def scores_not_scaled(patch: Patch) -> None:
    patch.setattr(attention, "attention_scores", lambda q, k: q @ k.transpose(-2, -1))
    patch.setattr(attention, "choose_backend", lambda q, k, **_: "manual")


def last_norm_forgotten(patch: Patch) -> None:
    patch.setattr(GPT, "unembed", lambda self, x: torch.nn.functional.linear(x, self.token_embedding.weight))


def positions_start_at_one(patch: Patch) -> None:
    real = huggingface.import_weights

    def shifted(*args: Any, **rest: Any) -> GPT:
        model = real(*args, **rest)
        table: Any = model.position_embedding
        table.weight.data = table.weight.data.roll(-1, dims=0)
        return model

    patch.setattr(huggingface, "import_weights", shifted)


GPT2_BUGS = {
    "erf_gelu_under_gpt2": erf_gelu_under_gpt2,
    "epsilon_of_llama": config_with(import_gpt2, norm_eps=1e-6),
    "square_projection_not_transposed": square_projection_not_transposed,
    "norms_of_a_block_swapped": norms_of_a_block_swapped,
    "keys_and_queries_swapped": keys_and_queries_swapped,
    "scores_not_scaled": scores_not_scaled,
    "last_norm_forgotten": last_norm_forgotten,
    "positions_start_at_one": positions_start_at_one,
}


@pytest.mark.parametrize("bug", GPT2_BUGS.values(), ids=GPT2_BUGS)
def test_gpt2_parity_catches(bug, monkeypatch, tmp_path):
    reference = tiny_gpt2()
    reference.save_pretrained(tmp_path)
    check_gpt2_parity(reference, tmp_path)
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="other logits than transformers"):
        check_gpt2_parity(reference, tmp_path)


# Llama, Mistral, Qwen2, DeepSeek (LG2) --------------------------------------------------------------------


def key_heads_repeated_in_turn(patch: Patch) -> None:
    """`repeat` instead of `repeat_interleave`: query head h reads key head h % H_kv."""
    variant = grouped_query.GroupedQueryAttention
    real = variant.project

    def project(self: Any, x: Any) -> Any:
        q, k, v = real(self, x)
        times = self.n_head // self.n_kv_head
        return q, k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1)

    patch.setattr(variant, "project", project)


def halves_of_keys_swapped(patch: Patch) -> None:
    real = multi_head.MultiHeadAttention.project

    def project(self: Any, x: Any) -> Any:
        q, k, v = real(self, x)
        return q, k.roll(k.size(-1) // 2, dims=-1), v

    patch.setattr(multi_head.MultiHeadAttention, "project", project)


def tied_head_of_its_own(patch: Patch) -> None:
    """The head that the file has beside the table is thrown away because the config says so."""
    patch.setattr(huggingface, "same_numbers", lambda *_: True)
    patch.setattr(import_llama, "config_of", lambda values, real=import_llama.config_of: (
        dataclasses.replace(real(values), tie_weights=True)
    ))  # fmt: skip


def window_beside_the_token_itself(patch: Patch) -> None:
    real = sliding_window.layer_windows
    patch.setattr(
        sliding_window,
        "layer_windows",
        lambda config: [None if window is None else window + 1 for window in real(config)],
    )


def layers_of_the_schedule_swapped(patch: Patch) -> None:
    real = sliding_window.layer_windows
    patch.setattr(sliding_window, "layer_windows", lambda config: real(config)[::-1])


def no_score_scale(patch: Patch) -> None:
    patch.setattr(import_deepseek, "score_scale", lambda values: 1.0)


def sharpening_of_the_paper(patch: Patch) -> None:
    patch.setattr(import_rope, "attention_factor", lambda recipe, factor: None)


def rope_recipe_ignored(patch: Patch) -> None:
    patch.setattr(
        import_llama,
        "rope_fields",
        lambda values: {"position": "rope", "rope_theta": import_rope.rope_parameters(values)["rope_theta"]},
    )


def original_length_is_the_new_one(patch: Patch) -> None:
    real = import_rope.rope_fields
    patch.setattr(import_llama, "rope_fields", lambda values: {**real(values), "rope_original_length": 48})


BUGS: list[tuple[str, str, Bug]] = [
    ("llama", "half_split_read_as_interleaved", config_with(import_llama, rope_layout="interleaved")),
    ("llama", "epsilon_of_gpt2", config_with(import_llama, norm_eps=1e-5)),
    ("llama", "theta_of_the_paper", config_with(import_llama, rope_theta=10001.0)),
    ("llama", "key_heads_repeated_in_turn", key_heads_repeated_in_turn),
    ("llama", "keys_and_values_swapped", moves_changed(import_llama, swap_sources("k_proj", "v_proj"))),
    (
        "llama-all-key-heads",
        "queries_and_keys",
        moves_changed(import_llama, swap_sources("q_proj", "k_proj")),
    ),
    (
        "llama-attention-bias",
        "biases_swapped",
        moves_changed(import_llama, swap_sources("k_proj.b", "v_proj.b")),
    ),
    ("llama", "gate_and_up_swapped", moves_changed(import_llama, swap_sources("gate_proj", "up_proj"))),
    ("llama", "norms_swapped", moves_changed(import_llama, swap_sources("input_l", "post_attention_l"))),
    ("llama", "layers_swapped", moves_changed(import_llama, swap_sources("layers.0.", "layers.1."))),
    ("llama", "tied_head_kept_wrongly", tied_head_of_its_own),
    ("llama", "halves_of_keys_swapped", halves_of_keys_swapped),
    ("llama-theta", "theta_not_read", config_with(import_llama, rope_theta=10000.0)),
    ("llama-geglu", "silu_under_geglu", config_with(import_llama, mlp="swiglu")),
    ("llama-linear", "rope_recipe_ignored", rope_recipe_ignored),
    ("llama3", "rope_recipe_ignored", rope_recipe_ignored),
    ("llama3", "original_length_is_the_new_one", original_length_is_the_new_one),
    (
        "llama3-thresholds",
        "thresholds_ignored",
        config_with(import_llama, rope_low_turns=None, rope_high_turns=None),
    ),
    ("llama-yarn", "original_length_is_the_new_one", original_length_is_the_new_one),
    ("llama-yarn-all", "turns_ignored", config_with(import_llama, rope_low_turns=None, rope_high_turns=None)),
    ("llama-yarn-all", "sharpening_of_the_paper", sharpening_of_the_paper),
    ("llama-yarn-mscale", "sharpening_of_the_paper", sharpening_of_the_paper),
    ("mistral", "window_one_too_wide", window_beside_the_token_itself),
    ("mistral", "window_one_too_narrow", config_with(import_llama, window=4)),
    ("mistral", "window_ignored", config_with(import_llama, window=None, attention="gqa")),
    ("qwen2-schedule", "layers_of_the_schedule_swapped", layers_of_the_schedule_swapped),
    ("deepseek-v2", "interleaved_read_as_half_split", config_with(import_deepseek, rope_layout="half_split")),
    ("deepseek-v3", "interleaved_read_as_half_split", config_with(import_deepseek, rope_layout="half_split")),
    ("deepseek-v3-half-split", "half_split_ignored", config_with(import_deepseek, rope_layout="interleaved")),
    ("deepseek-v2-yarn", "no_score_scale", no_score_scale),
    ("deepseek-v3-yarn-mscale", "no_score_scale", no_score_scale),
    ("deepseek-v3-yarn-mscale", "sharpening_of_the_paper", sharpening_of_the_paper),
    (
        "deepseek-v3",
        "norms_swapped",
        moves_changed(import_deepseek, swap_sources("input_l", "post_attention_l")),
    ),
]


@pytest.mark.parametrize(
    ("case", "bug"), [(c, b) for c, _, b in BUGS], ids=[f"{c}-{name}" for c, name, _ in BUGS]
)
def test_parity_catches(case, bug, monkeypatch, tmp_path):
    reference = tiny_reference(case)
    reference.save_pretrained(tmp_path)
    check_import_parity(reference, tmp_path)
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="other logits than transformers"):
        check_import_parity(reference, tmp_path)


# llama2.c ---------------------------------------------------------------------------------------------


def llama2c_config_with(**fields: Any) -> Bug:
    def bug(patch: Patch) -> None:
        real = import_llama2c.build_model
        patch.setattr(
            import_llama2c,
            "build_model",
            lambda config, *args, **rest: real(dataclasses.replace(config, **fields), *args, **rest),
        )

    return bug


LLAMA2C_BUGS = {
    "interleaved_read_as_half_split": llama2c_config_with(rope_layout="half_split"),
    "epsilon_of_hugging_face": llama2c_config_with(norm_eps=1e-6),
    "gate_and_up_swapped": moves_changed(import_llama2c, swap_sources("ffn.w1", "ffn.w3")),
    "queries_and_keys_swapped": moves_changed(import_llama2c, swap_sources("wk", "wv")),
    "norms_swapped": moves_changed(import_llama2c, swap_sources("attention_norm", "ffn_norm")),
}


@pytest.mark.parametrize("bug", LLAMA2C_BUGS.values(), ids=LLAMA2C_BUGS)
def test_llama2c_parity_catches(bug, monkeypatch, tmp_path):
    reference = llama2c_pair(tmp_path / "model.bin", tied=False)
    check_llama2c_parity(reference, tmp_path / "model.bin")
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="other logits than the model it was written from"):
        check_llama2c_parity(reference, tmp_path / "model.bin")
