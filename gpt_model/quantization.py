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

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
