"""The settings panel: what each knob is called, how far it goes, and what it means in one sentence.

The panel is sent again whenever the model changes, because a model's context limits the length of its answers, and
with it the list of models as it is on the disk now: a run that has just finished is there without a restart.
What comes back is checked by `settings`, whatever the widgets allow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from chat_ui.here import FOLDER

os.environ.setdefault("CHAINLIT_APP_ROOT", str(FOLDER))

import chainlit as cl
from chainlit.input_widget import Select, Slider, TextInput

from chat_ui.decoding import STRATEGIES
from chat_ui.settings import AS_TRAINED, MODES, NOTHING, Settings
from finetuning.templates import TEMPLATES


def panel(start: Settings, refs: Mapping[str, str], block_size: int) -> cl.ChatSettings:
    """The panel opened at `start`; `refs` maps what a person reads to a model that reads `block_size` tokens."""
    return cl.ChatSettings(
        [
            Select(id="model", label="Model", items=dict(refs), initial_value=start.model),
            Select(
                id="mode",
                label="Mode",
                items={sentence: mode for mode, sentence in MODES.items()},
                initial_value=start.mode,
            ),
            _slider("temperature", "Temperature", start, 0, 2, 0.05,
                    "0 always takes the likeliest token; higher is more surprising"),
            _slider("top_k", "Top-k", start, 0, 200, 1, "Choose among the k likeliest tokens; 0 is off"),
            _slider("top_p", "Top-p", start, 0.05, 1, 0.05,
                    "Choose among the likeliest tokens that together have this probability; 1 is off"),
            _slider("min_p", "Min-p", start, 0, 0.5, 0.01,
                    "Leave out tokens less than this many times as likely as the likeliest one; 0 is off"),
            _slider("max_new_tokens", "Length", start, 1, block_size, 1,
                    f"At most so many tokens; question and answer have {block_size} together"),
            TextInput(
                id="seed",
                label="Seed",
                initial="" if start.seed is None else str(start.seed),
                placeholder="empty: a new one for each answer",
                tooltip="The same seed, settings and conversation give the same answer",
            ),
            TextInput(
                id="system",
                label="System line",
                initial=start.system,
                multiline=True,
                placeholder="Who the model should be; read before the conversation",
            ),
            Select(
                id="beside",
                label="Beside the answer",
                values=[NOTHING, *STRATEGIES],
                initial_value=start.beside,
                tooltip="Write a second answer at the same time, drawn in another way, and show the two side by side",
            ),
            _slider("repetition_penalty", "Repetition penalty", start, 0.5, 2, 0.05,
                    "Above 1, tokens that were read or written are less likely; 1 is off"),
            _slider("presence_penalty", "Presence penalty", start, -2, 2, 0.1,
                    "Taken from the logit of each token that was written; 0 is off"),
            _slider("frequency_penalty", "Frequency penalty", start, -2, 2, 0.1,
                    "The same, once for each time it was written; 0 is off"),
            Select(
                id="template",
                label="Template",
                values=[AS_TRAINED, *sorted(TEMPLATES)],
                initial_value=start.template,
                tooltip="How roles and turns become tokens; another one than the model was trained with confuses it",
            ),
        ]
    )  # fmt: skip


def _slider(
    id: str, label: str, start: Settings, low: float, high: float, step: float, tooltip: str
) -> Slider:
    initial = min(max(getattr(start, id), low), high)  # a knob cannot stand beyond its end
    return Slider(id=id, label=label, initial=initial, min=low, max=high, step=step, tooltip=tooltip)
