"""The steps that `benchmark` takes in turn: the plain loop, one change after the other, and other people's models.

    plain           `plain_loop`: float32, SDPA, all logits, AdamW as torch builds it
    fused AdamW     our GPT and optimizer, all else the same: one pass over the optimizer's memory
    oneDNN          float32 products by oneDNN instead of the BLAS, where a probe finds them exact
    attention       attention arranged for training on this processor (`attention_mechanisms.choose_backend`)
    ours fp32       and the loss without keeping the logits: what `Trainer` does with dtype=fp32
    bf16            the plain step again, but for fused AdamW and bf16 autocast
    bf16 attention  and attention arranged for training
    ours            and the loss without keeping the logits: what `Trainer` does by default
    compiled        `Trainer` with compile=true

"Ours" is a real Trainer's forward pass, optimizer and clipping, under the settings it trains with. A rung of the
ladder is the same with one of them switched off. transformers and llms-from-scratch are trained by the plain loop,
in float32, as their users train them on a CPU; on a GPU all of them in bf16, the plain loop also compiled
(`plain compiled`). Notebook: 02 of this chapter.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from pretraining.config import TrainConfig
from pretraining.fast_loss import fast_loss
from pretraining.gradients import Pair, accumulate, clip_gradients
from pretraining.plain_loop import plain_like, plain_step
from pretraining.trainer import Trainer
from utils.device import exact_fast_matmul

LR = 1e-3
PEERS = {"transformers": "transformers", "llms-from-scratch": "llms_from_scratch"}


@dataclass(frozen=True)
class Rung:
    """What of a step is switched on."""

    dtype: str = "auto"
    onednn: bool = True
    attention: str = "auto"
    fast_loss: bool = True
    compile: bool = False


LADDER = {
    "fused AdamW": Rung("fp32", onednn=False, attention="sdpa", fast_loss=False),
    "oneDNN": Rung("fp32", attention="sdpa", fast_loss=False),
    "attention": Rung("fp32", fast_loss=False),
    "ours fp32": Rung("fp32"),
    "bf16": Rung(attention="sdpa", fast_loss=False),
    "bf16 attention": Rung(fast_loss=False),
    "ours": Rung(),
    "compiled": Rung(compile=True),
}


@dataclass
class Candidate:
    """One of the steps: `step()` gives its loss; inside `settings()` torch is set as it trains."""

    step: Callable[[], float]
    settings: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    same_weights: bool = True  # so its losses must be the plain loop's
    parameters: list[nn.Parameter] = field(default_factory=list)


def initial_model(shape: GPTConfig, seed: int) -> GPT:
    """The weights that all begin with."""
    torch.manual_seed(seed)
    return GPT(shape)


def plain(
    model: GPT, batches: Iterator[Pair], device: torch.device, *, half: bool = False, compile: bool = False
) -> Candidate:
    """The loop one writes first, with the weights of `model`."""
    own = plain_like(model).to(device)
    return Candidate(plain_step(own, _moved(batches, device), LR, half=half, compile=compile))


def ours(model: GPT, batches: Iterator[Pair], rung: Rung, device: str = "cpu") -> Candidate:
    """A step of `Trainer` on a copy of `model`, with what `rung` switches on."""
    own = GPT(replace(model.config, attn_backend=rung.attention))
    own.load_state_dict(model.state_dict())
    config = TrainConfig(
        steps=1,
        lr=LR,
        dtype=rung.dtype,
        device=device,
        compile=rung.compile,
        fast_loss=rung.fast_loss,
        exact_fast_matmul=rung.onednn,
    )
    trainer = Trainer(own, config, batches)
    own.train()

    def step() -> float:
        micro = [next(batches)]
        loss, _ = accumulate(trainer.forward, micro, device=trainer.device, dtype=trainer.dtype)
        clip_gradients(trainer.parameters, config.clip)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        return loss

    @contextlib.contextmanager
    def settings() -> Iterator[None]:
        on_cpu = trainer.device.type == "cpu"
        with exact_fast_matmul(rung.onednn and on_cpu):
            with fast_loss(own, rung.fast_loss and on_cpu and not rung.compile):
                yield

    return Candidate(step, settings, parameters=trainer.parameters)


def peer(
    name: str, model: GPT, batches: Iterator[Pair], device: torch.device, *, half: bool = False
) -> tuple[Candidate | None, str]:
    """Another project's model in the plain loop, or None and why there is none."""
    if importlib.util.find_spec(PEERS[name]) is None:
        return None, f"not measured: {PEERS[name]} is not installed"
    try:
        other = (_transformers if name == "transformers" else _llms_from_scratch)(model.config)
    except Exception as error:  # whatever another project raises
        return None, f"not measured: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    step = plain_step(other.train().to(device), _moved(batches, device), LR, half=half)
    return Candidate(step, same_weights=False), ""


class _WithLoss(nn.Module):
    """A model that gives logits, with the loss that its users write behind it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        out = self.model(ids)
        logits = getattr(out, "logits", out)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _transformers(c: GPTConfig) -> nn.Module:
    """GPT2LMHeadModel of the same sizes; it always has biases."""
    import transformers

    transformers.logging.set_verbosity_error()
    act = {"gelu": "gelu", "gelu_tanh": "gelu_new"}[c.mlp]
    sizes: dict[str, Any] = {
        "vocab_size": c.vocab_size,
        "n_positions": c.block_size,
        "n_embd": c.n_embd,
        "n_layer": c.n_layer,
    }
    drops: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = transformers.GPT2Config(
        **sizes, n_head=c.n_head, activation_function=act, use_cache=False, **drops
    )
    return _WithLoss(transformers.GPT2LMHeadModel(config))


def _llms_from_scratch(c: GPTConfig) -> nn.Module:
    """Its GPTModel of the same sizes: attention by a mask and a head of its own, as its book builds them."""
    from llms_from_scratch.ch04 import GPTModel

    sizes = {"vocab_size": c.vocab_size, "context_length": c.block_size, "emb_dim": c.n_embd}
    more = {"n_heads": c.n_head, "n_layers": c.n_layer, "drop_rate": 0.0, "qkv_bias": c.bias}
    return _WithLoss(GPTModel({**sizes, **more}))


def _moved(batches: Iterator[Pair], device: torch.device) -> Iterator[Pair]:
    for x, y in batches:
        yield x.to(device), y.to(device)


def believable(loss: float, vocab: int) -> bool:
    """Whether a fresh model may have this loss: about that of guessing evenly, ln V.

    >>> believable(4.17, 65), believable(9.0, 65)
    (True, False)
    """
    return abs(loss - math.log(vocab)) < 1.0
