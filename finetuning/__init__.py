"""Finetuning: from a model that continues text to one that answers.

Names are loaded when they are first used, so that importing the chapter costs nothing.
"""

from __future__ import annotations

from typing import Any

from utils.lazy import resolve

_EXPORTS = {
    "LoRAConfig": "lora",
    "apply_lora": "lora",
    "lora_parameters": "lora",
    "merge_lora": "lora",
    "set_adapter": "lora",
    "unload_lora": "lora",
    "unmerge_lora": "lora",
    "load_adapter": "adapters",
    "adapter_view": "adapter_views",
    "merge_cost": "qlora",
    "open_adapted": "adapters",
    "remember_base": "adapters",
    "save_adapter": "adapters",
    "quantize_base": "qlora",
    "freeze_for": "trainable",
    "Classifier": "classification.model",
    "ClassifierConfig": "classification.model",
    "from_language_model": "classification.model",
    "load_class_data": "classification.data",
    "Message": "templates",
    "Rendered": "templates",
    "render": "templates",
    "stop_ids": "templates",
    "register": "templates",
    "read_conversations": "instruction.conversations",
    "reply_all": "instruction.questions",
    "contamination": "evaluation.contamination",
    "paired_difference": "evaluation.resampling",
    "win_rate": "evaluation.resampling",
    "prompted_answers": "evaluation.prompting",
    "compare_runs": "evaluation.compare",
    "exact_match": "evaluation.instructions",
    "answer_log_probs": "preference.losses",
    "dpo_loss": "preference.losses",
    "prefer": "preference.train",
    "PreferencePair": "preference.data",
    "score_stories": "evaluation.stories",
    "tune": "instruction.tune",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    return resolve(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
