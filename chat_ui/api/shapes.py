"""/api/v1/transformer: presets, configurations, and what each would cost, before anything is built.

    curl -s localhost:8000/api/v1/transformer/parameter-count -H 'content-type: application/json' \\
         -d '{"shape": {"preset": "gpt2", "settings": {"attention": "mla"}}, "use": {"context": 1024}}'

Every number is `gpt_model.analyze`'s, which counts a model without memory; the four attentions of one shape stand
beside each other for a calculator with sliders. Left out: looking into a model that exists (`insides`, under the
same prefix), and time, which has to be measured. Notebook: 02 of gpt_model.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from fastapi import APIRouter

from chat_ui.api.context import Here
from chat_ui.api.route import PROBLEMS, LineRoute
from chat_ui.api.shape_schema import (
    Compared,
    ComparedShape,
    Configured,
    Counted,
    CountQuestion,
    Derived,
    PresetLine,
    Presets,
    SeveralQuestion,
    Shape,
    TreePart,
    Use,
    Variant,
)
from gpt_model.analyze import DTYPES, AnalyzeConfig, analysis, explain_parameters
from gpt_model.config import GPTConfig, preset, with_attention
from gpt_model.presets import PRESETS
from utils.errors import UserError
from utils.files import jsonable

LONGEST = 1024  # tokens of context where none are named, as `analyze` has it

router = APIRouter(
    prefix="/api/v1/transformer", tags=["transformer"], route_class=LineRoute, responses=PROBLEMS
)


@router.get("/presets")
async def presets(here: Here) -> Presets:
    """Every preset with its settings and its size; the names of all attentions and settings."""
    return await here.compute(_all_presets)


@router.post("/configure")
async def configure(here: Here, asked: Shape) -> Configured:
    """A preset with settings replaced, checked: the whole configuration, or one line that says what is wrong."""

    def work() -> Configured:
        from attention_mechanisms.registry import ATTENTIONS

        config = asked.config()
        values, own = jsonable(config.to_dict()), jsonable(preset(asked.preset).to_dict())
        return Configured(
            preset=asked.preset,
            config=values,
            changed={name: value for name, value in values.items() if value != own[name]},
            derived=Derived(
                head_dim=config.head_dim,
                hidden_width=config.hidden_width,
                kv_heads=ATTENTIONS[config.attention].kv_heads(config),
            ),
            parameters=_parameters(config),
        )

    return await here.compute(work)


@router.post("/parameter-count")
async def parameter_count(here: Here, asked: CountQuestion) -> Counted:
    """Where the parameters are, what training and writing need in memory, and the KV cache of every attention."""

    def work() -> Counted:
        from gpt_model.costs import keeping_skeletons, parameter_tree

        config = asked.shape.config()
        wish, context = _asked(asked.use, config)
        with keeping_skeletons():
            return Counted(
                config=jsonable(config.to_dict()),
                context=context,
                figures=_figures(config, wish),
                explained=explain_parameters(config),
                tree=_tree(parameter_tree(config)),
                variants=_variants(config, wish, context),
            )

    return await here.compute(work)


@router.post("/compare")
async def compare(here: Here, asked: SeveralQuestion) -> Compared:
    """Several configurations side by side, all at the context that each of them can read."""

    def work() -> Compared:
        configs = [shape.config() for shape in asked.shapes]
        wish, context = _asked(asked.use, *configs)
        values = [jsonable(config.to_dict()) for config in configs]
        return Compared(
            context=context,
            differing=[name for name in values[0] if any(v[name] != values[0][name] for v in values)],
            shapes=[
                ComparedShape(preset=shape.preset, config=value, figures=_figures(config, wish))
                for shape, config, value in zip(asked.shapes, configs, values, strict=True)
            ],
        )

    return await here.compute(work)


@lru_cache
def _all_presets() -> Presets:
    from attention_mechanisms.registry import ATTENTIONS

    lines = []
    for name in PRESETS:
        config = preset(name)
        lines.append(
            PresetLine(
                name=name,
                attention=config.attention,
                parameters=_parameters(config),
                config=jsonable(config.to_dict()),
            )
        )
    return Presets(presets=lines, attentions=list(ATTENTIONS), settings=list(lines[0].config))


def _asked(use: Use, *configs: GPTConfig) -> tuple[AnalyzeConfig, int]:
    """What `analysis` is asked for, and its context: without one, what all of the models can read."""
    context = use.context or min(LONGEST, *(config.block_size for config in configs))
    return replace(AnalyzeConfig(**use.model_dump()), context=context), context


@lru_cache(256)  # a slider asks for the same shapes again and again
def _figures(config: GPTConfig, wish: AnalyzeConfig) -> dict[str, Any]:
    from gpt_model.costs import keeping_skeletons

    with keeping_skeletons():
        return jsonable(analysis(config, wish))


@lru_cache(256)
def _parameters(config: GPTConfig) -> int:
    from gpt_model.costs import parameter_breakdown

    return sum(parameter_breakdown(config).values())


def _variants(config: GPTConfig, wish: AnalyzeConfig, context: int) -> list[Variant]:
    """The same shape with each attention that has a formula."""
    from attention_mechanisms.costs import KNOWN

    lines = [_variant(config, name, wish, context) for name in KNOWN]
    whole = next((line.cache_bytes for line in lines if line.attention == "mha"), None)
    for line in lines:
        if whole and line.cache_bytes is not None:
            line.share_of_mha = line.cache_bytes / whole
    return lines


def _variant(config: GPTConfig, attention: str, wish: AnalyzeConfig, context: int) -> Variant:
    import torch

    from gpt_model import costs, memory

    dtype = getattr(torch, DTYPES[wish.dtype])
    try:
        own = with_attention(config, attention)
        cache = costs.cache_bytes(own, wish.batch, context, dtype)
        training = memory.training_memory(own, wish.batch, context, optimizer=wish.optimizer, dtype=dtype)
    except UserError as error:
        return Variant(attention=attention, why_not=str(error))
    parameters = _parameters(own)
    return Variant(
        attention=attention,
        parameters=parameters,
        weights_bytes=parameters * dtype.itemsize,
        cache_bytes=cache,
        cache_bytes_per_token=cache / (wish.batch * context),
        training_bytes=training.total,
    )


def _tree(part: Any) -> TreePart:
    return TreePart(
        name=part.name,
        count=part.count,
        copies=part.copies,
        shape=list(part.shape),
        note=part.note,
        children=[_tree(child) for child in part.children],
    )
