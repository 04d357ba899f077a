"""Devices are chosen from what the machine says; generators can be set, taken and put back exactly."""

import json
import random
import sys

import numpy as np
import pytest
import torch

from utils import capture_rng, hardware, pick_device, pick_dtype, preserved_rng, restore_rng, set_seed
from utils import device as device_module
from utils.device import (
    cpu_has_fast_bf16,
    enable_exact_fast_matmul,
    exact_fast_matmul,
    fp32_matmul_is_exact,
    usable_cores,
)
from utils.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def untouched_settings():
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    before = matmul.fp32_precision if matmul is not None else None
    with preserved_rng():
        yield
    if matmul is not None:
        matmul.fp32_precision = before


def test_auto_takes_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == CPU and pick_device("cpu") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda", "device=cuda was asked but torch"),
        ("cuda:1", "use device=cpu or auto"),
        ("mps", "device=mps was asked"),
        ("gpu", "'gpu' but must be one of auto, cpu, cuda, mps"),
        ("cuda:x", "must be one of"),
        ("cpu:3", "must be one of"),
        ("", "must be one of"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(monkeypatch, name, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError) as caught:
        pick_device(name)
    assert words in str(caught.value)


def test_a_gpu_index_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="there are 2 CUDA devices"):
        pick_device("cuda:2")


def test_auto_dtype_follows_the_hardware(monkeypatch):
    for flags, expected in (
        ({"avx512f"}, torch.float32),
        ({"avx512_bf16"}, torch.bfloat16),
        ({"amx_bf16"}, torch.bfloat16),
    ):
        monkeypatch.setattr(device_module, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert pick_dtype("auto", CPU) == expected
    for capability, expected in (((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        assert pick_dtype("auto", torch.device("cuda")) == expected


def test_named_dtypes_and_what_is_refused():
    assert pick_dtype("fp32", CPU) is torch.float32 and pick_dtype("bf16", CPU) is torch.bfloat16
    assert pick_dtype("fp16", torch.device("cuda")) is torch.float16
    with pytest.raises(UserError, match="fp16 was asked on the CPU"):
        pick_dtype("fp16", CPU)
    with pytest.raises(UserError, match="'float32' but must be one of"):
        pick_dtype("float32", CPU)


def test_the_flag_check_agrees_with_torch_on_x86():
    if sys.platform == "linux" and "avx512f" in device_module.cpu_flags():
        assert cpu_has_fast_bf16() <= torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert isinstance(cpu_has_fast_bf16(), bool)


def test_hardware_is_plain_json_and_says_what_it_did_not_look_for(monkeypatch):
    found = hardware()
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"] and found["cores"] == usable_cores() >= 1 and found["torch"] == torch.__version__
    monkeypatch.delitem(sys.modules, "torch")
    assert hardware(import_torch=False)["gpu"] == "not looked for"


def test_fast_products_are_exact_fp32_or_refused():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with exact_fast_matmul(False):  # puts back what the call changes for the whole process
        enabled = enable_exact_fast_matmul()
        assert fp32_matmul_is_exact(), "whatever it answered, products must be exact afterwards"
        assert enabled or torch.backends.mkldnn.matmul.fp32_precision == before


def test_the_setting_comes_back_after_the_block():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(ZeroDivisionError), exact_fast_matmul():
        _ = 1 / 0
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    with exact_fast_matmul(False) as on:
        assert on is False and torch.backends.mkldnn.matmul.fp32_precision == before


class _Rounded:
    """Products as a CPU with AMX computes them under that setting: inputs rounded to `dtype` first."""

    def __init__(self, monkeypatch, dtype):
        plain, linear = torch.Tensor.__matmul__, torch.nn.functional.linear

        def rounded(t):
            return t.to(dtype).to(t.dtype) if t.dtype is torch.float32 else t

        monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: plain(rounded(a), rounded(b)))
        monkeypatch.setattr(torch.nn.functional, "linear", lambda a, w: linear(rounded(a), rounded(w)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_probe_sees_rounded_products(monkeypatch, dtype):
    _Rounded(monkeypatch, dtype)
    assert not fp32_matmul_is_exact()


def test_a_cpu_that_rounds_gets_its_old_setting_back(monkeypatch):
    before = torch.backends.mkldnn.matmul.fp32_precision
    _Rounded(monkeypatch, torch.bfloat16)
    assert enable_exact_fast_matmul() is False
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    monkeypatch.undo()
    monkeypatch.setattr(device_module, "cpu_has_amx", lambda: True)
    assert enable_exact_fast_matmul() is False
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def draws():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.randn(),
        torch.rand(3).tolist(),
        torch.randperm(5).tolist(),
    )


def test_the_same_seed_gives_the_same_draws():
    set_seed(7)
    first = draws()
    set_seed(7)
    assert draws() == first
    set_seed(8)
    assert draws() != first


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "3", True, None])
def test_a_seed_outside_the_range_is_refused(seed):
    with pytest.raises(UserError, match="seed is"):
        set_seed(seed)


def test_deterministic_is_asked_for_by_name():
    before = torch.are_deterministic_algorithms_enabled()
    try:
        set_seed(0)
        assert torch.are_deterministic_algorithms_enabled() == before
        set_seed(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_the_state_survives_json_and_safetensors():
    from safetensors.torch import load, save

    set_seed(3)
    random.gauss(0, 1)
    np.random.randn()  # both keep a second normal number in store: it is part of the state
    state = capture_rng()
    expected = draws()
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    plain = {k: v for k, v in state.items() if k not in tensors}
    assert {"torch"} <= set(tensors) and set(plain) == {"python", "numpy"}
    back = {**json.loads(json.dumps(plain)), **load(save(tensors))}
    set_seed(99)
    restore_rng(back)
    assert draws() == expected


def test_what_a_block_draws_does_not_show_afterwards():
    set_seed(5)
    expected = draws()
    set_seed(5)
    with pytest.raises(ZeroDivisionError), preserved_rng():
        draws()
        set_seed(1)
        _ = 1 / 0
    assert draws() == expected


def test_the_state_of_a_missing_gpu_is_passed_over():
    state = capture_rng()
    state["cuda.0"] = torch.zeros(16, dtype=torch.uint8)
    restore_rng(state)
    assert torch.equal(torch.get_rng_state(), state["torch"])
