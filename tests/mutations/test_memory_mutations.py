"""Classic bugs of memory calculators and of utilisation figures, put back one at a time: a law must catch each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import memory_checks
import pytest

from gpt_model import costs, memory, mfu
from gpt_model.config import GATED

Patch = pytest.MonkeyPatch


def norms_keep_only_their_input(patch: Patch) -> None:
    real = memory._norm_numbers
    patch.setattr(memory, "_norm_numbers", lambda config: real(config) - config.n_embd)


def gated_layers_like_plain_ones(patch: Patch) -> None:
    real = memory._mlp_numbers
    patch.setattr(
        memory, "_mlp_numbers", lambda c: 2 * c.hidden_width if c.mlp in GATED else real(c)
    )  # two widths, not four


def maps_of_attention_forgotten(patch: Patch) -> None:
    real = memory._attention_numbers

    def without(config: Any, batch: int, length: int, window: int | None) -> float:
        kept = real(config, batch, length, window)
        by_hand = config.attn_backend == "manual"
        return kept - (batch * length * config.n_head * length if by_hand else 0)

    patch.setattr(memory, "_attention_numbers", without)


def keys_counted_for_every_query_head(patch: Patch) -> None:
    real = memory._widths
    patch.setattr(memory, "_widths", lambda config: (config.n_head, *real(config)[1:]))


def one_layer_for_all(patch: Patch) -> None:
    real = memory.activation_bytes
    patch.setattr(memory, "activation_bytes", lambda c, b, t, size=4: real(replace(c, n_layer=1), b, t, size))


def adam_with_one_moment(patch: Patch) -> None:
    patch.setitem(memory.OPTIMIZERS, "adamw", 1)


def step_counters_forgotten(patch: Patch) -> None:
    patch.setattr(memory, "STEP_COUNTER", 0)


def tied_head_counted_twice(patch: Patch) -> None:
    real = memory.skeleton
    patch.setattr(memory, "skeleton", lambda config: real(replace(config, tie_weights=False)))


def only_the_logits(patch: Patch) -> None:
    """One table of the vocabulary instead of four."""
    real = memory.training_memory

    def smaller(*args: Any, **fields: Any) -> Any:
        whole = real(*args, **fields)
        return replace(whole, vocabulary=whole.vocabulary // 4)

    patch.setattr(memory, "training_memory", smaller)


def tables_in_the_models_precision(patch: Patch) -> None:
    real = memory.decoding_memory

    def halved(config: Any, *args: Any, dtype: Any = None, **fields: Any) -> Any:
        whole = real(config, *args, dtype=dtype, **fields)
        return replace(whole, tables=whole.tables * (dtype.itemsize if dtype else 4) // 4)

    patch.setattr(memory, "decoding_memory", halved)


def backward_costs_one_forward(patch: Patch) -> None:
    patch.setattr(costs, "training_flops", lambda c, b, t: 2 * costs.forward_flops(c, b, t))


def context_of_a_step_off_by_one(patch: Patch) -> None:
    real = costs.forward_flops
    patch.setattr(costs, "forward_flops", lambda c, b, t, past=0: real(c, b, t, max(past - 1, 0)))


def position_table_in_n(patch: Patch) -> None:
    patch.setattr(
        mfu, "multiplied_parameters", lambda config: sum(costs.parameter_breakdown(config).values())
    )


def untied_table_in_n(patch: Patch) -> None:
    def parameters(config: Any) -> int:
        parts = costs.parameter_breakdown(config)
        return sum(parts.values()) - parts["position embedding"]

    patch.setattr(mfu, "multiplied_parameters", parameters)


def sparse_peaks(patch: Patch) -> None:
    """The large figure of the data sheet."""
    doubled = tuple(replace(r, peaks={k: 2 * v for k, v in r.peaks.items()}) for r in mfu.HARDWARE)
    patch.setattr(mfu, "HARDWARE", doubled)


def one_peak_for_all_devices(patch: Patch) -> None:
    real = mfu.utilisation
    patch.setattr(mfu, "utilisation", lambda c, t, speed, peak, devices=1: real(c, t, speed, peak))


def part_of_a_name_is_enough(patch: Patch) -> None:
    def search(name: str | None) -> Any:
        return next((row for row in mfu.HARDWARE if name and re.search(row.pattern, name)), None)

    patch.setattr(mfu, "find_hardware", search)


def a_guess_for_the_unknown(patch: Patch) -> None:
    real = mfu.peak_flops
    patch.setattr(mfu, "peak_flops", lambda name, precision: real(name, precision) or 312e12)


def activations() -> None:
    memory_checks.check_activations(trials=25)


def peak() -> None:
    memory_checks.check_peak_of_a_step()


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (norms_keep_only_their_input, activations, "its input and its output"),
    (gated_layers_like_plain_ones, activations, "four widths"),
    (maps_of_attention_forgotten, activations, "stay allocated"),
    (keys_counted_for_every_query_head, activations, "stay allocated"),
    (one_layer_for_all, activations, "stay allocated"),
    (adam_with_one_moment, memory_checks.check_states_are_exact, "two numbers a weight"),
    (step_counters_forgotten, memory_checks.check_states_are_exact, "a counter a tensor"),
    (tied_head_counted_twice, memory_checks.check_states_are_exact, "a tied head is one tensor"),
    (only_the_logits, peak, "four tables of the vocabulary"),
    (one_layer_for_all, peak, "holds up to"),
    (tables_in_the_models_precision, memory_checks.check_decoding_memory, "tables"),
    (backward_costs_one_forward, memory_checks.check_training_flops, "has two gradients"),
    (context_of_a_step_off_by_one, memory_checks.check_decode_flops, "a token after"),
    (position_table_in_n, memory_checks.check_mfu_by_hand, "leaves out the position table"),
    (untied_table_in_n, memory_checks.check_mfu_by_hand, "only looked up"),
    (sparse_peaks, memory_checks.check_mfu_by_hand, "is for sparse ones"),
    (one_peak_for_all_devices, memory_checks.check_mfu_by_hand, "four devices"),
    (part_of_a_name_is_enough, memory_checks.check_hardware_names, "not in the table|the table says"),
    (a_guess_for_the_unknown, memory_checks.check_hardware_names, "no stand-in|not in the table"),
]


@pytest.mark.parametrize(
    ("bug", "check", "word"), BUGS, ids=[f"{bug.__name__}-{check.__name__}" for bug, check, _ in BUGS]
)
def test_the_law_catches(bug, check, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check()
