"""/calculator: what a model would cost before anybody builds it, with sliders; presets side by side.

    /calculator?preset=gpt2&attention=gqa&n_kv_head=4&context=1024&batch=1&dtype=bf16

Every number is `gpt_model.analyze`'s, through /api/v1/transformer. Left out: time, which has to be measured.
"""

from __future__ import annotations

from typing import Any

from nicegui import ui
from starlette.requests import Request

from chat_ui import limits
from chat_ui.api import shapes as rest
from chat_ui.api.shape_schema import OPTIMIZERS, CountQuestion, Settings, SeveralQuestion, Shape, Use
from chat_ui.inspector import parts
from chat_ui.inspector.frame import Asked, card, frame, keep, raw, said, said_number
from gpt_model.analyze import DTYPES

# name, what it says, smallest and largest power of two or number
SLIDERS = {
    "n_layer": ("Layers", 1, limits.MODEL_SIZES["n_layer"], 1),
    "n_head": ("Heads", 1, 64, 1),
    "n_embd": ("Width (n_embd)", 32, 8192, 32),
    "n_kv_head": ("Key-value heads", 1, 64, 1),
    "kv_latent_dim": ("Latent per token", 16, 2048, 16),
    "window": ("Window, tokens", 16, 8192, 16),
}
OWN = {
    "mha": (),
    "gqa": ("n_kv_head",),
    "mla": ("kv_latent_dim",),
    "swa": ("n_kv_head", "window"),
}  # of an attention
ONLY = {name for names in OWN.values() for name in names}
USES = {"context": ("Context, tokens", 6, 17), "batch": ("Batch size", 0, 8)}  # powers of two
PATH = "/calculator"


async def page(request: Request) -> None:
    with frame(
        "Calculator",
        "/calculator",
        "Parameters, memory and key-value cache, counted without building anything.",
    ) as here:
        await Page(here, request).show()


class Page:
    """A preset with some of its settings moved, and the use that is made of it."""

    def __init__(self, here: Any, request: Request) -> None:
        self.here, self.request = here, request
        self.moved: dict[str, Any] = {}
        self.sliders: dict[str, tuple[ui.slider, ui.html]] = {}
        self.boxes: dict[str, ui.element] = {}
        self.quiet = False

    async def show(self) -> None:
        known = await rest.presets(self.here)
        self.presets = {line.name: line for line in known.presets}
        asked = said(self.request, "preset", "gpt2", limits.NAME_CHARACTERS)
        self.asked = Asked()
        first = asked if asked in self.presets else "gpt2"
        config = self.presets[first].config
        with card("The model"):
            with ui.element("div").classes("controls"):
                self.preset = ui.select(
                    list(self.presets), value=first, label="Preset", on_change=self._other
                ).props("dense outlined")
                attention = said(self.request, "attention", config["attention"])
                attention = attention if attention in known.attentions else config["attention"]
                self.attention = ui.select(
                    known.attentions, value=attention, label="Attention", on_change=self.refresh
                ).props("dense outlined")
                self.dtype = self._choice("dtype", "Data type", list(DTYPES), "bf16")
                self.optimizer = self._choice("optimizer", "Optimizer", list(OPTIMIZERS), "adamw")
            with ui.element("div").classes("sliders"):
                for name, (label, low, high, step) in SLIDERS.items():
                    otherwise = derived(name, config, attention)
                    value = int(said_number(self.request, name, otherwise, low, high))
                    if name in self.request.query_params:
                        self.moved[name] = value
                    self._slider(name, label, low, high, step, value)
                for name, (label, low, high) in USES.items():
                    otherwise = {"context": 1024, "batch": 1}[name]
                    value = int(said_number(self.request, name, otherwise, 2**low, 2**high))
                    self._slider(name, label, low, high, 1, value.bit_length() - 1)
        if asked not in self.presets:
            self.asked.line.set_content(
                parts.note(f"no preset {asked[:60]!r}: there are {', '.join(self.presets)}", bad=True)
            )
        self.figures = raw("")
        with card(
            "The same shape with each attention",
            "The key-value cache of the whole batch at this context, beside that of multi-head attention.",
        ):
            self.variants = raw("")
        with ui.element("div").classes("grid"):
            with card("Where the parameters are"):
                self.tree = raw("")
            with card("Memory for training and for generation"):
                self.memory = raw("")
        with card("Presets side by side"):
            chosen = [name for name in self.request.query_params.getlist("beside") if name in self.presets]
            start = chosen[: limits.COMPARED] or [
                name for name in ("gpt2", "gpt2-medium", "llama-tiny") if name in self.presets
            ]
            self.beside = ui.select(
                list(self.presets), value=start, multiple=True, label="Presets", on_change=self.refresh
            ).props("dense outlined use-chips")
            self.side = Asked()
            self.several = raw("")
        if asked in self.presets:
            await self.refresh()

    def _choice(self, name: str, label: str, options: list[str], otherwise: str) -> ui.select:
        value = said(self.request, name, otherwise)
        value = value if value in options else otherwise
        return ui.select(options, value=value, label=label, on_change=self.refresh).props("dense outlined")

    def _slider(self, name: str, label: str, low: int, high: int, step: int, value: int) -> None:
        with ui.element("label").classes("slider") as box:
            raw(label, "span")
            shown = raw(_shown(name, value), "b")
            slider = ui.slider(
                min=low,
                max=high,
                step=step,
                value=value,
                # Asked now: by the time that the task runs, `quiet` is over.
                on_change=lambda event: None if self.quiet else self._move(name, event.value),
            )
            slider.props(f'aria-label="{label}"')
        self.sliders[name], self.boxes[name] = (slider, shown), box

    async def _move(self, name: str, value: float) -> None:
        self.sliders[name][1].set_content(_shown(name, int(value)))
        if name in SLIDERS:
            self.moved[name] = int(value)
        await self.refresh()

    async def _other(self, event: Any) -> None:
        """Another preset: its own settings."""
        config = self.presets[event.value].config
        self.moved, self.quiet = {}, True
        self.attention.set_value(config["attention"])
        for name in SLIDERS:
            self._put(name, derived(name, config, config["attention"]))
        self.quiet = False
        await self.refresh()

    def _put(self, name: str, value: int) -> None:
        self.sliders[name][0].set_value(value)
        self.sliders[name][1].set_content(_shown(name, value))

    def _follow(self, settings: dict[str, Any]) -> None:
        """Show the sliders of the chosen attention; one that nobody has moved stands where the others put it."""
        config = {**self.presets[self.preset.value].config, **settings}
        self.quiet = True
        for name in SLIDERS:
            if name in ONLY:
                self.boxes[name].set_visibility(name in OWN.get(self.attention.value, ()))
            if name in ONLY and name not in self.moved:
                self._put(name, derived(name, config, self.attention.value))
        self.quiet = False

    def settings(self) -> dict[str, Any]:
        """What replaces the preset's settings."""
        own = self.presets[self.preset.value].config
        fitting = OWN.get(self.attention.value, ())
        given = {name: value for name, value in self.moved.items() if name not in ONLY or name in fitting}
        if self.attention.value != own["attention"]:
            given["attention"] = self.attention.value
        if self._use("context") > own["block_size"]:
            given["block_size"] = self._use("context")  # a longer context needs a model that can read it
        return given

    def _of(self, name: str) -> int:
        return int(self.sliders[name][0].value)

    def _use(self, name: str) -> int:
        return 2 ** self._of(name)

    async def refresh(self, _: Any = None) -> None:
        """Count again."""
        if self.quiet:
            return
        settings = self.settings()
        self._follow(settings)
        use = {
            "context": self._use("context"),
            "batch": self._use("batch"),
            "dtype": self.dtype.value,
            "optimizer": self.optimizer.value,
        }
        given = {name: value for name, value in settings.items() if name != "block_size"}
        keep("/calculator", preset=self.preset.value, **given, **use, beside=self.beside.value)
        found = await self.asked(lambda: rest.parameter_count(self.here, CountQuestion(
            shape=Shape(preset=self.preset.value, settings=Settings(**settings)), use=Use(**use))))  # fmt: skip
        if found is not None:
            self._draw(found)
        shapes = [Shape(preset=name) for name in self.beside.value]
        several = await self.side(lambda: rest.compare(
            self.here, SeveralQuestion(shapes=shapes, use=Use(**{**use, "context": None}))))  # fmt: skip
        if several is not None:
            self.several.set_content(_several(several))

    def _draw(self, found: Any) -> None:
        parameters, writing = found.figures["parameters"], found.figures["decoding memory, bytes"]
        training = found.figures["training memory, bytes"]
        self.figures.set_content(parts.figures({
            "parameters": parts.number(parameters["total"]),
            "weights": parts.size(writing["weights"]),
            "key-value cache": parts.size(writing["cache"]),
            "memory of a training step": parts.size(training["all at once"]),
        }))  # fmt: skip
        self.variants.set_content(variants_of(found.variants, self.attention.value))
        shares = {k: v for k, v in parameters.items() if k not in ("total", "non-embedding")}
        sums = "".join(f'<p class="quiet small">{parts.text(line)}</p>' for line in found.explained)
        self.tree.set_content(_bars(shares, parts.short) + sums)
        whole = "all at once"
        self.memory.set_content(
            "<h3>A training step</h3>" + _bars({k: v for k, v in training.items() if k != whole}, parts.size)
            + "<h3>Generation</h3>" + _bars({k: writing[k] for k in ("weights", "cache", "logits")}, parts.size)
        )  # fmt: skip


def derived(name: str, config: dict[str, Any], attention: str) -> int:
    """What a setting is, or what it comes to where the configuration leaves it open."""
    if config.get(name):
        return int(config[name])
    if name == "kv_latent_dim":
        return max(1, config["n_embd"] // 3)
    if name == "window":
        return max(1, config["block_size"] // 4)
    from attention_mechanisms.grouped_query import default_kv_heads

    heads = int(config["n_head"])
    return default_kv_heads(heads) if attention == "gqa" else heads


def _shown(name: str, value: int) -> str:
    return f"{2**value if name in USES else value:,}"


def variants_of(variants: list[Any], chosen: str) -> str:
    """Cache and size of each attention, as bars of multi-head's cache."""
    rows = []
    for line in variants:
        name = (
            f"<b>{parts.text(line.attention)}</b>" if line.attention == chosen else parts.text(line.attention)
        )
        if line.why_not:
            rows.append((name, f'<span class="quiet">{parts.text(line.why_not)}</span>', "", ""))
            continue
        share = line.share_of_mha or 0.0
        cache = parts.bar(share, f"{parts.size(line.cache_bytes)} · {100 * share:.0f} %")
        rows.append(
            (name, cache, parts.text(parts.size(line.cache_bytes_per_token)), parts.number(line.parameters))
        )
    return parts.table(("attention", "cache", "per token", "parameters"), rows, raw=True)


def _bars(values: dict[str, Any], told: Any) -> str:
    largest = max((value for value in values.values() if isinstance(value, int | float)), default=0) or 1
    rows = ((parts.text(name), parts.bar(value / largest, told(value))) for name, value in values.items())
    return (
        parts.table(("", ""), rows, raw=True)
        .replace("<table>", '<table class="bars">')
        .replace("<thead><tr><th scope=col></th><th scope=col></th></tr></thead>", "")
    )


def _several(found: Any) -> str:
    head = ("", *(shape.preset for shape in found.shapes))
    rows: list[tuple[object, ...]] = []
    for label, group, key, told in (
        ("parameters", "parameters", "total", parts.number),
        ("weights", "decoding memory, bytes", "weights", parts.size),
        ("key-value cache, batch 1", "decoding memory, bytes", "cache of one row", parts.size),
        ("memory of a training step", "training memory, bytes", "all at once", parts.size),
    ):
        rows.append((label, *(told(shape.figures[group][key]) for shape in found.shapes)))
    for name in found.differing:
        rows.append((name, *(parts.number(shape.config[name]) for shape in found.shapes)))
    return (
        f'<p class="quiet">At a context of {found.context:,} tokens, which all of them can read.</p>'
        + parts.table(head, rows)
    )
