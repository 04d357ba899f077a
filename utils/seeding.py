"""Random numbers that can be repeated: set every generator, take its state, put it back.

Three global generators exist (Python, numpy, torch, and one more per accelerator). A run that resumes, and an
evaluation in the middle of training, must find them exactly as they were (laws LP1 and LP5).
Left out: generators that code makes for itself, such as sampling's own `torch.Generator`; they need no help.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any

from utils.errors import UserError

_MAX_SEED = 2**32 - 1  # numpy's limit


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python, numpy and torch (all devices). Raises `UserError` outside 0..2**32-1.

    `deterministic=True` also makes torch refuse kernels whose sums may come in another order; it stays on.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MAX_SEED:
        raise UserError(f"seed is {seed!r} but must be a whole number from 0 to {_MAX_SEED}")
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # seeds CUDA and MPS too
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Inside, torch refuses kernels whose sums may come in another order; afterwards the setting is as before.

    `wanted=False` changes nothing, so a caller can pass its own flag.
    """
    import torch

    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    try:
        if wanted:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def capture_rng() -> dict[str, Any]:
    """The state of every global generator.

    Keys: `python` and `numpy` hold plain JSON values; `torch`, `cuda.0`, `cuda.1`, … and `mps` hold uint8
    tensors. A checkpoint writes the former as JSON and the latter as safetensors, and needs no pickle.
    """
    import numpy as np
    import torch

    version, internal, gauss = random.getstate()
    legacy: dict[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    state: dict[str, Any] = {
        "python": [version, list(internal), gauss],
        "numpy": {
            "bit_generator": legacy["bit_generator"],
            "key": legacy["state"]["key"].tolist(),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        for index, device_state in enumerate(torch.cuda.get_rng_state_all()):
            state[f"cuda.{index}"] = device_state
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_rng(state: Mapping[str, Any]) -> None:
    """Put back what `capture_rng` took, also after a trip through JSON and safetensors.

    The state of an accelerator that this machine does not have is passed over: nothing here would use it.
    """
    import numpy as np
    import torch

    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    saved = state["numpy"]
    np.random.set_state(
        {
            "bit_generator": saved["bit_generator"],
            "state": {"key": np.asarray(saved["key"], dtype=np.uint32), "pos": saved["pos"]},
            "has_gauss": saved["has_gauss"],
            "gauss": saved["gauss"],
        }
    )
    torch.set_rng_state(state["torch"].cpu())
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(devices):
        if f"cuda.{index}" in state:
            torch.cuda.set_rng_state(state[f"cuda.{index}"].cpu(), index)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


@contextlib.contextmanager
def preserved_rng() -> Iterator[None]:
    """Whatever the block draws, the global generators continue afterwards as if it had not been there."""
    state = capture_rng()
    try:
        yield
    finally:
        restore_rng(state)
