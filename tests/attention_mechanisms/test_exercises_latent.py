"""LD2 for notebook 06: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch

from attention_mechanisms import AttentionShape, LatentAttention
from attention_mechanisms.exercises.latent import ABSORB, BYTES
from utils.exercises import check, load_answer


def _absorb_by_loop(q, w_uk):
    return torch.stack([matrix.T @ query for query, matrix in zip(q, w_uk, strict=True)])


def _absorb_by_matmul(q, w_uk):
    return (q[:, None] @ w_uk)[:, 0]


def _bytes_by_layers(n_layer, tokens, latent, rope, n_head, bytes_per_number):
    return sum(tokens * bytes_per_number * width for _ in range(n_layer) for width in (latent, rope))


@pytest.mark.parametrize(
    ("exercise", "right"), [(ABSORB, _absorb_by_loop), (ABSORB, _absorb_by_matmul), (BYTES, _bytes_by_layers)]
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (ABSORB, lambda q, w: [1], "a tensor, not list"),
        (ABSORB, lambda q, w: q, "one query in the latent's space for each head"),
        (
            ABSORB,
            lambda q, w: 2 * _absorb_by_loop(q, w),
            "must be the score of the query with the unfolded key",
        ),
        (BYTES, lambda *sizes: 8, "ten tokens leave ten latents"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_are_what_the_module_does():
    shape = AttentionShape(n_layer=2, n_head=3, n_embd=24, kv_latent_dim=5, rope_dim=4)
    layer = LatentAttention(shape)
    w_uk, _ = layer.up_matrices()
    q = torch.randn(3, 8)
    absorb = load_answer(ABSORB.solution, ABSORB.function)
    assert torch.allclose(absorb(q, w_uk), (q[:, None] @ w_uk)[:, 0], atol=1e-6)
    cache = LatentAttention.make_cache(shape, 1, 7, torch.float32, "cpu")
    assert load_answer(BYTES.solution, BYTES.function)(2, 7, 5, 4, 3, 4) == cache.nbytes
