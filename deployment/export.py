"""`python -m deployment.export ckpt=assets out=edge`: a folder that runs on a small machine.

    edge/run.py             python run.py "Once upon a time": needs numpy and onnxruntime, not torch, not this book
    edge/step.onnx          one decode step, its cache an input and an output (`gpt_model.export_step`), int8 by default
    edge/tokenizer.json     and book/, the few modules of this book that can read it, found by loading it
    edge/requirements.txt   at the versions that this was tried with

Matrices are rounded to int8 with one scale a matrix by ONNX Runtime (`quantize_dynamic`); activations are rounded
while it runs. What that costs is measured on a text that the exact model drew, and printed. For other programs
(transformers, torch.export, our own int8) there is `scratchbook export`.

The idea is that of `gpt_model.export`: an export that nobody has read back is a hope. So the folder is run, by another
process in which neither torch nor this checkout can be imported, before it gets its name.
Left out: anything but Python at the other end; ONNX Runtime has bindings for more.
Notebook: `01_from_laptop_to_cloud`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import RunFailure, UserError
from utils.files import atomic_dir, atomic_write_text
from utils.provenance import project_root

if TYPE_CHECKING:
    from gpt_model.loading import LoadedModel

PRECISIONS = ("int8", "fp32")
NEEDS = ("numpy", "onnxruntime", "regex")
TEXT = 48  # tokens that are drawn to compare on
PROBE = """
import json, runpy, sys
sys.modules["torch"] = None  # importing it fails
folder, prompt, tokens, text = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
made = runpy.run_path(folder + "/run.py", run_name="probe")
from pathlib import Path
tokenizer, step = made["load_tokenizer"](Path(folder)), made["Step"](Path(folder))
ids = list(made["write"](step, prompt, tokens=tokens))
import numpy as np
step.reset()
loss = 0.0
for token, following in zip(text, text[1:]):
    logits = step(token).astype(np.float64)
    loss += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[following]
ours = [m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("utils", "working_with_text_data")]
strange = [f for f in ours if not f.startswith(folder)]
print(json.dumps({"ids": ids, "loss": loss / (len(text) - 1), "text": tokenizer.decode(ids), "strange": strange}))
"""
README = """# A model in a folder

Made by `python -m deployment.export` of the LLM Scratchbook. To run it:

    pip install -r requirements.txt
    python run.py "Once upon a time"

`run.py --help` lists the rest. The context is {capacity} tokens; weights are {precision}.
"""


@dataclass(frozen=True)
class EdgeConfig:
    """What to export, and how small."""

    ckpt: str = field(
        default="assets", metadata={"help": "assets, last, best, a run, or a checkpoint folder"}
    )
    out: str = field(default="export-edge", metadata={"help": "folder to write"})
    precision: str = field(default="int8", metadata={"help": "int8 or fp32"})
    capacity: int | None = field(
        default=None, metadata={"help": "tokens of the context (default: block_size)"}
    )


@dataclass(frozen=True)
class Edge:
    """A finished folder, and what was found when it was run.

    The first `same` of `of` greedy tokens are the model's own; losses are of a text that the exact model drew.
    """

    folder: Path
    bytes: int
    same: int
    of: int
    loss: float
    exact_loss: float

    def __str__(self) -> str:
        return (
            f"run back without torch: the first {self.same} of {self.of} greedy tokens are the model's own; loss on a "
            f"text that it drew {self.exact_loss:.3f} -> {self.loss:.3f} nats"
        )


def export_edge(
    loaded: LoadedModel,
    out: str | Path,
    *,
    precision: str = "int8",
    capacity: int | None = None,
    say: Callable[[str], None] = lambda stage: None,
) -> Edge:
    """Write the folder, run it in a process of its own, compare. Nothing is left behind when anything goes wrong.

    Raises:
        UserError: no tokenizer, a folder that is not empty, a precision or a model that cannot be exported so.
        RunFailure: what ran computes something else, or needs what a small machine has not.
    """
    from gpt_model.export_step import compare_step, need_onnx, write_step

    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer: a folder without one can write nothing")
    need_onnx()
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: name another folder with out=, or remove it")
    with atomic_dir(out) as folder:
        say("tracing the step")
        write_step(loaded.model, folder, "onnx", capacity=capacity)
        compare_step(loaded.model, folder).require("the step that was read back")
        if precision == "int8":
            say("rounding weights")
            _round(folder / "step.onnx")
        loaded.tokenizer.save(folder / "tokenizer.json")
        shutil.copyfile(Path(__file__).with_name("edge_run.py"), folder / "run.py")
        for file in tokenizer_modules(folder / "tokenizer.json"):
            target = folder / "book" / file.relative_to(project_root())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        meta = json.loads((folder / "step.json").read_text(encoding="utf-8"))
        atomic_write_text(folder / "requirements.txt", "".join(f"{line}\n" for line in _requirements()))
        atomic_write_text(folder / "README.md", README.format(capacity=meta["capacity"], precision=precision))
        say("running it without torch")
        found = run_back(loaded, folder, exact=precision == "fp32")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return Edge(out, size, *found)


def _round(path: Path) -> None:
    """Replace the graph by one with int8 matrices."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    rounded = path.with_name("rounded.onnx")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # its advice is about graphs that are not ours
    try:
        quantize_dynamic(path, rounded, weight_type=QuantType.QInt8)
    finally:
        logging.disable(before)
    rounded.replace(path)


def tokenizer_modules(file: Path) -> list[Path]:
    """The files of this book that reading this tokenizer and using it takes, found by doing it in a new process."""
    code = (
        "import sys; from working_with_text_data.tokenizer import load_tokenizer\n"
        "t = load_tokenizer(sys.argv[1]); t.decode(t.encode_ordinary('Ein Würfel, 3 naïve 猫!\\n'))\n"
        "t.token_bytes(0), t.special_tokens\n"
        "print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file.resolve())], capture_output=True, text=True, cwd=project_root()
    )
    if done.returncode:
        raise RunFailure(f"{file} cannot be used: {done.stderr.strip().splitlines()[-1]}")
    files = [Path(line) for line in done.stdout.splitlines()]
    chapters = [path for path in files if path.is_relative_to(project_root()) and path.suffix == ".py"]
    ours = ("utils", "working_with_text_data")
    return sorted(path for path in chapters if path.relative_to(project_root()).parts[0] in ours)


def _requirements() -> list[str]:
    from deployment.image import constraints

    versions = constraints()
    return [f"{name}=={versions[name]}" for name in NEEDS]


def run_back(loaded: LoadedModel, folder: Path, *, exact: bool) -> tuple[int, int, float, float]:
    """(greedy tokens equal, of how many, loss in the folder, loss of the model), from a process without torch.

    Raises RunFailure when it does not run, when it used files of this checkout, and, where `exact`, when a token
    differs.
    """
    import torch

    from gpt_model.generation import generate
    from gpt_model.sampling import Sampling

    block = json.loads((folder / "step.json").read_text(encoding="utf-8"))["capacity"]
    special = loaded.tokenizer.special_tokens.get("<|endoftext|>")
    prompt = ([] if special is None else [special]) + loaded.tokenizer.encode_ordinary("Once upon a time")
    prompt = prompt[: max(1, block // 2)]
    count = min(TEXT, block - len(prompt))
    wanted = generate(loaded.model, [prompt], max_new_tokens=count, sampling=Sampling(temperature=0.0))[0]
    drawn = [*prompt, *generate(loaded.model, [prompt], max_new_tokens=count, sampling=Sampling(seed=0))[0]]
    arguments = [str(folder.resolve()), json.dumps(prompt), str(len(wanted)), json.dumps(drawn)]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, cwd=folder.resolve()
    )
    if done.returncode:
        raise RunFailure(f"the folder does not run: {done.stderr.strip().splitlines()[-1]}; nothing was kept")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["strange"]:
        raise RunFailure(
            f"the folder used {found['strange'][0]}, which a small machine has not; nothing was kept"
        )
    pairs = list(
        zip(found["ids"], wanted)
    )  # once two texts differ they are two texts, so the beginning is compared
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    if exact and found["ids"] != list(wanted):
        raise RunFailure(f"greedy token {same + 1} of {len(wanted)} came back as another; nothing was kept")
    ids = torch.tensor([drawn], device=loaded.model.device)
    with torch.inference_mode():
        output = loaded.model(ids[:, :-1], targets=ids[:, 1:])
    assert output.loss is not None
    return same, len(wanted), found["loss"], output.loss.item()


def main(argv: list[str] | None = None) -> int:
    """Export, run back, say what was found. Returns 0."""
    config, _ = parse_args(
        argv, EdgeConfig, prog="python -m deployment.export", description=(__doc__ or "").split("\n\n")[0]
    )
    if config.precision not in PRECISIONS:  # before torch is imported
        raise UserError(f"precision is {config.precision!r}: choose one of {', '.join(PRECISIONS)}")
    from gpt_model.export import stages
    from gpt_model.loading import load_model

    with stages(total=4) as say:
        loaded = load_model(config.ckpt)
        edge = export_edge(loaded, config.out, precision=config.precision, capacity=config.capacity, say=say)
    print(edge)
    print(f"wrote {edge.folder} ({edge.bytes / 1e6:.1f} MB)")
    print(f"next: python {edge.folder}/run.py 'Once upon a time'")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
