"""Questions and answers about configurations: every setting of `GPTConfig` with its type and its largest value.

The idea: a model that is only counted costs nothing, unless somebody asks for a billion layers. So the settings are
taken from the dataclass itself (a new field is here at once), and each whole number gets a limit.

Left out: which settings go together; `GPTConfig` says that, in one line.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from chat_ui import limits
from chat_ui.api.route import Answer, Strict
from chat_ui.api.tokenization_schema import Count, example
from gpt_model.analyze import DTYPES
from gpt_model.config import CHOICES, GPTConfig
from gpt_model.presets import PRESETS
from utils.schema import settable_fields

OPTIMIZERS = ("adamw", "momentum", "sgd")
PresetName = Annotated[str, Field(max_length=limits.NAME_CHARACTERS, description=", ".join(PRESETS))]


def _setting(name: str, kind: Any) -> Any:
    """The type of one setting in a request: that of the dataclass, with a largest value."""
    if name in CHOICES:
        return Literal[CHOICES[name]]
    if name == "ngram_rows":
        return Annotated[list[Annotated[int, Field(ge=1, le=limits.MODEL_SIZE)]], Field(max_length=8)]
    if name == "attention":
        return Annotated[str, Field(max_length=limits.NAME_CHARACTERS)]
    base = next(part for part in (bool, int, float) if part is kind or part in getattr(kind, "__args__", ()))
    if base is int:
        return Annotated[int, Field(ge=0, le=limits.MODEL_SIZES.get(name, limits.MODEL_SIZE))]
    return Annotated[float, Field(ge=-1e9, le=1e9)] if base is float else bool


_SETTINGS: dict[str, Any] = {
    field.name: (_setting(field.name, kind) | None, None) for field, kind in settable_fields(GPTConfig)
}
Settings: type[BaseModel] = create_model(
    "Settings", __base__=Strict, __doc__="Settings that replace those of the preset.", **_SETTINGS
)


class Shape(Strict):
    """A preset, with some of its settings replaced."""

    model_config = example(preset="gpt2", settings={"attention": "gqa", "n_kv_head": 4})

    preset: PresetName = "gpt2"
    settings: Settings = Field(default_factory=Settings)  # type: ignore[valid-type]

    def config(self) -> GPTConfig:
        """The configuration; UserError where its settings do not go together."""
        from gpt_model.config import preset

        given: Any = self.settings
        return preset(self.preset, **given.model_dump(exclude_unset=True))


class Use(Strict):
    """What the costs are asked for."""

    batch: int = Field(
        default=8, ge=1, le=65_536, description="rows of a training step, and rows written at once"
    )
    context: int | None = Field(
        default=None,
        ge=1,
        le=limits.MODEL_SIZES["block_size"],
        description="tokens of a row; null: at most 1024",
    )
    dtype: Literal[tuple(DTYPES)] = "fp32"  # type: ignore[valid-type]
    optimizer: Literal[OPTIMIZERS] = "adamw"  # type: ignore[valid-type]
    hardware: str | None = Field(default=None, max_length=100, description="a GPU as its driver names it")
    tokens_per_second: float | None = Field(
        default=None, gt=0, le=1e12, description="a measured speed, for its MFU"
    )


class CountQuestion(Strict):
    """A configuration and the use that is made of it."""

    model_config = example(
        shape={"preset": "gpt2", "settings": {"attention": "mla"}}, use={"context": 1024, "dtype": "bf16"}
    )

    shape: Shape = Shape()
    use: Use = Use()


class SeveralQuestion(Strict):
    """Configurations to lay side by side, and the use that is made of each."""

    model_config = example(shapes=[{"preset": "gpt2"}, {"preset": "llama-tiny"}], use={"context": 512})

    shapes: Annotated[list[Shape], Field(min_length=1, max_length=limits.COMPARED)]
    use: Use = Use()


# ---- answers

Figures = dict[str, dict[str, float | str]]


class PresetLine(Answer):
    name: str
    attention: str
    parameters: Count
    config: dict[str, Any]


class Presets(Answer):
    presets: list[PresetLine]
    attentions: list[str]
    settings: list[str] = Field(description="names of all settings that a configuration has")


class Derived(Answer):
    """What follows from the settings without counting anything."""

    head_dim: Count
    hidden_width: Count
    kv_heads: Count = Field(
        description="key and value heads; for mla, whose cache has none, one a query head"
    )


class Configured(Answer):
    preset: str
    config: dict[str, Any] = Field(description="every setting, as config.json has it")
    changed: dict[str, Any] = Field(description="settings that differ from the preset's")
    derived: Derived
    parameters: Count


class Variant(Answer):
    """The same shape with one of the attentions; null figures and a reason where it cannot have it."""

    attention: str
    parameters: Count | None = None
    weights_bytes: Count | None = None
    cache_bytes: Count | None = Field(default=None, description="of all rows, at this context")
    cache_bytes_per_token: float | None = None
    share_of_mha: float | None = None
    training_bytes: Count | None = None
    why_not: str | None = None


class TreePart(Answer):
    """A part of a model: `count` is of all copies, `children` are those of one."""

    name: str
    count: Count
    copies: Count
    shape: list[int]
    note: str
    children: list[TreePart]


class Counted(Answer):
    config: dict[str, Any]
    context: Count
    figures: Figures = Field(
        description="parameters, FLOPs, memory to train and to write: `gpt_model.analyze`"
    )
    explained: list[str]
    tree: TreePart
    variants: list[Variant]


class ComparedShape(Answer):
    preset: str
    config: dict[str, Any]
    figures: Figures


class Compared(Answer):
    context: Count
    differing: list[str] = Field(description="settings that are not the same in all")
    shapes: list[ComparedShape]
