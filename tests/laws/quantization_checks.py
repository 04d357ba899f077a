"""Laws of quantised weights: half a step, one scale a row, the nibbles' order, engines that agree, ties that hold.

The reference for codes is worked out here number by number in Python from what is stored; the reference for a quantised
model is the float model with the numbers that the codes stand for.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from model_checks import assert_close, some_ids
from torch import Tensor, nn

from gpt_model import GPT
from gpt_model import int_codes as codes_of
from gpt_model.quantization import quantize
from gpt_model.quantized_layers import Int4Linear, Int8Embedding, Int8Linear, QuantizedLinear


def uneven(rows: int = 6, columns: int = 70, seed: int = 0) -> Tensor:
    """Weights whose rows differ a thousandfold in size, with a row of zeros and lone outliers on both sides."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * 10.0 ** torch.linspace(-3, 3, rows)[:, None]
    weight[0, 3], weight[1, 5], weight[-1] = weight[0].abs().max() * 9, -weight[1].abs().max() * 9, 0.0
    return weight


def check_rows(weight: Tensor | None = None) -> None:
    """int8: every number within half a step of its own row, whatever the other rows hold."""
    weight = uneven() if weight is None else weight
    codes, scale = codes_of.quantize_rows(weight)
    assert codes.dtype == torch.int8 and codes.shape == weight.shape, f"codes are {codes.dtype} {codes.shape}"
    back = codes_of.dequantize_rows(codes, scale)
    for row, (one, again) in enumerate(zip(weight, back, strict=True)):
        largest = one.abs().max().item()
        half = largest / 127 / 2
        off = (one - again).abs().max().item()
        assert off <= half * (1 + 1e-4), (
            f"row {row}, whose largest number is {largest:.3g}, errs by "
            f"{off / (2 * half):.2f} steps: "
            "half a step is the most. One scale for all rows spoils the small ones; a code of 128 wraps to -128"
        )


def check_groups(weight: Tensor | None = None, group: int = 16) -> None:
    """int4: every number within half a step of its own group, the shorter last group too."""
    weight = uneven() if weight is None else weight
    codes, scale, middle = codes_of.quantize_groups(weight, group)
    assert codes.max() <= 15, f"a code of {int(codes.max())} does not fit into four bits"
    back = codes_of.dequantize_groups(codes, scale, middle, weight.size(1))
    for row in range(weight.size(0)):
        for begin in range(0, weight.size(1), group):
            one, again = weight[row, begin : begin + group], back[row, begin : begin + group]
            half = (one.max() - one.min()).item() / 15 / 2
            rounding = 1e-5 * one.abs().max().item()
            off = (one - again).abs().max().item()
            assert off <= half * (1 + 1e-4) + rounding, (
                f"row {row}, columns {begin} to {begin + len(one) - 1}: an error of {off:.3g} where half a step is "
                f"{half:.3g}: a group's step follows from its own smallest and largest number, no filling among them"
            )


def check_nibbles(weight: Tensor | None = None, group: int = 16) -> None:
    """Stored bytes mean what the text says, the even column in the low four bits, and come back as the weights."""
    weight = uneven(4, 40) if weight is None else weight
    layer = Int4Linear(weight, group=group)
    read = layer.weight
    for row in range(weight.size(0)):
        for column in range(weight.size(1)):
            byte = int(layer.codes[row, column // 2])
            code = byte % 16 if column % 2 == 0 else byte // 16
            scale, middle = (float(part[row, column // group]) for part in (layer.scale, layer.middle))
            wanted, rounding = (code - 8) * scale + middle, 1e-5 * (abs(middle) + 8 * scale)
            where = f"row {row}, column {column}: byte {byte:#04x}"
            got, true = float(read[row, column]), float(weight[row, column])
            assert abs(got - wanted) <= rounding, (
                f"{where} means {wanted:.4g}, but {got:.4g} was read: the nibbles of a byte changed places"
            )
            assert abs(wanted - true) <= scale / 2 + rounding, (
                f"{where} means {wanted:.4g}, but stands for {true:.4g}: the nibbles changed places when written"
            )


def check_engines(
    kind: type[QuantizedLinear], dtype: torch.dtype, *, rows: int, columns: int, outputs: int
) -> None:
    """torch's packed kernel gives what the book gives, up to rounding."""
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    weight, bias = (
        torch.randn(outputs, columns, generator=generator),
        torch.randn(outputs, generator=generator),
    )
    layer = kind(weight, bias, engine="book").to(dtype)  # type: ignore[call-arg]
    x = torch.randn(rows, columns, generator=generator).to(dtype)
    book = layer(x).float()
    exact = x.double() @ layer.weight.double().t() + layer.bias.double()  # type: ignore[union-attr]
    layer.engine = "torch"
    # Roundings of scale, weight, sum and bias in the layer's precision, and a float32 sum of K products (Higham 3.1); a
    # sum that cancels is as wrong as its largest part.
    size = (x.double().abs() @ layer.weight.double().abs().t() + bias.double().abs()).float()
    allowed = 2 * torch.finfo(dtype).eps + columns * 2.0**-24
    for name, got in (("torch", layer(x).float()), ("book", book)):
        worst = ((got - exact).abs() / size).max().item()
        assert worst <= allowed, (
            f"engine {name}, {rows} rows of {columns} -> {outputs} in {dtype}: off by {worst:.1e} of the summands, "
            f"{allowed:.1e} is rounding: engines compute one product, in their own order"
        )


@torch.no_grad()
def check_model(model: GPT, mode: str) -> None:
    """A quantised model is the float model with other numbers in its linear maps, and nothing else."""
    ids = some_ids(2, 12, model.config.vocab_size)
    small = quantize(copy.deepcopy(model), mode, engine="book", group=8)
    swapped = [name for name, module in small.named_modules() if isinstance(module, QuantizedLinear)]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith("kv_up_proj"):
            assert name in swapped, f"{name} is still a float layer"
    assert "head" in swapped, "the head, tied or not, reads most bytes of a small model: it is to be int8"
    twin = copy.deepcopy(model)
    for name, module in twin.named_modules():
        if isinstance(module, nn.Linear) and name in swapped:
            module.weight.copy_(small.get_submodule(name).weight)
    if model.head is None:
        twin.token_embedding.weight.copy_(small.head.weight)
    hint = "quantising changed more than the numbers: a bias, an order of rows, or a table was lost"
    expected = twin(ids).logits
    assert_close(small(ids).logits, expected, 2e-5 * expected.abs().max().item(), hint)
    cache = small.new_cache(2, 12)
    pieces = [small(ids[:, :5], cache=cache).logits, small(ids[:, 5:], cache=cache).logits]
    hint = "a quantised model must give with a cache what it gives without"
    assert_close(torch.cat(pieces, 1), expected, 2e-5 * expected.abs().max().item(), hint)


def check_tie(model: GPT) -> None:
    """A tied head stays tied: rows of the embedding are those of the head, and one table is stored."""
    small = quantize(copy.deepcopy(model), "int8")
    table, head = small.token_embedding, small.head
    ids = torch.arange(model.config.vocab_size)
    assert isinstance(table, Int8Embedding) and isinstance(head, Int8Linear), (
        "a tied model keeps one table: embedding and head read the same codes"
    )
    assert torch.equal(table(ids), head.weight), (
        "the embedding looks up other numbers than the head multiplies by"
    )
    kept = [name for name in small.state_dict() if "token_embedding" in name]
    assert not kept, f"the table is stored twice: {kept}"


def check_scales_stay_wide(kind: type[Any] = Int8Linear) -> None:
    """After `.bfloat16()` the weights are the same numbers: scales are no activations."""
    layer = kind(uneven(8, 64))
    before = layer.weight.clone()
    layer.bfloat16()
    assert torch.equal(layer.weight, before), (
        "moving the layer to bf16 changed its weights: scales must stay in float32, in bf16 they are off by up to 1/512"
    )
