"""Packing: pieces, rows and waste; edges and bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from working_with_text_data import packing
from working_with_text_data.packing import PackedBatches, document_mask, document_pieces, pack, packing_report
from working_with_text_data.shards import write_shards


def tokens_of(lengths):
    return np.array([token for length in lengths for token in [*range(1, length + 1), 0]])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 20), max_size=60), st.integers(20, 40), st.sampled_from(["best_fit", "in_order"])
)
def test_every_piece_is_in_one_row_and_no_row_is_too_long(lengths, block, method):
    lengths = np.array(lengths, dtype=np.int64)
    rows = pack(lengths, block, method)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(row and lengths[row].sum() <= block and row == sorted(row) for row in rows)


def test_best_fit_takes_the_fullest_row_that_has_room():
    assert pack(np.array([6, 5, 4, 5]), 10) == [[0, 2], [1, 3]]
    assert pack(np.array([7, 8, 2, 3]), 10) == [[1, 2], [0, 3]]  # the longest opens the first row


def test_best_fit_wastes_less_than_the_order_they_come_in():
    rng = np.random.default_rng(0)
    report = packing_report(tokens_of(rng.integers(5, 120, 3000)), 0, 128)
    assert 0 <= report["best_fit"]["waste"] < report["in_order"]["waste"] / 2
    assert report["best_fit"]["rows"] < report["in_order"]["rows"]


def test_the_report_counts_by_hand():
    # Documents of 3, 9 and 4 inputs (and their ends) in rows of 4: the second is cut twice.
    report = packing_report(tokens_of([3, 9, 4]), 0, 4)
    assert report["in_order"] == {"rows": 5, "waste": 1 - 16 / 20, "cuts": 2.0}


def test_pieces_are_found_across_the_places_where_a_scan_stops(monkeypatch):
    tokens = tokens_of([4, 0, 7, 1, 0, 12])
    whole = document_pieces(tokens, 0, 5)
    monkeypatch.setattr(packing, "_SCAN", 3)
    assert document_pieces(tokens, 0, 5).tolist() == whole.tolist()


def test_a_text_without_an_end_is_one_document():
    assert document_pieces(np.arange(1, 8), 0, 100).tolist() == [[0, 6]]


def test_groups_of_documents_are_packed_apart_and_all_come(monkeypatch):
    monkeypatch.setattr(packing, "GROUP", 7)
    tokens = tokens_of([5] * 40)
    loader = PackedBatches(tokens, 1, 16, end_id=0, seed=1)
    rows = 0
    while loader.epoch == 0:
        rows += int(next(loader).segments.max())
    assert rows == 40


def test_it_reads_shards(tmp_path):
    documents = [[*range(1, n + 1), 0] for n in (5, 9, 3, 14)]
    array = write_shards(
        tmp_path, "train", documents, tokenizer_sha256="00" * 32, vocab_size=70_000, shard_tokens=6
    )
    flat = np.array([token for document in documents for token in document])
    ours, theirs = (PackedBatches(t, 2, 8, end_id=0, seed=2) for t in (array, flat))
    for _ in range(9):
        assert all(map(torch.equal, next(ours), next(theirs)))


def test_orders_differ_by_epoch_and_by_seed():
    tokens = tokens_of(range(1, 60))
    firsts = {}
    for seed in (0, 1):
        loader = PackedBatches(tokens, 1, 64, end_id=0, seed=seed)
        while loader.epoch < 2:
            firsts.setdefault((seed, loader.epoch), []).append(next(loader).x.tolist())
    orders = [str(rows) for rows in firsts.values()]
    assert len(orders) == 4 and len(set(orders)) == 4


def test_unshuffled_rows_come_in_the_order_of_the_text():
    loader = PackedBatches(tokens_of([4, 4, 4]), 1, 8, end_id=0, shuffle=False, method="in_order")
    assert next(loader).x.tolist() == [[1, 2, 3, 4, 1, 2, 3, 4]]
    assert next(loader).x.tolist() == [[1, 2, 3, 4, 0, 0, 0, 0]] and loader.epoch == 1
    assert loader.tokens_per_epoch == 12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "by_size"}, "packing method is 'by_size': choose best_fit or in_order"),
        ({"block_size": 0}, "block_size is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"rank": 3}, "rank is 3"),
        ({"tokens": [0, 0, 0]}, "no document to pack in 3 tokens"),
    ],
)
def test_bad_settings_are_named(options, says):
    settings = {"tokens": tokens_of([3]), "batch_size": 1, "block_size": 4, "end_id": 0, **options}
    with pytest.raises(UserError, match=says):
        PackedBatches(
            settings.pop("tokens"), settings.pop("batch_size"), settings.pop("block_size"), **settings
        )


def test_a_piece_longer_than_a_row_is_refused():
    with pytest.raises(UserError, match="a piece has 9 tokens, a row 8"):
        pack(np.array([3, 9]), 8)


@pytest.mark.parametrize("change", [{"n_tokens": 1}, {"method": "in_order"}, {"end_id": 5}, {"group": "x"}])
def test_a_state_of_other_rows_is_refused(change):
    loader = PackedBatches(tokens_of([3, 4]), 1, 8, end_id=0)
    with pytest.raises(UserError, match=f"{next(iter(change))}|damaged"):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_attention_under_the_mask_is_attention_on_each_document_alone():
    """What the mask is for: torch's own attention over a packed row equals it over each document."""
    torch.manual_seed(0)
    segments = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 0]])
    q, k, v = (torch.randn(1, 2, 8, 4, dtype=torch.float64) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    packed = attend(q, k, v, attn_mask=document_mask(segments))
    for start, stop in ((0, 3), (3, 7)):
        alone = attend(*(part[:, :, start:stop] for part in (q, k, v)), is_causal=True)
        assert torch.allclose(packed[:, :, start:stop], alone, atol=1e-12)
    assert torch.isfinite(packed).all()
