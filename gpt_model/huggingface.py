"""GPT-2 weights in Hugging Face's layout, read into our model.

The idea: the same numbers under other names. GPT-2's code stores its linear layers as "Conv1D", a matrix of
shape (in, out), where torch's `Linear` holds (out, in): four weights per block are transposed, and one of
them is square, so no shape check would notice a forgotten transpose. Files come with the keys
`transformer.h.0…` (saved by transformers) or `h.0…` (the originals on the hub), with or without the mask
buffers `attn.bias`.

Left out on purpose: other model families and export.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from gpt_model.weights_io import (
    CONFIG_FILE,
    MODEL_TYPE,
    empty_model,
    load_into,
    read_config,
    read_model,
    read_tensors,
)
from utils.errors import UserError

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
}
# Names that the hub redirects: both are looked for in the cache.
HUB_OWNERS = ("", "openai-community/")
GPT2_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")

# Theirs -> ours, for one block. The second value says whether the weight is a Conv1D, stored (in, out).
BLOCK_KEYS = {
    "ln_1.weight": ("norm_1.weight", False),
    "ln_1.bias": ("norm_1.bias", False),
    "attn.c_attn.weight": ("attn.qkv_proj.weight", True),
    "attn.c_attn.bias": ("attn.qkv_proj.bias", False),
    "attn.c_proj.weight": ("attn.out_proj.weight", True),
    "attn.c_proj.bias": ("attn.out_proj.bias", False),
    "ln_2.weight": ("norm_2.weight", False),
    "ln_2.bias": ("norm_2.bias", False),
    "mlp.c_fc.weight": ("mlp.up_proj.weight", True),
    "mlp.c_fc.bias": ("mlp.up_proj.bias", False),
    "mlp.c_proj.weight": ("mlp.out_proj.weight", True),
    "mlp.c_proj.bias": ("mlp.out_proj.bias", False),
}
TOP_KEYS = {
    "wte.weight": "token_embedding.weight",
    "wpe.weight": "position_embedding.weight",
    "ln_f.weight": "final_norm.weight",
    "ln_f.bias": "final_norm.bias",
}
MASK_BUFFERS = ("attn.bias", "attn.masked_bias")


def config_from_huggingface(values: Mapping[str, Any]) -> GPTConfig:
    """Our configuration for a GPT-2 config.json; what we would compute differently is a UserError."""
    if values.get("model_type") != "gpt2":
        raise UserError(f"model_type is {values.get('model_type')!r}: only gpt2 can be imported here")
    for key, wanted in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if values.get(key, wanted) != wanted:
            raise UserError(f"{key} is {values[key]} in the GPT-2 config: only {wanted} is supported")
    activation = values.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise UserError(f"activation_function is {activation!r}: supported are {', '.join(ACTIVATIONS)}")
    return GPTConfig(
        vocab_size=values.get("vocab_size", 50257),
        block_size=values.get("n_positions", 1024),
        n_layer=values.get("n_layer", 12),
        n_head=values.get("n_head", 12),
        n_embd=values.get("n_embd", 768),
        mlp=ACTIVATIONS[activation],
        mlp_hidden=values.get("n_inner"),
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        tie_weights=values.get("tie_word_embeddings", True),
    )


def convert_gpt2_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and transpose a GPT-2 state dict; every key is accounted for, an unknown one is a UserError.

    `lm_head.weight` becomes `head.weight`; the caller drops it where the head is tied.
    """
    ours: dict[str, Tensor] = {}
    for full_name, tensor in state.items():
        name = full_name.removeprefix("transformer.")
        if name == "lm_head.weight":
            ours["head.weight"] = tensor
        elif name in TOP_KEYS:
            ours[TOP_KEYS[name]] = tensor
        elif name.startswith("h.") and name.count(".") >= 2:
            _, index, rest = name.split(".", 2)
            if rest in MASK_BUFFERS:
                continue
            if rest not in BLOCK_KEYS:
                raise UserError(f"unknown GPT-2 weight {full_name!r}: the file is of another model")
            own, conv1d = BLOCK_KEYS[rest]
            ours[f"blocks.{index}.{own}"] = tensor.t().contiguous() if conv1d else tensor
        else:
            raise UserError(f"unknown GPT-2 weight {full_name!r}: the file is of another model")
    return ours


def import_gpt2(
    config: Mapping[str, Any] | GPTConfig, state: Mapping[str, Tensor], where: str = "the file"
) -> GPT:
    """A GPT from a GPT-2 config (theirs, or ours already) and state dict, in evaluation mode.

    Whether the head is tied is what the weights say: a `lm_head.weight` that differs from `wte.weight` is
    kept.
    """
    own_config = config if isinstance(config, GPTConfig) else config_from_huggingface(config)
    tensors = convert_gpt2_state(state)
    head, embedding = tensors.get("head.weight"), tensors.get("token_embedding.weight")
    same = head is None or (embedding is not None and torch.equal(head, embedding))
    if same and (own_config.tie_weights or head is None):
        tensors.pop("head.weight", None)
    own_config = GPTConfig.from_dict({**own_config.to_dict(), "tie_weights": "head.weight" not in tensors})
    return load_into(empty_model(own_config), tensors, where).eval()


def read_state(folder: Path) -> dict[str, Tensor]:
    """All weights of a Hugging Face folder: safetensors (also in shards) first, then pytorch_model.bin."""
    if (folder / "model.safetensors").is_file():
        return read_tensors(folder / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{index} is damaged: fetch it again") from None
        state: dict[str, Tensor] = {}
        for shard in shards:
            state.update(read_tensors(folder / Path(shard).name))
        return state
    path = folder / "pytorch_model.bin"
    if path.is_file():
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} cannot be read safely ({reason}): use the model's safetensors file"
            ) from None
    raise UserError(f"{folder} has no model.safetensors and no pytorch_model.bin: it is not a model folder")


def from_pretrained(folder_or_name: str | Path, *, device: str | torch.device = "cpu") -> GPT:
    """A model from our own folder, a Hugging Face GPT-2 folder, or a hub name such as "gpt2".

    A name is looked for in the Hugging Face cache first (HF_HUB_CACHE, HF_HOME); what is not there is
    fetched with huggingface_hub, unless that is not installed or HF_HUB_OFFLINE is set. Then a UserError
    says where to put the files by hand.
    """
    folder = Path(folder_or_name)
    if not folder.is_dir():
        folder = find_in_cache(str(folder_or_name)) or fetch_from_hub(str(folder_or_name))
    values = read_config(folder)
    if values.get("model_type") == MODEL_TYPE:
        return read_model(folder, device=device)
    return import_gpt2(values, read_state(folder), where=str(folder)).to(device)


def cache_folder() -> Path:
    """Where huggingface_hub keeps its files on this machine."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def find_in_cache(name: str) -> Path | None:
    """The newest cached snapshot of a hub model that holds a config.json, or None."""
    for owner in HUB_OWNERS if name in GPT2_NAMES else ("",):
        folder = cache_folder() / f"models--{(owner + name).replace('/', '--')}"
        snapshots = [path.parent for path in folder.glob(f"snapshots/*/{CONFIG_FILE}")]
        if snapshots:
            return max(snapshots, key=lambda path: path.stat().st_mtime)
    return None


def fetch_from_hub(name: str) -> Path:
    """Download config and weights of a hub model, or raise a UserError that says how to do it by hand."""
    by_hand = (
        f"put its {CONFIG_FILE} and model.safetensors into a folder and pass that folder, "
        "or connect once and run the same command"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError(
            f"{name!r} is no folder, is not in {cache_folder()}, and HF_HUB_OFFLINE is set: {by_hand}"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(
            f"{name!r} is no folder and is not in {cache_folder()}; to download it install the hf extra "
            f"(pip install -c constraints.txt -e '.[hf]'), or {by_hand}"
        ) from None
    try:
        patterns = [CONFIG_FILE, "model*.safetensors", "model.safetensors.index.json"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name!r} is no folder and could not be downloaded ({reason}): {by_hand}") from None
