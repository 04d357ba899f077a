"""LA3 for the fast arrangements of attention and for the choice between them."""

from __future__ import annotations

import pytest
import torch
from kernel_checks import (
    check_bands,
    check_bands_gradient,
    check_bf16,
    check_blocks,
    check_blocks_gradient,
    check_blocks_has_no_second_derivative,
    check_blocks_of_some_heads,
    check_every_choice,
    check_grouped,
    check_products_of_a_strided_cache,
    check_the_reference_is_the_loop,
    tensors,
)

from attention_mechanisms import attend
from attention_mechanisms.attention import FAST


def test_the_reference_is_the_definition():
    check_the_reference_is_the_loop()


@pytest.mark.parametrize(
    "check", [check_grouped, check_bands, check_blocks, check_products_of_a_strided_cache]
)
def test_a_fast_arrangement_is_the_definition(check):
    check()


@pytest.mark.parametrize("check", [check_blocks_gradient, check_bands_gradient, check_blocks_of_some_heads])
def test_its_gradient_is_the_definitions(check):
    check()


def test_blocks_refuses_a_second_derivative():
    check_blocks_has_no_second_derivative()


@pytest.mark.parametrize("kernel", ["blocks", "bands", "grouped"])
def test_bfloat16_is_near(kernel):
    check_bf16(kernel)


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_is_chosen_can_do_it_and_gives_the_reference(seed):
    check_every_choice(seed=seed)


@pytest.mark.parametrize(
    ("backend", "shape"),
    [(b, s) for b in ("manual", "sdpa", *FAST) for s in ((7, 7), (1, 5), (3, 5))
     if s[0] > 1 or b not in ("blocks", "bands")],  # a single query needs no causal mask, which these two are for
)  # fmt: skip
def test_shared_key_heads_agree_with_repeated_ones(backend, shape):
    q, k, v = tensors(*shape, heads=(4, 2))
    repeated = [torch.stack([x[:, h // 2] for h in range(4)], dim=1) for x in (k, v)]
    got = attend(q, k, v, causal=True, backend=backend)
    assert torch.allclose(got, attend(q, *repeated, causal=True, backend="manual"), atol=1e-12)
