"""A language model with another head: one score a label instead of one a token of the vocabulary.

The idea: what stands in the residual stream at the *last real token* has seen the whole text, so a small linear map of
it can say what the text is about. Nothing below the head changes, and the old head goes. Radford et al. 2018
("Improving Language Understanding by Generative Pre-Training", section 3.2). `pool="mean"` averages over all real
tokens instead.

Texts of a batch differ in length, and GPT-2 has no token for padding. Here padding is the id −1, which no tokenizer
gives out, so a real token can never be taken for it. Padding on the right is invisible to causal attention and needs no
mask; padding on the left gets one, and positions count real tokens only. Either way the logits are those of the text
alone (law LF5). The classic bug reads position −1 of the row, which in all rows but the longest is padding.
Left out on purpose: encoders that look both ways, several labels a text, regression.
Notebook: 01 of this chapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT, INIT_STD, Output
from utils.errors import UserError

PADDING = -1  # no tokenizer gives this id out
IGNORE = -100  # the label that does not count, as everywhere
MODEL_TYPE = "scratchbook-classifier"
POOLS = ("last", "mean")
KEEPS = ("start", "end", "ends")


@dataclass(frozen=True)
class ClassifierConfig:
    """What makes a classifier of a GPT. Saved with it, because a prediction depends on each of these.

    `keep` says which part of a text that is too long is read: its start, its end, or both ends.
    `class_weights` multiply the loss of a training example by its label. `lora` is the adapter's config, if it has one.
    """

    labels: tuple[str, ...]
    pool: str = "last"
    max_tokens: int = 256
    keep: str = "start"
    dropout: float = 0.0
    class_weights: tuple[float, ...] | None = None
    lora: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # a list, where it came from JSON
        if self.class_weights is not None:
            object.__setattr__(self, "class_weights", tuple(self.class_weights))
        if len(set(self.labels)) < 2 or len(set(self.labels)) != len(self.labels):
            raise UserError(f"labels are {list(self.labels)}: a classifier needs two different ones or more")
        if self.pool not in POOLS:
            raise UserError(f"pool is {self.pool!r}: choose {' or '.join(POOLS)}")
        if self.keep not in KEEPS:
            raise UserError(f"keep is {self.keep!r}: choose {', '.join(KEEPS)}")
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"dropout is {self.dropout}: it must be at least 0.0 and below 1.0")
        weights = self.class_weights
        if weights is not None and (len(weights) != len(self.labels) or min(weights) <= 0):
            raise UserError(
                f"class_weights are {list(weights)}: give {len(self.labels)} positive numbers, one for each of "
                f"{', '.join(self.labels)}"
            )


class Body(GPT):
    """A GPT without its head: for ids it gives the normed residual stream (B, T, n_embd)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(replace(config, tie_weights=True, logit_softcap=None))  # so no head is made

    def unembed(self, x: Tensor) -> Tensor:
        """The stream after the final norm, which is where the old head looked."""
        return self.final_norm(x)


class Classifier(nn.Module):
    """`body` and a linear `head` over the labels; a model for the pretraining `Trainer`, one label a row."""

    def __init__(self, shape: GPTConfig, config: ClassifierConfig) -> None:
        super().__init__()
        if not 2 <= config.max_tokens <= shape.block_size:
            raise UserError(
                f"max_tokens is {config.max_tokens}: it must lie between 2 and block_size, which is {shape.block_size}"
            )
        self.settings = config
        self.body = Body(shape)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(shape.n_embd, len(config.labels))
        nn.init.normal_(self.head.weight, std=INIT_STD)
        nn.init.zeros_(self.head.bias)
        weights = config.class_weights or (1.0,) * len(config.labels)
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(weights), persistent=False)

    @property
    def config(self) -> GPTConfig:
        """The body's shape: what the Trainer counts FLOPs with."""
        return self.body.config

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def features(self, ids: Tensor) -> Tensor:
        """What the head sees of each text: ids (B, T), −1 where there is none -> (B, n_embd)."""
        real = ids != PADDING  # (B, T)
        if not bool(real.any(dim=1).all()):
            row = int((~real.any(dim=1)).nonzero()[0])
            raise UserError(f"row {row} of the batch has no token: an empty text cannot be classified")
        length = real.sum(dim=1)
        right = bool((real == (torch.arange(ids.size(1), device=ids.device) < length[:, None])).all())
        mask = None if right else real.long()  # causal attention never looks at what stands behind
        stream = self.body(ids.clamp(min=0), attention_mask=mask).logits  # (B, T, n_embd)
        return pooled(stream, real, self.settings.pool)

    def forward(self, ids: Tensor, *, targets: Tensor | None = None) -> Output:
        """Logits (B, n_labels) and, with `targets` (B,), the loss: nats a text, −100 does not count.

        In training each text's loss is multiplied by its label's weight and the sum divided by the *number* of texts,
        so that the gradient of a batch does not depend on how it is cut into micro-batches (law LP3). Dividing by the
        sum of the weights, as `F.cross_entropy(weight=…)` does, would: a micro-batch of rare texts counts more.
        """
        logits = self.head(self.dropout(self.features(ids)))
        if targets is None:
            return Output(logits)
        losses = F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="none")
        if self.training:
            losses = losses * self.class_weights[targets.clamp(min=0)]
        return Output(logits, losses.sum() / (targets != IGNORE).sum().clamp(min=1))

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write model.safetensors and config.json into `folder`, as `gpt_model.weights_io` does."""
        from gpt_model.weights_io import CONFIG_FILE, write_tensors
        from utils.files import atomic_write_json

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_tensors(folder / "model.safetensors", tensors)
        values = {
            "model_type": MODEL_TYPE,
            "shape": self.config.to_dict(),
            "classifier": asdict(self.settings),
        }
        atomic_write_json(folder / CONFIG_FILE, values)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Classifier:
        """Read what `save_pretrained` wrote, in evaluation mode. Raises UserError for another kind of model."""
        from gpt_model.weights_io import CONFIG_FILE, read_config
        from pretraining.checkpoints import load_weights

        values = read_config(folder)
        if values.get("model_type") != MODEL_TYPE:
            raise UserError(
                f"{Path(folder) / CONFIG_FILE} says model_type {values.get('model_type')!r}, which is no classifier: "
                "train one with python -m finetuning.classification.train"
            )
        known = {f.name for f in fields(ClassifierConfig)}
        unknown = sorted(set(values["classifier"]) - known)
        if unknown:
            raise UserError(
                f"{Path(folder) / CONFIG_FILE} has the unknown setting {unknown[0]}: update the book"
            )
        model = cls(GPTConfig.from_dict(values["shape"]), ClassifierConfig(**values["classifier"]))
        if model.settings.lora is not None:
            from finetuning.classification.tuning import add_lora

            add_lora(model, model.settings.lora)
        load_weights(model, Path(folder))
        return model.eval()

    @torch.no_grad()
    def probabilities(self, rows: Sequence[Sequence[int]], *, batch_size: int = 64) -> Tensor:
        """(n, n_labels) in float32 on the CPU, in the order of `rows`; neighbours of equal length share a batch."""
        from finetuning.classification.batches import padded

        was = self.training
        self.eval()
        found = torch.empty(len(rows), len(self.settings.labels))
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), batch_size):
            some = order[start : start + batch_size]
            logits = self(padded([rows[i] for i in some]).to(self.device)).logits
            found[some] = logits.float().softmax(dim=-1).cpu()
        self.train(was)
        return found


def pooled(stream: Tensor, real: Tensor, pool: str) -> Tensor:
    """(B, T, C) -> (B, C): the place of the last real token, or the mean over the real ones.

    >>> stream = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> real = torch.tensor([[True, True, False]])
    >>> pooled(stream, real, "last").item(), pooled(stream, real, "mean").item()
    (3.0, 2.0)
    """
    if pool == "mean":
        share = real.to(stream.dtype) / real.sum(dim=1, keepdim=True)
        return torch.einsum("btc,bt->bc", stream, share)
    places = torch.arange(real.size(1), device=real.device)
    last = torch.where(real, places, -1).max(dim=1).values  # (B,)
    return stream[torch.arange(len(stream), device=stream.device), last]


def from_language_model(model: GPT, config: ClassifierConfig) -> Classifier:
    """A classifier whose body has the weights of `model`; the head is new, drawn from torch's generator."""
    from pretraining.checkpoints import copy_weights

    classifier = Classifier(model.config, config)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}
    copy_weights(classifier.body, weights, "the language model")
    return classifier
