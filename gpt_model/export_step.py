"""One decode step as a graph, its cache an input and an output: for machines without this code.

The idea: a graph has no objects that grow, so what a step remembers goes in and comes out again:

    logits, mask, *cache  =  step(ids, mask, *cache)        ids (B, 1), mask (B, capacity), logits (B, vocab)

All shapes are fixed. The cache is a belt: the newest token is laid at its right end, everything else moves one place
to the left. So the newest token always stands last, as in a batch padded on the left, and the model's own
`forward` is traced unchanged, windows and ALiBi included; `mask` says which places hold a token, and positions
are counted from it. Rows may begin at different times. Moving the belt copies the cache, as any step of a graph
without side effects does.

`torch.export` (PyTorch 2 export) writes `step.pt2`; torch.onnx writes `step.onnx` for ONNX Runtime. Beside it
`step.json` names inputs and outputs. Left out on purpose: a prefill of many tokens at once (a prompt is fed token
by token), rings for windows (the belt keeps `capacity` tokens), and attention sinks, which cannot be padded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attention_mechanisms.kv_cache import KVCache, LayerCache
from attention_mechanisms.token_store import TokenStore
from gpt_model.export_compare import Agreement, agree, probe_ids
from gpt_model.gpt import GPT
from utils.errors import UserError
from utils.files import atomic_write_json

FILES = {"torch": "step.pt2", "onnx": "step.onnx"}
META = "step.json"
LARGEST_FILE = 1 << 30  # bytes of weights inside an .onnx file; its format ends at 2 GiB
Run = Callable[..., Sequence[Tensor]]


class BeltLayer(LayerCache):
    """Two tensors (B, …, capacity, width) of one layer; `append` moves them to the left and adds on the right."""

    def __init__(self, cache: KVCache, kept: tuple[Tensor, Tensor]) -> None:
        super().__init__(cache)
        self.kept = kept

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        """None: the tensors belong to the caller of the step."""
        return ()

    def append(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, or latents and rotary keys, of the new tokens -> all that the belt holds then."""
        moved = [torch.cat((old[..., new.size(-2) :, :], new), dim=-2) for old, new in zip(self.kept, (a, b))]
        self.kept = (moved[0], moved[1])
        return self.kept


class BeltCache(KVCache):
    """A cache that lives for one step and always looks full: see the module's text."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__(tensors[0].size(0), tensors[0].size(-2), tensors[0].device)
        self.length = self.capacity - 1  # the new token takes the last place
        self.belts = [BeltLayer(self, (a, b)) for a, b in zip(tensors[::2], tensors[1::2], strict=True)]
        self.layers = self.belts

    def like(self, batch: int) -> BeltCache:
        return BeltCache(
            [kept.new_zeros(batch, *kept.shape[1:]) for belt in self.belts for kept in belt.kept]
        )

    def set_attention_mask(self, mask: Tensor) -> None:
        """Nothing: the mask is given anew at every step."""

    def advance(self, new: int) -> None:
        """Nothing: the belt is always full."""


class Step(nn.Module):
    """The function that is exported."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """ids (B, 1), mask bool (B, capacity) and the cache before the token -> logits (B, V), mask, cache after it."""
        mask = torch.cat((mask[:, 1:], torch.ones_like(mask[:, :1])), dim=1)
        belt = BeltCache(cache)
        logits = self.model(ids, cache=belt, attention_mask=mask).logits[:, -1]
        return logits, mask, *(kept for layer in belt.belts for kept in layer.kept)


def empty_inputs(model: GPT, batch: int, capacity: int) -> tuple[Tensor, ...]:
    """What the first step is called with: ids (to be replaced), a mask without a token, an empty cache."""
    config = model.config
    attn: Any = model.blocks[0].attn
    if getattr(config, "attention_sinks", 0):
        raise UserError(
            f"attention_sinks is {config.attention_sinks}: an exported step pads its cache on the left, where sinks "
            "would be padding; export to=hf or int8, or use a model without sinks"
        )
    if config.ngram_rows:
        raise UserError(
            f"ngram_rows is {list(config.ngram_rows)}: an exported step is given one token and knows no earlier ones; "
            "export to=int8, or use a model without n-gram embeddings"
        )
    if not 1 <= capacity <= config.block_size or batch < 1:
        raise UserError(
            f"capacity is {capacity} and batch {batch}: give 1 to block_size {config.block_size} tokens and at "
            "least one row"
        )
    shapes: list[tuple[int, ...]]
    if config.attention == "mla":
        shapes = [(batch, capacity, attn.latent_dim), (batch, capacity, attn.rope_dim)]
    else:
        shapes = [(batch, attn.n_kv_head, capacity, attn.head_dim)] * 2
    dtype = model.dtype
    cache = [torch.zeros(shape, dtype=dtype) for _ in range(config.n_layer) for shape in shapes]
    mask = torch.zeros(batch, capacity, dtype=torch.bool)
    return torch.zeros(batch, 1, dtype=torch.long), mask, *cache


def names_of(model: GPT) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs, in order."""
    parts = ("latent", "rope") if model.config.attention == "mla" else ("k", "v")
    cache = [f"{part}_{layer}" for layer in range(model.config.n_layer) for part in parts]
    return ["ids", "mask", *cache], ["logits", "mask_out", *(f"{name}_out" for name in cache)]


def write_step(
    model: GPT, folder: str | Path, to: str = "torch", *, batch: int = 1, capacity: int | None = None
) -> Path:
    """Export the decode step of `model` into `folder`; returns the file. The model stays as it is.

    `to` is torch or onnx; `capacity` is how many tokens a row may have (default and limit: block_size).

    Raises:
        UserError: a model with attention sinks, sizes that do not fit, a package that is not installed.
    """
    if to not in FILES:
        raise UserError(f"to is {to!r}: a step is exported to one of {', '.join(FILES)}")
    if to == "onnx":
        need_onnx()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = empty_inputs(model, batch, capacity or model.config.block_size)
    path = folder / FILES[to]
    # By hand, attention is a few products and a softmax, which every runtime has.
    with _evaluated(model), _backend(model, "manual"), torch.no_grad(), _quiet():
        program = torch.export.export(Step(model), inputs, strict=False)
        if to == "torch":
            torch.export.save(program, path)
        else:
            ins, outs = names_of(model)
            size = sum(tensor.nbytes for tensor in program.state_dict.values())
            aside = size > LARGEST_FILE  # then the weights lie beside the graph
            torch.onnx.export(
                program,
                f=str(path),
                dynamo=True,
                verbose=False,
                external_data=aside,
                input_names=ins,
                output_names=outs,
            )
    describe(model, inputs, folder / META, to)
    return path


def describe(model: GPT, inputs: Sequence[Tensor], path: Path, to: str) -> None:
    """Write `step.json`: the format, every input with shape and dtype, the outputs, and the configuration."""
    ins, outs = names_of(model)
    rows = [
        {"name": name, "shape": list(x.shape), "dtype": str(x.dtype).removeprefix("torch.")}
        for name, x in zip(ins, inputs, strict=True)
    ]
    batch, capacity = inputs[1].shape
    values = {"format": to, "file": FILES[to], "batch": batch, "capacity": capacity, "inputs": rows}
    atomic_write_json(path, {**values, "outputs": outs, "config": model.config.to_dict()})


def need_onnx() -> None:
    """Raise a UserError that names the first package missing for ONNX."""
    from working_with_text_data.optional_packages import need

    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package, "an export to=onnx", "export")


class StepRunner:
    """An exported step with its state: `step(ids)` gives the logits of the next token, `reset()` begins anew."""

    def __init__(self, run: Run, inputs: Sequence[dict[str, Any]]) -> None:
        self.run, self.inputs = run, inputs
        self.batch, self.capacity = inputs[1]["shape"]
        self.reset()

    def reset(self) -> None:
        """Forget all tokens."""
        empty = [torch.zeros(row["shape"], dtype=getattr(torch, row["dtype"])) for row in self.inputs[1:]]
        self.length, self.state = 0, empty

    def step(self, ids: Tensor) -> Tensor:
        """Feed one token a row, (B, 1); logits (B, vocab_size). A full belt is a UserError."""
        if self.length == self.capacity:
            raise UserError(
                f"the exported step has room for {self.capacity} tokens and all are used: reset it, or export "
                "with a larger capacity"
            )
        if tuple(ids.shape) != (self.batch, 1):
            raise UserError(f"ids have shape {tuple(ids.shape)}: this step takes {(self.batch, 1)}")
        logits, *self.state = self.run(ids, *self.state)
        self.length += 1
        return logits


def load_step(folder: str | Path) -> StepRunner:
    """The step that `write_step` wrote into `folder`, ready to run on the CPU.

    Raises:
        UserError: no step there, a damaged one, or a package that is not installed.
    """
    folder = Path(folder)
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        path, inputs = folder / meta["file"], meta["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder} holds no exported step ({META} is absent or damaged): export one"
        ) from None
    if not path.is_file():
        raise UserError(f"{path} does not exist: export the step again")
    run = _torch_run(path) if meta["format"] == "torch" else _onnx_run(path, [row["name"] for row in inputs])
    return StepRunner(run, inputs)


def _torch_run(path: Path) -> Run:
    try:
        module = torch.export.load(path).module()
    except Exception as error:
        raise UserError(f"{path} is damaged or from another torch ({type(error).__name__})") from None
    return torch.no_grad()(module)


def _onnx_run(path: Path, names: Sequence[str]) -> Run:
    need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"{path} is damaged or cannot run here ({type(error).__name__})") from None

    def run(*tensors: Tensor) -> list[Tensor]:
        given = {name: x.numpy() for name, x in zip(names, tensors, strict=True)}
        return [torch.from_numpy(x) for x in session.run(None, given)]

    return run


@torch.inference_mode()
def compare_step(model: GPT, folder: str | Path, *, steps: int = 24) -> Agreement:
    """Load the step back and feed it random tokens; its logits against one whole forward pass of the model."""
    runner = load_step(folder)
    ids = probe_ids(model.config.vocab_size, rows=runner.batch, length=min(steps, runner.capacity))
    with _evaluated(model):
        whole = model(ids).logits
    stepped = torch.stack([runner.step(ids[:, t : t + 1]) for t in range(ids.size(1))], dim=1)
    return agree(whole, stepped)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters log and warn of their own inner workings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _evaluated(model: GPT) -> Iterator[None]:
    """Without dropout, and as it was afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextlib.contextmanager
def _backend(model: GPT, backend: str) -> Iterator[None]:
    """Attention by one backend in every layer, and as it was afterwards."""
    layers: list[Any] = [block.attn for block in model.blocks]
    before = [layer.backend for layer in layers]
    try:
        for layer in layers:
            layer.backend = backend
        yield
    finally:
        for layer, old in zip(layers, before):
            layer.backend = old
