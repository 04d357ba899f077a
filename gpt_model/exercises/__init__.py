"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from gpt_model.exercises import (
    blocks,
    generation_engine,
    gpt2_and_its_size,
    looking_inside,
    real_weights,
    sampling,
)

_NOTEBOOKS = (blocks, gpt2_and_its_size, real_weights, sampling, generation_engine, looking_inside)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
