"""The pace of a stream: nothing is lost, the first piece is shown at once, the others together."""

from __future__ import annotations

import asyncio

from chat_harness import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from server_harness import MODEL, with_service

from chat_ui.pieces import Piece
from chat_ui.streaming import paced


async def batches_of(parts, waits=0.0):
    for number, part in enumerate(parts):
        await asyncio.sleep(waits)
        last = number == len(parts) - 1
        yield [Piece(0, letter) for letter in part[:-1]] + [
            Piece(0, part[-1], finish_reason="length" if last else None)
        ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12), st.sampled_from([0.0, 0.002]))
def test_nothing_is_lost_and_nothing_changes_places(parts, every):
    async def read():
        return [piece.text async for pieces in paced(batches_of(parts), every) for piece in pieces]

    assert "".join(asyncio.run(read())) == "".join(parts)


def test_the_first_piece_and_the_end_are_never_held_back():
    async def read():
        loop = asyncio.get_running_loop()
        start, times = loop.time(), []
        async for _ in paced(batches_of(["a", "b"]), 0.2):
            times.append(loop.time() - start)
        return [*times, loop.time() - start]

    first, second, end = asyncio.run(read())
    assert first < 0.1 <= second and end - second < 0.1


def test_pieces_that_come_close_together_are_joined(tmp_path):
    """A real answer: many tokens, few redraws, all of them."""

    async def talk(service):
        async with service.answer(MODEL, [97], max_new_tokens=200) as answer:
            return [len(pieces) async for pieces in paced(answer.batches(), 0.05)]

    sizes = with_service(tiny_model(), tmp_path, talk)
    assert sum(sizes) == 200 and len(sizes) < 100


def test_leaving_ends_the_answer(tmp_path):
    async def talk(service):
        async with service.answer(MODEL, [97], max_new_tokens=200) as answer:
            async for _ in paced(answer.batches(), 0.01):
                break
        return service.waiting, service.stats(MODEL).requests

    assert with_service(tiny_model(), tmp_path, talk) == (0, 0)


def test_stop_gives_what_is_there_and_then_the_end(tmp_path):
    async def talk(service):
        async with service.answer(MODEL, [97], max_new_tokens=250) as answer:
            pieces = [await anext(answer)]
            answer.stop()
            answer.stop()
            pieces += [piece async for piece in answer]
            answer.stop()  # it is over: nothing happens
            return pieces

    pieces = with_service(tiny_model(), tmp_path, talk)
    assert pieces[-1].finish_reason == "cancelled" and len(pieces) < 250
