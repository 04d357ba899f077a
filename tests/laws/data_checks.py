"""What the way from documents to batches must keep, as functions that raise AssertionError.

The laws call them on the real code, the mutations on code with a classic bug put back. Expectations
come from counting and from plain Python, never from the code under test.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import torch

from working_with_text_data import shards, splitting, windows
from working_with_text_data.documents import Document

SHA = "5e" * 32


def documents_of(texts: list[str]) -> list[Document]:
    return [Document(text, "made.txt", index) for index, text in enumerate(texts)]


def unique_texts(count: int, words: int = 60) -> list[str]:
    """Texts that share no word: any common run of words is a leak."""
    return [" ".join(f"w{number}x{place}" for place in range(words)) for number in range(count)]


def runs_of_words(texts: list[str], length: int) -> set[tuple[str, ...]]:
    runs: set[tuple[str, ...]] = set()
    for text in texts:
        words = text.split()
        runs.update(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    return runs


# --- LT8: no leakage ---------------------------------------------------------------------------------


def check_no_document_on_both_sides(texts: list[str], val_fraction: float = 0.1, seed: int = 0) -> None:
    """Validation and training share no text; together they are everything that came in, copies too."""
    split = splitting.split_documents(documents_of(texts), val_fraction=val_fraction, seed=seed)
    train, val = [d.text for d in split.train], [d.text for d in split.val]
    assert not set(train) & set(val), (
        "a text stands on both sides, so validation measures memory: decide by the hash of the text, "
        "not by its place, so that copies stay together"
    )
    assert Counter(train + val) == Counter(texts), "the two sides together are not what came in"
    assert split.report.shared_hashes == 0
    assert split.report.duplicates == len(texts) - len(set(texts)), "copies must be counted"
    assert (split.report.train_documents, split.report.val_documents) == (len(train), len(val))
    if len(set(texts)) > 1:
        assert train and val, f"one side is empty although there are {len(set(texts))} different texts"


def check_split_before_windows() -> None:
    """No run of five words that validation asks for occurs in training, when no two documents share any."""
    texts = unique_texts(40)
    split = splitting.split_documents(documents_of(texts), val_fraction=0.2)
    held_out = runs_of_words([d.text for d in split.val], 5)
    assert held_out, "validation is empty"
    leaked = held_out & runs_of_words([d.text for d in split.train], 5)
    assert not leaked, (
        f"{len(leaked)} of {len(held_out)} runs of five validation words were trained on: the text was cut "
        "into windows before it was split; split whole documents first"
    )
    whole = {t for t in texts if t in {d.text for d in split.val}}
    assert len(whole) == 8, "0.2 of 40 documents should be held out whole"


def check_split_ignores_order_and_rng() -> None:
    """Another order of the same documents gives the same sides; no global generator moves."""
    texts = unique_texts(50, words=5)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    first = splitting.split_documents(documents_of(texts), seed=3)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert before == after, "the split moved a global random generator: training would change with it"
    again = splitting.split_documents(documents_of(texts), seed=3)
    other_way = splitting.split_documents(documents_of(texts[::-1]), seed=3)
    sides = [{d.text for d in split.val} for split in (first, again, other_way)]
    assert sides[0] == sides[1], "the same documents and seed were split in two ways"
    assert sides[0] == sides[2], "the split depends on the order of the files: decide by content"
    other_seed = {d.text for d in splitting.split_documents(documents_of(texts), seed=4).val}
    assert sides[0] != other_seed, "the seed has no effect"


def check_near_duplicates_are_counted() -> None:
    """Validation texts that training holds but for one word are in the report, others are not."""
    texts = unique_texts(60, words=120)
    plain = splitting.split_documents(documents_of(texts), val_fraction=0.25)
    assert plain.report.near_duplicates.count == 0, "texts that share no word were called near-duplicates"
    # An edited copy of every text: the pairs that the hash tears apart are leaks, all others are not.
    edited = {text: text.rsplit(" ", 1)[0] + " other" for text in texts}
    split = splitting.split_documents(documents_of(texts + list(edited.values())), val_fraction=0.25)
    side = {d.text: "val" for d in split.val} | {d.text: "train" for d in split.train}
    torn = sum(side[text] != side[copy] for text, copy in edited.items())
    assert torn > 5, "the made-up corpus tears no pair apart: this check would prove nothing"
    report = split.report
    assert report.near_duplicates.checked == len(split.val)
    assert report.near_duplicates.count == torn, (
        f"{torn} validation texts have an edited copy in training, the report counts "
        f"{report.near_duplicates.count}"
    )
    assert abs(report.leak_rate - torn / len(split.val)) < 1e-12


def check_one_document_is_cut_with_gaps() -> None:
    """Train, validation and dropped pieces of one text join to the text; no validation touches training."""
    words = [f"word{number}" for number in range(12_000)]
    text = " ".join(words)
    split = splitting.split_documents([Document(text, "book.txt", 0)], val_fraction=0.1)
    pieces = sorted(
        [(d.index, "train", d) for d in split.train]
        + [(d.index, "val", d) for d in split.val]
        + [(d.index, "gap", d) for d in split.dropped],
        key=lambda piece: piece[0],
    )
    assert "".join(d.text for *_, d in pieces) == text, "pieces are lost or doubled"
    assert 0.08 <= split.report.val_bytes / len(text) <= 0.12, "validation is not the share asked for"
    assert len(split.val) == 5, "0.1 of 111 kB should be five spans of some 2 kB"
    fifth = len(text) / 5
    places = [int(d.source.split("[")[1].split(":")[0]) // fifth for d in split.val]
    assert places == [0, 1, 2, 3, 4], "the spans must be spread over the whole text"
    for (_, one, left), (_, two, right) in pairwise(pieces):
        assert {one, two} != {"train", "val"}, (
            f"training and validation touch ({left.source} and {right.source}): a sentence has one foot on "
            "either side; leave a gap"
        )
    assert all(len(d.text) > 100 for d in split.dropped), "the gaps are shorter than a sentence"
    for _, _, d in pieces[:-1]:
        assert d.text[-1].isspace(), f"{d.source} was cut inside a word"


# --- LT9: windows and batches -------------------------------------------------------------------------


def check_y_is_the_next_token(shuffle: bool) -> None:
    """Over ids 0, 1, 2, … the target of token t is t + 1; unshuffled, batches continue each other."""
    loader = windows.BatchLoader(np.arange(200), 3, 7, shuffle=shuffle, seed=5)
    last = None
    for _ in range(9):  # 27 of 28 windows: within the epoch
        x, y = next(loader)
        assert x.shape == y.shape == (3, 7) and x.dtype == y.dtype == torch.int64
        assert torch.equal(x[:, 1:], y[:, :-1]), "y[i] is not x[i + 1]"
        assert torch.equal(y, x + 1), (
            f"for the input {x[0].tolist()} the target is {y[0].tolist()}: it must be the text one token on"
        )
        if not shuffle:
            assert torch.equal(x[1:, 0], y[:-1, -1]), "a window does not begin where the one before ended"
            assert last is None or int(x[0, 0]) == last, "a batch does not begin where the one before ended"
            last = int(y[-1, -1])


def check_window_count(max_tokens: int = 30) -> None:
    """`len` of the dataset is what counting every possible window by hand gives."""
    for n in range(2, max_tokens):
        for length in range(1, min(n, 9)):
            for stride in range(1, 11):
                by_hand = [s for s in range(0, n, stride) if s + length + 1 <= n]
                data = windows.NextTokenPredictionDataset(list(range(n)), length, stride)
                assert len(data) == len(by_hand), (
                    f"{n} tokens, length {length}, stride {stride}: {len(data)} windows, but "
                    f"{len(by_hand)} fit (each needs one token more, for its last target)"
                )
                for index, start in enumerate(by_hand):
                    x, y = data[index]
                    assert x.tolist() == list(range(start, start + length))
                    assert y.tolist() == list(range(start + 1, start + length + 1))


def epoch_starts(tokens, batch_size: int, block_size: int, epochs: int, world_size: int = 1, **options):
    """The first token of each window that the ranks give out, by epoch, when ids are 0, 1, 2, …"""
    loaders = [
        windows.BatchLoader(tokens, batch_size, block_size, rank=r, world_size=world_size, **options)
        for r in range(world_size)
    ]
    order: list[int] = []
    by_rank: list[set[tuple[int, int]]] = [set() for _ in loaders]
    counts = []  # windows of each epoch, read off the loader's own state
    while len(counts) < epochs:
        epoch, position = loaders[0].epoch, loaders[0].position
        for r, loader in enumerate(loaders):
            x, _ = next(loader)
            for row, start in enumerate(x[:, 0].tolist()):
                by_rank[r].add((len(order) + row, start))
            order += x[:, 0].tolist()
        if loaders[0].epoch > epoch:
            counts.append(len(order) - loaders[0].position - sum(counts))
        else:
            assert loaders[0].position == position + batch_size * world_size
    return order, counts, by_rank


def check_each_window_once_an_epoch(shuffle: bool, world_size: int = 1) -> None:
    """The windows of an epoch tile the ids without overlap or hole, over all ranks together."""
    n, block, batch = 331, 8, 2
    order, counts, _ = epoch_starts(
        np.arange(n), batch, block, epochs=4, world_size=world_size, shuffle=shuffle, seed=9
    )
    orders = []
    for count in counts:
        starts, order = order[:count], order[count:]
        orders.append(starts)
        assert len(set(starts)) == len(starts), "a window came twice in one epoch"
        tiles = sorted(starts)
        offset = tiles[0]
        assert 0 <= offset < block
        expected = list(range(offset, n - block, block))
        assert tiles == expected, (
            f"the epoch gave {len(tiles)} windows where {len(expected)} tile the text from {offset}"
        )
        if not shuffle:
            assert starts == list(range(0, n - block, block)), "unshuffled means in the order of the text"
    if shuffle:
        assert orders[0] != sorted(orders[0]), "the order is not shuffled"
        ranks = [[sorted(o).index(s) for s in o] for o in orders]
        assert ranks[0][:20] != ranks[1][:20], "two epochs have the same order"
        assert len({min(o) for o in orders}) > 1, "every epoch cuts the text at the same places"


def check_ranks_share_the_work(world_size: int = 3) -> None:
    """Ranks together give a single process's windows, and no window goes to two of them."""
    tokens = np.arange(400)
    ranks = [
        windows.BatchLoader(tokens, 2, 8, seed=1, rank=r, world_size=world_size) for r in range(world_size)
    ]
    single = windows.BatchLoader(tokens, 2 * world_size, 8, seed=1)
    for _ in range(30):
        rows = [next(rank) for rank in ranks]
        together = torch.cat([x for x, _ in rows])
        assert len(set(together[:, 0].tolist())) == len(together), "two ranks were given the same window"
        assert torch.equal(together, next(single)[0]), "the ranks together do not do one process's work"
        assert len({str(rank.state_dict()) for rank in ranks}) == 1, "the ranks disagree where they are"


def check_shards_equal_memory(folder, vocab_size: int = 300) -> None:
    """Ids read from many small shards are those that were written, in every slice and every batch."""
    rng = np.random.default_rng(0)
    lengths = [5, 1, 0, 17, 40, 3, 8, 26]
    documents = [rng.integers(0, vocab_size, size).tolist() for size in lengths]
    documents[3][0] = vocab_size - 1  # the largest id must survive the format
    flat = [i for document in documents for i in document]
    array = shards.write_shards(
        folder, "train", documents, tokenizer_sha256=SHA, vocab_size=vocab_size, shard_tokens=9
    )
    assert len(array.shards) == 12, "100 ids in shards of 9 are 12 files"
    assert len(array) == 100
    for start in range(0, 101):
        for stop in (start, start + 1, start + 8, start + 9, start + 10, start + 37, 100):
            assert array[start:stop].tolist() == flat[start:stop], (
                f"ids {start}:{stop} read from the shards are not those that were written"
            )
    assert [array[i] for i in range(100)] == flat and array[-1] == flat[-1]
    in_memory, mapped = windows.BatchLoader(flat, 3, 6, seed=2), windows.BatchLoader(array, 3, 6, seed=2)
    for _ in range(12):
        for ours, theirs in zip(next(in_memory), next(mapped), strict=True):
            assert torch.equal(ours, theirs), "batches from the memory map differ from those from a list"


# --- LT10: exact resume -------------------------------------------------------------------------------


def digest_of(loader, batches: int) -> list[list[int]]:
    """The next batches as plain numbers, comparable across processes."""
    return [[*x.flatten().tolist(), *y.flatten().tolist()] for x, y in (next(loader) for _ in range(batches))]


def check_resume(make, before: int, after: int = 12) -> None:
    """A fresh loader that is given the state goes on exactly as the first one does."""
    import json

    first = make()
    digest_of(first, before)
    state = json.loads(json.dumps(first.state_dict()))
    fresh = make()
    fresh.load_state_dict(state)
    assert digest_of(fresh, after) == digest_of(first, after), (
        f"after {before} batches the restored loader goes on with other batches than the first one: "
        "epoch, position and seed must all be restored"
    )
