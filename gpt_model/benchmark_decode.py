"""Our candidates of `benchmark`: the decode step in every precision, eager and compiled, and what each must equal.

Equality comes before time. In float32 the ids must be those of the model without a cache, except where two candidates
are so near to each other that the order of a sum decides (`part_at_ties`). In every mode the step's logits are compared
with those of the same weights computed in float32 in one pass: bf16 with the float model's, int8 and int4 with those
of the numbers that their codes stand for. The allowed difference is a share of the largest logit, `TOLERANCE`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gpt_model.decode_step import DecodeStep
from gpt_model.gpt import GPT
from gpt_model.quantization import quantize
from gpt_model.quantized_layers import QuantizedLinear
from utils.errors import RunFailure
from utils.timing import Timer, synchronize

MODES = ("fp32", "bf16", "int8", "int4")
# bf16 keeps 8 bits; sixty roundings in a row through 12 layers stayed below 2 % of the largest logit. int8 and int4
# compute in bf16, too.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.05, "int4": 0.05}
CHECKED_STEPS = 16


class OurRun:
    """Greedy writing by a prefill and a `DecodeStep`; a callable (ids, new) -> new ids (B, new)."""

    def __init__(self, model: GPT, mode: str, batch: int, capacity: int, *, compile: bool) -> None:
        self.model, self.mode = model, mode
        self.cache = model.new_cache(batch, capacity)
        with Timer() as timer:
            self.step = DecodeStep(model, self.cache, compile=compile)
        self.build_s, self.prefill_s = timer.seconds, [0.0]
        filled = (
            1.0 if self.step.compiled else 0.5
        )  # of the cache, on average: a compiled step looks at all slots
        self.step_bytes = linear_bytes(model) + int(filled * self.cache.nbytes)

    @torch.inference_mode()
    def __call__(self, ids: Tensor, new: int) -> Tensor:
        with Timer() as timer:
            tokens = [self.prefill(ids).argmax(-1, keepdim=True)]
            synchronize()
        self.prefill_s.append(timer.seconds)
        for _ in range(new - 1):
            tokens.append(self.step(tokens[-1], self.cache).argmax(-1, keepdim=True))
        return torch.cat(tokens, dim=1)

    def prefill(self, ids: Tensor) -> Tensor:
        """The prompt in one pass: logits (B, V) of its last place."""
        self.cache.reset()
        return self.model(ids, cache=self.cache, last_only=True).logits[:, -1]

    @torch.inference_mode()
    def forced(self, ids: Tensor, text: Tensor) -> Tensor:
        """Logits (B, n, V) of the steps that feed text (B, n) after the prompt ids, whatever they would choose."""
        self.prefill(ids)
        return torch.stack([self.step(text[:, i : i + 1], self.cache) for i in range(text.size(1))], dim=1)


def model_for(base: GPT, mode: str) -> GPT:
    """A copy of the float32 model in the precision that a mode decodes with."""
    if mode == "fp32":
        return base
    model = copy.deepcopy(base)
    if mode != "bf16":
        quantize(model, mode)  # of the float32 weights: rounding twice would find other codes
    return model.bfloat16()


def linear_bytes(model: GPT) -> int:
    """Bytes that one step reads of the weights: every linear map once, and the table of a tied head."""
    total = sum(
        tensor.nbytes
        for module in model.modules()
        if isinstance(module, nn.Linear | QuantizedLinear)
        for tensor in module.state_dict().values()
    )
    return total + (model.token_embedding.weight.nbytes if model.head is None else 0)


@torch.inference_mode()
def reference_ids(model: GPT, ids: Tensor, new: int) -> Tensor:
    """What greedy writing gives by the model's own forward pass and cache."""
    cache = model.new_cache(ids.size(0), ids.size(1) + new)
    tokens = [model(ids, cache=cache, last_only=True).logits[:, -1].argmax(-1, keepdim=True)]
    for _ in range(new - 1):
        tokens.append(model(tokens[-1], cache=cache).logits[:, -1].argmax(-1, keepdim=True))
    return torch.cat(tokens, dim=1)


@torch.inference_mode()
def part_at_ties(model: GPT, ids: Tensor, expected: Tensor, got: Tensor, name: str) -> int:
    """How many rows leave the expected ids at a tie of two logits; RunFailure where one leaves them otherwise."""
    parted = 0
    for row in range(len(ids)):
        differs = (expected[row] != got[row]).nonzero()
        if not len(differs):
            continue
        place = int(differs[0])
        text = torch.cat((ids[row], expected[row, :place]))[None]
        logits = model(text, last_only=True).logits[0, -1]
        gap = (logits[expected[row, place]] - logits[got[row, place]]).abs() / logits.abs().max()
        if gap > TOLERANCE["fp32"]:
            raise RunFailure(
                f"{name} writes another token than the model at place {place} of row {row}, and their logits differ "
                f"by {gap:.1e} of the largest: nothing was timed"
            )
        parted += 1
    return parted


def check_logits(run: OurRun, base: GPT, ids: Tensor, text: Tensor, name: str) -> dict[str, float]:
    """The step's logits along a text against the same weights in float32; RunFailure beyond the tolerance.

    Returns the difference, and for quantised weights how far quantising alone moved the logits.
    """
    steps = min(CHECKED_STEPS, text.size(1))
    got = run.forced(ids, text[:, :steps]).float()
    whole = torch.cat((ids, text[:, :steps]), dim=1)
    floats = forward(base, whole, steps)
    wanted = floats
    if run.mode in ("int8", "int4"):
        wanted = forward(quantize(copy.deepcopy(base), run.mode, engine="book"), whole, steps)
    largest = wanted.abs().max()
    off = ((got - wanted).abs().max() / largest).item()
    if not off <= TOLERANCE[run.mode]:
        raise RunFailure(
            f"{name}: logits differ from the same weights in float32 by {off:.1e} of the largest, "
            f"{TOLERANCE[run.mode]:g} is allowed: nothing was timed"
        )
    return {"rounding": off, "quantising": ((wanted - floats).abs().max() / largest).item()}


@torch.inference_mode()
def forward(model: GPT, text: Tensor, last: int) -> Tensor:
    """Logits of the last places of a text in one pass without a cache."""
    return model(text).logits[:, -last:].float()
