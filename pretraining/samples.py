"""Live samples: what the model would write right now, kept with the step it wrote it at.

The same prompts and the same seed at each visit, so that two samples differ only by what was learned in
between. The generator has its own random numbers: sampling never touches training (LP5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpt_model.generation import Sampling, generate
from pretraining.config import TrainConfig
from pretraining.evaluation import evaluating

ENDS = ("<|endoftext|>", "<|eos|>")  # BPE's and the byte tokenizer's name for the end of a document


def end_id(tokenizer: Any) -> int | None:
    """The id that ends a document, or None for a tokenizer without one."""
    return next((tokenizer.special_tokens[name] for name in ENDS if name in tokenizer.special_tokens), None)


def sample_texts(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 80,
    temperature: float = 0.8,
    top_k: int | None = 50,
    seed: int = 0,
) -> list[str]:
    """One continuation per prompt (the new text only), stopping at the end-of-text token where there is one.

    Prompts are cut on the left to fit the block together with one new token. Mode and RNG are restored.
    """
    block = int(model.config.block_size)
    end = end_id(tokenizer)
    texts = []
    with evaluating(model):
        for number, prompt in enumerate(prompts):
            ids = tokenizer.encode_ordinary(prompt) or [0 if end is None else end]
            ids = ids[-(block - 1) :]
            new = generate(
                model,
                [ids],
                max_new_tokens=min(max_new_tokens, block - len(ids)),
                sampling=Sampling(temperature=temperature, top_k=top_k, seed=seed + number),
                stop_ids=() if end is None else (end,),
            )[0]
            texts.append(tokenizer.decode([i for i in new if i != end]))
    return texts


def sample_for(model: Any, tokenizer: Any, config: TrainConfig) -> list[str]:
    """`sample_texts` with the prompts and settings of a training config."""
    return sample_texts(
        model,
        tokenizer,
        config.prompts,
        max_new_tokens=config.sample_tokens,
        temperature=config.sample_temperature,
        top_k=config.sample_top_k,
        seed=config.seed,
    )
