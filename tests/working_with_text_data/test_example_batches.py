"""Batches of whole examples: one label shift, nothing cut, each once an epoch, dropped ones counted."""

import pytest
import torch
from example_checks import (
    check_labels_are_shifted_once,
    check_packing_keeps_examples_whole,
    numbered_examples,
)

from utils.errors import UserError
from working_with_text_data.example_batches import ExampleBatches


@pytest.mark.parametrize("pack", [False, True])
def test_labels_are_shifted_exactly_once(pack):
    check_labels_are_shifted_once(pack)


def test_packed_rows_hold_whole_examples():
    check_packing_keeps_examples_whole()


def test_padded_batches_are_as_wide_as_their_longest_example():
    examples = numbered_examples()
    lengths = {ids[0]: len(ids) for ids, _ in examples}
    loader = ExampleBatches(examples, 4, 64, seed=2)
    widths = set()
    for _ in range(8):
        x, y = next(loader)
        assert x.shape == y.shape == (4, max(lengths[first] for first in x[:, 0].tolist()))
        widths.add(x.shape[1])
    assert len(widths) > 1


def test_packing_fills_more_of_the_rows_than_padding_to_the_block():
    examples = numbered_examples(40)
    loader = ExampleBatches(examples, 4, 24, seed=0, pack=True)
    filled = sum(int((next(loader)[0] != 0).sum()) for _ in range(10)) / (10 * 4 * 24)
    assert filled > 0.7, f"packing fills only {filled:.0%} of its rows"


def test_what_is_dropped_is_counted():
    examples = [*numbered_examples(5), ([1] * 40, [True] * 40), ([1, 2, 3], [True, False, False]), ([], [])]
    loader = ExampleBatches(examples, 2, 24)
    assert (loader.dropped_long, loader.dropped_unlabelled) == (1, 2)
    assert loader.examples_per_epoch == 5
    assert loader.labels_per_epoch == sum(sum(mask) for _, mask in numbered_examples(5))
    assert loader.tokens_per_epoch == sum(len(ids) for ids, _ in numbered_examples(5))


def test_an_example_as_long_as_the_block_is_kept():
    loader = ExampleBatches([(list(range(8)), [True] * 8)], 1, 8, pack=True)
    x, y = next(loader)
    assert x.tolist() == [list(range(8))] and y.tolist() == [[1, 2, 3, 4, 5, 6, 7, -100]]


@pytest.mark.parametrize("pack", [False, True])
def test_ranks_share_the_rows(pack):
    examples = numbered_examples()
    ranks = [ExampleBatches(examples, 2, 24, seed=4, pack=pack, rank=r, world_size=2) for r in range(2)]
    single = ExampleBatches(examples, 4, 24, seed=4, pack=pack)
    for _ in range(10):
        x, y = next(single)
        parts = [next(rank) for rank in ranks]
        assert torch.equal(torch.cat([p[0] for p in parts]), x)
        assert torch.equal(torch.cat([p[1] for p in parts]), y)


def test_bad_input_is_one_clear_line():
    with pytest.raises(UserError, match="example 0 has 3 ids and 2 mask values"):
        ExampleBatches([([1, 2, 3], [True, True])], 1, 8)
    with pytest.raises(UserError, match="no example left of 1: 1 are longer than block_size 2"):
        ExampleBatches([([1, 2, 3], [True] * 3)], 1, 2)
    with pytest.raises(UserError, match="batch_size is 0"):
        ExampleBatches(numbered_examples(), 0, 8)
    loader = ExampleBatches(numbered_examples(), 2, 24)
    with pytest.raises(UserError, match="pack"):
        loader.load_state_dict({**loader.state_dict(), "pack": True})
    with pytest.raises(UserError, match="damaged"):
        loader.load_state_dict({**loader.state_dict(), "position": None})
