"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from attention_mechanisms.exercises import (
    causal_multi_head,
    kv_cache,
    latent,
    positions,
    race_of_the_variants,
    reading_attention,
    sliding_window,
    soft_lookup,
)

_NOTEBOOKS = (
    soft_lookup,
    causal_multi_head,
    reading_attention,
    positions,
    kv_cache,
    latent,
    sliding_window,
    race_of_the_variants,
)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
