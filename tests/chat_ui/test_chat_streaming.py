"""The bridge from a generator in a thread to the event loop, on generators that are easy to reason about."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.streaming import MAX_STREAMS, background


async def collect(start, **options):
    async with background(start, **options) as pieces:
        return [piece async for piece in pieces]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=4), max_size=20), st.sampled_from([0.0, 0.002]))
def test_nothing_is_lost_and_nothing_changes_places(parts, every):
    got = asyncio.run(collect(lambda stop: iter(parts), every=every))
    assert "".join(got) == "".join(parts)
    assert all(got), "an empty piece is nothing to draw"


def test_pieces_that_come_close_together_are_joined():
    shown = threading.Event()

    def quick(stop):
        yield "first"
        assert shown.wait(20), "the first piece must be given at once, not held until there are more"
        for _ in range(50):
            time.sleep(0.001)
            yield "x"

    async def read():
        got = []
        async with background(quick, every=0.1) as pieces:
            async for piece in pieces:
                got.append(piece)
                shown.set()
        return got

    got = asyncio.run(read())
    assert (got[0], "".join(got)) == ("first", "first" + "x" * 50)
    assert len(got) < 25


def test_the_generator_runs_in_another_thread():
    here = threading.get_ident()
    got = asyncio.run(collect(lambda stop: iter([str(threading.get_ident() == here)])))
    assert got == ["False"]


@pytest.mark.parametrize("every", [0.0, 0.05])
def test_an_error_is_raised_where_the_pieces_are_read(every):
    def fails(stop):
        yield "a"
        raise ValueError("the weights are gone")

    async def read():
        got = []
        with pytest.raises(ValueError, match="weights are gone"):
            async with background(fails, every=every) as pieces:
                async for piece in pieces:
                    got.append(piece)
        return got

    assert asyncio.run(read()) == ["a"], "what came before the error must not be lost"


def test_an_error_before_the_first_piece_is_raised_too():
    def refuses(stop):
        raise ValueError("bad prompt")

    with pytest.raises(ValueError, match="bad prompt"):
        asyncio.run(collect(refuses))


def test_leaving_early_stops_and_closes_the_generator_before_the_block_ends():
    seen = {}

    def endless(stop):
        try:
            while not stop.is_set():
                yield "x"
                time.sleep(0.001)
        finally:
            seen["closed"] = True

    async def leave():
        async with background(endless) as pieces:
            async for _ in pieces:
                break
        return dict(seen)

    assert asyncio.run(leave()) == {"closed": True}


def test_a_generator_that_ignores_the_event_is_stopped_after_one_more_piece():
    made = []

    def deaf(stop):
        while True:
            made.append(1)
            yield "x"
            time.sleep(0.005)

    async def leave():
        stop = threading.Event()
        async with background(deaf, stop=stop) as pieces:
            async for _ in pieces:
                stop.set()
                before = len(made)
                break
        return before

    assert len(made) - asyncio.run(leave()) <= 1 or len(made) <= 2


def test_a_stream_that_is_stopped_while_it_waits_for_a_thread_never_starts():
    started = []

    async def queue_up():
        gate = threading.Event()
        with ThreadPoolExecutor(1) as one:
            one.submit(gate.wait)
            stop = threading.Event()
            async with background(lambda stop: started.append(1) or iter("x"), stop=stop, executor=one) as p:
                stop.set()
                gate.set()
                assert [piece async for piece in p] == []

    asyncio.run(queue_up())
    assert started == []


def test_cancelling_the_reader_sets_the_event():
    stop = threading.Event()

    def waits(stop):
        yield "x"
        stop.wait(20)

    async def cancel():
        task = asyncio.create_task(collect(waits, stop=stop))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert stop.is_set()


def test_more_streams_than_threads_all_finish():
    async def many():
        return await asyncio.gather(*(collect(lambda stop: iter("abc")) for _ in range(3 * MAX_STREAMS)))

    assert all("".join(got) == "abc" for got in asyncio.run(many()))
