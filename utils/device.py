"""Which device, which number format, and what this machine is.

The idea: device and dtype are arguments everywhere; only here is "auto" turned into a choice, and it is made
from what the hardware says (capabilities, CPU flags), never from a timing that changes from run to run.
torch is imported inside the functions: asking for the CPU's name must not cost a second.
Left out: several devices in one run (`pretraining.distributed`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError
from utils.provenance import cpu_name, versions

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "fp32", "bf16", "fp16")
_fp32_through_onednn = False  # what `enable_exact_fast_matmul` did to this process


def pick_device(name: str = "auto") -> torch.device:
    """The device that `name` means; "auto" takes cuda, then mps, then cpu. An index is allowed: "cuda:1".

    Raises `UserError` for an unknown name and for a device that this machine or this torch does not have.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not (kind == "cuda" and index.isdigit())):
        raise UserError(f"device is {name!r} but must be one of {', '.join(DEVICES)} (or cuda:0, cuda:1, …)")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    if kind == "cuda":
        if not has_cuda:
            built = "was built without CUDA" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
            raise UserError(
                f"device=cuda was asked but torch {torch.__version__} {built}: use device=cpu or auto"
            )
        if index and int(index) >= torch.cuda.device_count():
            raise UserError(
                f"device={name} was asked but there are {torch.cuda.device_count()} CUDA devices, from 0"
            )
    if kind == "mps" and not has_mps:
        raise UserError(
            "device=mps was asked but this machine or torch has no Metal GPU: use device=cpu or auto"
        )
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format for the heavy arithmetic on `device`: fp32, bf16 or fp16.

    "auto" takes bf16 where the hardware multiplies it natively (CUDA from compute capability 8.0, CPUs with
    AVX512-BF16 or AMX) and fp32 elsewhere. Raises `UserError` for an unknown name and for fp16 on a CPU.
    """
    import torch

    if name not in DTYPES:
        raise UserError(f"dtype is {name!r} but must be one of {', '.join(DTYPES)}")
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            native = device.type == "cpu" and cpu_has_fast_bf16()
        name = "bf16" if native else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise UserError(
            "dtype=fp16 was asked on the CPU, where it is slow and overflows: use bf16, fp32 or auto"
        )
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets on Linux (`avx512_bf16`, `amx_bf16`, `bf16` on ARM), else none."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith(("flags", "features")):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass  # not Linux
    return frozenset()


def cpu_has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16, AMX-BF16, ARM bf16).

    Elsewhere bf16 is emulated and slower than fp32. Read from the CPU's flags: no torch, no timing.
    """
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "avx_ne_convert_bf16", "bf16"})


def cpu_has_amx() -> bool:
    """Whether this CPU has Intel's matrix tiles for bf16."""
    return "amx_bf16" in cpu_flags()


def enable_exact_fast_matmul() -> bool:
    """Send fp32 matrix products on the CPU through oneDNN instead of the BLAS, where that stays exact fp32.

    torch does so when it is told that bf16 precision is enough for fp32 matmuls. CPUs with AMX then really
    round to bf16; the others ignore the permission and compute in fp32, with oneDNN's faster kernels. So the
    setting is switched on, products are compared with float64, and it is switched off again unless every
    error lies within the bound of an fp32 sum. Returns whether it is on. Whole process; see also
    `exact_fast_matmul`. Large products gain (training), those with a few rows lose (decoding).
    """
    import torch

    global _fp32_through_onednn
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    if setting is None or not torch.backends.mkldnn.is_available():
        return False
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "bf16"
    except (RuntimeError, ValueError):  # a torch that does not know the value
        return False
    if cpu_has_amx() or not fp32_matmul_is_exact():
        setting.fp32_precision = before
        return False
    _fp32_through_onednn = True
    return True


def fp32_through_onednn() -> bool:
    """Whether `enable_exact_fast_matmul` is on: kernels that make many small fp32 products are slow under it.

    torch's SDPA on the CPU is one: 1.2 times slower at 512 tokens, 1.5 times at 256, 6 times at 64.
    """
    return _fp32_through_onednn


@contextlib.contextmanager
def exact_fast_matmul(wanted: bool = True) -> Iterator[bool]:
    """`enable_exact_fast_matmul` for the length of a block, then the setting that was there before.

    Yields whether it is on. `wanted=False` changes nothing, so a caller can pass its own flag.
    """
    import torch

    global _fp32_through_onednn
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    before = setting.fp32_precision if setting is not None else None
    was_on = _fp32_through_onednn
    try:
        yield wanted and enable_exact_fast_matmul()
    finally:
        _fp32_through_onednn = was_on
        if setting is not None:
            setting.fp32_precision = before


def fp32_matmul_is_exact() -> bool:
    """Whether fp32 products on the CPU are computed in fp32 under the settings of this moment.

    Two proofs, forward and transposed, at several shapes. Times the identity, numbers with 23 significant
    bits must come back bit for bit. And no entry of a random product may differ from float64 by more than
    K · 2⁻²⁴ · (|A| |B|), which holds for every order of an fp32 sum of K products (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1); one rounding to bf16 exceeds it by far.
    """
    import torch

    generator = torch.Generator().manual_seed(0)  # the global one is left alone
    for rows, inner, columns in ((64, 64, 64), (96, 128, 384), (512, 192, 768)):
        a = torch.randn(rows, inner, generator=generator)
        b = torch.randn(inner, columns, generator=generator)
        bound = inner * 2.0**-24 * (a.abs().double() @ b.abs().double())
        truth = a.double() @ b.double()
        identity = torch.eye(inner)
        for product in (a @ b, torch.nn.functional.linear(a, b.t().contiguous()), (b.t() @ a.t()).t()):
            if bool(((product.double() - truth).abs() > bound).any()):
                return False
        if not (torch.equal(a @ identity, a) and torch.equal(identity @ b, b)):
            return False
    return True


def keep_freed_memory() -> bool:
    """Ask glibc's allocator to keep large freed blocks instead of giving them back to the system.

    A training step frees and asks again for the same tensors of tens of megabytes. By default each of them is
    mapped anew and its pages are faulted in one by one; kept, they are simply used again. A model 192 wide
    trained on 10 to 26 % more tokens/s in pairs of runs one after the other; the one clean pair at 128 wide showed
    no difference. The price is that the process holds on to its peak memory. For the whole process, so a command
    calls it, never a library function. Returns whether it was done: only on Linux with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    import ctypes

    m_trim_threshold, m_mmap_threshold = -1, -3  # from malloc.h
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(m_mmap_threshold, 1 << 30) and libc.mallopt(m_trim_threshold, (1 << 31) - 1))


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and a container's CPU quota where one is set."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or the quota is "max"
        return affinity


def memory_bytes() -> int | None:
    """Memory that this process may use: the machine's, or a container's limit where that is smaller."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return total


def hardware(*, import_torch: bool = True) -> dict[str, Any]:
    """What a result must say about its machine: cpu, cores, memory_bytes, os, torch, gpu, …

    `import_torch=False` reports GPUs only when torch is loaded already, else gpu is "not looked for".
    """
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "os": f"{platform.system()} {platform.release()}",
        "fast_bf16": cpu_has_fast_bf16(),
        "amx": cpu_has_amx(),
        "torch": versions(["torch"]).get("torch"),
        "gpu": "not looked for",
    }
    if import_torch or "torch" in sys.modules:
        import torch

        found["torch"] = str(torch.__version__)
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
            found["gpu"] = [{"name": p.name, "memory_bytes": p.total_memory} for p in names]
        elif torch.backends.mps.is_available():
            found["gpu"] = [{"name": "Apple Metal (MPS)", "memory_bytes": None}]
        else:
            found["gpu"] = None
    return found
