"""N-gram embeddings: what the last few tokens say together, looked up instead of worked out.

The idea: "th" is followed by "e". A transformer learns that with attention and matrices, although a table could simply
know it. So each token's vector gets more vectors added, one for the pair that it ends, one for the triple, and so on:

    x[t] = E[id[t]] + P[id[t-1], id[t]] + Q[id[t-2], id[t-1], id[t]] + …

There are more triples than rows, so a row is found by a hash, and those that share one share its vector: frequent ones
win, because they move it most often. Looking up costs next to nothing, whatever the tables hold; learning costs the
optimizer a pass over them. Small alphabets gain most: for characters and bytes it is much of what words would give.

A text that is read twice is a trap: on the second reading a rare n-gram's row holds what followed it, the model
learns to trust the row, and on a new text the row knows nothing. So in training each look-up is left out now and then
(`dropout`, whole vectors, each table for itself): what a model can only do with the row, it has to learn without it.

FastText (Bojanowski et al. 2017, arXiv 1607.04606) for words; the Byte Latent Transformer (Pagnoni et al. 2024, arXiv
2412.09871, section 3.2.1) for bytes, with 2 to 8 of them. The hash is the number that the ids are in base V + 1, modulo
the rows: pairs have a row each where the table has (V + 1)² of them. What stands before the text is one more id, V.
Left out on purpose: several hashes for one n-gram; rows of another width than the stream.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NgramEmbedding(nn.Module):
    """Vectors for the pair, the triple, … that ends at each token; `rows[i]` is of the table of (i + 2)-grams.

    `dropout` is the share of look-ups that give nothing in training; the others are scaled up to make good for it.
    """

    def __init__(self, vocab_size: int, rows: tuple[int, ...], n_embd: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.nobody = vocab_size  # the id of what stands before the text, and of padding
        self.reach = len(rows)  # earlier tokens that are looked at
        self.tables = nn.ModuleList(nn.Embedding(count, n_embd) for count in rows)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, reach + T), the first `reach` of them earlier tokens -> (B, T, n_embd)."""
        time = ids.size(1) - self.reach
        total: Tensor | None = None
        table: Any
        for n, table in enumerate(self.tables, start=2):
            row = torch.zeros_like(ids[:, :time])  # (B, T)
            for back in range(
                n - 1, -1, -1
            ):  # the oldest first; reduced each time, so that nothing overflows
                begin = self.reach - back
                row = (row * (self.nobody + 1) + ids[:, begin : begin + time]) % table.num_embeddings
            found = table(row)  # (B, T, n_embd)
            if self.training and self.dropout:
                found = found * F.dropout(torch.ones_like(found[..., :1]), self.dropout)
            total = found if total is None else total + found
        assert total is not None
        return total

    def with_earlier(self, ids: Tensor, new: int, mask: Tensor | None) -> Tensor:
        """All ids so far (B, K) -> the newest `reach` + `new`; padding, and what is before the text, is nobody."""
        if mask is not None:
            ids = ids.masked_fill(~mask.bool(), self.nobody)
        ids = ids[:, max(0, ids.size(1) - new - self.reach) :]
        return F.pad(ids, (self.reach + new - ids.size(1), 0), value=self.nobody)
