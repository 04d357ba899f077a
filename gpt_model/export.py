"""`python -m gpt_model.export`: a model for other programs, written, read back and compared.

python -m gpt_model.export ckpt=assets to=hf out=storyteller-hf

    to=hf      a folder for transformers: AutoModelForCausalLM and AutoTokenizer     `export_huggingface`
    to=torch   one decode step with its cache as inputs and outputs (torch.export)   `export_step`
    to=onnx    the same step for ONNX Runtime                                        `export_step`
    to=int8    our own folder with int8 weights, a quarter of the bytes              `export_int8`

The idea: an export that nobody has read back is a hope. So it is written under a hidden name, loaded by the program
that it is meant for, compared with the model, and only then given its name. What differs is not kept.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError, closest, did_you_mean
from utils.files import atomic_dir

if TYPE_CHECKING:
    from gpt_model.loading import LoadedModel

TARGETS = ("hf", "torch", "onnx", "int8")
Say = Callable[[str], None]


@dataclass(frozen=True)
class ExportConfig:
    """What to export, for whom, and where to."""

    ckpt: str = field(default="last", metadata={"help": "assets, last, best, a run, or a checkpoint folder"})
    to: str = field(default="hf", metadata={"help": "hf, torch, onnx or int8"})
    out: str | None = field(default=None, metadata={"help": "folder to write (default: export-<to>)"})
    tokenizer: str = field(
        default="own", metadata={"help": "own (the checkpoint's), none, or a tokenizer file"}
    )
    batch: int = field(default=1, metadata={"help": "torch, onnx: rows of the step"})
    capacity: int | None = field(
        default=None, metadata={"help": "torch, onnx: tokens a row may have (default: block_size)"}
    )


@dataclass(frozen=True)
class Exported:
    """A finished export: its folder, and what was found when it was read back."""

    folder: Path
    findings: tuple[str, ...]


def check_target(to: str) -> None:
    """Raise a UserError for a target that there is not."""
    if to not in TARGETS:
        hint = did_you_mean(closest(to, TARGETS))
        raise UserError(f"to is {to!r}: {hint}choose one of {', '.join(TARGETS)}")


def export(
    loaded: LoadedModel,
    to: str,
    out: str | Path,
    *,
    batch: int = 1,
    capacity: int | None = None,
    say: Say = lambda stage: None,
) -> Exported:
    """Write the model (and its tokenizer, if it has one) to the folder `out`, read it back and compare.

    `say` is told what is being done. Nothing is left behind when anything goes wrong.

    Raises:
        UserError: an unknown target, a folder that is not empty, a model that the target cannot hold, a package
            that is not installed.
        RunFailure: what was read back computes something else.
    """
    from gpt_model.quantization import is_quantized

    check_target(to)
    if is_quantized(loaded.model):
        raise UserError("the model is quantised: export the one that it was made from (to=int8 rounds it)")
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: name another folder with out=, or remove it")
    with atomic_dir(out) as folder:
        if to == "hf":
            findings = _to_huggingface(loaded, folder, say)
        elif to == "int8":
            findings = _to_int8(loaded, folder, say)
        else:
            findings = _to_step(loaded, folder, to, batch, capacity, say)
    return Exported(out, tuple(findings))


def _to_huggingface(loaded: LoadedModel, folder: Path, say: Say) -> list[str]:
    from gpt_model.export_huggingface import compare_with_transformers, family_of, notes, write_huggingface
    from gpt_model.export_tokenizer import check_same_ids, special_ids, write_tokenizer
    from working_with_text_data.optional_packages import need

    family = family_of(loaded.model)  # before anything is written
    need("transformers", "an export for transformers", "hf")
    say("writing weights")
    write_huggingface(
        loaded.model, folder, **({} if loaded.tokenizer is None else special_ids(loaded.tokenizer))
    )
    if loaded.tokenizer is not None:
        say("writing the tokenizer")
        write_tokenizer(loaded.tokenizer, folder, loaded.config)
    say("reading back with transformers")
    agreement, same = compare_with_transformers(loaded.model, folder)
    agreement.require("what transformers read back")
    told = [f"transformers reads it as {family.architecture}: {agreement}", f"greedy tokens equal: {same}"]
    if loaded.tokenizer is not None:
        say("comparing tokenizers")
        told.append(f"tokens of awkward texts equal: {check_same_ids(loaded.tokenizer, folder)}")
    return told + [f"note: {note}" for note in notes(loaded.model)]


def _to_int8(loaded: LoadedModel, folder: Path, say: Say) -> list[str]:
    from gpt_model.export_int8 import compare_int8, write_int8
    from gpt_model.export_tokenizer import end_of_text

    say("rounding weights")
    write_int8(loaded.model, folder)
    _copy_tokenizer(loaded.tokenizer, folder)
    say("reading back")
    end = None if loaded.tokenizer is None else end_of_text(loaded.tokenizer)
    return [f"read back: {compare_int8(loaded.model, folder, start=end[1] if end else 0)}"]


def _to_step(
    loaded: LoadedModel, folder: Path, to: str, batch: int, capacity: int | None, say: Say
) -> list[str]:
    from gpt_model.export_step import compare_step, write_step

    say(f"tracing the step for {to}")
    write_step(loaded.model, folder, to, batch=batch, capacity=capacity)
    _copy_tokenizer(loaded.tokenizer, folder)
    say("running it back")
    agreement = compare_step(loaded.model, folder).require("the step that was read back")
    return [f"run back, token by token: {agreement}"]


def _copy_tokenizer(tokenizer: Any, folder: Path) -> None:
    if tokenizer is not None:
        tokenizer.save(folder / "tokenizer.json")


@contextlib.contextmanager
def stages(total: int) -> Iterator[Say]:
    """A bar of `total` stages on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda stage: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading", total=total)

        def say(stage: str) -> None:
            bar.update(task, description=stage, advance=1)

        yield say


def next_command(to: str, out: Path, tokenizer: Any = None) -> str:
    """What a person does with the folder."""
    if to == "hf" and tokenizer is not None:
        from gpt_model.export_tokenizer import end_of_text

        start = (end_of_text(tokenizer) or ("",))[0]  # what every training text began with
        return (
            f"python -c \"import transformers as t; print(t.pipeline('text-generation', '{out}')"
            f"('{start}Once upon a time', max_new_tokens=60)[0]['generated_text'])\""
        )
    if to == "hf":
        return f"python -c \"from gpt_model import GPT; print(GPT.from_pretrained('{out}').config)\""
    if to == "int8":
        return f"python -m gpt_model.sample --ckpt {out} --prompt 'Once upon a time' --stream"
    return (
        f"python -c \"from gpt_model.export_step import load_step; s = load_step('{out}'); import torch; "
        'print(s.step(torch.zeros(s.batch, 1, dtype=torch.long)).shape)"'
    )


def main(argv: list[str] | None = None) -> int:
    """Export one model. Returns 0."""
    config, _ = parse_args(
        argv, ExportConfig, prog="scratchbook export", description=(__doc__ or "").split("\n\n")[0]
    )
    check_target(config.to)  # before torch is imported
    from dataclasses import replace

    from gpt_model.loading import load_model

    out = Path(config.out or f"export-{config.to}")
    with stages(total=4) as say:
        loaded = load_model(config.ckpt)
        loaded = replace(loaded, tokenizer=_tokenizer(config.tokenizer, loaded, config.to))
        done = export(loaded, config.to, out, batch=config.batch, capacity=config.capacity, say=say)
    for line in done.findings:
        print(line)
    size = sum(file.stat().st_size for file in done.folder.rglob("*") if file.is_file())
    print(f"wrote {done.folder} ({size / 1e6:.1f} MB)")
    print(f"next: {next_command(config.to, done.folder, loaded.tokenizer)}")
    return 0


def _tokenizer(choice: str, loaded: LoadedModel, to: str) -> Any:
    """The tokenizer that goes with the weights: the checkpoint's own, none, or the one of a file."""
    if choice == "none":
        return None
    if choice != "own":
        from working_with_text_data.tokenizer import load_tokenizer

        return load_tokenizer(choice)
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer: name its file with tokenizer=FILE, or export the weights alone with "
            "tokenizer=none"
        )
    return loaded.tokenizer


if __name__ == "__main__":
    raise SystemExit(run_main(main))
