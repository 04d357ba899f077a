"""The exercises and predictions of this chapter, one module a notebook; `utils.exercises` finds them here."""

from working_with_text_data.exercises import (
    bpe_by_hand,
    bytes_characters_words,
    documents_to_batches,
    fast_bpe,
    gpt2_and_gpt4_tokenizers,
    tour,
)

_NOTEBOOKS = (
    tour,
    bytes_characters_words,
    bpe_by_hand,
    gpt2_and_gpt4_tokenizers,
    fast_bpe,
    documents_to_batches,
)

EXERCISES = [exercise for notebook in _NOTEBOOKS for exercise in notebook.EXERCISES]
PREDICTIONS = [prediction for notebook in _NOTEBOOKS for prediction in notebook.PREDICTIONS]
