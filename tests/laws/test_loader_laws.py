"""LT9 and LT10 for random offsets, packed rows, streams and prefetched batches."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from data_checks import SHA, check_resume, digest_of
from loader_checks import (
    TOKENIZER,
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
    packed_corpus,
    stream_texts,
)

from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.packing import PackedBatches
from working_with_text_data.prefetch import Prefetcher
from working_with_text_data.shards import open_shards, write_shards
from working_with_text_data.streaming_windows import DocumentStream, StreamingLoader
from working_with_text_data.windows import BatchLoader


class TestLT9RandomOffsets:
    def test_every_place_is_equally_likely(self):
        check_random_offsets_are_fair()

    def test_an_epoch_of_draws_leaves_out_one_token_in_e(self):
        check_random_offsets_leave_out_one_in_e()

    def test_ranks_use_different_draws(self):
        check_random_offset_ranks_share_the_draws()


class TestLT9Packing:
    @pytest.mark.parametrize("method", ["best_fit", "in_order"])
    @pytest.mark.parametrize("block", [1, 4, 16, 50])
    def test_no_label_crosses_a_document_and_each_token_is_asked_for_once(self, method, block):
        check_packing(method, block)

    def test_ranks_share_the_rows(self):
        check_packing("best_fit", world_size=2)

    def test_the_mask_keeps_documents_apart(self):
        check_document_mask()


class TestLT9Streams:
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_a_stream_gives_every_window_once(self, shuffle):
        check_stream_gives_every_window_once(shuffle)

    def test_ranks_share_no_document(self):
        check_stream_ranks_share_no_document()

    def test_a_stream_is_not_held(self):
        check_stream_is_read_no_further_than_needed()


class TestLT10Resume:
    @pytest.mark.parametrize("before", [0, 1, 7, 31])
    def test_random_offsets_go_on_exactly(self, before):
        check_resume(lambda: BatchLoader(np.arange(300), 4, 10, seed=3, sampling="random_offsets"), before)

    @pytest.mark.parametrize("before", [0, 1, 6, 7, 20, 41, 150])
    @pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"rank": 1, "world_size": 2}])
    def test_streams_go_on_exactly_in_the_middle_of_the_buffer(self, before, options):
        check_resume(lambda: make_stream(**options), before)

    @pytest.mark.parametrize("before", [0, 1, 5, 23])
    @pytest.mark.parametrize("method", ["best_fit", "in_order"])
    def test_packed_rows_go_on_exactly(self, before, method):
        _, tokens = packed_corpus()

        check_resume(lambda: _Pairs(PackedBatches(tokens, 2, 16, end_id=0, method=method, seed=3)), before)

    @pytest.mark.parametrize("depth", [1, 3])
    def test_prefetching_saves_what_was_given_out(self, depth):
        check_prefetch_saves_what_was_given_out(lambda: BatchLoader(np.arange(300), 4, 10, seed=3), depth)
        check_prefetch_saves_what_was_given_out(make_stream, depth)

    def test_another_process_goes_on_with_the_same_batches(self, tmp_path, project_root):
        rng = np.random.default_rng(7)
        documents = [[*rng.integers(1, 70_000, 50).tolist(), 0] for _ in range(20)]
        folder = tmp_path / "shards"
        write_shards(folder, "train", documents, tokenizer_sha256=SHA, vocab_size=70_000, shard_tokens=170)
        texts = tmp_path / "texts"
        texts.mkdir()
        for number in range(5):  # five files, read in another order each epoch
            lines = stream_texts()[number * 18 : (number + 1) * 18]
            (texts / f"{number}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in lines))
        job = {"folder": str(folder), "texts": str(texts), "cases": []}
        small = {"batch_size": 3, "block_size": 12, "seed": 4}
        expected = []
        for kind, arguments, depth, before in (
            ("windows", {**small, "sampling": "random_offsets"}, 0, 11),
            ("windows", small, 3, 11),
            ("packed", {**small, "end_id": 0}, 0, 9),
            ("packed", {**small, "end_id": 0}, 2, 60),
            ("stream", {**small, "buffer_windows": 16}, 0, 7),  # mid-buffer
            ("stream", {**small, "buffer_windows": 16}, 4, 90),  # in a later epoch, files in another order
            ("stream", {**small, "buffer_windows": 16, "rank": 1, "world_size": 2}, 2, 19),
        ):
            loader = open_loader(job, kind, arguments, depth)
            digest_of(loader, before)
            job["cases"].append([kind, arguments, depth, json.loads(json.dumps(loader.state_dict()))])
            expected.append(digest_of(loader, 9))
        (tmp_path / "job.json").write_text(json.dumps(job))
        paths = os.pathsep.join([str(project_root), str(project_root / "tests" / "laws")])
        done = subprocess.run(
            [sys.executable, "-c", _GO_ON, str(tmp_path / "job.json")],
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "123"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == expected, "the second process goes on with other batches"


class _Pairs:
    """A packed loader as (x, y) with segments and positions folded in, so that all four are compared."""

    def __init__(self, loader):
        self.loader = loader
        self.state_dict, self.load_state_dict = loader.state_dict, loader.load_state_dict

    def __next__(self):
        x, y, segments, positions = next(self.loader)
        return x * 1000 + segments, y * 1000 + positions


def open_loader(job, kind, arguments, depth):
    """The loader of a case: the same function in both processes."""
    if kind == "stream":
        source = DocumentStream.from_files(job["texts"], shuffle=True, seed=2)
        loader = StreamingLoader(source, TOKENIZER, **arguments)
    else:
        tokens = open_shards(job["folder"], "train")
        windows = kind == "windows"
        loader = BatchLoader(tokens, **arguments) if windows else _Pairs(PackedBatches(tokens, **arguments))
    return Prefetcher(loader, depth) if depth else loader


_GO_ON = """
import json, sys
import torch
torch.set_num_threads(1)
from data_checks import digest_of
from test_loader_laws import open_loader

job = json.load(open(sys.argv[1]))
answers = []
for kind, arguments, depth, state in job["cases"]:
    loader = open_loader(job, kind, arguments, depth)
    loader.load_state_dict(state)
    answers.append(digest_of(loader, 9))
print(json.dumps(answers))
"""


def test_prefetching_examples_works_too():
    examples = [([n, n + 1, n + 2], [False, True, True]) for n in range(30)]
    check_prefetch_saves_what_was_given_out(lambda: ExampleBatches(examples, 3, 16, seed=3))
