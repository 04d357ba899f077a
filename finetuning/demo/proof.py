"""Stages 4 to 6: did it learn, does it follow requests, and what is the cache worth?

Everything here measures a model that the earlier stages trained, on texts and requests it was not
trained on, and returns plain facts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from finetuning.demo.config import DemoConfig
from finetuning.demo.stages import TUNE_RECIPE, Facts, make_config
from finetuning.evaluation.instructions import InstructionScore, exact_match
from finetuning.evaluation.stories import StoryScore, sample_stories, score_stories
from finetuning.instruction.data import conversation, held_out_requests, training_examples
from finetuning.instruction.tune import tune
from finetuning.templates import render
from pretraining.config import TrainConfig
from pretraining.recipe import PreparedData
from utils.runs import Run


def prove(run: Run, data: PreparedData) -> Facts:
    """The whole validation part, once: loss, bits per byte, and what counting reaches on the same tokens."""
    result = run.meta["result"]
    return {
        "loss": result["val"]["loss"],
        "perplexity": result["val"]["perplexity"],
        "bits_per_byte": result["val"]["bits_per_byte"],
        "val_tokens": result["val"]["tokens"],
        "uniform": math.log(data.tokenizer.vocab_size),
        **result["baselines"],
    }


def judge_stories(config: DemoConfig, model: Any, tokenizer: Any) -> Facts:
    """Sample stories and let the checker read them; three are kept to be shown, first a coherent one."""
    texts = sample_stories(model, tokenizer, config.stories, temperature=config.temperature, seed=config.seed)
    score = score_stories(texts)
    return story_facts(score, config.temperature)


def story_facts(score: StoryScore, temperature: float) -> Facts:
    """A `StoryScore` as plain facts for the summary."""
    from working_with_text_data.storyland.checker import check_story

    order = sorted(range(len(score.texts)), key=lambda i: not score.verdicts[i])
    shown = [order[0], *([order[1]] if len(order) > 1 else []), *([order[-1]] if len(order) > 2 else [])]
    return {
        "hits": score.coherent.hits,
        "total": score.coherent.total,
        "share": score.coherent.value,
        "interval": list(score.coherent.interval),
        "temperature": temperature,
        "broken_rules": score.broken_rules,
        "shown": [
            {
                "text": score.texts[i],
                "coherent": score.verdicts[i],
                "rules": sorted({v.rule for v in check_story(score.texts[i]).violations}),
            }
            for i in shown
        ],
    }


def instruct(
    config: DemoConfig, model: Any, tokenizer: Any, stories: Sequence[str], run: Run, callbacks: Sequence[Any]
) -> Facts:
    """Ask held-out requests, tune, ask them again."""
    requests = held_out_requests(config.held_out, seed=config.seed + 1)
    before = exact_match(model, tokenizer, requests)
    wishes = stories[: config.tune_requests // 12]
    examples = training_examples(tokenizer, config.tune_requests, seed=config.seed, stories=wishes)
    validation = []
    for request in requests:
        rendered = render(conversation(request.prompt, request.answer), tokenizer)
        validation.append((rendered.ids, rendered.trained))
    settings = {"minutes": config.minutes * config.tune_share, "seed": config.seed, "device": config.device}
    recipe = make_config(TrainConfig, TUNE_RECIPE, settings, config.tune)
    tune(model, tokenizer, examples, validation, recipe, run, callbacks=callbacks)
    after = exact_match(model, tokenizer, requests)
    return tuning_facts(before, after)


def tuning_facts(before: InstructionScore, after: InstructionScore) -> Facts:
    """Two scores of the same requests as plain facts, with one right and one wrong answer to look at."""
    right = [a for a in after.answers if a.correct][:3]
    wrong = [a for a in after.answers if not a.correct][:2]
    return {
        "asked": after.overall.total,
        "before": before.overall.value,
        "before_hits": before.overall.hits,
        "after": after.overall.value,
        "after_hits": after.overall.hits,
        "after_interval": list(after.overall.interval),
        "kinds": [
            {"kind": kind, "before": before.by_kind[kind].value, "after": share.value, "asked": share.total}
            for kind, share in after.by_kind.items()
        ],
        "examples": [
            {"kind": a.kind, "prompt": a.prompt, "answer": a.answer, "correct": a.correct}
            for a in [*right, *wrong]
        ],
    }


def compare_decoding(model: Any, tokenizer: Any, prompt: str, *, rounds: int = 3) -> Facts:
    """Tokens per second with and without the KV cache, in turn, on the same prompt and the same seed."""
    from gpt_model import Sampling, generate

    ids = tokenizer.encode_ordinary(prompt) or [tokenizer.special_tokens["<|endoftext|>"]]
    count = min(200, model.config.block_size - len(ids))
    speeds: dict[bool, list[float]] = {True: [], False: []}
    texts: dict[bool, list[int]] = {}
    sampling = Sampling(temperature=0.0)
    for _ in range(rounds):
        for use_cache in (True, False):
            started = time.perf_counter()
            texts[use_cache] = generate(
                model, [ids], max_new_tokens=count, sampling=sampling, use_cache=use_cache
            )[0]
            speeds[use_cache].append(count / (time.perf_counter() - started))
    cached, uncached = (sorted(speeds[flag])[rounds // 2] for flag in (True, False))
    return {
        "tokens": count,
        "cached": cached,
        "uncached": uncached,
        "ratio": cached / uncached,
        "same_text": texts[True] == texts[False],
    }


@torch.no_grad()
def attention_map(model: Any, tokenizer: Any, text: str, max_tokens: int = 24) -> Facts:
    """The most focused head of the model on the first tokens of `text` (the one with the least entropy)."""
    from gpt_model.trace import attention_maps

    ids = tokenizer.encode_ordinary(text)[:max_tokens]
    maps = attention_maps(model, torch.tensor([ids]))  # (n_layer, n_head, T, T)
    entropy = -(maps.clamp_min(1e-9).log() * maps).sum(-1).mean(-1)  # (n_layer, n_head)
    # A head that always looks at the first token or at itself is focused, and dull.
    dull = torch.maximum(maps[..., 0].mean(-1), maps.diagonal(dim1=-2, dim2=-1).mean(-1))
    layer, head = divmod(int((entropy + 4.0 * dull).argmin()), maps.shape[1])
    return {
        "tokens": [tokenizer.decode([i]) for i in ids],
        "weights": [[round(float(w), 4) for w in row] for row in maps[layer, head]],
        "layer": layer,
        "head": head,
    }


def sample_facts(samples: Sequence[dict[str, Any]], keep: int = 5) -> list[Facts]:
    """The first sample, the last, and some between."""
    if not samples:
        return []
    picks = sorted({round(i * (len(samples) - 1) / max(1, keep - 1)) for i in range(keep)})
    return [
        {"step": samples[i]["step"], "text": samples[i].get("prompt", "") + samples[i]["text"]} for i in picks
    ]
