"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from chat_ui.exercises import from_generate_to_conversation, tour_of_the_app

_NOTEBOOKS = (from_generate_to_conversation, tour_of_the_app)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
