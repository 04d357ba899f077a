"""A text as one vector: the mean of the hidden states of its tokens.

The idea: what the head reads at the end of the model says, token by token, what the model makes of the text so far.
Their mean over the real tokens (padding left out) is a vector for the whole text. A model that was trained to go on
with texts was never trained to compare them, so these vectors are a start and no more; models made for the purpose
are tuned by contrast (Reimers and Gurevych 2019, arXiv 1908.10084, compare ways of pooling: §6).

Left out: pooling by attention, normalising (a cosine does not need it), training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt_model.gpt import GPT
from gpt_model.trace import trace
from utils.errors import UserError

ROWS = 16  # texts that are run side by side


@torch.inference_mode()
def mean_hidden_states(model: GPT, texts: Sequence[Sequence[int]]) -> Tensor:
    """One float32 vector for each list of ids: (len(texts), n_embd), on the CPU.

    Raises UserError for an empty text, an id outside the vocabulary, or one longer than the model's context.
    """
    config = model.config
    for i, ids in enumerate(texts):
        if not ids:
            raise UserError(f"text {i} is empty: give at least one token")
        if len(ids) > config.block_size:
            raise UserError(
                f"text {i} has {len(ids)} tokens but the model reads {config.block_size} at once: shorten it"
            )
        if min(ids) < 0 or max(ids) >= config.vocab_size:
            raise UserError(f"text {i} holds an id that is not from 0 to {config.vocab_size - 1}")
    last = f"blocks.{config.n_layer - 1}.resid_post"
    vectors = torch.empty(len(texts), config.n_embd)
    # Texts of like length side by side, so that little is padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        longest = len(texts[rows[-1]])
        batch = torch.tensor(
            [[*texts[i], *[0] * (longest - len(texts[i]))] for i in rows], device=model.device
        )
        lengths = torch.tensor([len(texts[i]) for i in rows], device=model.device)
        real = torch.arange(longest, device=model.device) < lengths[:, None]  # (rows, T)
        # The logits are not needed, so the norm before the head is taken here and the head sees one place only.
        with trace(model, last) as store:
            model(batch, attention_mask=None if bool(real.all()) else real, last_only=True)
        hidden = model.final_norm(store[last]).float() * real[:, :, None]  # (rows, T, n_embd)
        vectors[rows] = (hidden.sum(dim=1) / lengths[:, None]).cpu()
    return vectors
