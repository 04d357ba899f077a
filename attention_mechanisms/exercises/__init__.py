"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from attention_mechanisms.exercises import (
    causal_multi_head,
    kv_cache,
    latent,
    positions,
    sliding_window,
    soft_lookup,
)

_NOTEBOOKS = (
    soft_lookup,
    causal_multi_head,
    positions,
    kv_cache,
    latent,
    sliding_window,
)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
