"""LD2 for gpt_model/05: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import json

import pytest
import torch

from gpt_model.config import preset
from gpt_model.exercises.generation_engine import (
    ANSWERS,
    EXERCISES,
    OCCUPANCY,
    PAD,
    STREAM,
)
from utils.exercises import check, load_answer, predict

MISTAKES = [(exercise, label) for exercise in EXERCISES for label in exercise.mistakes]
ids = [f"{exercise.name}-{label}" for exercise, label in MISTAKES]


def _pad_as_tensors(prompts):
    """Positions by counting the mask; padding holds some other id, which nobody looks at."""
    width = max(map(len, prompts))
    table = torch.full((len(prompts), width), 9)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        table[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return table, mask, (mask.cumsum(1) - 1).clamp(min=0)


def _positions_below_zero(prompts):
    ids, mask, _ = _pad_as_tensors(prompts)
    return ids, mask, mask.cumsum(1) - 1


def _occupancy_by_places(answers, places):
    free_at, busy = [0] * places, {}
    for tokens in answers:
        place = min(range(places), key=free_at.__getitem__)
        for step in range(free_at[place], free_at[place] + tokens):
            busy[step] = busy.get(step, 0) + 1
        free_at[place] += tokens
    return tuple(busy[step] for step in range(max(free_at)))


def _stream_by_book(pieces):
    from working_with_text_data.byte_tokenizer import ByteTokenizer
    from working_with_text_data.streaming_decode import StreamingDecoder

    decoder = StreamingDecoder(ByteTokenizer())
    shown = ["".join(decoder.push(byte) for byte in piece) for piece in pieces]
    return [*shown, decoder.flush()]


def _stream_by_trying(pieces):
    held, shown = b"", []
    for piece in pieces:
        held += piece
        for left in range(4):
            try:
                shown.append(held[: len(held) - left].decode())
            except UnicodeDecodeError:
                continue
            held = held[len(held) - left :] if left else b""
            break
    return [*shown, held.decode("utf-8", "replace")]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (PAD, _pad_as_tensors),
        (OCCUPANCY, _occupancy_by_places),
        (STREAM, _stream_by_book),
        (STREAM, _stream_by_trying),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (PAD, lambda prompts: prompts, "give three tables"),
        (PAD, lambda prompts: (1, 2, 3), "ids must be a table"),
        (PAD, lambda prompts: (prompts, prompts, prompts), "the mask is 1 for a real token"),
        (PAD, _positions_below_zero, "no position is below 0"),
        (OCCUPANCY, lambda answers, places: 7, "give a list, one number a step"),
        (OCCUPANCY, lambda answers, places: [places] * 3, "side by side"),
        (STREAM, lambda pieces: "text", "give a list of texts"),
        (STREAM, lambda pieces: [""] * len(pieces), "and one more for what is left"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_predictions_are_what_the_modules_compute():
    from gpt_model.int_codes import quantize_groups
    from gpt_model.memory import decoding_memory

    one, many = (decoding_memory(preset("gpt2"), n, 512, dtype=torch.bfloat16) for n in (1, 16))
    fewer = (one.weights + one.cache) / ((many.weights + many.cache) / 16)
    assert predict("fewer_bytes_a_token", 1).answer == pytest.approx(fewer)
    codes, scale, middle = quantize_groups(torch.randn(3, 128), 64)
    bits = (4 * codes.numel() + 8 * (scale.nbytes + middle.nbytes)) / codes.numel()
    assert predict("int4_bits", 1).answer == bits
    assert predict("gpt2_on_h200", 1).answer == pytest.approx(4.8e12 / one.weights)


def test_groups_of_four_need_the_steps_that_are_predicted_and_a_full_batch_as_many_as_the_longest():
    groups = load_answer(OCCUPANCY.mistakes["whole groups"].source, "occupancy")(ANSWERS, 4)
    full = load_answer(OCCUPANCY.solution, "occupancy")(ANSWERS, 4)
    assert len(groups) == predict("static_steps", 1).answer == 42
    assert len(full) == 30 and sum(full) == sum(groups) == sum(ANSWERS)


def test_the_notebook_serves_the_answers_of_the_prediction(project_root):
    notebook = json.loads((project_root / "gpt_model/05_generation_engine.ipynb").read_text(encoding="utf-8"))
    assert any(f"answers = {ANSWERS}" in "".join(cell["source"]) for cell in notebook["cells"])
