"""LG8 sampling, LG9 overflow, LS1 and LS2 (engine part): what the generator must always do."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch
from generation_checks import (
    check_cancelled_streams_free_their_caches,
    check_slide_is_an_uncached_loop,
    check_stop_ids_end_a_row,
    check_stop_stops,
    check_stream_equals_generate,
)
from model_checks import CACHE_VARIANTS, build, some_ids, variant_id
from sampling_checks import (
    LOGITS,
    check_filters_equal_transformers,
    check_frequencies,
    check_padded_vocabulary_is_never_drawn,
    check_penalty_lowers_both_signs,
    check_ragged_batch_is_single_runs,
    check_rows_and_steps_are_independent,
    check_same_seed_same_text,
    check_sampled_batch_is_single_runs,
    check_temperature_zero_is_argmax,
    check_top_k_of_ties,
    constant_model,
    greedy_by_hand,
)

from gpt_model import Sampling, generate, stream, stream_text
from utils.errors import UserError
from working_with_text_data import ByteTokenizer

variants = pytest.mark.parametrize("variant", CACHE_VARIANTS, ids=variant_id)

# LG8 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.7},
        {"top_k": 3},
        {"top_k": 1},
        {"top_k": len(LOGITS)},
        {"top_p": 0.5},
        {"top_p": 0.9},
        {"top_p": 0.01},
        {"temperature": 1.5, "top_k": 5, "top_p": 0.8},
    ],
    ids=str,
)
def test_100_000_draws_fall_as_the_definition_says(settings):
    check_frequencies(**settings)


def test_top_k_keeps_exactly_k_when_logits_are_tied():
    check_top_k_of_ties()


def test_rows_of_a_batch_and_steps_of_a_row_are_independent():
    check_rows_and_steps_are_independent()


@variants
def test_temperature_zero_is_the_argmax_of_the_uncached_logits(variant):
    check_temperature_zero_is_argmax(build(**variant))


def test_a_repetition_penalty_lowers_positive_and_negative_logits():
    check_penalty_lowers_both_signs()


def test_the_same_seed_gives_the_same_text_whatever_else_draws_numbers():
    check_same_seed_same_text(build(), lambda: torch.rand(7))


def test_the_same_seed_gives_the_same_text_while_another_thread_draws():
    model = build()
    stop = threading.Event()

    def draw_on() -> None:
        while not stop.is_set():
            torch.rand(10)

    prompt, settings = some_ids(1, 4), Sampling(temperature=1.0, seed=5)
    quiet = generate(model, prompt, max_new_tokens=30, sampling=settings)
    noise = threading.Thread(target=draw_on)
    noise.start()
    try:
        assert generate(model, prompt, max_new_tokens=30, sampling=settings) == quiet
    finally:
        stop.set()
        noise.join()


@variants
def test_a_ragged_batch_continues_as_single_runs_do(variant):
    check_ragged_batch_is_single_runs(build(**variant))


@variants
def test_a_seeded_row_draws_the_same_in_a_batch_and_alone(variant):
    check_sampled_batch_is_single_runs(build(**variant))


@variants
def test_the_cache_does_not_change_what_is_drawn(variant):
    model = build(**variant)
    settings = {"max_new_tokens": 25, "sampling": Sampling(temperature=1.2, top_k=9, seed=6)}
    prompt = some_ids(3, 4)
    assert generate(model, prompt, use_cache=True, **settings) == generate(
        model, prompt, use_cache=False, **settings
    )


def test_ids_that_no_token_uses_are_never_drawn():
    check_padded_vocabulary_is_never_drawn()


def test_text_is_never_drawn_from_beyond_the_tokenizer():
    # The model's vocabulary is padded to 320; ids from 256 on stand for no byte.
    pieces = stream_text(
        constant_model([0.0] * 256 + [20.0] * 64),
        ByteTokenizer(),
        [65],
        max_new_tokens=50,
        sampling=Sampling(seed=0),
    )
    assert "".join(pieces)


def test_every_filter_equals_transformers():
    check_filters_equal_transformers()


def test_a_vanishing_temperature_is_the_argmax():
    for temperature in (1e-6, 1e-30, 1e-44):
        rows = generate(
            constant_model(), torch.zeros(3, 1, dtype=torch.long), max_new_tokens=3,
            sampling=Sampling(temperature=temperature, seed=0),
        )  # fmt: skip
        assert rows == [[LOGITS.index(max(LOGITS))] * 3] * 3, f"temperature {temperature} drew {rows}"


def test_a_whole_number_from_a_slider_works_as_top_k():
    # Sliders of a web page send 3.0 for 3.
    whole, slider = (draw_some(Sampling(top_k=k, seed=0)) for k in (3, 3.0))
    assert whole == slider


def draw_some(sampling: Sampling) -> list[list[int]]:
    return generate(
        constant_model(), torch.zeros(2, 1, dtype=torch.long), max_new_tokens=9, sampling=sampling
    )


def test_generation_switches_dropout_off_and_leaves_the_model_as_it_was():
    model = build(dropout=0.5)
    expected = greedy_by_hand(model, some_ids(2, 4), 10)
    model.train()
    model.blocks[1].eval()
    assert generate(model, some_ids(2, 4), max_new_tokens=10, sampling=Sampling(temperature=0.0)) == expected
    assert model.training and model.blocks[0].training and not model.blocks[1].training


def test_rows_end_at_their_own_stop_id():
    check_stop_ids_end_a_row()


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"repetition_penalty": 0.0}],
    ids=str,
)
def test_an_impossible_setting_is_refused_by_name(settings):
    with pytest.raises(UserError) as caught:
        generate(
            constant_model(),
            torch.zeros(1, 1, dtype=torch.long),
            max_new_tokens=1,
            sampling=Sampling(**settings),
        )
    (name,) = settings
    assert name in str(caught.value) and "\n" not in str(caught.value)


# LG9 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "word"), [([[]], "empty"), ([[1], []], "empty"), ([[29]], "29"), ([[-1]], "-1")], ids=str
)
def test_a_prompt_that_cannot_be_read_is_refused(prompt, word):
    with pytest.raises(UserError, match=word):
        generate(build(), prompt, max_new_tokens=1)


def test_a_full_block_works_and_one_more_token_is_an_error_with_both_numbers():
    model = build(block_size=16)
    assert model(some_ids(1, 16)).logits.shape[1] == 16
    with pytest.raises(UserError) as caught:
        model(some_ids(1, 17))
    assert "16" in str(caught.value) and "17" in str(caught.value)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("policy", ["error", "slide", "stop"])
def test_a_prompt_and_answer_that_fit_the_block_work_under_every_policy(policy, use_cache):
    model = build(block_size=16)
    prompt = some_ids(2, 10)
    got = generate(
        model,
        prompt,
        max_new_tokens=6,
        sampling=Sampling(temperature=0.0),
        on_overflow=policy,
        use_cache=use_cache,
    )
    assert got == greedy_by_hand(model, prompt, 6)


@pytest.mark.parametrize("use_cache", [True, False])
def test_overflow_error_names_both_numbers(use_cache):
    model = build(block_size=16)
    with pytest.raises(UserError) as caught:
        generate(model, some_ids(1, 17), max_new_tokens=1, on_overflow="error", use_cache=use_cache)
    assert "16" in str(caught.value) and "17" in str(caught.value), str(caught.value)
    with pytest.raises(UserError) as caught:
        generate(model, some_ids(1, 10), max_new_tokens=9, on_overflow="error", use_cache=use_cache)
    assert "16" in str(caught.value), str(caught.value)


@pytest.mark.parametrize("use_cache", [True, False])
def test_overflow_stop_ends_when_the_block_is_full(use_cache):
    model = build(block_size=16)
    prompt = some_ids(2, 10)
    rows = generate(
        model,
        prompt,
        max_new_tokens=30,
        sampling=Sampling(temperature=0.0),
        on_overflow="stop",
        use_cache=use_cache,
    )
    whole = greedy_by_hand(model, prompt, 7)
    for row, expected in zip(rows, whole):
        assert len(row) in (6, 7), (
            f"a block of 16 has room for 6 tokens after 10 (a 7th need not be read back): {row}"
        )
        assert row == expected[: len(row)]


def test_overflow_stop_lets_each_row_of_a_ragged_batch_fill_its_own_block():
    model = build(block_size=8)
    prompts = [some_ids(1, n, seed=n)[0].tolist() for n in (7, 2, 8, 5)]
    rows = generate(model, prompts, max_new_tokens=30, sampling=Sampling(temperature=0.0), on_overflow="stop")
    for prompt, row in zip(prompts, rows):
        room = 8 - len(prompt)
        assert len(row) in (room, room + 1), f"{len(row)} tokens after {len(prompt)} in a block of 8"
        assert row == greedy_by_hand(model, torch.tensor([prompt]), len(row))[0]


@variants
def test_overflow_slide_equals_an_uncached_loop_over_the_last_block(variant):
    model = build(**{**variant, "block_size": 8})
    check_slide_is_an_uncached_loop(model, (5, 5), new=16)
    check_slide_is_an_uncached_loop(model, (2, 7), new=16)


def test_overflow_slide_takes_a_prompt_longer_than_the_block():
    check_slide_is_an_uncached_loop(build(block_size=8), (13, 3, 8, 9), new=6)


def test_an_unknown_overflow_policy_is_refused():
    with pytest.raises(UserError, match="on_overflow"):
        generate(build(block_size=8), some_ids(1, 9), max_new_tokens=1, on_overflow="explode")


# LS1, LS2 (engine part) -----------------------------------------------------------------------------


@variants
def test_two_streams_in_two_threads_give_what_generate_gives(variant):
    check_stream_equals_generate(build(**variant))


def test_a_stream_delivers_each_token_before_it_computes_the_next():
    model = build()
    calls: list[int] = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        tokens = stream(model, some_ids(1, 4), max_new_tokens=20, sampling=Sampling(seed=2))
        for expected in range(1, 6):
            next(tokens)
            assert len(calls) == expected, (
                f"{len(calls)} forward passes were run to deliver {expected} tokens"
            )
    finally:
        hook.remove()


def test_streamed_text_is_the_decoded_text_whole_characters_only():
    model = build(vocab_size=256, n_embd=32)
    tokenizer = ByteTokenizer()
    prompt = tokenizer.encode_ordinary("é🙂")
    settings = Sampling(temperature=1.0, seed=4)
    pieces = list(stream_text(model, tokenizer, prompt, max_new_tokens=50, sampling=settings))
    whole = tokenizer.decode(generate(model, [prompt], max_new_tokens=50, sampling=settings)[0])
    assert "".join(pieces) == whole


def test_a_stop_event_ends_the_stream_within_one_token():
    check_stop_stops(build())


def test_100_cancelled_chats_leave_no_cache_behind():
    check_cancelled_streams_free_their_caches(build())


def test_stopping_early_is_a_prefix_of_going_on():
    model = build()
    settings = Sampling(temperature=1.0, seed=8)
    whole = list(stream(model, some_ids(1, 4), max_new_tokens=20, sampling=settings))
    few = list(itertools.islice(stream(model, some_ids(1, 4), max_new_tokens=20, sampling=settings), 7))
    assert few == whole[:7]
