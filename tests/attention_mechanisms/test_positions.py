"""RoPE against an explicit rotation by complex numbers, and the care its tables need."""

from __future__ import annotations

import pytest
import torch

from attention_mechanisms import LearnedPositions, RotaryPositions
from utils.errors import UserError

PAIRS = {
    "half_split": lambda x: (x[..., : x.size(-1) // 2], x[..., x.size(-1) // 2 :]),
    "interleaved": lambda x: (x[..., 0::2], x[..., 1::2]),
}


@pytest.mark.parametrize("layout", PAIRS)
@pytest.mark.parametrize("theta", [10000.0, 50.0])
def test_rope_turns_each_pair_by_its_angle(layout, theta):
    head_dim, positions = 8, [0, 1, 5, 30]
    rope = RotaryPositions(head_dim, 32, theta=theta, layout=layout).double()
    x = torch.randn(1, 2, len(positions), head_dim, dtype=torch.float64)
    turned, _ = rope(x, x, torch.tensor(positions))
    first, second = PAIRS[layout](x)
    for t, position in enumerate(positions):
        for i in range(head_dim // 2):
            angle = torch.tensor(position * theta ** (-2 * i / head_dim), dtype=torch.float64)
            expected = torch.complex(first[0, :, t, i], second[0, :, t, i]) * torch.exp(1j * angle)
            got = torch.complex(*(part[0, :, t, i] for part in PAIRS[layout](turned)))
            assert torch.allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("layout", PAIRS)
def test_only_the_distance_between_two_tokens_matters(layout):
    rope = RotaryPositions(16, 64, layout=layout).double()
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def score(at_q, at_k):
        turned = rope(q, q, torch.tensor([at_q]))[0], rope(k, k, torch.tensor([at_k]))[0]
        return (turned[0] * turned[1]).sum()

    for shift in (1, 17, 40):
        assert torch.allclose(score(9, 4), score(9 + shift, 4 + shift), atol=1e-12)
    assert not torch.allclose(score(9, 4), score(4, 9), atol=1e-3), "the sign of the distance matters"


def test_a_slice_equals_the_same_positions_by_number():
    rope = RotaryPositions(8, 32)
    q, k = torch.randn(2, 2, 3, 5, 8)
    by_start = rope(q, k, start=7)
    for positions in (torch.arange(7, 12), torch.arange(7, 12).expand(2, 5)):
        by_number = rope(q, k, positions)
        assert all(torch.equal(a, b) for a, b in zip(by_start, by_number))


def test_tables_stay_exact_in_half_precision_and_on_the_meta_device():
    exact = RotaryPositions(8, 2048)
    halved = RotaryPositions(8, 2048).to(torch.bfloat16)
    assert halved.cos.dtype == torch.float32 and torch.equal(halved.cos, exact.cos)
    with torch.device("meta"):
        planned = RotaryPositions(8, 2048)
    assert torch.equal(planned.to_empty(device="cpu").sin, exact.sin)
    assert not exact.state_dict(), "the tables follow from three numbers and are not saved"
    q = torch.randn(1, 1, 3, 8, dtype=torch.bfloat16)
    assert halved(q, q)[0].dtype == torch.bfloat16


def test_bad_input_is_named():
    with pytest.raises(UserError, match="head_dim is 7"):
        RotaryPositions(7, 16)
    with pytest.raises(UserError, match="half_split, interleaved"):
        RotaryPositions(8, 16, layout="neox")
    x = torch.randn(1, 1, 4, 8)
    with pytest.raises(UserError, match=r"13\.\.16 reach past block_size 16"):
        RotaryPositions(8, 16)(x, x, start=13)


def test_learned_positions_are_rows_of_a_table():
    table = LearnedPositions(6, 4)
    assert torch.equal(table(torch.tensor([[5, 0]]))[0], table.weight[[5, 0]])
