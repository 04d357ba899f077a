"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from deployment.exercises import from_laptop_to_cloud

_NOTEBOOKS = (from_laptop_to_cloud,)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
