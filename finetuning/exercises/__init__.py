"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from finetuning.exercises import (
    classification,
    did_it_get_better,
    instruction_tuning,
    lora_and_qlora,
    preferences_dpo,
)

_NOTEBOOKS = (classification, instruction_tuning, lora_and_qlora, preferences_dpo, did_it_get_better)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
