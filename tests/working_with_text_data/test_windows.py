"""Windows and the loader: the shuffled order is a fair permutation, edges and bad input are clear."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from utils.errors import UserError
from working_with_text_data.shuffling import draw, draws, shuffled
from working_with_text_data.windows import BatchLoader, LMDataset, NextTokenPredictionDataset, window_count


class TestShuffling:
    def test_it_is_a_permutation_of_every_size(self):
        for count in [*range(1, 140), 255, 256, 257, 1000, 4095, 4096, 4097, 70_000]:
            order = shuffled(np.arange(count), count, seed=count, epoch=3)
            assert np.array_equal(np.sort(order), np.arange(count)), f"not a permutation of {count}"

    def test_any_part_of_it_can_be_asked_for(self):
        whole = shuffled(np.arange(1000), 1000, seed=1, epoch=2)
        assert np.array_equal(shuffled(np.array([999, 0, 500]), 1000, seed=1, epoch=2), whole[[999, 0, 500]])

    def test_far_places_of_a_huge_order_cost_nothing(self):
        count = 10**12 + 39
        places = np.array([0, 1, 10**12, count - 1])
        items = shuffled(places, count, seed=5, epoch=0)
        assert len(set(items.tolist())) == 4 and items.min() >= 0 and items.max() < count

    def test_every_item_is_equally_likely_at_every_place(self):
        counts = np.zeros((7, 7))
        for seed in range(3500):
            counts[np.arange(7), shuffled(np.arange(7), 7, seed, epoch=0)] += 1
        assert chisquare(counts.ravel(), ddof=12).pvalue > 1e-4  # 7 rows and 7 columns have fixed sums

    def test_all_orders_of_four_items_occur_about_equally(self):
        seen = Counter(tuple(shuffled(np.arange(4), 4, seed=3, epoch=e).tolist()) for e in range(4800))
        assert set(seen) == set(itertools.permutations(range(4)))
        assert chisquare(list(seen.values())).pvalue > 1e-4

    def test_neighbours_are_torn_apart(self):
        order = shuffled(np.arange(10_000), 10_000, seed=0, epoch=0)
        assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.04
        assert np.sum(np.abs(np.diff(order)) == 1) < 12  # 2 expected by chance

    def test_the_order_is_the_same_for_ever(self):
        # Pinned: a resumed run must not depend on the version of numpy. Integer arithmetic only.
        assert shuffled(np.arange(8), 8, seed=42, epoch=1).tolist() == PINNED_ORDER
        assert [draw(42, epoch, 1000) for epoch in range(4)] == PINNED_DRAWS

    def test_draws_are_spread_evenly(self):
        counts = np.bincount([draw(seed, 0, 16) for seed in range(3200)], minlength=16)
        assert chisquare(counts).pvalue > 1e-4


PINNED_ORDER = [0, 3, 5, 4, 6, 2, 1, 7]
PINNED_OFFSETS = [284, 647, 88, 653, 656]
PINNED_DRAWS = [936, 185, 148, 883]


class TestDataset:
    def test_default_stride_touches_and_negative_indices_count_from_the_end(self):
        data = NextTokenPredictionDataset(list(range(11)), 4)
        assert len(data) == 2 and data[-1][0].tolist() == [4, 5, 6, 7]
        for index in (2, -3):
            with pytest.raises(IndexError):
                data[index]

    def test_it_works_in_torchs_own_loader(self):
        data = NextTokenPredictionDataset(torch.arange(41), 4)
        x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=10)))
        assert torch.equal(x.flatten(), torch.arange(40)) and torch.equal(y, x + 1)

    def test_the_truncation_is_as_documented(self):
        for n, length, stride in [(100, 7, 7), (100, 8, 3), (50, 4, 9)]:
            last_target = (window_count(n, length, stride) - 1) * stride + length
            assert n - 1 - last_target == (n - 1 - length) % stride

    def test_the_wrong_kind_of_ids_is_refused(self):
        for ids in ([[1, 2], [3, 4]], [0.5, 1.5], ["a", "b"]):
            with pytest.raises(UserError, match="the ids"):
                NextTokenPredictionDataset(ids, 1)

    def test_sizes_that_do_not_fit_name_both_numbers(self):
        with pytest.raises(
            UserError, match="max_length is 4 but the text has only 4 tokens: a window needs 5"
        ):
            NextTokenPredictionDataset([1, 2, 3, 4], 4)
        with pytest.raises(UserError, match="stride 0"):
            NextTokenPredictionDataset([1, 2, 3, 4], 2, 0)


class TestLMDataset:
    def test_it_is_the_dataset_whose_windows_touch(self):
        ours, theirs = LMDataset(list(range(50)), 7), NextTokenPredictionDataset(list(range(50)), 7, 7)
        assert len(ours) == len(theirs) == 49 // 7
        for a, b in zip(ours, theirs, strict=True):
            assert all(map(torch.equal, a, b))

    def test_the_truncation_is_as_documented(self):
        for n, block in [(50, 7), (51, 7), (8, 7), (1000, 64)]:
            data = LMDataset(list(range(n)), block)
            assert n - 1 - int(data[-1][1][-1]) == (n - 1) % block
            assert len(data) == (n - 1) // block

    def test_what_does_not_fit_names_block_size(self):
        with pytest.raises(UserError, match="block_size is 8 but the text has only 8 tokens"):
            LMDataset(range(8), 8)
        with pytest.raises(UserError, match="block_size is 0"):
            LMDataset(range(8), 0)


class TestRandomOffsets:
    def test_settings_that_do_not_go_together_are_refused(self):
        with pytest.raises(UserError, match="sampling is 'anywhere': choose tiles or random_offsets"):
            BatchLoader(range(100), 2, 4, sampling="anywhere")
        with pytest.raises(UserError, match="shuffle=False has no order to keep"):
            BatchLoader(range(100), 2, 4, sampling="random_offsets", shuffle=False)

    def test_one_way_of_sampling_does_not_go_on_with_the_others_state(self):
        tiles, drawn = (BatchLoader(range(100), 2, 4, sampling=s) for s in ("tiles", "random_offsets"))
        with pytest.raises(UserError, match="for sampling tiles, the loader has random_offsets"):
            drawn.load_state_dict(tiles.state_dict())

    def test_a_state_of_before_there_was_a_choice_means_tiles(self):
        loader = BatchLoader(range(100), 2, 4)
        state = loader.state_dict()
        del state["sampling"]
        loader.load_state_dict(state)

    def test_epochs_are_as_long_as_with_tiles(self):
        loader = BatchLoader(range(101), 5, 10, sampling="random_offsets")
        next(loader), next(loader)
        assert (loader.epoch, loader.position) == (1, 0)

    def test_a_text_of_one_window_is_enough(self):
        x, y = next(BatchLoader([1, 2, 3, 4, 5], 3, 4, sampling="random_offsets"))
        assert x.tolist() == [[1, 2, 3, 4]] * 3 and y.tolist() == [[2, 3, 4, 5]] * 3

    def test_draws_are_pinned_for_ever(self):
        assert draws(np.arange(5), 1000, seed=42, epoch=1).tolist() == PINNED_OFFSETS


class TestBatchLoader:
    def test_one_window_is_enough(self):
        loader = BatchLoader([1, 2, 3, 4, 5], 3, 4)
        x, y = next(loader)
        assert x.tolist() == [[1, 2, 3, 4]] * 3 and y.tolist() == [[2, 3, 4, 5]] * 3
        assert loader.epoch == 3

    def test_a_text_shorter_than_a_window_names_both_numbers(self):
        with pytest.raises(
            UserError, match="block_size is 8 but the text has only 8 tokens: a window needs 9"
        ):
            BatchLoader(range(8), 1, 8)
        with pytest.raises(UserError, match=r"only 0 tokens.*at most 0"):
            BatchLoader(np.zeros(0, np.uint16), 1, 8)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"batch_size": 0}, "batch_size is 0"),
            ({"block_size": 0}, "block_size is 0"),
            ({"world_size": 0}, "world_size is 0"),
            ({"rank": 2, "world_size": 2}, "rank is 2: it must be from 0 to world_size - 1 = 1"),
        ],
    )
    def test_sizes_that_make_no_batch_are_named(self, options, says):
        with pytest.raises(UserError, match=says):
            BatchLoader(range(100), **{"batch_size": 2, "block_size": 4, **options})

    def test_the_size_of_an_epoch(self):
        loader = BatchLoader(range(101), 4, 10)
        assert loader.windows_per_epoch == 10 and loader.tokens_per_epoch == 100

    def test_unshuffled_epochs_ask_for_every_token_once(self):
        loader = BatchLoader(range(81), 2, 10, shuffle=False)
        targets = [t for _ in range(4) for t in next(loader)[1].flatten().tolist()]
        assert targets == list(range(1, 81)) and (loader.epoch, loader.position) == (1, 0)

    def test_over_epochs_a_token_is_seen_at_every_place_of_a_window(self):
        loader = BatchLoader(range(200), 4, 8, seed=0)
        places = set()
        for _ in range(400):
            x, _ = next(loader)
            places |= set((x == 100).nonzero()[:, 1].tolist())
        assert places == set(range(8))

    def test_seeds_differ_and_no_global_generator_moves(self):
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        a, b, c = (next(BatchLoader(range(5000), 8, 4, seed=seed))[0] for seed in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c)
        assert states == (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
        )

    def test_the_batch_size_may_change_at_a_resume(self):
        first, small = BatchLoader(range(500), 6, 5, seed=1), BatchLoader(range(500), 2, 5, seed=9)
        next(first)
        small.load_state_dict(first.state_dict())
        together = torch.cat([next(small)[0] for _ in range(3)])
        assert torch.equal(together, next(first)[0])

    @pytest.mark.parametrize("change", [{"n_tokens": 499}, {"block_size": 6}, {"shuffle": False}])
    def test_a_state_for_other_data_or_windows_is_refused(self, change):
        loader = BatchLoader(range(500), 6, 5)
        with pytest.raises(UserError, match=next(iter(change))):
            loader.load_state_dict({**loader.state_dict(), **change})

    def test_a_damaged_state_is_refused(self):
        loader = BatchLoader(range(500), 6, 5)
        with pytest.raises(UserError, match="damaged"):
            loader.load_state_dict({**loader.state_dict(), "epoch": "x"})

    def test_batches_do_not_share_memory_with_the_text(self):
        tokens = np.arange(100)
        x, y = next(BatchLoader(tokens, 2, 4))
        x.zero_()
        assert tokens.tolist() == list(range(100)) and y.is_contiguous() and x.is_contiguous()
        assert y.data_ptr() != x.data_ptr() and int(y.min()) > 0
