"""LT8, LT9, LT10: documents are split before windows, windows are complete, resuming is exact."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from data_checks import (
    SHA,
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
    digest_of,
    unique_texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from working_with_text_data.documents import load_documents
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.shards import open_shards, write_shards
from working_with_text_data.splitting import split_documents
from working_with_text_data.windows import BatchLoader


class TestLT8NoLeakage:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.text(alphabet="ab \n", min_size=1, max_size=6), min_size=2, max_size=40).filter(
            lambda texts: len(set(texts)) > 1
        ),
        st.sampled_from([0.01, 0.1, 0.5, 0.99]),
        st.integers(-5, 5),
    )
    def test_no_text_is_on_both_sides_whatever_the_documents(self, texts, fraction, seed):
        check_no_document_on_both_sides(texts, fraction, seed)

    def test_copies_stay_together(self):
        check_no_document_on_both_sides(unique_texts(30, words=4) * 4, 0.3)

    def test_documents_are_split_before_windows_are_cut(self):
        check_split_before_windows()

    def test_the_split_depends_on_content_and_seed_alone(self):
        check_split_ignores_order_and_rng()

    def test_near_duplicates_are_counted(self):
        check_near_duplicates_are_counted()

    def test_one_document_is_cut_into_spans_with_gaps(self):
        check_one_document_is_cut_with_gaps()

    @pytest.mark.parametrize("name", ["tinyshakespeare.txt", "gutenberg", "tinystories"])
    def test_real_texts_do_not_leak(self, shared_data, name):
        documents = load_documents(shared_data / "text" / name)
        split = split_documents(documents, look_for_near_duplicates=False)
        assert split.report.shared_hashes == 0 and split.train and split.val
        total = sum(len(d.text.encode()) for d in documents)
        parts = split.report.train_bytes + split.report.val_bytes + split.report.dropped_bytes
        assert parts == total, "bytes were lost"


class TestLT9Windows:
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_y_is_x_one_token_later_also_across_batches(self, shuffle):
        check_y_is_the_next_token(shuffle)

    def test_the_number_of_windows_is_the_formula(self):
        check_window_count()

    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("world_size", [1, 3])
    def test_each_window_comes_once_an_epoch(self, shuffle, world_size):
        check_each_window_once_an_epoch(shuffle, world_size)

    def test_ranks_get_different_windows(self):
        check_ranks_share_the_work()

    @pytest.mark.parametrize("vocab_size", [300, 65_536, 65_537, 200_000])
    def test_shards_give_what_memory_gives(self, tmp_path, vocab_size):
        check_shards_equal_memory(tmp_path, vocab_size)


# A second process with another hash seed: it imports the same code, gets the state, prints what comes next.
_GO_ON = """
import json, sys
import torch
torch.set_num_threads(1)
from data_checks import digest_of
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.shards import open_shards
from working_with_text_data.windows import BatchLoader

job = json.load(open(sys.argv[1]))
answers = []
for kind, arguments, state in job["cases"]:
    if kind == "examples":
        loader = ExampleBatches(job["examples"], **arguments)
    else:
        loader = BatchLoader(open_shards(job["folder"], "train"), **arguments)
    loader.load_state_dict(state)
    answers.append(digest_of(loader, 9))
print(json.dumps(answers))
"""


def made_examples():
    """Instruction-like examples of 3 to 9 ids, the second half of each trained."""
    lengths = [3 + (7 * number) % 7 + number % 5 % 3 for number in range(23)]
    return [
        [[100 * number + place for place in range(n)], [place >= n // 2 for place in range(n)]]
        for number, n in enumerate(lengths)
    ]


class TestLT10ExactDataResume:
    @pytest.mark.parametrize("before", [0, 1, 6, 7, 20, 33])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_windows_go_on_exactly(self, before, shuffle):
        check_resume(lambda: BatchLoader(np.arange(300), 4, 10, seed=3, shuffle=shuffle), before)

    @pytest.mark.parametrize("before", [0, 1, 5, 8, 19])
    @pytest.mark.parametrize("pack", [False, True])
    def test_examples_go_on_exactly(self, before, pack):
        check_resume(lambda: ExampleBatches(made_examples(), 3, 16, seed=3, pack=pack), before)

    def test_another_process_goes_on_with_the_same_batches(self, tmp_path, project_root):
        rng = np.random.default_rng(7)
        documents = [rng.integers(0, 70_000, 50).tolist() for _ in range(20)]
        folder = tmp_path / "shards"
        write_shards(folder, "train", documents, tokenizer_sha256=SHA, vocab_size=70_000, shard_tokens=170)
        windows = {"batch_size": 4, "block_size": 16}
        cases = []
        expected = []
        for kind, arguments, before in (
            ("windows", {**windows, "seed": 1}, 5),  # mid-epoch, over six shards
            ("windows", {**windows, "seed": 1}, 40),  # in the third epoch
            ("windows", {**windows, "shuffle": False}, 15),  # on the edge of an epoch
            ("windows", {**windows, "seed": 8, "rank": 1, "world_size": 2}, 11),
            ("examples", {"batch_size": 3, "block_size": 16, "seed": 2}, 5),
            ("examples", {"batch_size": 2, "block_size": 20, "seed": 2, "pack": True}, 7),
        ):
            if kind == "examples":
                loader = ExampleBatches(made_examples(), **arguments)
            else:
                loader = BatchLoader(open_shards(folder, "train"), **arguments)
            digest_of(loader, before)
            cases.append([kind, arguments, loader.state_dict()])
            expected.append(digest_of(loader, 9))
        job = tmp_path / "job.json"
        job.write_text(json.dumps({"folder": str(folder), "cases": cases, "examples": made_examples()}))
        paths = os.pathsep.join([str(project_root), str(project_root / "tests" / "laws")])
        done = subprocess.run(
            [sys.executable, "-c", _GO_ON, str(job)],
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "123"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == expected, "the second process goes on with other batches"
