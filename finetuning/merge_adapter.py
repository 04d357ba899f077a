"""`python -m finetuning.merge_adapter adapter=FOLDER out=FOLDER`: a base and its adapter become one ordinary model.

    python -m finetuning.merge_adapter adapter=runs/sft/ID/checkpoints/step_000500 out=merged
    python -m finetuning.merge_adapter base=assets adapter=poet out=assets_poet into=bf16

The adapter is a folder with peft's two files; one from a checkpoint of ours also says where its base is and whether it
was in four bits. What is written is W + ΔW in the base's precision, in bf16 where the base was in four bits: what the
adapter was trained against is the rounded base, so that is what it is added to. A merge back into four bits is not
offered; what it would lose is printed. Checkpoints of adapter runs are merged already: this is for adapters that came
alone, and for another precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class MergeConfig:
    """Which adapter, on which base, to where."""

    adapter: str = _key("", "folder with adapter_config.json and adapter_model.safetensors")
    base: str | None = _key(
        None, "the model it is for: assets, a run, a folder; null: what its adapter.json names"
    )
    out: str = _key("", "folder to write, which must not hold a model yet")
    into: str = _key("auto", "precision of the matrices: auto (the base's; bf16 over four bits), fp32, bf16")

    def __post_init__(self) -> None:
        if self.into not in PRECISIONS:
            extra = "; in 4 bits the sum would be rounded once more" if self.into == "nf4" else ""
            raise UserError(f"into is {self.into!r}: choose one of {', '.join(PRECISIONS)}{extra}")


def open_pair(config: MergeConfig) -> tuple[Any, Any, str]:
    """The base with the adapter on it, its tokenizer, and the template that it answers in."""
    from finetuning.adapters import check_base, load_adapter, open_adapted, read_reference
    from finetuning.templates import template_of
    from gpt_model.loading import load_model

    folder = Path(config.adapter)
    base = None if config.base is None else load_model(config.base)
    reference = read_reference(folder)
    if reference and (base is None or reference.get("quantized")):
        found = open_adapted(folder, base=None if base is None else base.path)
        return found.model, found.tokenizer, template_of(folder)
    if base is None:
        raise UserError(f"{folder} does not say which model it is for: name it with base=MODEL")
    check_base(base.path, folder)
    load_adapter(base.model, folder)
    return base.model, base.tokenizer, template_of(folder if reference else base.path)


def merge(config: MergeConfig) -> tuple[Path, dict[str, float]]:
    """Write the merged model; returns its folder and what rounding the sum would lose (`qlora.merge_cost`).

    Raises UserError for a folder that holds a model already, and whatever opening the adapter refuses.
    """
    import torch

    from finetuning.adapters import merged_state
    from finetuning.lora import linear_maps
    from finetuning.qlora import merge_cost
    from finetuning.templates import TEMPLATE_FILE
    from gpt_model.weights_io import CONFIG_FILE, MODEL_TYPE, write_tensors
    from utils.files import atomic_write_json

    if not config.adapter or not config.out:
        raise UserError("say which adapter=FOLDER to merge and where to: out=FOLDER")
    out = Path(config.out)
    if (out / CONFIG_FILE).exists():
        raise UserError(f"{out} holds a model already: give another out=FOLDER")
    model, tokenizer, template = open_pair(config)
    cost = merge_cost(model)
    tensors = merged_state(model)
    if config.into != "auto":
        kind = torch.bfloat16 if config.into == "bf16" else torch.float32
        for path, _ in linear_maps(model):
            tensors[f"{path}.weight"] = tensors[f"{path}.weight"].to(kind)
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(out / "model.safetensors", tensors)
    if tokenizer is not None:
        tokenizer.save(out / "tokenizer.json")
    atomic_write_json(out / TEMPLATE_FILE, {"template": template})
    atomic_write_json(out / CONFIG_FILE, {"model_type": MODEL_TYPE, **model.config.to_dict()})
    return out, cost


def main(argv: Sequence[str] | None = None) -> int:
    """Merge, say what it cost, name the next command."""
    config, _ = parse_args(
        argv,
        MergeConfig,
        prog="python -m finetuning.merge_adapter",
        description=(__doc__ or "").split("\n\n")[0],
    )
    out, cost = merge(config)
    print(f"rounding to bf16 moves the matrices by {cost['bf16']:.1%} of what the adapter changed;")
    print(f"rounding them to 4 bits would by {cost['nf4']:.0%} of it, so the matrices are kept wider")
    print(f"merged: {out}")
    print(f"next: scratchbook chat --ckpt {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
