"""The laws of a base in four bits (LF7) as plain functions. References: the paper's table, loops, bitsandbytes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lora_checks import KINDS, ids_of, logits, model_of, shake, worst
from torch import Tensor

from finetuning import lora, nf4, qlora
from gpt_model.int_codes import unpack_nibbles

# Dettmers et al. 2023, arXiv 2305.14314, appendix E
PAPER = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def normal(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def check_codes() -> None:
    """The sixteen values are the paper's."""
    off = float((nf4.nf4_codes() - torch.tensor(PAPER)).abs().max())
    assert off <= 1e-6, (
        f"a code is off by {off:.1e}: quantiles of N(0, 1), seven below zero, zero, eight above"
    )


def check_nearest() -> None:
    """Every weight becomes the nearest code of its block, found by looking at all sixteen in float64."""
    weight = normal(6, 128)
    blocks = nf4.quantize_nf4(weight, double=False)
    codes = unpack_nibbles(blocks.packed[None])[0]
    table = torch.tensor(PAPER, dtype=torch.float64)
    for place, value in enumerate(weight.flatten().tolist()):
        block = weight.flatten()[place // 64 * 64 : place // 64 * 64 + 64].double()
        distance = (table - value / float(block.abs().max())).abs()
        got = float(distance[int(codes[place])])
        assert got <= float(distance.min()) + 1e-7, (
            f"weight {place} ({value:.4f}) has code {int(codes[place])}, nearer is {int(distance.argmin())}: "
            "divide by the largest absolute value of its own 64 and round to the nearest"
        )


def check_exact_on_codes() -> None:
    """Numbers that are codes times an absmax come back exactly, through packing and a last block that is not full."""
    table = nf4.nf4_codes()
    picks = torch.randint(16, (5, 40), generator=torch.Generator().manual_seed(1))
    picks.flatten()[::64] = 15  # each block holds its largest
    weight = table[picks] * 0.5
    back = nf4.dequantize_nf4(nf4.quantize_nf4(weight, double=False))
    assert torch.equal(back, weight), f"{int((back != weight).sum())} of {weight.numel()} code values changed"
    assert not nf4.dequantize_nf4(nf4.quantize_nf4(torch.zeros(3, 64))).any(), "zero must stay zero"
    pruned = normal(4, 64).relu()
    kept = nf4.dequantize_nf4(nf4.quantize_nf4(pruned))
    assert not kept[pruned == 0].any(), (
        "zero must stay zero among other numbers too: it has a code of its own"
    )


def check_error(double: bool) -> None:
    """The RMS error on N(0, 1) in blocks of 64 is 0.0919 σ within 2 %, also with constants in bytes."""
    weight = normal(512, 512)
    error = float(
        (nf4.dequantize_nf4(nf4.quantize_nf4(weight, double=double)) - weight).square().mean().sqrt()
    )
    assert abs(error / 0.0919 - 1) <= 0.02, f"the RMS error is {error:.4f} σ, NF4 has 0.0919 at blocks of 64"


def check_constants_in_bytes() -> None:
    """Each absmax comes back within half a step of its own 256, and the step is their spread over 255."""
    absmax = normal(1, 700).abs()[0] * 0.05 + 3.0
    kept = nf4.Blocks(torch.zeros(0), *nf4.quantize_constants(absmax), (1, 1), 64)
    back = nf4.constants(kept)
    for start in range(0, 700, 256):
        own = absmax[start : start + 256].double()
        filled = torch.cat((own, own[-1:].expand(256 - len(own))))
        half = float((filled - filled.mean()).abs().max()) / 255
        off = float((back[start : start + 256].double() - own).abs().max())
        assert off <= half * 1.01 + 1e-6, (
            f"an absmax is off by {off:.1e}, half a step is {half:.1e}: take the mean of the 256 away first"
        )


def check_bytes() -> None:
    """What is kept is 4.5 bits a weight, 4.129 with constants in bytes, counted from the tensors themselves."""
    weight = normal(256, 512)
    for double, bits in ((False, 4 + 32 / 64), (True, 4 + 8 / 64 + 64 / (64 * 256))):
        have = 8 * nf4.quantize_nf4(weight, double=double).nbytes / weight.numel()
        assert abs(have - bits) <= 1e-9 and abs(nf4.bits_per_weight(double=double) - bits) <= 1e-9, (
            f"{have:.3f} bits a weight are kept, {bits:.3f} are said: two codes share a byte, 64 weights a constant"
        )


def check_equals_bitsandbytes() -> None:
    """Codes and constants are bitsandbytes' own; its double quantization is no more precise than ours."""
    import bitsandbytes.functional as theirs

    weight = normal(96, 128, seed=3) * 0.02
    packed, state = theirs.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    ours = nf4.quantize_nf4(weight, double=False)
    flat = packed.flatten()
    codes = torch.stack((flat >> 4, flat & 15), dim=-1).flatten()  # theirs have the first in the high bits
    differ = int((codes != unpack_nibbles(ours.packed[None])[0]).sum())
    assert differ == 0, f"{differ} of {weight.numel()} codes differ from bitsandbytes'"
    assert torch.equal(state.absmax, ours.absmax), "absmax differ from bitsandbytes'"
    off = worst(theirs.dequantize_4bit(packed, state), nf4.dequantize_nf4(ours)) / float(weight.abs().max())
    assert off <= 1e-6, f"the same codes mean numbers that differ by {off:.1e}"
    twice = theirs.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    their_error = (theirs.dequantize_4bit(*twice) - weight).square().mean().sqrt()
    our_error = (nf4.dequantize_nf4(nf4.quantize_nf4(weight)) - weight).square().mean().sqrt()
    assert our_error <= 1.01 * their_error, (
        f"double quantization: {our_error:.2e} here, {their_error:.2e} there"
    )


def check_layer(engine: str, double: bool = True) -> None:
    """y and dL/dx of the quantised layer are those of the matrix that its codes stand for; nothing else learns."""
    generator = torch.Generator().manual_seed(2)
    plain = torch.nn.Linear(128, 96)
    kind = qlora.NF4Linear if engine == "book" else qlora.BitsAndBytesLinear
    layer = kind(plain.weight, plain.bias, double=double)
    assert worst(layer.weight, plain.weight) < 0.2 * float(plain.weight.detach().abs().max())
    x = torch.randn(5, 128, generator=generator, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    y, wanted = layer(x), torch.nn.functional.linear(other, layer.weight, plain.bias)
    gradient = torch.randn(5, 96, generator=generator)
    y.backward(gradient)
    wanted.backward(gradient)
    assert worst(y, wanted) <= 1e-5, f"the product is off by {worst(y, wanted):.1e}"
    assert x.grad is not None and other.grad is not None
    assert worst(x.grad, other.grad) <= 1e-5, (
        "the gradient must pass through the matrix that was multiplied with"
    )
    assert not any(p.requires_grad for p in layer.parameters()), "a quantised map is only read"


def check_nothing_wide_is_kept() -> None:
    """Autograd keeps no matrix of floats for the backward pass: that would be all the memory that was saved."""
    layer, kept = qlora.NF4Linear(normal(96, 128)), []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        layer(torch.randn(2, 128, requires_grad=True)).sum()
    assert max(kept, default=0) < 96 * 128, (
        "the matrix made of the codes is kept until the backward pass, for all layers at once: make it anew there"
    )


def check_constants_stay_wide() -> None:
    """A model that moves to bf16 keeps its constants in float32, and its codes what they were."""
    layer = qlora.NF4Linear(normal(32, 64), double=True)
    before = layer.weight
    layer.to(torch.bfloat16)
    assert torch.equal(layer.weight, before), "rounding the constants to bf16 moves every weight of a block"


def check_merge_of_four_bits() -> None:
    """Merging gives bf16 of (what the codes stand for + scale · B A), and unmerging the codes back."""
    model = qlora.quantize_base(lora.apply_lora(model_of(), KINDS["lora"], seed=3))
    shake(model)
    before, apart = copy.deepcopy(model.state_dict()), logits(model)
    wanted = {
        path: layer.base.weight + KINDS["lora"].scale * (layer.lora_B["default"] @ layer.lora_A["default"])
        for path, layer in lora.lora_layers(model).items()
    }
    lora.merge_lora(model)
    for path, layer in lora.lora_layers(model).items():
        rounded = wanted[path].to(torch.bfloat16).float()
        assert torch.equal(layer.weight, rounded), f"{path} is not the sum, rounded to bf16"
    merged = logits(model)
    lora.unmerge_lora(model)
    lora.set_adapter(model, None)
    change = worst(logits(model), apart)
    lora.set_adapter(model, "default")
    assert worst(merged, apart) <= change / 5, "rounding to bf16 undoes what the adapter does"
    assert torch.equal(logits(model), apart)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), f"{name} is not what it was before the merge"


def check_merge_cost() -> None:
    """What a merge costs: bf16 a hundredth of a small change or less of its like in 4 bits, told as measured here."""
    model: Any = lora.apply_lora(model_of(n_embd=64), KINDS["lora"], seed=3)
    with torch.no_grad():
        for name, parameter in lora.lora_parameters(model).items():
            parameter.normal_(std=0.02 if "lora_B" in name else 0.1)
    qlora.quantize_base(model)
    said = qlora.merge_cost(model)
    change = lost = 0.0
    for layer in lora.lora_layers(model).values():
        delta = KINDS["lora"].scale * layer.lora_B["default"].double() @ layer.lora_A["default"].double()
        exact = layer.base.weight.double() + delta
        back = nf4.dequantize_nf4(nf4.quantize_nf4(exact.float())).double()
        change, lost = change + float(delta.square().sum()), lost + float((back - exact).square().sum())
    measured = (lost / change) ** 0.5
    assert abs(said["nf4"] / measured - 1) <= 0.01, (
        f"merging to NF4 loses {measured:.2f}, not {said['nf4']:.2f}"
    )
    assert said["bf16"] < said["nf4"] / 10, "bf16 has four more bits: it must lose far less"


def check_engines_agree() -> None:
    """The whole model by the book and by bitsandbytes, with an adapter on it."""
    ids = ids_of()
    results = []
    for engine in qlora.ENGINES:
        model = qlora.quantize_base(model_of(n_embd=64), double=False, engine=engine)
        lora.apply_lora(model, KINDS["lora"], seed=3)
        shake(model)
        results.append(logits(model, ids))
    off = worst(*results) / float(results[0].abs().max())
    assert off <= 1e-5, f"book and bitsandbytes differ by {off:.1e}"
