"""Streams: where they stand, where they end, what they refuse, and what they hold."""

import json
import tracemalloc
from itertools import islice

import pytest
import torch

from utils.errors import UserError
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.streaming_windows import DocumentStream, StreamingLoader

TOKENIZER = ByteTokenizer(("<|endoftext|>",))


def loader_of(texts, **options):
    options = {"batch_size": 2, "block_size": 4, "buffer_windows": 8, **options}
    stream = DocumentStream([lambda: texts], repeat=options.pop("repeat", False))
    return StreamingLoader(stream, TOKENIZER, **options)


class TestDocumentStream:
    def test_files_are_read_in_another_order_each_epoch_and_all_of_them(self, tmp_path):
        for name in "abcdefgh":
            (tmp_path / f"{name}.jsonl").write_text(
                "".join(json.dumps({"text": f"{name}{n}"}) + "\n" for n in (0, 1))
            )
        stream = DocumentStream.from_files(tmp_path, shuffle=True, seed=3)
        epochs = [[d.text for d in islice(stream, 16)] for _ in range(3)]
        assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == 16 for epoch in epochs)
        assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != sorted(epochs[0])

    def test_going_on_opens_no_file_before_the_place(self):
        opened = []

        def part(number):
            def texts():
                opened.append(number)
                return [f"{number}.{n}" for n in range(3)]

            return texts

        def make():
            return DocumentStream([part(n) for n in range(5)])

        first = make()
        it = iter(first)
        assert [next(it) for _ in range(10)][-1] == "3.0"
        opened.clear()
        second = make()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert next(iter(second)) == next(it) == "3.1"
        assert opened == [3]

    def test_an_endless_stream_of_nothing_is_refused(self):
        with pytest.raises(UserError, match="no document at all"):
            next(iter(DocumentStream([lambda: []])))
        with pytest.raises(UserError, match="no parts"):
            DocumentStream([])
        assert list(DocumentStream([lambda: []], repeat=False)) == []

    @pytest.mark.parametrize("change", [{"parts": 3}, {"shuffle": True}, {"index": None}])
    def test_a_place_in_another_stream_is_refused(self, change):
        stream = DocumentStream([lambda: ["a"]])
        with pytest.raises(UserError, match=r"stream with|damaged"):
            stream.load_state_dict({**stream.state_dict(), **change})


class TestStreamingLoader:
    def test_a_stream_too_short_for_a_window_says_so(self):
        with pytest.raises(
            UserError, match="ends before it fills one window: block_size is 4, which takes 5"
        ):
            next(loader_of(["abc"]))
        x, y = next(loader_of(["abcd"], batch_size=1))
        assert x.tolist() == [[97, 98, 99, 100]] and y[0, -1] == TOKENIZER.special_tokens["<|endoftext|>"]

    def test_the_end_stays_the_end_also_after_a_resume(self):
        loader = loader_of(["some words"] * 5)
        count = sum(1 for _ in loader)
        assert count == (55 - 1) // 4 // 2
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(loader)
        again = loader_of(["some words"] * 5)
        again.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        with pytest.raises(StopIteration):
            next(again)

    def test_empty_documents_cost_an_end_token_or_nothing(self):
        plain = ByteTokenizer()
        stream = DocumentStream([lambda: ["", "ab", "", "cdefg"]], repeat=False)
        loader = StreamingLoader(stream, plain, 1, 6, shuffle=False)
        assert next(loader)[0].tolist() == [list(b"abcdef")]

    def test_the_batch_size_may_change_at_a_resume(self):
        texts = [f"text number {n}" for n in range(60)]
        first, small = (loader_of(texts, batch_size=size, seed=3) for size in (6, 2))
        next(first)
        small.load_state_dict(first.state_dict())
        assert torch.equal(torch.cat([next(small)[0] for _ in range(3)]), next(first)[0])

    def test_seeds_give_other_orders(self):
        texts = [f"text number {n}" for n in range(60)]
        a, b, c = (next(loader_of(texts, seed=seed))[0] for seed in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c)

    @pytest.mark.parametrize(
        "change",
        [
            {"block_size": 5},
            {"buffer_windows": 9},
            {"rank": 1},
            {"tokenizer_sha256": "x"},
            {"chunk": None},
            {"begin": {}},
        ],
    )
    def test_a_state_of_another_loader_is_refused(self, change):
        loader = loader_of(["some words"] * 9)
        with pytest.raises(UserError, match=f"{next(iter(change))}|damaged"):
            loader.load_state_dict({**loader.state_dict(), **change})

    @pytest.mark.parametrize("change", [{"buffer_windows": 0}, {"batch_size": 0}, {"rank": 2}])
    def test_sizes_that_make_no_batch_are_named(self, change):
        with pytest.raises(UserError, match=next(iter(change))):
            loader_of(["x"], **change)

    def test_memory_does_not_grow_with_the_stream(self):
        def endless():
            n = 0
            while True:
                yield f"{n} " + "word " * 200
                n += 1

        loader = StreamingLoader(DocumentStream([endless]), TOKENIZER, 8, 64, buffer_windows=64)
        for _ in range(20):
            next(loader)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(400):  # 200 kB of text, and 300 kB of ids if they were kept
            next(loader)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 40_000, f"{grown:,} bytes more after 400 batches"
