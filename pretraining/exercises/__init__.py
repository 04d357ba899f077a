"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from pretraining.exercises import (
    checkpoints_and_resume,
    fast_step,
    many_processes,
    optimizers,
    scaling_on_a_laptop,
    trusted_loop,
)

_NOTEBOOKS = (
    trusted_loop,
    fast_step,
    optimizers,
    many_processes,
    scaling_on_a_laptop,
    checkpoints_and_resume,
)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
