"""What every way of making batches must keep: random offsets, packing, streaming, prefetching (LT9, LT10).

As in `data_checks`: functions that raise AssertionError, called by the laws on the real code and by the
mutations on code with a classic bug put back. Expectations come from plain loops over unique ids.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import torch
from scipy.stats import chisquare

from working_with_text_data import packing, prefetch, streaming_windows, windows
from working_with_text_data.byte_tokenizer import ByteTokenizer

END = "<|endoftext|>"


# --- random offsets -----------------------------------------------------------------------------------


def check_random_offsets_are_fair() -> None:
    """Every place of the text is equally likely to begin a window, the first and the last included."""
    n, block = 40, 9
    loader = windows.BatchLoader(np.arange(n), 50, block, sampling="random_offsets", seed=4)
    counts = np.zeros(n, dtype=int)
    for _ in range(120):
        x, y = next(loader)
        assert torch.equal(y, x + 1) and torch.equal(x[:, 1:], y[:, :-1]), "y[i] is not x[i + 1]"
        counts += np.bincount(x[:, 0].numpy(), minlength=n)
    places = n - block  # a window needs one token more than its length
    assert not counts[places:].any(), "a window began where it has no room"
    assert counts[:places].all(), (
        f"no window begins at {np.flatnonzero(counts[:places] == 0).tolist()} of {places} places: is the last "
        "one left out, or does an epoch draw the same places again?"
    )
    assert chisquare(counts[:places]).pvalue > 1e-4, "some places are drawn more often than others"


def check_random_offsets_leave_out_one_in_e() -> None:
    """After an epoch's worth of draws 37 % of the tokens were never asked for: it is drawing, not tiling."""
    n, block = 200_001, 50
    loader = windows.BatchLoader(np.arange(n), 100, block, sampling="random_offsets", seed=1)
    seen = np.zeros(n, dtype=bool)
    while loader.epoch == 0:
        seen[next(loader)[1].flatten().numpy()] = True
    share = 1 - seen.mean()
    assert 0.34 < share < 0.40, f"{share:.3f} of the tokens were not drawn; 1/e = 0.368 is expected"


def check_random_offset_ranks_share_the_draws(world_size: int = 3) -> None:
    """Ranks together use the draws of a single process, each exactly once."""
    options = {"sampling": "random_offsets", "seed": 2}
    tokens = np.arange(100_000)
    ranks = [
        windows.BatchLoader(tokens, 2, 8, rank=r, world_size=world_size, **options) for r in range(world_size)
    ]
    single = windows.BatchLoader(tokens, 2 * world_size, 8, **options)
    for _ in range(20):
        together = torch.cat([next(rank)[0] for rank in ranks])
        assert len(set(together[:, 0].tolist())) == len(together), "two ranks were given the same draw"
        assert torch.equal(together, next(single)[0]), "the ranks together do not do one process's work"


# --- packing ------------------------------------------------------------------------------------------


def packed_corpus() -> tuple[list[list[int]], np.ndarray]:
    """Documents whose tokens are all different (from 1 on) and end in 0; lengths from 0 to beyond a row."""
    lengths = [5, 0, 1, 17, 3, 3, 40, 9, 2, 16, 15, 1, 33, 7, 4, 8, 8, 12, 6, 31]
    fresh = iter(range(1, 10_000))
    documents = [[*islice(fresh, length), 0] for length in lengths]
    return documents, np.array([token for document in documents for token in document])


def check_packing(method: str, block: int = 16, world_size: int = 1) -> None:
    """Each token that follows another in its document is asked for once an epoch, from inside its document."""
    documents, tokens = packed_corpus()
    follows = {a: b for document in documents for a, b in pairwise(document)}
    place = {token: i for document in documents for i, token in enumerate(document) if token}
    owner = {token: n for n, document in enumerate(documents) for token in document if token}
    loaders = [
        packing.PackedBatches(
            tokens, 2, block, end_id=0, method=method, seed=3, pad_id=-7, rank=r, world_size=world_size
        )
        for r in range(world_size)
    ]
    asked: Counter[int] = Counter()
    wanted = Counter(follows.keys())
    for _ in range(200):
        for loader in loaders:
            batch = next(loader)
            assert all(part.shape == (2, block) and part.dtype == torch.int64 for part in batch)
            for x, y, segments, positions in zip(*(part.tolist() for part in batch), strict=True):
                for token, label, segment, position in zip(x, y, segments, positions, strict=True):
                    if segment == 0:
                        assert (token, label, position) == (-7, -100, 0), "padding must be asked for nothing"
                        continue
                    assert label == follows[token], (
                        f"after {token} the label is {label}, but in its document comes {follows[token]}: "
                        "a label must never reach over the end of a document"
                    )
                    asked[token] += 1
                for left, right in zip(range(block - 1), range(1, block), strict=True):
                    same = segments[left] == segments[right] != 0
                    if segments[left] and segments[right]:
                        assert same == (owner[x[left]] == owner[x[right]]) or (
                            positions[right] == 0 and not same
                        ), "a segment holds tokens of two documents, or a document has two segments"
                    if same:
                        assert positions[right] == positions[left] + 1 and (
                            place[x[right]] == place[x[left]] + 1
                        ), "positions must count within the document"
                    elif segments[right]:
                        assert positions[right] == 0, "each document of a row begins at position 0"
        if loaders[0].epoch >= 2 and loaders[0].position == loaders[0].group == 0:
            break
    least, most = min(asked[t] for t in wanted), max(asked.values())
    assert set(asked) == set(wanted), "some tokens were never asked for"
    assert most - least <= 1, f"one token was asked for {least} times and another {most} times"


def check_document_mask() -> None:
    """A token sees itself and the earlier tokens of its own document; checked place by place."""
    segments = torch.tensor([[1, 1, 1, 2, 2, 3, 0, 0], [1, 2, 2, 2, 2, 2, 2, 2]])
    mask = packing.document_mask(segments)
    assert mask.shape == (2, 1, 8, 8) and mask.dtype == torch.bool
    for row, names in enumerate(segments.tolist()):
        for q in range(8):
            for k in range(8):
                allowed = k == q or (k < q and names[q] == names[k] != 0)
                assert bool(mask[row, 0, q, k]) == allowed, (
                    f"place {q} of document {names[q]} and place {k} of document {names[k]}: "
                    f"{'hidden' if allowed else 'seen'}, but no token may look into another document"
                )


# --- prefetching --------------------------------------------------------------------------------------


def check_prefetch_saves_what_was_given_out(make, depth: int = 3, before: int = 5, after: int = 9) -> None:
    """With batches lying ready, the state is that of a plain loader after as many batches; so is the rest."""
    plain = make()
    for _ in range(before):
        next(plain)
    with prefetch.Prefetcher(make(), depth) as loader:
        for _ in range(before):
            next(loader)
        deadline = time.monotonic() + 20
        while not loader._running.ready.full() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert loader._running.ready.full(), "nothing was fetched ahead: this check would prove nothing"
        state = loader.state_dict()
    assert state == plain.state_dict(), (
        f"after {before} batches, with {depth} lying ready, the state is {state}, but what was given out ends at "
        f"{plain.state_dict()}: a resumed run would skip the batches that were only fetched"
    )
    fresh = prefetch.Prefetcher(make(), depth)
    fresh.load_state_dict(state)
    for _ in range(after):
        for ours, theirs in zip(next(fresh), next(plain), strict=True):
            assert torch.equal(ours, theirs), "a restored prefetcher goes on with other batches"
    fresh.close()


# --- streaming ----------------------------------------------------------------------------------------

TOKENIZER = ByteTokenizer((END,))


def stream_texts(count: int = 90) -> list[str]:
    """Texts that can be told apart by any few letters, of 1 to 70 letters and one of 400."""
    texts = [f"<{n}>" + chr(0x100 + n) * ((n * 13) % 34) for n in range(count)]
    texts[7] = "<7>" + "".join(chr(0x400 + i % 90) for i in range(200))
    return texts


def make_stream(texts=None, **options):
    """A loader over three files' worth of texts; `options` of both the stream and the loader."""
    texts = stream_texts() if texts is None else texts
    third = len(texts) // 3
    parts = [lambda: texts[:third], lambda: texts[third : third + 4], lambda: texts[third + 4 :]]
    source = streaming_windows.DocumentStream(
        parts, seed=5, shuffle=options.pop("shuffle_files", True), repeat=options.pop("repeat", True)
    )
    shape = {"batch_size": 3, "block_size": 8, "buffer_windows": 20, "seed": 6}
    return streaming_windows.StreamingLoader(source, TOKENIZER, **{**shape, **options})


def windows_by_hand(texts: list[str], block: int) -> list[list[int]]:
    end = TOKENIZER.special_tokens[END]
    flat = [i for text in texts for i in [*TOKENIZER.encode_ordinary(text), end]]
    return [flat[i : i + block + 1] for i in range(0, len(flat) - block, block)]


def check_stream_gives_every_window_once(shuffle: bool) -> None:
    """One pass over a stream gives exactly the windows of its joined documents; shuffled within chunks."""
    texts = stream_texts()
    expected = windows_by_hand(texts, 8)
    loader = make_stream(shuffle=shuffle, shuffle_files=False, repeat=False)
    got = []
    for x, y in loader:
        assert torch.equal(x[:, 1:], y[:, :-1]), "y[i] is not x[i + 1]"
        got += [[*row, last] for row, last in zip(x.tolist(), y[:, -1].tolist(), strict=True)]
    whole = len(expected) // 3 * 3
    assert len(got) == whole, f"{len(got)} windows came, {whole} fill whole batches"
    for start in range(0, whole - 20, 20):
        chunk, wanted = got[start : start + 20], expected[start : start + 20]
        assert sorted(chunk) == sorted(wanted), (
            f"the windows {start}–{start + 19} are not those of the text: one is lost, doubled or cut elsewhere"
        )
        assert (chunk == wanted) != shuffle, "shuffle has no effect" if shuffle else "the order is not kept"


def check_stream_ranks_share_no_document(world_size: int = 3) -> None:
    """Every document goes to exactly one rank."""
    texts = [chr(0x1000 + n) * 30 for n in range(40)]  # a letter of its own for each
    letters = []
    for rank in range(world_size):
        loader = make_stream(
            texts, rank=rank, world_size=world_size, repeat=False, batch_size=1, shuffle=False
        )
        end = TOKENIZER.special_tokens[END]
        ids = [i for x, _ in loader for i in x.flatten().tolist() if i != end]
        letters.append({c for c in bytes(ids).decode("utf-8", "ignore") if ord(c) >= 0x1000})
    for a in range(world_size):
        for b in range(a):
            both = letters[a] & letters[b]
            assert not both, f"ranks {b} and {a} were both given {len(both)} of 40 documents"
    assert len(set.union(*letters)) == 40, "some documents went to no rank"


def check_stream_is_read_no_further_than_needed() -> None:
    """Filling a chunk reads the documents that it needs and one to begin the next, not the whole stream."""
    read = []

    def endless():
        for number in range(10**9):
            read.append(number)
            yield "x" * 15  # 16 ids with the end

    source = streaming_windows.DocumentStream([endless])
    loader = streaming_windows.StreamingLoader(source, TOKENIZER, 2, 8, buffer_windows=10, seed=1)
    next(loader)
    assert len(read) <= 7, (
        f"{len(read)} documents of 16 ids were read for 81 ids: the stream must not be held"
    )
