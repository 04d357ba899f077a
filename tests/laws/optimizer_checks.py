"""The laws of optimizers as plain functions (LP8 GaLore, Lion, 8-bit moments, objectives).

Each raises AssertionError with a hint. References: torch.optim, galore-torch, bitsandbytes, loops in float64.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pretraining import galore, lion, objectives

SHAPES = [(12, 20), (20, 12), (16, 16)]


def matrices(shapes: Any = SHAPES, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """Parameters with the same values at each call."""
    generator = torch.Generator().manual_seed(2)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]


def walk(optimizer: Any, params: list[torch.nn.Parameter], steps: int, seed: int = 5) -> None:
    """`steps` steps along gradients that are the same for each optimizer given the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        optimizer.step()


def worst(ours: list[torch.nn.Parameter], theirs: list[torch.nn.Parameter]) -> float:
    """The largest difference of any entry."""
    return max(float((p.detach() - q.detach()).abs().max()) for p, q in zip(ours, theirs, strict=True))


# ---------------------------------------------------------------- LP8 GaLore


def check_full_rank_is_adamw() -> None:
    """Rank ≥ the short side and scale 1: torch's AdamW with its decay, to 1e-6 after 20 steps and 6 refreshes."""
    for kind in galore.PROJECTIONS:
        ours, theirs = matrices(), matrices()
        mine = galore.Galore(
            ours, 1e-2, weight_decay=0.1, rank=16, scale=1.0, update_proj_gap=3, proj_type=kind
        )
        reference = torch.optim.AdamW(theirs, 1e-2, (0.9, 0.95), weight_decay=0.1)
        walk(mine, ours, 20)
        walk(reference, theirs, 20)
        assert worst(ours, theirs) <= 1e-6, (
            f"{kind}: full rank is off AdamW by {worst(ours, theirs):.1e}. With nothing to save there is nothing to "
            "project; a rotation is not neutral, because Adam divides coordinate by coordinate"
        )


def check_state_is_the_formula() -> None:
    """What is really kept, tensor by tensor, for every kind of projection and both orientations."""
    for m, n, rank in ((12, 20, 3), (20, 12, 3), (16, 16, 5), (8, 8, 8)):
        short, long = min(m, n), max(m, n)
        expected = {
            "std": short * rank + 2 * long * rank,
            "reverse_std": long * rank + 2 * short * rank,
            "left": m * rank + 2 * rank * n,
            "right": n * rank + 2 * m * rank,
            "full": (m + n) * rank + 2 * rank * rank,
        }
        for kind, count in expected.items():
            params = matrices([(m, n)])
            optimizer = galore.Galore(params, rank=rank, proj_type=kind)
            walk(optimizer, params, 2)
            kept = [t for t in optimizer.state[params[0]].values() if isinstance(t, torch.Tensor)]
            count = 2 * m * n if rank >= short else count
            held = sum(t.untyped_storage().nbytes() // t.element_size() for t in kept)
            assert held == count, (
                f"{kind}, {m} × {n}, rank {rank}: {held} numbers are kept and not {count}. Does a slice keep the "
                "whole of U alive, or is the long side projected?"
            )
            assert galore.state_numel((m, n), rank, kind) == count


def check_the_step_stays_in_the_projected_directions() -> None:
    """`std` moves a wide matrix within r columns of U and a tall one within r rows of Vᵀ: those of the gradient."""
    for (m, n), side in (((12, 20), "left"), ((20, 12), "right")):
        (p,) = matrices([(m, n)])
        start = p.detach().clone()
        optimizer = galore.Galore([p], 1e-2, rank=3)
        walk(optimizer, [p], 1)
        assert p.grad is not None
        u, _, vh = torch.linalg.svd(p.grad, full_matrices=False)
        moved = p.detach() - start
        inside = u[:, :3] @ (u[:, :3].mT @ moved) if side == "left" else moved @ vh[:3].mT @ vh[:3]
        assert float((moved - inside).abs().max()) <= 1e-6, (
            f"a {m} × {n} matrix left the {side} directions of its gradient: the short side is projected, and "
            "with the strongest singular vectors"
        )


def check_refresh_exactly_every_gap() -> None:
    """With a gap of 4, projectors are new at steps 1, 5 and 9 and bitwise unchanged in between."""
    (p,) = matrices([(12, 20)])
    optimizer = galore.Galore([p], rank=3, update_proj_gap=4)
    seen: list[torch.Tensor] = []
    for step in range(10):
        walk(optimizer, [p], 1, seed=step)
        seen.append(optimizer.state[p]["left"].clone())
    new = [0] + [i for i in range(1, 10) if not torch.equal(seen[i], seen[i - 1])]
    assert new == [0, 4, 8], f"projectors were computed before steps {[i + 1 for i in new]}, not 1, 5, 9"


def check_signs_do_not_depend_on_the_library(patch: pytest.MonkeyPatch) -> None:
    """Any signs that an SVD may give lead to the same weights, over a refresh too."""
    honest = torch.linalg.svd
    coin = torch.Generator().manual_seed(7)

    def turned(matrix: torch.Tensor, full_matrices: bool = True) -> Any:
        u, s, vh = honest(matrix, full_matrices=full_matrices)
        signs = torch.randint(2, (s.numel(),), generator=coin) * 2.0 - 1.0  # others at each call
        return u * signs, s, vh * signs[:, None]

    found = []
    for svd in (honest, turned):
        patch.setattr(torch.linalg, "svd", svd)
        params = matrices()
        walk(galore.Galore(params, 1e-2, rank=3, update_proj_gap=2), params, 6)
        found.append(params)
    patch.setattr(torch.linalg, "svd", honest)
    assert worst(*found) <= 1e-6, (
        "the weights depend on the signs of singular vectors, which an SVD may choose freely: after a refresh the old "
        "moments are read with the new signs"
    )


def check_state_loads_safely_and_goes_on() -> None:
    """torch.save → torch.load(weights_only=True) in the middle of a gap: the same weights to the last bit."""
    whole = matrices()
    optimizer = galore.Galore(whole, 1e-2, rank=3, update_proj_gap=4)
    walk(optimizer, whole, 6)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = [torch.nn.Parameter(p.detach().clone()) for p in whole]
    other = galore.Galore(again, 1e-2, rank=3, update_proj_gap=4)
    other.load_state_dict(state)
    walk(optimizer, whole, 6, seed=8)
    walk(other, again, 6, seed=8)
    assert worst(whole, again) == 0, "the run that was loaded is another one: are projectors and count saved?"


@contextlib.contextmanager
def library_with_our_signs(library: Any) -> Iterator[None]:
    """galore-torch, its singular vectors turned as ours are (written out again here, without our code)."""
    projector = library.galore_projector.GaLoreProjector
    honest = projector.get_orthogonal_matrix

    def turn(vectors: torch.Tensor, columns: bool) -> torch.Tensor:
        rows = vectors.T if columns else vectors
        rows = torch.stack([row * torch.sign(row[row.abs().argmax()]) for row in rows])
        return rows.T if columns else rows

    def turned(self: Any, weights: torch.Tensor, rank: int, type: str) -> Any:
        found = honest(self, weights, rank, type)
        if type == "full":
            return [turn(found[0], True), turn(found[1], False)]
        return turn(found, type == "left")

    projector.get_orthogonal_matrix = turned
    try:
        yield
    finally:
        projector.get_orthogonal_matrix = honest


def check_equals_galore_torch(kind: str) -> None:
    """In float64: as it comes before the first refresh, with its signs turned like ours over three of them."""
    library = pytest.importorskip("galore_torch")
    options = {"rank": 3, "update_proj_gap": 5, "scale": 0.3, "proj_type": kind}
    for steps, signs in ((5, contextlib.nullcontext()), (17, library_with_our_signs(library))):
        ours, theirs = matrices(dtype=torch.float64), matrices(dtype=torch.float64)
        # eps stands inside the bias correction here and outside it there: so small that it does not matter
        walk(galore.Galore(ours, 1e-2, (0.9, 0.95), 1e-30, **options), ours, steps)
        groups = [{"params": theirs, **options}]
        reference = library.GaLoreAdamW(groups, 1e-2, (0.9, 0.95), 1e-30, no_deprecation_warning=True)
        with signs:
            walk(reference, theirs, steps)
        assert worst(ours, theirs) <= 1e-9, (
            f"{kind}: {worst(ours, theirs):.1e} off galore-torch after {steps} steps"
        )


# ---------------------------------------------------------------- Lion


def check_lion_is_algorithm_2() -> None:
    """The paper's six lines in float64, ten steps, with decay."""
    ours = matrices(dtype=torch.float64)
    values = [p.detach().clone() for p in ours]
    walk(lion.Lion(ours, 1e-2, (0.9, 0.99), weight_decay=0.1), ours, 10)
    generator = torch.Generator().manual_seed(5)
    memory = [torch.zeros_like(v) for v in values]
    for _ in range(10):
        for i in range(len(values)):
            g = torch.randn(values[i].shape, generator=generator, dtype=torch.float64)
            update = torch.sign(0.9 * memory[i] + 0.1 * g)
            memory[i] = 0.99 * memory[i] + 0.01 * g
            values[i] = values[i] - 1e-2 * (update + 0.1 * values[i])
    off = max(float((p.detach() - v).abs().max()) for p, v in zip(ours, values, strict=True))
    assert off <= 1e-12, f"off the paper's algorithm by {off:.1e}: move by the old memory, then update it"


# ---------------------------------------------------------------- objectives


def check_objective_is_a_mean_over_labels(objective: Callable[..., Any], z_weight: float) -> None:
    """Against a loop over the labelled places in float64: value and gradient; no labels: 0 and no NaN."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(7, (3, 5), generator=generator)
    labels[torch.rand(3, 5, generator=generator) < 0.4] = -100
    places = [(i, j) for i in range(3) for j in range(5) if labels[i, j] != -100]
    terms = []
    for i, j in places:
        log_z = torch.log(torch.exp(logits[i, j]).sum())
        terms.append(log_z - logits[i, j, labels[i, j]] + z_weight * log_z**2)
    expected = sum(terms[1:], terms[0]) / len(places)
    found = objective(logits, labels)
    assert abs(float(found.detach() - expected.detach())) <= 1e-12, (
        "not the mean over the labelled places alone"
    )
    one, two = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (found, expected))
    assert float((one - two).abs().max()) <= 1e-12
    empty = objective(logits, torch.full_like(labels, -100))
    (gradient,) = torch.autograd.grad(empty, logits)
    assert float(empty.detach()) == 0 and torch.equal(gradient, torch.zeros_like(gradient))


def check_objective_reaches_the_gradient(accumulate: Callable[..., Any], model: Any) -> None:
    """A step trained by an objective has that objective's gradient, whatever the model's own loss is."""
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.randint(48, (4, 16), generator=generator) for _ in range(2))

    def half(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 0.5 * F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    objectives.OBJECTIVES["half"] = half
    try:
        forward = objectives.with_objective(model, "half")
    finally:
        del objectives.OBJECTIVES["half"]
    plain = torch.autograd.grad(model(x, targets=y).loss, list(model.parameters()))
    model.zero_grad()
    accumulate(forward, [(x[:2], y[:2]), (x[2:], y[2:])])
    for (name, p), g in zip(model.named_parameters(), plain, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, 0.5 * g, msg=lambda text, name=name: f"{name}: {text}")
