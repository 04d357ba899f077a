"""Smaller weights: swap a model's linear maps for int8 or int4 ones, and measure what that costs in perplexity.

    python -m gpt_model.quantization ckpt=assets
    python -m gpt_model.quantization ckpt=last engine=book documents=200

The idea: writing a token reads every weight once, so bytes are time. Weights are rounded to integers with one shared
step for each row (int8) or each 64 columns (int4); activations are left alone. What is swapped: every `nn.Linear` of
the blocks, and the head. The head is int8 in both modes, because an error there goes straight into the logits. A tied
head stays tied: one int8 table, whose rows are also the token embeddings. Norms, biases and positions stay as they are,
and so does MLA's `kv_up_proj`, whose numbers are folded into the query.

How the integers come about: `int_codes`; the layers and their engines: `quantized_layers`. Measured:
`results/quantization.json`. Left out on purpose: quantising activations, and codes fitted to data (GPTQ, AWQ).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from gpt_model.gpt import GPT

MODES = ("int8", "int4")
ENGINES = ("auto", "book", "torch", "torchao")
KEPT = ("kv_up_proj",)  # maps whose numbers are read, not only multiplied by
RESULT = Path(__file__).with_name("results") / "quantization.json"


def quantize(model: GPT, mode: str = "int8", *, group: int = 64, engine: str = "auto") -> GPT:
    """Swap the linear maps of `model` in place for int8 or int4 ones and return it, in evaluation mode.

    `group` is that of int4. `engine` is auto, book, torch (see `quantized_layers`) or torchao, which leaves nn.Linear
    where it is and puts that library's tensors into it. Raises UserError for an unknown mode or engine, one that is
    not there, and a model that is quantised already.
    """
    from torch import nn

    from gpt_model.quantized_layers import Int4Linear, Int8Embedding, Int8Linear, QuantizedLinear

    if mode not in MODES:
        raise UserError(f"mode is {mode!r}: choose one of {', '.join(MODES)}")
    if engine not in ENGINES:
        raise UserError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
    if is_quantized(model):
        raise UserError("the model is quantised already: load it again to quantise it otherwise")
    if engine == "torchao":
        return _by_torchao(model, mode, group)
    for parent in list(model.blocks.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name not in KEPT:
                layer: QuantizedLinear
                if mode == "int8":
                    layer = Int8Linear(child.weight, child.bias, engine=engine)
                else:
                    layer = Int4Linear(child.weight, child.bias, group=group, engine=engine)
                setattr(parent, name, layer)
    tied = model.head is None
    table = model.token_embedding if model.head is None else model.head
    head = Int8Linear(table.weight, getattr(table, "bias", None), engine=engine)
    if tied:
        model.token_embedding = Int8Embedding(head, model.dtype)  # type: ignore[assignment]
    model.head = head  # type: ignore[assignment]
    return model.eval()


def is_quantized(model: GPT) -> bool:
    """Whether any layer of the model holds integers."""
    from gpt_model.quantized_layers import QuantizedLinear

    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def weight_bytes(model: GPT) -> int:
    """Bytes of all that a checkpoint of the model would hold: parameters and codes, each storage once."""
    return sum({t.data_ptr(): t.nbytes for t in model.state_dict().values()}.values())


def _by_torchao(model: GPT, mode: str, group: int) -> GPT:
    """The same choice of layers with torchao's tensors and kernels."""
    try:
        from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise UserError(
            "engine torchao needs the package torchao: install it (pip install torchao), or choose engine=auto"
        ) from None
    from torch import nn

    if model.head is None:  # torchao needs a layer to put its tensors into
        model.head = nn.Linear(model.config.n_embd, model.config.vocab_size, bias=False, device="meta")
        model.head.weight = nn.Parameter(model.token_embedding.weight.detach().clone(), requires_grad=False)
    head = model.head

    def inner(module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Linear) and module is not head and not name.endswith(KEPT)

    config: Any = Int8WeightOnlyConfig() if mode == "int8" else Int4WeightOnlyConfig(group_size=group)
    quantize_(model, config, filter_fn=inner)
    quantize_(model, Int8WeightOnlyConfig(), filter_fn=lambda module, name: module is head)
    return model.eval()


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class QuantizationConfig:
    """Which model, on which text, in which modes."""

    ckpt: str = _key("assets", "assets, last, best, a run's id or a checkpoint folder")
    modes: tuple[str, ...] = _key(MODES, "some of int8, int4")
    group: int = _key(64, "columns that share a step in int4")
    engine: str = _key("auto", "auto, book, torch or torchao")
    dtype: str = _key("fp32", "precision of the activations: fp32 or bf16")
    text: str | None = _key(None, "file to measure on; null: Storyland's stories")
    documents: int = _key(200, "stories to measure on")
    seed: int = _key(777, "of the stories: one that no training uses")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        if not self.modes or set(self.modes) - set(MODES):
            raise UserError(f"modes={list(self.modes)} must name some of {', '.join(MODES)}")
        if self.engine not in ENGINES:
            raise UserError(f"engine is {self.engine!r}: choose one of {', '.join(ENGINES)}")
        if self.dtype not in ("fp32", "bf16"):
            raise UserError(f"dtype is {self.dtype!r}: choose fp32 or bf16")
        if self.documents < 1:
            raise UserError(f"documents is {self.documents}: at least one is needed")


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the results file."""
    config, _ = parse_args(
        argv,
        QuantizationConfig,
        prog="python -m gpt_model.quantization",
        description="Perplexity of a model with int8 and int4 weights, beside its own.",
        aliases={"--ckpt": "ckpt", "--out": "out"},
    )
    import torch

    from gpt_model.loading import load_model
    from gpt_model.quantization_report import compare_modes, held_out_ids, table
    from utils.timing import Timer, write_result

    loaded = load_model(config.ckpt)
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer of ours: perplexity is measured on text, name another ckpt"
        )
    ids = held_out_ids(loaded.tokenizer, config.text, config.documents, config.seed)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[config.dtype]

    def load() -> GPT:
        return load_model(config.ckpt).model.to(dtype)

    with Timer() as timer:
        figures = compare_modes(load, ids, modes=config.modes, group=config.group, engine=config.engine)
    print(table(figures))
    path = write_result(
        config.out,
        name="quantization",
        figures={**figures, "config": loaded.config.to_dict(), "text": config.text or "storyland"},
        command=" ".join(["python -m gpt_model.quantization", *command_words(config)]),
        seed=config.seed,
        notes="Weight-only: activations in dtype. Windows of block_size without overlap, text that was not trained on.",
    )
    print(f"{figures['tokens']:,} tokens in {timer.seconds:.0f} s; wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
