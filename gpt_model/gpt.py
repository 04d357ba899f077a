"""The GPT: token ids in, a guess about every next token out.

The idea: embed the tokens, let a stack of blocks read and rewrite the embeddings (attention brings
information from earlier tokens, the feed-forward layer works on it), and compare the result with every
token's embedding to get one score per token of the vocabulary.

Radford et al. 2019 (GPT-2). One class serves every variant: the attention comes from a registry by
name, and positions, norm and feed-forward layer from the configuration. Left out on purpose: training
(chapter pretraining) and the generation loop (`generation.py`).

    python -m gpt_model.gpt            a tour: counts, a few tokens, the caches of all attentions

Notebooks: 01 and 02 of this chapter.
"""

if __name__ == "__main__":  # first of all, so that --help need not wait for torch, and there is one class GPT
    from gpt_model.tour import take_tour
    from utils.cli import run_main

    raise SystemExit(run_main(lambda argv: take_tour("mha", argv)))

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_mechanisms.kv_cache import KVCache, LayerCache
from attention_mechanisms.masks import document_mask, positions_from_documents, positions_from_mask
from attention_mechanisms.positions import LearnedPositions, SinusoidalPositions
from attention_mechanisms.registry import ATTENTIONS
from gpt_model.config import GPTConfig
from gpt_model.feed_forward import make_feed_forward
from gpt_model.ngrams import NgramEmbedding
from gpt_model.norms import make_norm
from utils.errors import UserError

INIT_STD = 0.02


class Output(NamedTuple):
    """What a forward pass gives: logits (B, T, vocab_size) and, when targets came, the loss in nats.

    The logits are None, whatever the type says, in the one case that a trainer asked for it by `head_loss`.
    """

    logits: Tensor
    loss: Tensor | None = None


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: GPTConfig, layer: int = 0) -> None:
        super().__init__()
        self.pre_norm = config.norm_order == "pre"
        self.norm_1 = make_norm(config)
        self.attn = ATTENTIONS[config.attention](config, layer)
        self.norm_2 = make_norm(config)
        self.mlp = make_feed_forward(config)
        self.dropout = nn.Dropout(config.dropout_at("residual"))

    def forward(
        self,
        x: Tensor,  # (B, T, n_embd)
        cache: LayerCache | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        look: dict[str, Any] = {"cache": cache, "positions": positions, "attention_mask": attention_mask}
        if self.pre_norm:
            x = x + self.dropout(self.attn(self.norm_1(x), **look))
            return x + self.dropout(self.mlp(self.norm_2(x)))
        x = self.norm_1(x + self.dropout(self.attn(x, **look)))
        return self.norm_2(x + self.dropout(self.mlp(x)))


class GPT(nn.Module):
    """A decoder-only transformer. See `forward` for shapes and `GPTConfig` for the choices."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.ngram_token_embedding: NgramEmbedding | None = None
        if config.ngram_rows:
            self.ngram_token_embedding = NgramEmbedding(
                config.vocab_size, config.ngram_rows, config.n_embd, config.ngram_dropout
            )
        self.position_embedding: LearnedPositions | SinusoidalPositions | None = None
        if config.position == "learned":
            self.position_embedding = LearnedPositions(config.block_size, config.n_embd)
        elif config.position == "sinusoidal":
            self.position_embedding = SinusoidalPositions(config.block_size, config.n_embd)
        self.dropout = nn.Dropout(config.dropout_at("embedding"))
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        # A post-norm block ends in a norm already.
        self.final_norm = make_norm(config) if config.norm_order == "pre" else nn.Identity()
        # A tied head is no module of its own: the embedding is used twice, so there is one tensor to
        # save, to move and to optimise, and nothing that could come apart.
        self.head: nn.Linear | None = None
        if not config.tie_weights:
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        # (stream, head's matrix, targets) -> mean loss: set by a trainer that needs no logits
        # (`pretraining.fast_loss`).
        self.head_loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """GPT-2's initialisation: N(0, 0.02), biases 0, and 0.02 / √(2 n_layer) for the projections back.

        Each of the 2 · n_layer sub-layers adds to the residual stream; the smaller scale keeps the variance
        of their sum independent of depth (Radford et al. 2019, section 2.3). `zero_init_out` makes it 0.
        """
        residual_std = 0.0 if self.config.zero_init_out else INIT_STD / math.sqrt(2 * self.config.n_layer)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=residual_std if name.endswith("out_proj") else INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.embedding_std)
            elif isinstance(module, LearnedPositions):
                nn.init.normal_(module.weight, std=INIT_STD)

    def forward(
        self,
        ids: Tensor,
        *,
        targets: Tensor | None = None,
        cache: KVCache | None = None,
        attention_mask: Tensor | None = None,
        documents: Tensor | None = None,
        loss_reduction: str = "mean",
        last_only: bool = False,
    ) -> Output:
        """Logits for every token of ids (B, T), int64, and the loss when targets (B, T) are given.

        Causal by construction: logits[:, t] depend on ids[:, :t + 1] (and on what the cache holds).

        targets: the next token at each place, -100 where it does not count. `loss_reduction` "mean" gives
        nats per counted token (0 when none counts), "sum" their sum, which is what an accumulating trainer
        needs. The loss is computed in float32 whatever the precision of the model.

        cache: from `new_cache`. Any number of tokens may follow what it already holds; it grows by T.

        attention_mask (B, K), 1 for a real token and 0 for padding, covers all K = cache.length + T tokens.
        The cache remembers it, so later calls may leave it out (their tokens are then real). Positions
        count real tokens only: a left-padded row gives the logits of its lone run.

        documents (B, T): several texts packed into one row, a number for each token; equal neighbours belong
        together. A token sees its own text only, and its positions begin at 0: each has the logits of its lone run.

        last_only: logits of the last place alone, (B, 1, vocab_size): a prefill needs no others.
        """
        if ids.dim() != 2 or ids.size(1) == 0:
            raise UserError(
                f"ids have shape {tuple(ids.shape)}: give (batch, tokens) with at least one token"
            )
        batch, time = ids.shape
        start = 0 if cache is None else cache.length
        if start + time > self.config.block_size:
            raise UserError(
                f"block_size is {self.config.block_size} but {start + time} tokens came"
                + (f" ({start} of them in the cache)" if start else "")
                + ": shorten the input or use a model with a larger block_size"
            )
        attention_mask = self._full_mask(attention_mask, cache, batch, start + time)
        positions = None if attention_mask is None else positions_from_mask(attention_mask)[:, start:]
        look = attention_mask
        if documents is not None:
            self._check_documents(documents, ids, cache, attention_mask)
            positions, look = positions_from_documents(documents), document_mask(documents)[:, 0]  # (B, T, T)

        x = self.token_embedding(ids)  # (B, T, n_embd)
        if self.ngram_token_embedding is not None:
            known = ids if cache is None else cache.remember(ids)  # (B, start + T)
            x = x + self.ngram_token_embedding(
                self.ngram_token_embedding.with_earlier(known, time, attention_mask)
            ).to(x.dtype)
        if self.position_embedding is not None:
            if positions is None:
                x = x + self.position_embedding.weight[start : start + time].to(x.dtype)
            else:
                x = x + self.position_embedding(positions).to(x.dtype)
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.layer(i), positions, look)
        if cache is not None:
            cache.advance(time)
        if self.head_loss is not None and self.training and targets is not None and loss_reduction == "mean":
            matrix = self.head_matrix()
            if matrix is not None:
                return Output(cast(Tensor, None), self.head_loss(self.final_norm(x), matrix, targets))
        logits = self.unembed(x[:, -1:] if last_only else x)
        return Output(logits, None if targets is None else token_loss(logits, targets, loss_reduction))

    def unembed(self, x: Tensor) -> Tensor:
        """Residual stream (B, T, n_embd) -> logits (B, T, vocab_size): final norm, then the head, then the cap."""
        x = self.final_norm(x)
        logits = F.linear(x, self.token_embedding.weight) if self.head is None else self.head(x)
        return logits if self.config.logit_softcap is None else softcap(logits, self.config.logit_softcap)

    def head_matrix(self) -> Tensor | None:
        """The matrix (V, n_embd) that the normed stream is multiplied with, or None where that is not all of the head.

        It is more where the logits are capped, or where someone put another layer in its place (LoRA, quantised).
        """
        module = self.token_embedding if self.head is None else self.head
        plain = type(module) in (nn.Embedding, nn.Linear) and getattr(module, "bias", None) is None
        return module.weight if plain and self.config.logit_softcap is None else None

    @staticmethod
    def _full_mask(mask: Tensor | None, cache: KVCache | None, batch: int, total: int) -> Tensor | None:
        """The mask over all tokens, cached and new: given, remembered, or None when nothing is padding."""
        if mask is None:
            return None if cache is None else cache.mask_with_new(batch, total - cache.length)
        if mask.shape != (batch, total):
            raise UserError(
                f"attention_mask has shape {tuple(mask.shape)} but it must be {(batch, total)}: "
                "one entry for every token, those in the cache first"
            )
        if cache is not None:
            cache.check_room(batch, total - cache.length)
            cache.set_attention_mask(mask)
        return mask

    def _check_documents(
        self, documents: Tensor, ids: Tensor, cache: KVCache | None, attention_mask: Tensor | None
    ) -> None:
        if documents.shape != ids.shape:
            raise UserError(
                f"documents have shape {tuple(documents.shape)} and ids {tuple(ids.shape)}: a number for each token"
            )
        if cache is not None or attention_mask is not None:
            raise UserError("documents are for packed rows: leave cache and attention_mask out")
        if self.ngram_token_embedding is not None:
            raise UserError(
                "a model with n-gram embeddings looks across packed documents: train it on padded rows"
            )

    def new_cache(self, batch: int, capacity: int | None = None, dtype: torch.dtype | None = None) -> KVCache:
        """An empty KV cache for `batch` rows of up to `capacity` tokens (default and limit: block_size)."""
        capacity = self.config.block_size if capacity is None else capacity
        if capacity < 1 or batch < 1:
            raise UserError(f"a KV cache needs batch and capacity of at least 1, not {batch} and {capacity}")
        variant: Any = ATTENTIONS[self.config.attention]
        cache = variant.make_cache(self.config, batch, capacity, dtype or self.dtype, self.device)
        if self.ngram_token_embedding is not None:
            cache.keep_ids()
        return cache

    def num_parameters(self, non_embedding: bool = False) -> int:
        """Number of parameters, a tied head counted once; `non_embedding` leaves both tables out.

        The tables are those of tokens and of positions; a tied head goes with the former.
        """
        total = sum(p.numel() for p in self.parameters())
        if non_embedding:
            total -= self.token_embedding.weight.numel()
            if self.ngram_token_embedding is not None:
                total -= sum(p.numel() for p in self.ngram_token_embedding.parameters())
            if isinstance(self.position_embedding, LearnedPositions):
                total -= self.position_embedding.weight.numel()
        return total

    @property
    def device(self) -> torch.device:
        """Where it computes. Asked of a block: the tables may be quantised and slow to read."""
        return next(self.blocks[0].parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision it computes in."""
        return next(self.blocks[0].parameters()).dtype

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write model.safetensors and config.json into `folder`; see `weights_io.save_model`."""
        from gpt_model.weights_io import save_model

        return save_model(self, folder)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> "GPT":
        """Read what `save_pretrained` wrote."""
        from gpt_model.weights_io import read_model

        return read_model(folder, device=device)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_name: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "GPT":
        """Our own folder, one of transformers, a llama2.c file, or a hub name: see `huggingface.from_pretrained`."""
        from gpt_model.huggingface import from_pretrained

        return from_pretrained(folder_or_name, device=device, dtype=dtype)


def softcap(logits: Tensor, cap: float) -> Tensor:
    """cap · tanh(logits / cap): nearly the same for small logits, never beyond ± cap, monotonic in between.

    >>> softcap(torch.tensor([0.0, 1.0, 1000.0]), 15.0)
    tensor([ 0.0000,  0.9985, 15.0000])
    """
    return torch.tanh(logits / cap) * cap


def token_loss(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of logits (B, T, V) against targets (B, T) in float32, ignoring targets of -100.

    "sum" adds the nats of all counted tokens; "mean" divides by their number, or by 1 when there are none,
    so that a batch without targets gives 0 and no NaN.
    """
    if reduction not in ("mean", "sum"):
        raise UserError(f"loss_reduction is {reduction!r}: choose mean or sum")
    flat = targets.reshape(-1)
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    total = F.cross_entropy(logits.reshape(-1, logits.size(-1)), flat, ignore_index=-100, reduction="sum")
    return total if reduction == "sum" else total / (flat != -100).sum().clamp(min=1)
