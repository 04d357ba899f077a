"""What smaller weights cost: perplexity on held-out text, before and after, beside the bytes.

The idea: each mode is measured on the same tokens in the same windows, so the differences are those of the weights and
of nothing else. Windows of `block_size` follow one another without overlap, as when the model was trained; every token
but the first of a window counts. Beside the change stand its goal and the share of next tokens on which the greedy
choice stayed the same.

Held out: stories that a seed tells which no training used, or a file. Left out: tasks and samples; a perplexity that
hardly moves is no proof that nothing did.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_model.gpt import GPT
from gpt_model.quantization import MODES, quantize, weight_bytes
from utils.errors import UserError

GOALS = {"int8": 0.01, "int4": 0.06}  # largest growth of perplexity, as a share


def held_out_ids(tokenizer: Any, text: str | None, documents: int, seed: int) -> Tensor:
    """Ids of a file's text, or of `documents` stories told by `seed`, each ended by the end-of-text token."""
    if text is not None:
        path = Path(text)
        if not path.is_file():
            raise UserError(f"text={text}: no such file; leave text out for Storyland's stories")
        texts: Iterable[str] = [path.read_text(encoding="utf-8")]
    else:
        from working_with_text_data.storyland.corpus import story_corpus

        texts = story_corpus(seed=seed, n_stories=documents)
    end = tokenizer.special_tokens.get("<|endoftext|>")
    ids: list[int] = []
    for one in texts:
        ids += tokenizer.encode_ordinary(one)
        ids += [] if end is None else [end]
    return torch.tensor(ids)


def windows(ids: Tensor, block: int) -> Tensor:
    """Non-overlapping windows (n, block) of ids (T,); what is left over at the end is dropped."""
    count = len(ids) // block
    if not count:
        raise UserError(f"{len(ids)} tokens do not fill one window of {block}: give more text")
    return ids[: count * block].view(count, block)


@torch.inference_mode()
def measure(model: GPT, ids: Tensor, batch: int = 8) -> tuple[float, Tensor]:
    """Mean nats per token over windows ids (n, T), and the model's greedy choices (n, T - 1)."""
    total, choices = 0.0, []
    for part in ids.split(batch):
        logits = model(part).logits[:, :-1].float()
        total += F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
        choices.append(logits.argmax(dim=-1))
    return total / (ids.size(0) * (ids.size(1) - 1)), torch.cat(choices)


def compare_modes(
    load: Any, ids: Tensor, *, modes: Sequence[str] = MODES, group: int = 64, engine: str = "auto"
) -> dict[str, Any]:
    """Figures of float weights and of each mode: name -> loss, perplexity, change, bytes, same_choice, goal.

    `load` gives the model anew each time; its precision is that of the activations in every row.
    """
    model = load()
    rows = windows(ids, model.config.block_size)
    loss, choices = measure(model, rows)
    name = {torch.float32: "fp32", torch.bfloat16: "bf16"}.get(model.dtype, str(model.dtype))
    bytes_before = weight_bytes(model)
    figures: dict[str, dict[str, float | None]] = {
        name: {"loss": loss, "perplexity": math.exp(loss), "bytes": bytes_before}
    }
    for mode in modes:
        model = quantize(load(), mode, group=group, engine=engine)
        own, picked = measure(model, rows)
        figures[mode] = {
            "loss": own,
            "perplexity": math.exp(own),
            "change": math.exp(own - loss) - 1,
            "goal": GOALS.get(mode),
            "same_choice": (picked == choices).float().mean().item(),
            "bytes": weight_bytes(model),
            "bytes_share": weight_bytes(model) / bytes_before,
        }
    return {"modes": figures, "tokens": rows.size(0) * (rows.size(1) - 1), "windows": rows.size(0)}


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a terminal."""
    lines = [f"{'weights':8} {'perplexity':>10} {'change':>9} {'goal':>7} {'same choice':>12} {'bytes':>12}"]
    for name, row in figures["modes"].items():
        if "change" in row:
            goal = "" if row["goal"] is None else f"< {row['goal']:.0%}"
            more = f"{row['change']:+9.2%} {goal:>7} {row['same_choice']:12.1%}"
        else:
            more = " " * 30
        lines.append(f"{name:8} {row['perplexity']:10.4f} {more} {row['bytes']:12,}")
    return "\n".join(lines)
