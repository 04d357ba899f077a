"""Our weights in the layouts of transformers: GPT-2, Llama, Mistral, DeepSeek-V3.

The idea: a layout is a set of names, a few matrices cut or turned, and a config.json that says which numbers
are meant. What is exported computes the same logits, or it is refused by the name of the field that the layout
has no word for. Four things go wrong in silence, so a law watches each: GPT-2 stores (in, out) matrices, one of
them square; a head that is not tied must be said to be so; rotary pairs lie half a head apart in Llama and side by
side in other models; and the norm's epsilon is part of the function.

Where a layout holds *more* than the model, the rest is written as numbers that do nothing: a missing bias as
zeros, fixed sinusoids as the position table they are. So reading the folder back gives the same function, though
the configuration may say it in other words (`notes` tell).

Layouts: transformers' `GPT2LMHeadModel`, `LlamaForCausalLM`, `MistralForCausalLM`, `DeepseekV3ForCausalLM` (dense
layers only). Left out on purpose: layouts that mix these parts otherwise (GPT-NeoX, Qwen2, Gemma). The tokenizer:
`export_tokenizer`; the command: `export`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpt_model.export_compare import Agreement, agree, probe_ids
from gpt_model.gpt import GPT
from gpt_model.huggingface_layouts import FAMILIES, KNOWN_FIELDS, Family, has_bias, refusal
from gpt_model.norms import LayerNorm
from utils.errors import RunFailure


def family_of(model: GPT) -> Family:
    """The layout that holds this model; a UserError names the first field that none has a word for."""
    config = model.config
    if config.position != "rope":
        name = "gpt2"
    else:
        name = {"mla": "deepseek_v3", "swa": "mistral"}.get(config.attention, "llama")
    family = FAMILIES[name]
    for field, allowed in family.wanted.items():
        if (value := getattr(config, field)) not in allowed:
            raise refusal(field, value, f"{name} has only {' or '.join(map(str, allowed))}")
    for each in fields(config):  # a field newer than this file is not dropped in silence
        if each.name not in KNOWN_FIELDS and getattr(config, each.name) != each.default:
            raise refusal(each.name, getattr(config, each.name), f"{name} does not know it")
    if name == "mistral" and has_bias(model, ("attn", "mlp")):
        raise refusal("bias", True, "mistral has no biases")
    if name == "deepseek_v3" and has_bias(model, ("mlp",)):
        raise refusal("bias", True, "deepseek_v3 has no biases in the feed-forward layer")
    return family


def huggingface_config(model: GPT) -> dict[str, Any]:
    """The config.json of transformers for this model, without the ids of special tokens."""
    family = family_of(model)
    config = model.config
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": model.head is None,
        "dtype": str(model.dtype).removeprefix("torch."),
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": None,  # transformers' defaults are those of models with another vocabulary
        "eos_token_id": None,
        "pad_token_id": None,
        **family.config(model),
    }


def huggingface_state(model: GPT) -> dict[str, Tensor]:
    """The state dict that goes with `huggingface_config`: detached, contiguous, on the CPU."""
    named = family_of(model).tensors(model)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named}


def write_huggingface(model: GPT, folder: str | Path, **special_ids: Any) -> Path:
    """Write config.json and model.safetensors for `AutoModelForCausalLM`; `special_ids` go into the config."""
    from safetensors.torch import save_file

    from gpt_model.weights_io import CONFIG_FILE, WEIGHTS_FILE
    from utils.files import atomic_write_json

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = atomic_write_json(folder / CONFIG_FILE, {**huggingface_config(model), **special_ids})
    save_file(huggingface_state(model), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(config.stat().st_mode)  # the library makes it private
    return folder


def notes(model: GPT) -> list[str]:
    """What the layout says in other words than our configuration; the logits are the same."""
    config, told = model.config, []
    family = family_of(model).model_type
    maps_and_norms: list[Any] = [
        m for m in model.modules() if isinstance(m, nn.Linear | LayerNorm) and m is not model.head
    ]
    if family == "gpt2" and config.position != "learned":
        told.append(f"positions {config.position} are written as a table of learned ones")
    if family == "gpt2" and any(module.bias is None for module in maps_and_norms):
        told.append("missing biases are written as zeros")
    if family == "llama" and config.rope_layout == "interleaved":
        told.append("rotary pairs are moved from side by side to half a head apart")
    if config.rope_scaling == "ntk":
        told.append("rope_scaling ntk is written as the larger rope_theta that it means")
    return told


@torch.inference_mode()
def compare_with_transformers(
    model: GPT, folder: str | Path, *, new_tokens: int = 20
) -> tuple[Agreement, int]:
    """Load `folder` by `AutoModelForCausalLM`; compare the logits of random tokens, and a greedy continuation.

    Returns the agreement, and how many of `new_tokens` greedy tokens are the same from the first on.

    Raises:
        RunFailure: transformers misses a weight or finds one too many.
        UserError: transformers is not installed.
    """
    from gpt_model.generation import generate
    from gpt_model.sampling import Sampling
    from working_with_text_data.optional_packages import need

    transformers: Any = need("transformers", "an export for transformers", "hf")
    with _no_bars(transformers):
        theirs, found = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), output_loading_info=True
        )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[kind]:
            raise RunFailure(
                f"transformers finds {kind.replace('_', ' ')}: {', '.join(map(str, found[kind]))}"
            )
    theirs.eval()
    block = model.config.block_size
    first: Any = model.blocks[0]
    length = max(256, (first.attn.window or 0) + 16)  # past a window, so that it shows
    ids = probe_ids(model.config.vocab_size, rows=2, length=min(block, length))
    agreement = agree(model(ids).logits, theirs(ids).logits)
    prompt = ids[:1, : max(1, min(8, block - new_tokens))]
    new_tokens = min(new_tokens, block - prompt.size(1))
    if new_tokens == 0:  # a block of one token
        return agreement, 0
    ours = generate(model, prompt, max_new_tokens=new_tokens, sampling=Sampling(temperature=0.0))[0]
    greedy = {"do_sample": False, "suppress_tokens": None, "eos_token_id": None, "max_new_tokens": new_tokens}
    got = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **greedy)[
        0, prompt.size(1) :
    ].tolist()
    same = next((i for i, (a, b) in enumerate(zip(ours, got)) if a != b), new_tokens)
    return agreement, same


@contextlib.contextmanager
def _no_bars(transformers: Any) -> Iterator[None]:
    """Without the library's own progress bars, which would mix with ours."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
