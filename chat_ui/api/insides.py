"""/api/v1/transformer, of a model that is loaded: attention maps, the logit lens, the next token.

    curl -s localhost:8000/api/v1/transformer/next-token -H 'content-type: application/json' \\
         -d '{"model": "assets", "text": "Once upon a", "temperature": 0.8, "top": 5}'

The model is the one that chats use meanwhile: hooks keep what their own thread computes (`gpt_model.trace`), and a
look costs a chat nothing but time. The two pages are the self-contained viewers of the chapters, at addresses that
can be sent to somebody. Left out: changing what flows through the model. Notebooks: 03 of attention_mechanisms and
06 of gpt_model.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from chat_ui import limits
from chat_ui.api.context import Here
from chat_ui.api.inside_schema import (
    AttentionQuestion,
    Candidate,
    Guess,
    Head,
    Layers,
    LensLine,
    LensQuestion,
    Maps,
    Next,
    NextQuestion,
    Opinion,
    Reading,
)
from chat_ui.api.route import PROBLEMS, LineRoute
from utils.errors import UserError

PAGE_BYTES = 4_000_000

router = APIRouter(
    prefix="/api/v1/transformer", tags=["looking inside"], route_class=LineRoute, responses=PROBLEMS
)
ModelName = Annotated[str, Query(max_length=limits.NAME_CHARACTERS, examples=["assets"])]
ShortText = Annotated[str, Query(min_length=1, max_length=4000, examples=["Once upon a time"])]


@router.post("/visualize/attention")
async def attention(here: Here, asked: AttentionQuestion) -> Maps:
    """Where each token of a text looks, for each head: the maps, and every head in numbers."""
    loaded = await here.model(asked.model)
    return await here.compute(lambda: _maps(loaded, asked))


@router.get("/visualize/attention/page", response_class=HTMLResponse)
async def attention_page(here: Here, text: ShortText, model: ModelName = "assets") -> HTMLResponse:
    """The same as a page to look at, which needs nothing else."""
    loaded = await here.model(model)

    def work() -> str:
        from gpt_model.look import look

        _ids(loaded, Reading(text=text))
        return look(loaded, text, max_bytes=PAGE_BYTES).page

    return HTMLResponse(await here.compute(work))


@router.post("/logit-lens")
async def logit_lens(here: Here, asked: LensQuestion) -> Layers:
    """What each layer would have said at every place of a text, and how the text surprised the model."""
    loaded = await here.model(asked.model)
    return await here.compute(lambda: _layers(loaded, asked))


@router.get("/logit-lens/page", response_class=HTMLResponse)
async def lens_page(here: Here, text: ShortText, model: ModelName = "assets") -> HTMLResponse:
    """The same as a page to look at, which needs nothing else."""
    loaded = await here.model(model)

    def work() -> str:
        from gpt_model.lens_viewer import show_lens

        _ids(loaded, Reading(text=text))
        return show_lens(loaded, text, max_bytes=PAGE_BYTES).page

    return HTMLResponse(await here.compute(work))


@router.post("/next-token")
async def next_token(here: Here, asked: NextQuestion) -> Next:
    """What may come next: the model's own probabilities beside those that the settings leave."""
    loaded = await here.model(asked.model)
    return await here.compute(lambda: _next(loaded, asked))


def _ids(loaded: Any, asked: Reading, longest: int = limits.LOOK_TOKENS) -> list[int]:
    """The ids to read, checked: some, known to the model, and no more than it can read at once."""
    asked.checked()
    if asked.text is not None:
        end = loaded.tokenizer.special_tokens.get("<|endoftext|>") if asked.begin else None
        ids = ([] if end is None else [end]) + loaded.tokenizer.encode_ordinary(asked.text)
    else:
        ids = list(asked.ids or ())
    if not ids:
        raise UserError("there are no tokens to read: give a text of at least one")
    size = loaded.config.vocab_size
    for place, token in enumerate(ids):
        if token >= size:
            raise UserError(f"ids.{place} is {token}, but the model has ids from 0 to {size - 1}")
    limit = min(longest, loaded.config.block_size)
    if len(ids) > limit:
        raise UserError(f"the text has {len(ids)} tokens, and at most {limit} can be looked at: shorten it")
    return ids


def _read(loaded: Any, asked: Reading, ids: list[int]) -> dict[str, Any]:
    """What every answer says about what was read."""
    return {"model": asked.model, "ids": ids, "tokens": [_shown(loaded, token) for token in ids]}


def _shown(loaded: Any, token: int) -> str:
    from gpt_model.token_scores import shown

    try:
        return shown(loaded.tokenizer, token)
    except ValueError:  # an id that nobody has taken
        return f"‹id {token}›"


def _text(loaded: Any, token: int) -> str | None:
    """The characters of one token; None for a part of one, and for an id that stands for nothing."""
    try:
        return (
            loaded.tokenizer.token_bytes(token).decode("utf-8")
            if token < loaded.tokenizer.vocab_size
            else None
        )
    except ValueError:
        return None


def _maps(loaded: Any, asked: AttentionQuestion) -> Maps:
    import torch

    from attention_mechanisms.analysis import summarise
    from gpt_model.trace import attention_maps, visible_keys

    config = loaded.config
    ids = _ids(loaded, asked)
    layers = _chosen("layers", asked.layers, config.n_layer)
    heads = _chosen("heads", asked.heads, config.n_head)
    numbers = len(layers) * len(heads) * len(ids) * (len(ids) + 1) // 2
    if numbers > limits.MAP_NUMBERS:
        raise UserError(
            f"{len(layers)} layers x {len(heads)} heads of {len(ids)} tokens are {numbers:,} shares, and at most "
            f"{limits.MAP_NUMBERS:,} are sent at once: name fewer layers or heads, or shorten the text"
        )
    maps = attention_maps(loaded.model, torch.tensor([ids]))[layers][:, heads].double().cpu()
    allowed = visible_keys(loaded.model, len(ids))[layers]
    summaries = []
    for head in summarise(maps, [str(token) for token in ids], allowed=allowed):
        numbered = {"layer": layers[head.layer], "head": heads[head.head]}
        summaries.append(Head(**{**asdict(head), **numbered}))
    attentions: list[Any] = [loaded.model.blocks[layer].attn for layer in layers]
    return Maps(
        **_read(loaded, asked, ids),
        layers=layers,
        heads=heads,
        n_layer=config.n_layer,
        n_head=config.n_head,
        kv_heads=attentions[0].n_kv_head,
        windows=[each.window for each in attentions],
        summaries=summaries,
        maps=[
            [
                [[round(share, 4) for share in row[: place + 1]] for place, row in enumerate(head)]
                for head in layer
            ]
            for layer in maps.tolist()
        ],
    )


def _chosen(what: str, wanted: list[int] | None, count: int) -> list[int]:
    for number in wanted or ():
        if number >= count:
            raise UserError(f"{what} names {number}, but the model's {what} are 0 to {count - 1}")
    return list(dict.fromkeys(wanted)) if wanted else list(range(count))


def _layers(loaded: Any, asked: LensQuestion) -> Layers:
    from gpt_model.lens import logit_lens

    ids = _ids(loaded, asked)
    lens = logit_lens(loaded.model, ids, top_k=asked.top)
    lines = [
        LensLine(
            layer=row.layer,
            opinions=[
                Opinion(
                    log_probability=score.log_probability,
                    rank=score.rank,
                    entropy=score.entropy,
                    guesses=[
                        Guess(id=token, shown=_shown(loaded, token), probability=_share(math.exp(value)))
                        for token, value in score.alternatives
                    ],
                )
                for score in row.scores
            ],
        )
        for row in lens.rows
    ]
    output = lens.rows[-1].scores
    return Layers(
        **_read(loaded, asked, ids),
        layers=lines,
        surprise=[-score.log_probability for score in output[:-1]],
    )


def _next(loaded: Any, asked: NextQuestion) -> Next:
    import torch

    from gpt_model.sampling import Sampling, check_logits, process

    ids = _ids(loaded, asked, longest=loaded.config.block_size)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids], device=loaded.model.device), last_only=True).logits[0, -1:]
        logits = logits.float().cpu()
        check_logits(logits)
        own = logits.double().softmax(dim=-1)[0]
        sampling = Sampling(
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
            min_p=asked.min_p,
            repetition_penalty=asked.repetition_penalty,
            vocab_limit=min(loaded.tokenizer.vocab_size, loaded.config.vocab_size),
        )
        kept = process(logits, sampling, [ids], prompt_lengths=[len(ids)])
        if sampling.greedy:  # no draw: all of it goes to the likeliest
            drawn = torch.zeros_like(own)
            drawn[int(kept.argmax())] = 1.0
        else:
            drawn = kept.double().softmax(dim=-1)[0]
    before, after = own.tolist(), drawn.tolist()
    order = sorted(range(len(before)), key=lambda token: (-after[token], -before[token], token))
    top = [
        Candidate(
            id=token,
            shown=_shown(loaded, token),
            text=_text(loaded, token),
            probability=_share(before[token]),
            drawn=_share(after[token]),
        )
        for token in order[: asked.top]
    ]
    return Next(
        **_read(loaded, asked, ids),
        entropy=float(torch.special.entr(own).sum()),
        candidates=int((drawn > 0).sum()),
        top=top,
    )


def _share(value: float) -> float:
    """A probability whose last bit may have gone past 1."""
    return min(1.0, max(0.0, value))
