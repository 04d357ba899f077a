"""Classic bugs of packing, streaming, prefetching and random offsets, put back one at a time."""

import numpy as np
import pytest
import torch
from data_checks import check_resume
from loader_checks import (
    check_document_mask,
    check_packing,
    check_prefetch_saves_what_was_given_out,
    check_random_offset_ranks_share_the_draws,
    check_random_offsets_are_fair,
    check_random_offsets_leave_out_one_in_e,
    check_stream_gives_every_window_once,
    check_stream_is_read_no_further_than_needed,
    check_stream_ranks_share_no_document,
    make_stream,
)

from working_with_text_data import packing, prefetch, streaming_windows, windows


def caught(match: str):
    return pytest.raises(AssertionError, match=match)


# --- LT9: random offsets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda real: lambda n, below, seed, epoch: real(n, below - 1, seed, epoch), "no window begins at"),
        (lambda real: lambda n, below, seed, epoch: real(n % 7, below, seed, 0), "no window begins at"),
        (lambda real: lambda n, *rest: np.maximum(real(n, *rest), real(n + 9999, *rest)), "more often"),
    ],
    ids=["last place left out", "the same draws again", "uneven"],
)
def test_unfair_draws_are_caught(monkeypatch, change, says):
    monkeypatch.setattr(windows, "draws", change(windows.draws))
    with caught(says):
        check_random_offsets_are_fair()


def test_tiles_sold_as_random_offsets_are_caught(monkeypatch):
    monkeypatch.setattr(windows, "draws", lambda numbers, below, seed, epoch: numbers * 50)
    with caught("were not drawn"):
        check_random_offsets_leave_out_one_in_e()


def test_ranks_with_one_stream_of_draws_are_caught(monkeypatch):
    real = windows.BatchLoader.__init__
    monkeypatch.setattr(
        windows.BatchLoader, "__init__", lambda self, *a, **o: real(self, *a, **{**o, "rank": 0})
    )
    with caught("same draw"):
        check_random_offset_ranks_share_the_draws()


def test_draws_from_the_global_generator_are_caught_at_a_resume(monkeypatch):
    monkeypatch.setattr(
        windows, "draws", lambda numbers, below, seed, epoch: torch.randint(below, (len(numbers),)).numpy()
    )
    with caught("other batches"):
        check_resume(lambda: windows.BatchLoader(np.arange(300), 4, 10, sampling="random_offsets"), before=5)


# --- LT9: packing -------------------------------------------------------------------------------------


def change_batches(monkeypatch, change):
    real = packing.PackedBatches.__next__
    monkeypatch.setattr(
        packing.PackedBatches, "__next__", lambda self: packing.PackedBatch(*change(*real(self)))
    )


def test_labels_over_the_end_of_a_document_are_caught(monkeypatch):
    def flat(x, y, segments, positions):
        crossing = torch.where(
            segments > 0, torch.roll(x, -1, 1), y
        )  # the next token of the row, as in a window
        return x, torch.where(torch.roll(segments, -1, 1) > 0, crossing, y), segments, positions

    change_batches(monkeypatch, flat)
    with caught("reach over the end of a document"):
        check_packing("best_fit")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y, s, p: (x, y, s, torch.arange(x.size(1)).expand_as(x) * (s > 0)), "position"),
        (lambda x, y, s, p: (x, y, (s > 0).long(), p), "segment holds tokens of two|count within"),
        (lambda x, y, s, p: (x, torch.where(s == 0, 1, y), s, p), "padding"),
    ],
    ids=["positions of the row", "one segment", "padding is trained"],
)
def test_rows_that_lose_their_documents_are_caught(monkeypatch, change, says):
    change_batches(monkeypatch, change)
    with caught(says):
        check_packing("in_order")


def test_long_documents_cut_without_the_token_between_are_caught(monkeypatch):
    real = packing.document_pieces

    def shorter(tokens, end_id, block_size):
        pieces = real(tokens, end_id, block_size)
        full = pieces[:, 1] == block_size
        return np.stack([pieces[:, 0], pieces[:, 1] - full], axis=1)

    monkeypatch.setattr(packing, "document_pieces", shorter)
    with caught("never asked for"):
        check_packing("best_fit")


def test_a_row_that_is_packed_twice_is_caught(monkeypatch):
    real = packing.pack
    monkeypatch.setattr(packing, "pack", lambda *arguments: [*real(*arguments), real(*arguments)[0]])
    with caught("asked for"):
        check_packing("best_fit")


def test_a_mask_of_causality_alone_is_caught(monkeypatch):
    monkeypatch.setattr(
        packing,
        "document_mask",
        lambda segments: torch.ones(*segments.shape, segments.size(1), dtype=torch.bool).tril()[:, None],
    )
    with caught("look into another document"):
        check_document_mask()


# --- LT10: prefetching --------------------------------------------------------------------------------


def test_the_state_of_what_was_fetched_is_caught(monkeypatch):
    monkeypatch.setattr(prefetch.Prefetcher, "state_dict", lambda self: self.loader.state_dict())
    with caught("only fetched"):
        check_prefetch_saves_what_was_given_out(lambda: windows.BatchLoader(np.arange(300), 4, 10, seed=3))


def test_batches_that_lay_ready_before_a_restore_are_caught(monkeypatch):
    def keep_the_old_ones(self, state):
        self.loader.load_state_dict(state)
        next(self)

    monkeypatch.setattr(prefetch.Prefetcher, "load_state_dict", keep_the_old_ones)
    with caught("other batches"):
        check_prefetch_saves_what_was_given_out(lambda: windows.BatchLoader(np.arange(300), 4, 10, seed=3))


# --- LT9 and LT10: streaming --------------------------------------------------------------------------


def change_state(monkeypatch, change):
    real = streaming_windows.StreamingLoader.state_dict
    monkeypatch.setattr(
        streaming_windows.StreamingLoader, "state_dict", lambda self: {**real(self), **change(self)}
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda self: {"begin": self._next_begin, "position": 0},
        lambda self: {"begin": {**self._begin, "source": self.source.state_dict()}},
        lambda self: {"position": 0},
        lambda self: {"chunk": 0},
        lambda self: {"begin": {**self._begin, "skip": 0}},
        lambda self: {"begin": {**self._begin, "document": 0}},
    ],
    ids=["buffer lost", "source too far", "place lost", "order lost", "cut lost", "turn of the ranks lost"],
)
def test_a_stream_that_saves_too_little_is_caught(monkeypatch, change):
    change_state(monkeypatch, change)
    with caught("other batches"):
        for before in (31, 32, 41):
            check_resume(lambda: make_stream(rank=1, world_size=2), before)


def test_a_shuffle_from_an_unsaved_generator_is_caught(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        streaming_windows, "shuffled", lambda places, count, seed, number: rng.permutation(count)[places]
    )
    with caught("other batches"):
        check_resume(lambda: make_stream(shuffle_files=False), 31)


def test_files_in_the_order_of_the_first_epoch_are_caught(monkeypatch):
    real = streaming_windows.DocumentStream.load_state_dict
    monkeypatch.setattr(
        streaming_windows.DocumentStream, "load_state_dict", lambda self, s: real(self, {**s, "epoch": 0})
    )
    with caught("other batches"):
        for before in (100, 150, 200, 250):
            check_resume(make_stream, before)


def test_ranks_that_read_the_same_documents_are_caught(monkeypatch):
    real = streaming_windows.StreamingLoader.__init__

    def everything(self, *arguments, **options):
        real(self, *arguments, **{**options, "rank": 0, "world_size": 1})

    monkeypatch.setattr(streaming_windows.StreamingLoader, "__init__", everything)
    with caught("were both given"):
        check_stream_ranks_share_no_document()


def test_chunks_that_forget_the_id_between_them_are_caught(monkeypatch):
    real = streaming_windows.StreamingLoader._fill

    def forget(self):
        filled = real(self)
        if self._split is not None:
            self._split = self._split._replace(first=self._split.first + 1)
        return filled

    monkeypatch.setattr(streaming_windows.StreamingLoader, "_fill", forget)
    with caught("lost, doubled or cut|windows came"):
        check_stream_gives_every_window_once(shuffle=True)


def test_a_stream_that_is_read_to_the_end_first_is_caught(monkeypatch):
    real = streaming_windows.StreamingLoader._rewind

    def hold(self, begin):
        real(self, begin)
        self._stream = iter([next(self._stream) for _ in range(500)])

    monkeypatch.setattr(streaming_windows.StreamingLoader, "_rewind", hold)
    with caught("must not be held"):
        check_stream_is_read_no_further_than_needed()
