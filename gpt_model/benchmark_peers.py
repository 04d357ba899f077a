"""What `benchmark` compares our decoding with: transformers, llms-from-scratch, litgpt, each as its users run it.

A peer is a function (ids (B, T), new) -> new ids (B, new), greedy, in float32 and eager unless its name says otherwise.
Where the architecture is the same it gets our weights, so that its ids must be ours.

    transformers           generate with its default cache, which grows by concatenation
    transformers static    generate with cache_implementation="static", preallocated
    transformers compiled  the same with the forward pass compiled
    llms-from-scratch      its GPT-2 with a KV cache (release 1.0.19 masks the wrong axis while decoding and raises:
                           that one line is repaired here, otherwise there would be nothing to measure)
    litgpt                 its generate, one prompt; it has no learned positions, so its model is a rotary one of
                           the same sizes with weights of its own, and its ids are not compared

A package that is not installed, or a peer that fails, is a note and no row. Left out: vLLM, llama.cpp (no Python API of
one step, other quantisation).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpt_model.gpt import GPT

Run = Callable[[Tensor, int], Tensor]
PEERS = (
    "transformers",
    "transformers static",
    "transformers compiled",
    "llms-from-scratch",
    "litgpt",
)
PACKAGES = {"transformers": "transformers", "llms-from-scratch": "llms_from_scratch", "litgpt": "litgpt"}
SAME_WEIGHTS = PEERS[:4]
ONE_PROMPT = ("litgpt",)  # cannot continue several prompts at once


def make_peer(name: str, model: GPT, batch: int, capacity: int) -> tuple[Run | None, str]:
    """The peer and an empty note, or None and why there is none."""
    package = PACKAGES[name.split()[0]]
    if importlib.util.find_spec(package) is None:
        return None, f"not measured: {package} is not installed"
    if batch > 1 and name in ONE_PROMPT:
        return None, "not measured: it continues one prompt at a time"
    try:
        return MAKERS[name](model, capacity), ""
    except Exception as error:  # whatever another project raises
        return None, f"not measured: {type(error).__name__}: {str(error).splitlines()[0][:200]}"


def _transformers_model(model: GPT) -> Any:
    """GPT-2 of transformers with our weights."""
    import transformers

    from gpt_model.export_huggingface import huggingface_config, huggingface_state

    transformers.logging.set_verbosity_error()
    values = huggingface_config(model)
    other = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values))
    missing, unexpected = other.load_state_dict(huggingface_state(model), strict=False)
    own = [name for name in missing if name != "lm_head.weight"]  # tied to the embedding
    if own or unexpected:
        raise ValueError(f"its weights are named otherwise: {own[:3]} {unexpected[:3]}")
    other.tie_weights()
    other.generation_config.eos_token_id = None  # random weights draw it by chance
    return other.eval().to(model.device)


def _transformers(model: GPT, capacity: int, **options: Any) -> Run:
    other = _transformers_model(model)

    def run(ids: Tensor, new: int) -> Tensor:
        whole = other.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            **options,
        )
        return whole[:, ids.size(1) :]

    return run


def _transformers_static(model: GPT, capacity: int) -> Run:
    return _transformers(model, capacity, cache_implementation="static")


def _transformers_compiled(model: GPT, capacity: int) -> Run:
    """Its own greedy loop over a static cache, the step compiled with fixed shapes."""
    from transformers import StaticCache

    other = _transformers_model(model)
    step = torch.compile(other.forward, dynamic=False)

    @torch.inference_mode()
    def run(ids: Tensor, new: int) -> Tensor:
        cache = StaticCache(config=other.config, max_cache_len=capacity)
        out = other(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        tokens = [out.logits[:, -1:].argmax(-1)]
        for place in range(ids.size(1), ids.size(1) + new - 1):
            at = torch.tensor([place], device=ids.device)
            out = step(tokens[-1], past_key_values=cache, use_cache=True, position_ids=at[None])
            tokens.append(out.logits[:, -1:].argmax(-1))
        return torch.cat(tokens, dim=1)

    return run


class _Rows:
    """A mask (keys, keys) whose last columns are asked for where its last rows are meant."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def __getitem__(self, key: Any) -> Tensor:
        return self.mask[key[1]]


class _Torch:
    """torch as llms-from-scratch sees it: a mask of what is above the diagonal gives rows."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def triu(table: Tensor, diagonal: int) -> Any:
        mask = torch.triu(table, diagonal=diagonal)
        return _Rows(mask)


def _llms_from_scratch(model: GPT, capacity: int) -> Run:
    from llms_from_scratch.kv_cache import gpt2 as theirs

    config = model.config
    theirs.torch = _Torch()
    other = theirs.GPTModel(
        {
            "vocab_size": config.vocab_size,
            "context_length": config.block_size,
            "emb_dim": config.n_embd,
            "n_heads": config.n_head,
            "n_layers": config.n_layer,
            "drop_rate": 0.0,
            "qkv_bias": config.bias,
        }
    )
    other.load_state_dict(_llms_state(model))
    other.eval().to(model.device)

    @torch.no_grad()
    def run(ids: Tensor, new: int) -> Tensor:
        cache = theirs.KVCache(n_layers=config.n_layer)
        other.current_pos = 0
        logits = other(ids, use_cache=True, cache=cache)
        tokens = [logits[:, -1:].argmax(-1)]
        for _ in range(new - 1):
            tokens.append(other(tokens[-1], use_cache=True, cache=cache)[:, -1:].argmax(-1))
        return torch.cat(tokens, dim=1)

    return run


def _llms_state(model: Any) -> dict[str, Tensor]:
    """Our weights under its names."""
    state = {
        "tok_emb.weight": model.token_embedding.weight,
        "pos_emb.weight": model.position_embedding.weight,
        "final_norm.scale": model.final_norm.weight,
        "final_norm.shift": model.final_norm.bias,
        "out_head.weight": model.token_embedding.weight if model.head is None else model.head.weight,
    }
    for i, block in enumerate(model.blocks):
        at = f"trf_blocks.{i}"
        for kind in ("weight", "bias"):
            parts = getattr(block.attn.qkv_proj, kind).split(block.attn.qkv_rows)
            for name, part in zip(("W_query", "W_key", "W_value"), parts, strict=True):
                state[f"{at}.att.{name}.{kind}"] = part
            state[f"{at}.att.out_proj.{kind}"] = getattr(block.attn.out_proj, kind)
            state[f"{at}.ff.layers.0.{kind}"] = getattr(block.mlp.up_proj, kind)
            state[f"{at}.ff.layers.2.{kind}"] = getattr(block.mlp.out_proj, kind)
        for ours, name in ((block.norm_1, "norm1"), (block.norm_2, "norm2")):
            state |= {f"{at}.{name}.scale": ours.weight, f"{at}.{name}.shift": ours.bias}
    return {name: tensor.detach() for name, tensor in state.items()}


def _litgpt(model: GPT, capacity: int) -> Run:
    from litgpt.config import Config
    from litgpt.generate.base import generate
    from litgpt.model import GPT as Theirs

    config = model.config
    other = Theirs(
        Config(
            block_size=config.block_size,
            vocab_size=config.vocab_size,
            padded_vocab_size=config.vocab_size,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_embd=config.n_embd,
            rotary_percentage=1.0,
            parallel_residual=False,
            gelu_approximate="tanh",
            bias=config.bias,
        )
    )
    other.eval().to(model.device)
    other.max_seq_length = capacity
    other.set_kv_cache(batch_size=1)

    @torch.inference_mode()
    def run(ids: Tensor, new: int) -> Tensor:
        for block in other.transformer.h:
            block.attn.kv_cache.reset_parameters()
        length = ids.size(1)
        return generate(other, ids[0], length + new, temperature=0.0, include_prompt=False)[None]

    return run


MAKERS: dict[str, Callable[[GPT, int], Run]] = {
    "transformers": _transformers,
    "transformers static": _transformers_static,
    "transformers compiled": _transformers_compiled,
    "llms-from-scratch": _llms_from_scratch,
    "litgpt": _litgpt,
}
