"""The GPT: configuration, model, weights in and out, sampling and generation.

Importing this package costs nothing: names are resolved on first use (PEP 562).
"""

from typing import Any

from utils.lazy import resolve

_EXPORTS = {
    "GPT": "gpt",
    "Output": "gpt",
    "GPTConfig": "config",
    "PRESETS": "config",
    "preset": "config",
    "with_attention": "config",
    "Sampling": "sampling",
    "Beam": "beam",
    "beam_search": "beam",
    "compare_strategies": "contrastive",
    "score_tokens": "token_scores",
    "Engine": "engine",
    "Event": "request",
    "Request": "request",
    "generate": "generation",
    "stream": "generation",
    "stream_text": "generation",
    "generate_speculative": "speculative",
    "stream_speculative": "speculative",
    "DecodeStep": "decode_step",
    "quantize": "quantization",
    "logit_lens": "lens",
    "surprise": "lens",
    "LoadedModel": "loading",
    "load_model": "loading",
    "parameter_breakdown": "costs",
    "parameter_tree": "costs",
    "forward_flops": "costs",
    "training_flops": "costs",
    "training_memory": "memory",
    "decoding_memory": "memory",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    return resolve(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
