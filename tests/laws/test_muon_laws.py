"""LP9: Muon orthogonalises within its published band, touches hidden matrices only, equals torch's own."""

import pytest
import torch
from training_checks import RESUME, check_resume_is_exact, replace, tiny_model

from pretraining.config import TrainConfig
from pretraining.muon import COEFFICIENTS, STEPS, Muon, orthogonalize
from pretraining.optimizers import build_optimizer, hidden_matrices, trainable
from utils.errors import UserError

SHAPES = [(24, 8), (8, 24), (16, 16)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_a_polynomial_of_the_singular_values(shape):
    """Against an SVD in double precision: U p(p(…p(S))) Vᵀ with p(s) = a s + b s³ + c s⁵."""
    m = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(m, full_matrices=False)
    s = s / s.norm(dim=-1, keepdim=True)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        s = a * s + b * s**3 + c * s**5
    expected = u @ torch.diag_embed(s) @ vh
    torch.testing.assert_close(orthogonalize(m, dtype=torch.float64), expected, rtol=0, atol=1e-10)


def test_singular_values_end_in_the_published_band():
    m = torch.randn(4, 64, 96, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(m, dtype=torch.float32))
    assert values.min() > 0.5 and values.max() < 1.5, (float(values.min()), float(values.max()))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_ten_steps_equal_torch_muon():
    generator = torch.Generator().manual_seed(2)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES * 2]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    start = [p.detach().clone() for p in ours]
    mine = Muon(ours, lr=0.02, momentum=0.9, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=0.1)
    for _ in range(10):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        mine.step()
        reference.step()
    for p, q, s in zip(ours, theirs, start, strict=True):
        # Both multiply in bf16 (8 bits), in another order: one part in 2⁸ of the way travelled.
        assert (p - q).norm() <= 2**-8 * (q - s).norm(), "not torch.optim.Muon's step"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_a_fused_matrix_steps_as_its_three_maps_would():
    """Against torch.optim.Muon on queries, keys and values as parameters of their own."""
    generator = torch.Generator().manual_seed(4)
    fused = torch.nn.Parameter(torch.randn(48, 16, generator=generator))
    parts = [torch.nn.Parameter(block.detach().clone()) for block in fused.chunk(3)]
    start = fused.detach().clone()
    mine = Muon([{"params": [fused], "split": 3}], lr=0.02, momentum=0.9, weight_decay=0.1)
    theirs = torch.optim.Muon(parts, lr=0.02, momentum=0.9, weight_decay=0.1)
    for _ in range(10):
        fused.grad = torch.randn(fused.shape, generator=generator)
        fused.grad[16:32] *= 1e-3  # the gradient of the keys is small, and must step as far all the same
        for part, block in zip(parts, fused.grad.chunk(3), strict=True):
            part.grad = block.clone()
        mine.step()
        theirs.step()
    whole = torch.cat([p.detach() for p in parts])
    assert (fused - whole).norm() <= 2**-8 * (whole - start).norm(), "queries, keys and values were mixed"


def test_the_model_splits_its_fused_projections_and_nothing_else():
    model = tiny_model()
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon"))
    split = {id(p): g["split"] for g in optimizer.param_groups if "split" in g for p in g["params"]}
    for name, p in hidden_matrices(model).items():
        assert split[id(p)] == (3 if "qkv_proj" in name else 1), name


def test_momentum_decay_and_reach_equal_torch_exactly_when_the_products_do(monkeypatch):
    """With the orthogonalisation taken out of both, what is left is equal to rounding of fp32."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon of its own")
    import torch.optim._muon as theirs_module

    from pretraining import muon as ours_module

    monkeypatch.setattr(theirs_module, "_zeropower_via_newtonschulz", lambda grad, *_: grad)
    monkeypatch.setattr(ours_module, "orthogonalize", lambda matrices, **_: matrices)
    for shape in SHAPES:
        p, q = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
        mine = Muon([p], lr=0.02, momentum=0.9, weight_decay=0.1)
        reference = torch.optim.Muon([q], lr=0.02, momentum=0.9, weight_decay=0.1)
        for seed in range(5):
            p.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
            q.grad = p.grad.clone()
            mine.step()
            reference.step()
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_only_matrices_inside_the_blocks_and_every_parameter_once():
    model = tiny_model(tie_weights=False, position="learned", norm="layernorm", bias=True)
    hidden = hidden_matrices(model)
    assert all(p.dim() == 2 and name.startswith("blocks.") for name, p in hidden.items())
    assert not {"token_embedding.weight", "position_embedding.weight", "head.weight"} & hidden.keys()
    assert len(hidden) == 4 * model.config.n_layer
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon", lr=1e-3, muon_lr=0.05))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(trainable(model))
    rates = {name: g["initial_lr"] for g in optimizer.param_groups for name in g["param_names"]}
    for name, rate in rates.items():
        assert rate == (0.05 if name in hidden else 1e-3), f"{name}: hidden matrices have their own peak rate"


def test_resume_with_muon_is_exact(tmp_path):
    check_resume_is_exact(tmp_path, replace(RESUME, optimizer="muon"))


def test_it_refuses_vectors_and_models_without_blocks():
    with pytest.raises(UserError, match=r"shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(UserError, match="no trainable matrix"):
        build_optimizer(torch.nn.Linear(3, 3), TrainConfig(optimizer="muon"))
