"""`scratchbook doctor`: what this machine has, what is missing, and whether a model computes what it should.

The idea: most trouble is an absent package or a torch build that does not fit the machine. The first is a
table with the command that adds what is missing; the second is a forward pass whose answer is known. Its
weights come from a formula (a sine of the index), not from random numbers or a file, and its logits were
computed once in float64 by independent NumPy code, which is kept in tests/gpt_model/test_doctor.py.
"""

import argparse
import platform
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from utils.cli import run_main

if TYPE_CHECKING:
    import torch

    from gpt_model.gpt import GPT

INSTALL = "pip install -c constraints.txt -e '.[{extra}]'"

# extra of pyproject.toml -> {distribution: module it brings}; "" is the core.
PACKAGES: dict[str, dict[str, str]] = {
    "": {
        "torch": "torch",
        "numpy": "numpy",
        "tiktoken": "tiktoken",
        "safetensors": "safetensors",
        "matplotlib": "matplotlib",
        "omegaconf": "omegaconf",
        "rich": "rich",
        "regex": "regex",
    },
    "notebooks": {
        "jupyter": "jupyter",
        "nbclient": "nbclient",
        "nbformat": "nbformat",
        "ipykernel": "ipykernel",
    },
    "data": {
        "datasets": "datasets",
        "pyarrow": "pyarrow",
        "ftfy": "ftfy",
        "datafog": "datafog",
        "py3langid": "py3langid",
        "rensa": "rensa",
    },
    "hf": {"transformers": "transformers", "tokenizers": "tokenizers", "peft": "peft"},
    "classify": {"scikit-learn": "sklearn"},
    "export": {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"},
    "galore": {"galore-torch": "galore_torch"},
    "track": {"wandb": "wandb", "tensorboard": "tensorboard"},
    "chat": {"chainlit": "chainlit"},
    "serve": {"nicegui": "nicegui", "fastapi-offline": "fastapi_offline"},
    "cloud": {"modal": "modal"},
    "dev": {"pytest": "pytest", "hypothesis": "hypothesis", "ruff": "ruff", "mypy": "mypy"},
}

KNOWN_SHAPE: dict[str, Any] = {
    "vocab_size": 11,
    "block_size": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 8,
    "position": "rope",
    "norm": "rmsnorm",
    "mlp": "swiglu",
    "mlp_hidden": 16,
    "bias": False,
}
KNOWN_IDS = [1, 7, 3, 10, 0, 7]
# Logits of the last token, in float64.
KNOWN_LOGITS = [
    -2.6403411244378185,
    2.3940084927167,
    -2.06894799651624,
    1.6758493718045047,
    -1.227639813847296,
    0.739058861557925,
    -0.2261736822484665,
    -0.2941493031752977,
    0.8047990787723187,
    -1.2889827357237889,
    1.730777713419102,
]
# float32 carries 24 bits and the pass adds up a few hundred products: the error is about 1e-6.
TOLERANCE = 1e-5


def known_model() -> "GPT":
    """The small model whose weights are a formula.

    Number i of parameter number p (in the order of the names, flattened) is sin(0.37 i + p), times 0.5 for a
    matrix, and 1 + 0.1 times it for the weight of a norm.
    """
    import torch

    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT

    model = GPT(GPTConfig.from_dict(KNOWN_SHAPE)).eval()
    with torch.no_grad():
        for p, (_, parameter) in enumerate(sorted(model.named_parameters())):
            wave = torch.sin(0.37 * torch.arange(parameter.numel(), dtype=torch.float64) + p)
            values = 1 + 0.1 * wave if parameter.dim() == 1 else 0.5 * wave
            parameter.copy_(values.view_as(parameter))
    return model


def known_answer_error(device: "torch.device") -> float:
    """Largest difference from the known logits, over the plain and the cached pass, on `device`."""
    import torch

    model = known_model().to(device)
    ids = torch.tensor([KNOWN_IDS], device=device)
    known = torch.tensor(KNOWN_LOGITS, dtype=torch.float64)
    with torch.inference_mode():
        plain = model(ids).logits[0, -1]
        cache = model.new_cache(1)
        model(ids[:, :4], cache=cache)
        cached = model(ids[:, 4:], cache=cache).logits[0, -1]
    return max((logits.double().cpu() - known).abs().max().item() for logits in (plain, cached))


def installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def package_rows() -> list[tuple[str, str, str]]:
    """(extra, what is installed, the command that adds the rest or "") for the core and every extra."""
    rows = []
    for extra, packages in PACKAGES.items():
        missing = [name for name, module in packages.items() if not installed(module)]
        present = [f"{name} {_version(name)}" for name in packages if name not in missing]
        command = INSTALL.format(extra=extra) if extra else "pip install -c constraints.txt -e ."
        rows.append((extra or "core", ", ".join(present) or "nothing", command if missing else ""))
    return rows


def machine_rows() -> list[tuple[str, str]]:
    """Facts about this machine, as pairs of name and value."""
    from utils.device import hardware

    facts = hardware()
    memory = facts.get("memory_bytes")
    gpus = facts.get("gpu")
    return [
        ("Python", f"{platform.python_version()} on {facts.get('os')}"),
        ("processor", f"{facts.get('cpu')} ({facts.get('cores')} cores usable)"),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"),
        ("GPU", ", ".join(gpu["name"] for gpu in gpus) if isinstance(gpus, list) else "none"),
        ("torch", f"{facts.get('torch')} with {facts.get('threads')} threads"),
        ("fast bf16", "yes" if facts.get("fast_bf16") else "no: training runs in float32"),
    ]


def check_devices() -> list[tuple[str, float]]:
    """The known-answer error on the CPU and on the accelerator, if there is one."""
    import torch

    from utils.device import pick_device

    devices = {torch.device("cpu"), pick_device("auto")}
    return [(str(device), known_answer_error(device)) for device in sorted(devices, key=str)]


def main(argv: list[str] | None = None) -> int:
    """Print the report. Returns 0 when the core is there and the known answer is met, 1 otherwise."""
    argparse.ArgumentParser(
        prog="scratchbook doctor",
        description="What this machine has, what is missing, and a known-answer check.",
    ).parse_args(argv)
    if not installed("rich") or not installed("torch"):
        print("error: the core is not installed: " + package_rows()[0][2])
        return 1
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = Table("this machine", "", title="scratchbook doctor")
    for name, value in machine_rows():
        machine.add_row(name, value)
    console.print(machine)

    rows = package_rows()
    packages = Table("part", "installed", "to add what is missing")
    for extra, present, command in rows:
        packages.add_row(extra, present, command.replace("[", r"\[") or "complete")
    console.print(packages)

    healthy = not rows[0][2]
    for device, error in check_devices():
        met = error <= TOLERANCE  # a NaN is not
        healthy &= met
        verdict = "right" if met else "WRONG: this torch build computes wrong numbers here; reinstall it"
        console.print(f"known answer on {device}: {verdict} (error {error:.1e}, tolerance {TOLERANCE:.0e})")
    console.print("healthy: next, try `scratchbook demo`" if healthy else "not healthy: see above")
    return 0 if healthy else 1


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "?"


if __name__ == "__main__":
    raise SystemExit(run_main(main))
