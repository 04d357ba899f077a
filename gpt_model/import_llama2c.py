"""Llama models in the `.bin` format of llama2.c: seven numbers, then all weights as float32.

The idea: no names at all. The header is (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len), seven
little-endian int32, a negative vocab_size meaning that the head has a matrix of its own. Then come the tensors in
one fixed order, each kind for all layers at once. Rows of queries and keys stand as Meta has them, so rotary
positions pair neighbours (interleaved), not halves. Two tables of cosines and sines are in the file and not needed.

Format: the first one of karpathy/llama2.c (`export.py`, version 0). Left out on purpose: its later versions, which
begin with "ak42", and the quantised ones. Its tokenizer's file is read by `read_pieces`.
"""

import struct
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from gpt_model.import_llama import stacked
from gpt_model.weight_files import Weights
from gpt_model.weights_io import Move, build_model
from utils.errors import UserError

HEADER = struct.Struct("<7i")
MAGIC = 0x616B3432  # "ak42"
LIMIT = 10**7  # no size in a true header is larger
TABLES = ("freq_cis_real", "freq_cis_imag")


class Llama2cFile(Weights):
    """The tensors of one file under the names of Meta's code, one for each layer."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        try:
            with open(path, "rb") as file:
                header = file.read(HEADER.size)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        sizes = HEADER.unpack(header) if len(header) == HEADER.size else (0,) * 7
        if sizes[0] == MAGIC:
            raise UserError(f"{path} is a later version of llama2.c's format: export it with version 0")
        dim, hidden, layers, heads, kv_heads, vocab, length = sizes
        plausible = all(0 < size < LIMIT for size in (*sizes[:5], abs(vocab), length))
        if not plausible or dim % heads or heads % kv_heads:
            raise UserError(
                f"{path} begins with {sizes}, which are no sizes of a model: it is no llama2.c file"
            )
        self.config = GPTConfig(
            vocab_size=abs(vocab),
            block_size=length,
            n_layer=layers,
            n_head=heads,
            n_embd=dim,
            n_kv_head=None if kv_heads == heads else kv_heads,
            attention="mha" if kv_heads == heads else "gqa",
            position="rope",
            rope_layout="interleaved",
            norm="rmsnorm",
            mlp="swiglu",
            mlp_hidden=hidden,
            bias=False,
            tie_weights=vocab > 0,
        )
        self._offsets: dict[str, int] = {}
        end = self._lay_out(dim // heads * kv_heads)
        if path.stat().st_size != end:
            raise UserError(
                f"{path} has {path.stat().st_size:,} bytes but its header asks for {end:,}: fetch it again"
            )

    def _lay_out(self, kv_dim: int) -> int:
        """Note name, shape and place of every tensor; returns where the last one ends."""
        c = self.config
        dim, hidden = c.n_embd, c.hidden_width
        end = HEADER.size

        def one(name: str, *shape: int) -> None:
            nonlocal end
            self._offsets[name], self.shapes[name] = end, shape
            end += 4 * prod(shape)

        one("tok_embeddings", c.vocab_size, dim)
        for kind, shape in (
            ("attention_norm", (dim,)),
            *(("attention.wq", (dim, dim)), ("attention.wk", (kv_dim, dim)), ("attention.wv", (kv_dim, dim))),
            ("attention.wo", (dim, dim)),
            ("ffn_norm", (dim,)),
            *(("ffn.w1", (hidden, dim)), ("ffn.w2", (dim, hidden)), ("ffn.w3", (hidden, dim))),
        ):
            for i in range(c.n_layer):
                one(f"layers.{i}.{kind}", *shape)
        one("norm", dim)
        for table in TABLES:
            one(table, c.block_size, c.head_dim // 2)
        if not c.tie_weights:
            one("output", c.vocab_size, dim)
        return end

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        width = prod(self.shapes[name][1:])
        offset = self._offsets[name] + 4 * start * width
        numbers = np.fromfile(self.path, dtype="<f4", count=(stop - start) * width, offset=offset)
        return torch.from_numpy(numbers).view(stop - start, *self.shapes[name][1:])


def moves_of(config: GPTConfig) -> list[Move]:
    """Where each tensor goes. w1 is the gate, w3 goes up, w2 down."""
    moves = [Move("tok_embeddings", "token_embedding.weight"), Move("norm", "final_norm.weight")]
    if not config.tie_weights:
        moves.append(Move("output", "head.weight"))
    key_rows = config.head_dim * (config.n_kv_head or config.n_head)
    for i in range(config.n_layer):
        theirs, ours = f"layers.{i}.", f"blocks.{i}."
        attention = {"wq": config.n_embd, "wk": key_rows, "wv": key_rows}
        qkv = {f"{theirs}attention.{name}": rows for name, rows in attention.items()}
        gate_and_up = {f"{theirs}ffn.{name}": config.hidden_width for name in ("w1", "w3")}
        moves += [
            Move(f"{theirs}attention_norm", f"{ours}norm_1.weight"),
            *stacked(qkv, f"{ours}attn.qkv_proj.weight"),
            Move(f"{theirs}attention.wo", f"{ours}attn.out_proj.weight"),
            Move(f"{theirs}ffn_norm", f"{ours}norm_2.weight"),
            *stacked(gate_and_up, f"{ours}mlp.up_proj.weight"),
            Move(f"{theirs}ffn.w2", f"{ours}mlp.out_proj.weight"),
        ]
    return moves


def read_llama2c(
    path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> GPT:
    """The model in a llama2.c file, in evaluation mode. A damaged or foreign file is a UserError."""
    file = Llama2cFile(Path(path))
    moves = moves_of(file.config)
    return build_model(file.config, file, moves, ignored=TABLES, device=device, dtype=dtype)


def read_pieces(path: str | Path) -> list[tuple[float, bytes]]:
    """Score and bytes of every token in llama2.c's tokenizer file; the place in the list is the id.

    The file is the length of the longest piece, then score, length and bytes of each. A piece `<0x0A>` is one
    byte, and a space is a space.
    """
    data = Path(path).read_bytes()
    pieces, at = [], 4
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            text = data[at + 8 : at + 8 + length]
            if length < 0 or len(text) < length:
                raise struct.error
            byte = text[3:5] if len(text) == 6 and text.startswith(b"<0x") and text.endswith(b">") else None
            pieces.append((score, bytes.fromhex(byte.decode("ascii")) if byte else text))
            at += 8 + length
    except (struct.error, ValueError):
        raise UserError(f"{path} is damaged or no tokenizer of llama2.c: fetch it again") from None
    return pieces
