"""The logit lens: what the model would answer if it stopped after each layer; and how a text surprises it.

    python -m gpt_model.lens "Once upon a time there was a fox." ckpt=assets out=lens.html

The idea: every block adds to one residual stream, and the head reads that stream at the end. Read it earlier, by the
same final norm and head, and one sees the answer take shape: which token leads after which layer, and how sure the
model is by then. The last row is the model's own output, to the last bit.

nostalgebraist 2020, "interpreting GPT: the logit lens"; what a trained translator for each layer adds: Belrose et al.
2023 (arXiv 2303.08112), left out here. Early rows of a model whose embedding is not its head say little. Surprise is
-ln p of the token that came, in nats (`token_scores`). The page: `lens_viewer`.
"""

if __name__ == "__main__":  # first of all, so that --help need not wait for torch
    from gpt_model.lens_viewer import main
    from utils.cli import run_main

    raise SystemExit(run_main(main))

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gpt_model.gpt import GPT
from gpt_model.token_scores import TokenScore, score_tokens, scores_of
from gpt_model.trace import evaluating, trace
from utils.errors import UserError


class LensRow(NamedTuple):
    """What the stream says after one layer; `layer` is "embed" or the number of the block it has passed.

    `scores[t]` is about the token that follows ids[t]: its log-probability, rank, and the likeliest ones. Nobody
    knows what follows the last token, so there it is about the likeliest one itself.
    """

    layer: str
    scores: list[TokenScore]


class Lens(NamedTuple):
    """The rows of a text, from the embedding to the model's own output."""

    ids: list[int]
    rows: list[LensRow]


@torch.inference_mode()
def lens_logits(model: GPT, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
    """For the embedding and each block: its name and the logits (B, T, V) read from the stream behind it.

    ids (B, T). The last ones equal `model(ids).logits` bit for bit. One layer's logits are held at a time.
    """
    if ids.dim() != 2 or ids.size(1) > model.config.block_size:
        raise UserError(
            f"the lens reads (batch, tokens) of at most {model.config.block_size} tokens (block_size), not "
            f"{tuple(ids.shape)}: shorten the text"
        )
    with evaluating(model):
        with trace(model, ["embed", "blocks.*.resid_post"]) as store:
            model(ids.to(model.device), last_only=True)
        for name, stream in store.items():
            yield ("embed" if name == "embed" else name.split(".")[1]), model.unembed(stream)


def logit_lens(model: GPT, ids: Sequence[int], *, top_k: int = 5) -> Lens:
    """Each layer's `top_k` likeliest next tokens at every place of one text, and what it thought of what came."""
    text = [int(token) for token in ids]
    if not text or top_k < 1:
        raise UserError("the lens needs a text of at least one token, and a top_k of at least 1")
    rows = []
    for layer, logits in lens_logits(model, torch.tensor([text])):
        following = [*text[1:], int(logits[0, -1].argmax())]
        rows.append(LensRow(layer, scores_of(logits[0], following, top_k)))
    return Lens(text, rows)


def surprise(model: GPT, ids: Sequence[int], *, alternatives: int = 0) -> list[TokenScore]:
    """How likely each token of a text was, from the second on: `-score.log_probability` is the surprise in nats.

    Texts longer than block_size are read by a sliding window. The mean surprise is the loss on this text.
    """
    if len(ids) < 2:
        raise UserError(
            "surprise needs a text of at least two tokens: nothing says how likely a first token is"
        )
    return score_tokens(model, ids[:1], ids[1:], alternatives=alternatives)
