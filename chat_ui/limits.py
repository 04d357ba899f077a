"""How much one request may ask for: every limit of the server, in one place.

A server that reads whatever it is sent can be stopped by anyone with one long text. So each size has a limit that is
far above what a model of this book can use, and is checked before the work begins; what is over it is answered with
a 4xx that names the value and the limit.
"""

from __future__ import annotations

BODY_BYTES = 2_000_000  # of one request; more is refused while it is read (413)
MESSAGE_BYTES = 15_000_000  # of what a chat window sends at once; the reason why it is refused must reach it
PROMPT_CHARACTERS = 200_000  # of a prompt, or of all messages of a conversation together
MESSAGES = 1_000  # of a conversation
PROMPTS = 32  # texts of one completion
INPUTS = 128  # texts of one request for embeddings
NEW_TOKENS = 131_072  # asked for at most; the model's own context ends an answer earlier
SAMPLES = 16  # n: answers to one prompt
TOP_LOGPROBS = 20
STOP_STRINGS = 16
STOP_CHARACTERS = 256  # of one stop string
BIASES = 1_024  # entries of logit_bias
NAME_CHARACTERS = 256  # of a model id, a user, a key

ROWS = 16  # samples that one model writes together; further ones wait
ANSWERS = 64  # samples being written or waiting, of all models; the next is told to come back later (429)
TASKS = 32  # other work (embeddings, looking inside) waiting for its thread; the next gets a 429

# /api/v1: what one answer may hold, and how large a model may be asked about
TOKENIZERS = 6  # compared in one request
COMPARED = 6  # configurations side by side
TEXTS = 64  # of a coverage report
IDS = 100_000  # token ids to decode or to go on from
SHOWN_ROWS = 20_000  # rows of a table of tokens, or of the stretches of a comparison
PRICES = 64  # rows of a price table
LOOK_TOKENS = 256  # of a text to look into
MAP_NUMBERS = 400_000  # shares of attention in one answer
GUESSES = 200  # next tokens listed
LENS_GUESSES = 10  # for each layer and token
RUNS = 500  # listed at once
ROWS_OF_A_FILE = 10_000  # records or lines of one answer
READ_BYTES = 1_000_000  # of a run's file in one go
LINE_BYTES = 200_000  # a longer line is passed over, and said so
RUN_JSON_BYTES = 4_000_000
VERIFY_BYTES = 2_000_000_000  # a larger file's sum is not computed for a page
VERIFY_FILES = 10_000  # in one folder
STREAMS = 64  # followers of run files at once
MODEL_SIZES = {  # the largest that a configuration may ask to be counted
    "n_layer": 128,
    "n_head": 1_024,
    "n_embd": 65_536,
    "vocab_size": 4_000_000,
    "block_size": 4_194_304,
}
MODEL_SIZE = 16_777_216  # of every other whole number in a configuration
