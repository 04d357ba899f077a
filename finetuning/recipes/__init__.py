"""Recipes that were found by trying: YAML files for the commands, and the tokenizer that they name.

    python -m pretraining.train --config finetuning/recipes/storyland_base.yaml minutes=10
    python -m finetuning.instruction.train --config finetuning/recipes/storyland_sft.yaml ckpt=last minutes=10

`spaced_bpe`: a request begins with a name, and so does its answer, while stories nearly always have a space before a
name. In a plain BPE "Mia" at the beginning is then other tokens than " Mia" in the middle (two in place of one, for 46
of 48 names), and to answer with a name the model must spell it. With a space put before every text it copies one token.
What that is worth, and what else was tried: `finetuning/LOG.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def spaced_bpe(texts: Sequence[str], config: Any) -> Any:
    """A BPE of `config.vocab_size` tokens in which the first word of a text is the token that it is anywhere else.

    Named in a config as `tokenizer: finetuning.recipes:spaced_bpe` (see `pretraining.registries`).
    """
    from pretraining.pretrain_config import SPECIAL_TOKENS
    from working_with_text_data.fast_bpe import train_bpe

    return train_bpe(texts, config.vocab_size, special_tokens=SPECIAL_TOKENS, prefix_space=True)


def recipe(name: str) -> Path:
    """The YAML file of a recipe. Raises UserError naming those there are."""
    from utils.errors import UserError

    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise UserError(f"there is no recipe {name!r}: choose {known}")
    return path
