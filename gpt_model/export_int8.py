"""A model on disk in a quarter of the bytes: matrices as int8 with one scale a row.

The idea: w ≈ code · scale, by `int_codes`, for every linear map and the table of embeddings. Norms, biases and
position tables are small and stay as they are. The file is an ordinary safetensors file: beside every `name` in int8
stands `name.scale` in float32, and config.json says `scratchbook-gpt-int8`.

Reading gives an ordinary model whose weights are the rounded ones, piece by piece as any other file. To compute in
int8 as well: `quantization.quantize` finds the same codes again. Rounding a row is off by half a step at most, 1/254
of its largest number, which the check after writing asks of every number.

Left out on purpose: int4, whose error needs a look at the perplexity first (`quantization` measures it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gpt_model.gpt import GPT
from gpt_model.int_codes import dequantize_rows, quantize_rows
from gpt_model.weight_files import WEIGHTS_FILE, SafetensorsFiles
from gpt_model.weights_io import CONFIG_FILE, build_model, own_moves, read_config
from utils.errors import RunFailure, UserError
from utils.files import atomic_write_json

INT8_TYPE = "scratchbook-gpt-int8"
SCALE = ".scale"


class Int8File(SafetensorsFiles):
    """A safetensors file whose int8 tensors are codes: `rows` multiplies them with their scales."""

    def __init__(self, path: Path) -> None:
        super().__init__([path], path)
        names = [name for name in self.shapes if name.endswith(SCALE)]
        self._scaled = {name.removesuffix(SCALE): self.shapes.pop(name) for name in names}
        for name, shape in self._scaled.items():
            if name not in self.shapes or shape != self.shapes[name][:1]:
                raise UserError(
                    f"{path}: {name}{SCALE} has shape {shape}, which fits no {name}: export again"
                )

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        piece = super().rows(name, start, stop)
        if name not in self._scaled:
            return piece
        return dequantize_rows(piece, self._file(self._home[name]).get_slice(name + SCALE)[start:stop])


def matrices(model: GPT) -> set[str]:
    """Names of the weights that are kept in int8: every linear map, and the table of token embeddings."""
    kinds = nn.Linear | nn.Embedding
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)}


def write_int8(model: GPT, folder: str | Path) -> Path:
    """Write model.safetensors with int8 matrices and its config.json; returns the weights' file."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen, tensors = matrices(model), {}
    for name, tensor in model.state_dict().items():
        kept = tensor.detach().cpu().contiguous()
        if name in chosen:
            tensors[name], tensors[name + SCALE] = quantize_rows(kept)
        else:
            tensors[name] = kept
    config = {"model_type": INT8_TYPE, **model.config.to_dict()}
    mode = atomic_write_json(folder / CONFIG_FILE, config).stat().st_mode
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt", "int8": "code * scale, by row"})
    (folder / WEIGHTS_FILE).chmod(mode)  # the library makes it private
    return folder / WEIGHTS_FILE


def read_int8(
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> GPT:
    """The model that `write_int8` wrote, with the rounded weights, in evaluation mode.

    Raises:
        UserError: another kind of folder, or a damaged file.
    """
    from gpt_model.config import GPTConfig

    folder = Path(folder)
    values = read_config(folder)
    if (kind := values.pop("model_type", None)) != INT8_TYPE:
        raise UserError(f"{folder / CONFIG_FILE} says model_type {kind!r}, not {INT8_TYPE}: export to=int8")
    config = GPTConfig.from_dict(values)
    return build_model(config, Int8File(folder / WEIGHTS_FILE), own_moves(config), device=device, dtype=dtype)


@dataclass(frozen=True)
class Rounding:
    """What rounding did.

    step_error: the largest error of a weight in steps of its row (0.5 is the worst that rounding can do).
    largest, logit: the largest difference of a logit, and the largest logit.
    loss, exact_loss: nats per token on a text that the exact model drew itself.
    share: bytes of the file beside those of the weights in their own precision.
    """

    step_error: float
    largest: float
    logit: float
    loss: float
    exact_loss: float
    share: float

    def __str__(self) -> str:
        return (
            f"largest difference of a logit {self.largest:.2g} (logits up to {self.logit:.2g}); loss on a text of its "
            f"own {self.exact_loss:.3f} -> {self.loss:.3f} nats; {self.share:.0%} of the bytes"
        )


@torch.inference_mode()
def compare_int8(model: GPT, folder: str | Path, *, start: int = 0, tokens: int = 64) -> Rounding:
    """Read the folder back; the rounding of its weights, and what it does to a text drawn from token `start`.

    Raises:
        RunFailure: a weight that is farther from its own than rounding can explain.
    """
    from gpt_model.generation import generate
    from gpt_model.sampling import Sampling

    folder = Path(folder)
    rounded = read_int8(folder)
    own, chosen = model.state_dict(), matrices(model)
    worst = 0.0
    for name, tensor in rounded.state_dict().items():
        exact = own[name].cpu().float()
        error = (tensor - exact).abs()
        step = exact.abs().amax(dim=-1, keepdim=True) / 127 if name in chosen else torch.zeros(())
        # Beside half a step: the scale and the product are float32, each right to 6e-8 of the number.
        steps = error / step.clamp(min=torch.finfo(torch.float32).tiny)
        if bool((error > 0.5 * step + 2e-7 * exact.abs()).any()):
            raise RunFailure(
                f"{name} came back {steps.max():.2g} steps from what it was, more than rounding does; nothing was kept"
            )
        worst = max(worst, steps.max().item()) if name in chosen else worst
    count = min(tokens, model.config.block_size - 1)
    drawn = generate(model, [[start]], max_new_tokens=count, sampling=Sampling(seed=0))[0]
    text = torch.tensor([[start, *drawn]], device=model.device)
    exact_out = model(text[:, :-1], targets=text[:, 1:])
    text = text.cpu()
    out = rounded(text[:, :-1], targets=text[:, 1:])
    assert exact_out.loss is not None and out.loss is not None
    difference = (exact_out.logits.cpu().float() - out.logits).abs().max().item()
    return Rounding(
        worst,
        difference,
        exact_out.logits.abs().max().item(),
        out.loss.item(),
        exact_out.loss.item(),
        (folder / WEIGHTS_FILE).stat().st_size / sum(tensor.nbytes for tensor in own.values()),
    )
