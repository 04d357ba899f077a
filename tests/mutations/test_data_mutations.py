"""Classic bugs of the way from documents to batches, put back one at a time: each law must see its own."""

import random

import numpy as np
import pytest
import torch
from data_checks import (
    check_each_window_once_an_epoch,
    check_near_duplicates_are_counted,
    check_no_document_on_both_sides,
    check_one_document_is_cut_with_gaps,
    check_ranks_share_the_work,
    check_resume,
    check_shards_equal_memory,
    check_split_before_windows,
    check_split_ignores_order_and_rng,
    check_window_count,
    check_y_is_the_next_token,
    unique_texts,
)
from example_checks import check_labels_are_shifted_once, check_packing_keeps_examples_whole

from working_with_text_data import example_batches, near_duplicates, shards, splitting, token_array, windows
from working_with_text_data.documents import Document


def caught(match: str | None = None):
    return pytest.raises(AssertionError, match=match)


# --- LT8 ----------------------------------------------------------------------------------------------


def test_windows_cut_before_the_split_are_caught(monkeypatch):
    real = splitting.split_documents

    def cut_first(documents, **options):
        pieces = []
        for d in documents:
            words = d.text.split()
            pieces += [" ".join(words[i : i + 20]) for i in range(0, len(words) - 19, 5)]
        return real([Document(text, "windows", i) for i, text in enumerate(pieces)], **options)

    monkeypatch.setattr(splitting, "split_documents", cut_first)
    with caught("split whole documents first"):
        check_split_before_windows()


def test_sides_decided_by_place_are_caught_when_there_are_copies(monkeypatch):
    numbers = iter(range(10**6))
    monkeypatch.setattr(splitting, "document_hash", lambda text: f"{next(numbers):064x}")
    with caught("stands on both sides"):
        check_no_document_on_both_sides(unique_texts(30, words=4) * 4, 0.3)


def test_the_last_documents_as_validation_are_caught(monkeypatch):
    real = splitting.split_documents

    def the_last(documents, **options):
        split = real(documents, **options)
        cut = len(documents) - len(split.val)
        return splitting.Split(documents[:cut], documents[cut:], split.report)

    monkeypatch.setattr(splitting, "split_documents", the_last)
    with caught("order of the files"):
        check_split_ignores_order_and_rng()


def test_a_shuffle_with_the_global_generator_is_caught(monkeypatch):
    def shuffled_globally(distinct, val_fraction, seed):
        texts = sorted(distinct)
        random.seed(seed)
        random.shuffle(texts)
        return set(texts[: max(1, round(val_fraction * len(texts)))])

    monkeypatch.setattr(splitting, "_held_out", shuffled_globally)
    with caught("global random generator"):
        check_split_ignores_order_and_rng()


def test_validation_that_stays_in_training_is_caught(monkeypatch):
    real = splitting.split_documents

    def keep_all(documents, **options):
        split = real(documents, **options)
        return splitting.Split(list(documents), split.val, split.report)

    monkeypatch.setattr(splitting, "split_documents", keep_all)
    with caught("both sides"):
        check_no_document_on_both_sides(unique_texts(20))


def test_an_empty_validation_side_is_caught(monkeypatch):
    monkeypatch.setattr(splitting, "_held_out", lambda distinct, f, seed: set(list(distinct)[: int(f * 9)]))
    with caught("one side is empty"):
        check_no_document_on_both_sides(unique_texts(9), 0.1)


@pytest.mark.parametrize(
    "bug",
    [
        lambda train, val, **options: near_duplicates.NearDuplicates(checked=len(val)),  # never looks
        lambda train, val, **options: near_duplicates.NearDuplicates(  # exact copies only
            len(val), len(set(train) & set(val))
        ),
    ],
)
def test_near_duplicates_that_are_not_counted_are_caught(monkeypatch, bug):
    monkeypatch.setattr(splitting, "count_near_duplicates", bug)
    with caught("edited copy in training"):
        check_near_duplicates_are_counted()


def test_spans_without_a_gap_are_caught(monkeypatch):
    monkeypatch.setattr(splitting, "MAX_GAP_CHARS", 0)
    with caught("one foot on either side"):
        check_one_document_is_cut_with_gaps()


def test_a_tail_in_place_of_spans_is_caught(monkeypatch):
    def tail(text, val_fraction, key):
        cut = round((1 - val_fraction) * len(text))
        return [(cut - 200, "train"), (cut, "gap"), (len(text), "val")]

    monkeypatch.setattr(splitting, "span_cuts", tail)
    with caught():
        check_one_document_is_cut_with_gaps()


# --- LT9 ----------------------------------------------------------------------------------------------


def replace_next(monkeypatch, change):
    real = windows.BatchLoader.__next__
    monkeypatch.setattr(windows.BatchLoader, "__next__", lambda self: change(*real(self)))


@pytest.mark.parametrize(
    "change",
    [lambda x, y: (x, x), lambda x, y: (x, y.roll(-1, 1)), lambda x, y: (y, x)],
    ids=["no shift", "shifted twice", "the wrong way"],
)
def test_wrong_targets_are_caught(monkeypatch, change):
    replace_next(monkeypatch, change)
    with caught():
        check_y_is_the_next_token(shuffle=True)


@pytest.mark.parametrize(
    "formula",
    [
        lambda n, length, stride: max(0, (n - length) // stride + 1),
        lambda n, length, stride: max(0, (n - 1 - length) // stride),
        lambda n, length, stride: (n - 1) // stride,
    ],
)
def test_an_off_by_one_in_the_count_is_caught(monkeypatch, formula):
    monkeypatch.setattr(windows, "window_count", formula)
    with caught("by hand|windows, but"):
        check_window_count()


def test_random_places_in_place_of_tiles_are_caught(monkeypatch):
    def anywhere(positions, count, seed, epoch):
        return np.random.default_rng(seed).integers(0, count, len(positions))

    monkeypatch.setattr(windows, "shuffled", anywhere)
    with caught("twice in one epoch"):
        check_each_window_once_an_epoch(shuffle=True)


def test_one_order_for_all_epochs_is_caught(monkeypatch):
    real = windows.shuffled
    monkeypatch.setattr(windows, "shuffled", lambda places, n, seed, epoch: real(places, n, seed, 0))
    with caught("same order"):
        check_each_window_once_an_epoch(shuffle=True)


def test_ranks_that_all_read_the_same_are_caught(monkeypatch):
    real = windows.BatchLoader.__init__

    def forget_rank(self, *arguments, **options):
        real(self, *arguments, **{**options, "rank": 0})

    monkeypatch.setattr(windows.BatchLoader, "__init__", forget_rank)
    with caught("same window"):
        check_ranks_share_the_work()


def test_two_byte_ids_for_a_large_vocabulary_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(shards, "dtype_for", lambda vocab_size: np.dtype("<u2"))
    with caught("are not those that were written"):
        check_shards_equal_memory(tmp_path, 70_000)


def test_a_slice_that_stops_at_the_edge_of_a_shard_is_caught(monkeypatch, tmp_path):
    def one_shard_only(self, start, stop):
        for shard, end in zip(self.shards, self._ends, strict=True):
            if start < end:
                begin = end - len(shard)
                return shard[start - begin : stop - begin]
        return np.zeros(0, dtype=self.dtype)

    monkeypatch.setattr(token_array.TokenArray, "_read", one_shard_only)
    with caught("are not those that were written"):
        check_shards_equal_memory(tmp_path)


# --- LT10 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgotten", ["epoch", "position"])
def test_a_state_that_is_only_half_restored_is_caught(monkeypatch, forgotten):
    real = windows.BatchLoader.load_state_dict
    monkeypatch.setattr(
        windows.BatchLoader, "load_state_dict", lambda self, state: real(self, {**state, forgotten: 0})
    )
    with caught("other batches"):
        check_resume(lambda: windows.BatchLoader(np.arange(300), 4, 10, seed=3), before=20)


def test_an_order_from_the_global_generator_is_caught(monkeypatch):
    monkeypatch.setattr(
        windows, "shuffled", lambda places, count, seed, epoch: torch.randperm(count).numpy()[places]
    )
    with caught("other batches"):
        check_resume(lambda: windows.BatchLoader(np.arange(300), 4, 10, seed=3), before=5)


# --- examples -----------------------------------------------------------------------------------------


def test_a_second_shift_of_the_labels_is_caught(monkeypatch):
    real = example_batches.shift_labels

    def twice(ids, mask):
        once = real(ids, mask)
        return np.append(once[1:], example_batches.IGNORED)

    monkeypatch.setattr(example_batches, "shift_labels", twice)
    with caught("shift"):
        check_labels_are_shifted_once(pack=False)


def test_labels_without_any_shift_are_caught(monkeypatch):
    monkeypatch.setattr(
        example_batches,
        "shift_labels",
        lambda ids, mask: np.where(np.asarray(mask, bool), np.asarray(ids), example_batches.IGNORED),
    )
    with caught("shift"):
        check_labels_are_shifted_once(pack=True)


def test_a_row_that_cuts_an_example_is_caught(monkeypatch):
    real = example_batches.ExampleBatches.__next__

    def chop(self):
        x, y = real(self)
        return torch.roll(x, 3, dims=1), torch.roll(y, 3, dims=1)

    monkeypatch.setattr(example_batches.ExampleBatches, "__next__", chop)
    with caught():
        check_packing_keeps_examples_whole()
