"""The tokenizer beside exported weights: files that `AutoTokenizer` loads, with equal ids.

The idea: whatever kind ours is, transformers reads one `tokenizer.json`. BPE is written by
`working_with_text_data.huggingface_export`; the byte tokenizer is BPE without merges; a tokenizer of
Hugging Face's own is copied. Then transformers must know which id ends a text (`special_ids`,
generation_config.json), or its `generate` would run on, and which ids stand for nothing: those past the
tokenizer's end, where a vocabulary was padded.

Left out: chat templates, which belong to the chapter on finetuning.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt_model.config import GPTConfig
from utils.errors import RunFailure, UserError
from utils.files import atomic_write_json, atomic_write_text
from working_with_text_data.huggingface_export import END_OF_TEXT, PROBE, export_tokenizer_json


def end_of_text(tokenizer: Any) -> tuple[str, int] | None:
    """The word and id that end a text in this tokenizer, or None."""
    special = tokenizer.special_tokens
    return next(((word, special[word]) for word in END_OF_TEXT if word in special), None)


def special_ids(tokenizer: Any) -> dict[str, Any]:
    """bos and eos for a config.json: the end of a text also begins one, as in GPT-2.

    No pad: transformers' embedding gives the padding's row no gradient, and this row is to be trained.
    """
    end = end_of_text(tokenizer)
    return {} if end is None else dict.fromkeys(("bos_token_id", "eos_token_id"), end[1])


def write_tokenizer(tokenizer: Any, folder: str | Path, config: GPTConfig) -> Path:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json into `folder`.

    Raises:
        UserError: a tokenizer that knows more ids than the model, or that Hugging Face's format cannot hold.
    """
    folder = Path(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} ids but the model's vocab_size is {config.vocab_size}: "
            "export the tokenizer that the model was trained with"
        )
    _write_json(tokenizer, folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model_max_length"] = config.block_size
    if (end := end_of_text(tokenizer)) is not None:
        settings |= dict.fromkeys(("bos_token", "eos_token", "pad_token"), end[0])
    atomic_write_json(file, settings)
    generation = special_ids(tokenizer)
    if end is not None:
        generation["pad_token_id"] = end[1]
    if tokenizer.vocab_size < config.vocab_size:  # padded ids stand for nothing and are never drawn
        generation["suppress_tokens"] = list(range(tokenizer.vocab_size, config.vocab_size))
    atomic_write_json(folder / "generation_config.json", generation)
    return folder / "tokenizer.json"


def _write_json(tokenizer: Any, folder: Path) -> None:
    from working_with_text_data.bpe_tokenizer import BPETokenizer
    from working_with_text_data.byte_tokenizer import ByteTokenizer
    from working_with_text_data.huggingface_adapter import HuggingFaceTokenizer

    if isinstance(tokenizer, ByteTokenizer):
        tokenizer = BPETokenizer(merges=[], special_tokens=tokenizer.special_tokens)
    if isinstance(tokenizer, HuggingFaceTokenizer):
        atomic_write_text(folder / "tokenizer.json", json.dumps(tokenizer.to_dict(), ensure_ascii=False))
        atomic_write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": False,
                "additional_special_tokens": list(tokenizer.special_tokens),
            },
        )
    elif isinstance(tokenizer, BPETokenizer):
        export_tokenizer_json(tokenizer, folder)
    else:
        raise UserError(
            f"a tokenizer of kind {type(tokenizer).__name__} cannot be written in Hugging Face's format: "
            "export without one (tokenizer=none)"
        )


def check_same_ids(tokenizer: Any, folder: str | Path) -> int:
    """Read the files back with `AutoTokenizer` and compare ids; returns how many were compared.

    The texts are the awkward page that every export is checked on, its words, and one text with all special tokens.

    Raises:
        RunFailure: other ids.
    """
    from working_with_text_data.optional_packages import need

    theirs: Any = need("transformers", "an export for transformers", "hf").AutoTokenizer.from_pretrained(
        str(folder)
    )
    texts = [PROBE, *PROBE.split(" "), "a ".join(["", *tokenizer.special_tokens, " b"])]
    compared = 0
    for text in texts:
        ours = tokenizer.encode(text, allowed_special="all")
        got = theirs(text, add_special_tokens=False, verbose=False)["input_ids"]
        if got != ours:
            raise RunFailure(f"transformers reads {text[:40]!r} as {got[:8]}, our tokenizer as {ours[:8]}")
        compared += len(ours)
    return compared
