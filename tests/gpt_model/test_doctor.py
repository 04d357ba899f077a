"""The doctor's known answer, computed again by NumPy in float64 without torch and without the model."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt_model import doctor


def rms(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def turn(x, position):
    """RoPE as complex numbers: pair i is (i, i + D/2)."""
    half = x.size // 2
    angles = position * 10000.0 ** (-np.arange(half) * 2 / x.size)
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag])


def known_logits_in_numpy() -> np.ndarray:
    """Explicit loops over tokens and heads: 8 wide, 2 heads of 4, hidden 16, 2 layers."""
    shapes = {"final_norm.weight": (8,), "token_embedding.weight": (11, 8)}
    for i in range(2):
        shapes |= {
            f"blocks.{i}.attn.qkv_proj.weight": (24, 8),
            f"blocks.{i}.attn.out_proj.weight": (8, 8),
            f"blocks.{i}.mlp.up_proj.weight": (32, 8),
            f"blocks.{i}.mlp.out_proj.weight": (8, 16),
            f"blocks.{i}.norm_1.weight": (8,),
            f"blocks.{i}.norm_2.weight": (8,),
        }
    w = {}
    for p, name in enumerate(sorted(shapes)):
        wave = np.sin(0.37 * np.arange(math.prod(shapes[name])) + p)
        w[name] = (1 + 0.1 * wave if "norm" in name else 0.5 * wave).reshape(shapes[name])

    x = w["token_embedding.weight"][doctor.KNOWN_IDS]
    for i in range(2):
        q, k, v = np.split(
            rms(x, w[f"blocks.{i}.norm_1.weight"]) @ w[f"blocks.{i}.attn.qkv_proj.weight"].T, 3, 1
        )
        mixed = np.zeros_like(x)
        for head in (slice(0, 4), slice(4, 8)):
            for t in range(len(x)):
                query = turn(q[t, head], t)
                scores = np.array([query @ turn(k[s, head], s) for s in range(t + 1)]) / 2
                shares = np.exp(scores - scores.max())
                mixed[t, head] = shares / shares.sum() @ v[: t + 1, head]
        x = x + mixed @ w[f"blocks.{i}.attn.out_proj.weight"].T
        gate, up = np.split(
            rms(x, w[f"blocks.{i}.norm_2.weight"]) @ w[f"blocks.{i}.mlp.up_proj.weight"].T, 2, 1
        )
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"blocks.{i}.mlp.out_proj.weight"].T
    return rms(x, w["final_norm.weight"])[-1] @ w["token_embedding.weight"].T


def test_the_literals_are_what_numpy_computes():
    np.testing.assert_allclose(doctor.KNOWN_LOGITS, known_logits_in_numpy(), rtol=0, atol=1e-12)


def test_the_model_meets_the_known_answer_here():
    assert doctor.known_answer_error(torch.device("cpu")) < doctor.TOLERANCE


def test_the_tolerance_notices_one_changed_weight(monkeypatch):
    model = doctor.known_model()
    with torch.no_grad():
        model.blocks[1].norm_2.weight[3] += 1e-3
    monkeypatch.setattr(doctor, "known_model", lambda: model)
    assert doctor.known_answer_error(torch.device("cpu")) > doctor.TOLERANCE


def test_a_healthy_machine_exits_with_0_and_a_wrong_one_with_1(monkeypatch, capsys):
    assert doctor.main([]) == 0
    assert "right" in capsys.readouterr().out
    for wrong in (1.0, float("nan")):
        monkeypatch.setattr(doctor, "known_answer_error", lambda device, error=wrong: error)
        assert doctor.main([]) == 1


def test_what_is_missing_comes_with_the_command_that_adds_it(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "installed", lambda module: module != "chainlit")
    assert dict((row[0], row[2]) for row in doctor.package_rows())["chat"] == (
        "pip install -c constraints.txt -e '.[chat]'"
    )
    assert doctor.main([]) == 0, "an absent extra is not an illness"
    assert "[chat]" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("part", ["core", "extras"])
def test_the_table_of_packages_follows_pyproject(part):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    def names(requirements):
        return {
            r.split(";")[0].split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip()
            for r in requirements
        }

    if part == "core":
        assert set(doctor.PACKAGES[""]) == names(project["dependencies"])
    else:
        extras = project["optional-dependencies"]
        assert set(doctor.PACKAGES) - {""} == set(extras) - {"all"}
        for extra in set(doctor.PACKAGES) - {""}:
            assert set(doctor.PACKAGES[extra]) <= names(extras[extra])
